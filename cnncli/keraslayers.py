"""Keras's classes as layers: what the configuration of each says. It is not trusted: every number is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnncli.errors import ModelError
from cnncli.grammar import MAX_NUMBER
from cnncli.layers import ACTIVATIONS, Layer, Pairs, Sizes


def layer_of(class_name: str, config: dict[str, Any], num_inputs: int) -> Layer:
    """The layer that a class of Keras and its configuration describe.

    Raises ModelError for a class that has no place here, and whatever a configuration that is not Keras's leads to:
    LookupError, TypeError, ValueError, ArithmeticError.
    """
    if config.get("data_format") == "channels_first":
        raise ModelError(f"layer {config.get('name')!r} has its channels first; expected them last")
    if class_name in _MERGES:
        return Layer(_MERGES[class_name] if num_inputs > 1 else "rescale")
    if class_name in _ELEMENTWISE or class_name.startswith("Random"):
        return Layer(_ELEMENTWISE.get(class_name, "identity"))
    if class_name not in _CLASSES:
        raise ModelError(f"layer {config.get('name')!r} is of class {class_name}, which cannot be worked out here")
    return _CLASSES[class_name](config)


def _size(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_NUMBER:
        raise ValueError(f"{str(value)[:40]!r} where a size belongs")
    return value


def sizes_of(value: Any) -> Sizes:
    """A number or a list of them, each a size. Raises ValueError."""
    sizes = tuple(map(_size, value if isinstance(value, list | tuple) else [value]))
    if not sizes:
        raise ValueError("no sizes")
    return sizes


def _even(values: Sizes) -> Sizes:
    """One number where all axes have the same."""
    return values[:1] if len(set(values)) == 1 else values


def _pairs(value: Any) -> Pairs:
    each = [value] if isinstance(value, int) else value
    ends = [(end, end) if isinstance(end, int) else tuple(end) for end in each]
    if len(each) == 2 and all(isinstance(end, int) for end in each) and isinstance(value, list):
        ends = [(each[0], each[0]), (each[1], each[1])]
    for end in ends:
        if len(end) != 2 or any(type(number) is not int or not 0 <= number <= MAX_NUMBER for number in end):
            raise ValueError(f"{str(end)[:40]!r} where padding belongs")
    return tuple(ends[:1] if len(set(ends)) == 1 else ends)


def _activation(config: dict[str, Any]) -> str:
    name = config.get("activation")
    return name if isinstance(name, str) and name in ACTIVATIONS and name != "linear" else ""


def _window(config: dict[str, Any], kernel: str = "kernel_size") -> dict[str, Any]:
    """The fields that all layers with a window have."""
    window = {
        "kernel": _even(sizes_of(config[kernel])),
        "stride": _even(sizes_of(config.get("strides") or config[kernel])),
        "dilation": _even(sizes_of(config.get("dilation_rate", 1))),
        "padding": config["padding"],
    }
    if window["padding"] == "causal":
        window["padding"] = ((window["dilation"][0] * (window["kernel"][0] - 1), 0),)
    elif window["padding"] not in ("same", "valid"):
        raise ValueError(f"padding {str(window['padding'])[:40]!r}")
    return window


def _conv(kind: str) -> Callable[[dict[str, Any]], Layer]:
    def read(config: dict[str, Any]) -> Layer:
        return Layer(
            kind,
            units=_size(config.get("filters", 1)),
            groups=_size(config.get("groups", 1)),
            multiplier=_size(config.get("depth_multiplier", 1)),
            extra=_extra(config.get("output_padding")),
            bias=bool(config["use_bias"]),
            activation=_activation(config),
            **_window(config),
        )

    return read


def _extra(value: Any) -> Sizes:
    if value is None:
        return ()
    return tuple(0 if number == 0 else _size(number) for number in (value if isinstance(value, list) else [value]))


def _pool(kind: str) -> Callable[[dict[str, Any]], Layer]:
    return lambda config: Layer(kind, **_window(config, "pool_size"))


def _global(kind: str) -> Callable[[dict[str, Any]], Layer]:
    return lambda config: Layer(kind, keep=bool(config.get("keepdims", False)))


def _dense(config: dict[str, Any]) -> Layer:
    return Layer("dense", _size(config["units"]), bias=bool(config["use_bias"]), activation=_activation(config))


def _normalisation(kind: str) -> Callable[[dict[str, Any]], Layer]:
    def read(config: dict[str, Any]) -> Layer:
        axis = config.get("axis", -1)
        if isinstance(axis, list) and len(axis) > 1:
            raise ModelError(f"layer {config.get('name')!r} normalises over several axes, which is not supported")
        return Layer(kind, bias=bool(config.get("center", True)), scale=bool(config.get("scale", True)))

    return read


def _named_activation(config: dict[str, Any]) -> Layer:
    name = config["activation"]
    return Layer(name if isinstance(name, str) and name in ACTIVATIONS else "identity")


def _shared(axes: Any) -> Sizes:
    """The axes that share their weights, counted from 1; 0 where there are none."""
    return sizes_of(axes) if axes else (0,)


def _dropout(config: dict[str, Any]) -> Layer:
    rate = float(config.get("rate", 0))
    if not 0 <= rate < 1:
        raise ValueError(f"rate {rate}")
    return Layer("dropout", rate=f"{int(rate * 1e6) / 1e6:.6f}".rstrip("0").rstrip("."))


def _reshape(config: dict[str, Any]) -> Layer:
    return Layer(
        "reshape", target=tuple(0 if size == -1 else sizes_of(size)[0] for size in config["target_shape"] or [0])
    )


def _padded(kind: str, key: str) -> Callable[[dict[str, Any]], Layer]:
    return lambda config: Layer(kind, padding=_pairs(config[key]))


def _resize(config: dict[str, Any]) -> Layer:
    return Layer("resize", target=sizes_of(config.get("output_size") or [config["height"], config["width"]]))


def _concat(config: dict[str, Any]) -> Layer:
    if config.get("axis", -1) == 0:
        raise ValueError("concatenation of images")
    return Layer("concat")


_CLASSES: dict[str, Callable[[dict[str, Any]], Layer]] = {
    "Conv1D": _conv("conv"),
    "Conv2D": _conv("conv"),
    "DepthwiseConv2D": _conv("dwconv"),
    "SeparableConv2D": _conv("sepconv"),
    "Conv2DTranspose": _conv("tconv"),
    "MaxPooling2D": _pool("pool"),
    "AveragePooling2D": _pool("avgpool"),
    "AdaptiveAveragePooling2D": _resize,
    "AdaptiveMaxPooling2D": _resize,
    "GlobalAveragePooling1D": _global("gap"),
    "GlobalAveragePooling2D": _global("gap"),
    "GlobalMaxPooling1D": _global("gmp"),
    "GlobalMaxPooling2D": _global("gmp"),
    "Dense": _dense,
    "BatchNormalization": _normalisation("bn"),
    "LayerNormalization": _normalisation("ln"),
    "GroupNormalization": _normalisation("ln"),
    "RMSNormalization": lambda config: Layer("ln", bias=False),
    "Normalization": lambda config: Layer("standardise" if config.get("mean") is None else "rescale"),
    "LayerScale": lambda config: Layer("scale"),
    "PReLU": lambda config: Layer("prelu", target=_shared(config.get("shared_axes"))),
    "Activation": _named_activation,
    "ReLU": lambda config: Layer("relu6" if config.get("max_value") == 6 else "relu"),
    "Dropout": _dropout,
    "SpatialDropout2D": _dropout,
    "AlphaDropout": _dropout,
    "StochasticDepth": _dropout,
    "Flatten": lambda config: Layer("flatten"),
    "Reshape": _reshape,
    "ZeroPadding2D": _padded("zeropad", "padding"),
    "Cropping2D": _padded("crop", "cropping"),
    "UpSampling2D": lambda config: Layer("upsample", target=_even(sizes_of(config["size"]))),
    "Resizing": _resize,
    "CenterCrop": _resize,
    "RandomCrop": _resize,
    "Concatenate": _concat,
}
_MERGES = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "TrueDivide": "div",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
_ELEMENTWISE = {
    "LeakyReLU": "leaky_relu",
    "LeakyRelu": "leaky_relu",
    "ELU": "elu",
    "Softmax": "softmax",
    "Rescaling": "rescale",
    "CustomScaleLayer": "rescale",
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Gelu": "gelu",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    **dict.fromkeys(
        """
        UnitNormalization Identity GaussianDropout GaussianNoise ActivityRegularization AutoContrast Equalization
        Solarization Absolute Cast Clip Exp Flip Log Negative Power Sqrt Square
        """.split(),
        "identity",
    ),
}
