"""Builds networks from the layers of the grammar, to be trained; and what becomes of them to be saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cnncli.backbones import InputSpec
from cnncli.errors import ShapeError, TrainingError
from cnncli.grammar import token
from cnncli.layers import ACTIVATIONS, Layer, Shape, Sizes, measure
from cnncli.learning import keras
from cnncli.learning.normalization import FusedNormalization
from cnncli.modelfile import MAX_ARRAY_ELEMENTS
from cnncli.modelsafety import check_config
from cnncli.networks import stack
from cnncli.shapes import Placement, Spread
from cnncli.tracing import Row, Trace, joined, trace

Precision = Literal["float32", "bfloat16"]

# Of the moving statistics, as in PyTorch: with Keras's 0.99 a network validates badly for its first hundreds of steps.
_BN_MOMENTUM = 0.9
_POLICIES: dict[Precision, str] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def policy(precision: Precision) -> Any:
    """Keras's policy for layers; in `bfloat16` the weights themselves remain float32."""
    return keras.DTypePolicy(_POLICIES[precision])


def pixels_of(spec: InputSpec) -> Any:
    """The input of a network: pixels 0..255, float32, of shape `(batch, height, width, channels)`."""
    return keras.Input((spec.height, spec.width, 1 if spec.color == "gray" else 3), name="pixels")


def build(layers: Sequence[Layer], spec: InputSpec, *, rescale: bool = True, precision: Precision = "float32") -> Any:
    """The network of `layers`, the last of which is `dense:classes`, with random weights as Keras draws them.

    It maps pixels 0..255 of shape `(batch, height, width, channels)` to logits `(batch, classes)`, always float32:
    the softmax of the last layer is left out. Pixels become 0..1 first, unless `rescale` is off. Its layers have the
    names that `networks.stack` gives them; what pads or crops for a layer is called after it. Raises ShapeError.
    """
    found = measured(layers, spec)
    pixels = pixels_of(spec)
    outputs = [keras.layers.Rescaling(1 / 255, name="rescale")(pixels) if rescale else pixels]  # of each node
    *hidden, last = found.layers
    for row in hidden:
        inputs = [outputs[index] for index in row.node.inputs]
        x = inputs[0] if len(inputs) == 1 else inputs
        for layer in _keras_layers(row, policy(precision)):
            x = layer(x)
        outputs.append(x)
    dense = keras.layers.Dense(last.node.layer.units, use_bias=last.node.layer.bias, name=last.node.name)
    logits = dense(outputs[-1])
    return keras.Model(pixels, logits, name="network")


def measured(layers: Sequence[Layer], spec: InputSpec) -> Trace:
    """The shapes of all layers.

    Raises ShapeError unless the network ends in one vector and nothing in it is too large to be saved and read.
    """
    found = trace(stack("network", (spec.height, spec.width, 1 if spec.color == "gray" else 3), layers))
    last = found.layers[-1]
    if last.node.layer.kind != "dense" or last.node.layer.activation not in ("", "softmax", "linear"):
        raise ShapeError(f"the last layer is {token(last.node.layer)}: expected dense:CLASSES")
    if len(last.inputs[0]) > 1:
        raise ShapeError(
            f"the layers end in a map of {joined(last.inputs[0])}, but classes need a vector: "
            "put flatten or gap (global average pooling) at the end, or before the first dense layer"
        )
    for position, row in enumerate(found.layers, 1):
        most = max(row.activation_bytes // 4, row.measure.weights)
        if most > MAX_ARRAY_ELEMENTS:
            raise ShapeError(
                f"{row.node.place(position)} ({token(row.node.layer)}), needs an array of {most:,} numbers: "
                f"at most {MAX_ARRAY_ELEMENTS:,} can be trained"
            )
    return found


def _keras_layers(row: Row, dtype: Any) -> list[Any]:
    """A layer as Keras has it, with the layers around it that Keras needs for padding in numbers."""
    layer, name, axes = _in_words(row.node.layer, row.inputs[0]), row.node.name, row.measure.axes
    if layer.kind == "tconv" and max(layer.dilation) > 1:
        return _dilated_tconv(layer, axes, name, dtype)
    if isinstance(layer.padding, str):
        return [_keras_layer(layer, name, dtype)]
    without = replace(layer, padding="valid")
    if layer.kind in ("pool", "avgpool"):
        return _padded_pool(layer, axes, name, dtype)
    if layer.kind == "tconv":
        whole = measure(without, row.inputs[0]).output  # Keras puts zeros on where the stride exceeds the window
        crops = [(axis.before, size - axis.before - axis.output) for axis, size in zip(axes, whole, strict=False)]
        return [_keras_layer(without, name, dtype), keras.layers.Cropping2D(crops, name=f"{name}_crop", dtype=dtype)]
    pads = [(axis.before, axis.after) for axis in axes]
    return _padded(without, pads, name, dtype)


def _padded(layer: Layer, pads: list[tuple[int, int]], name: str, dtype: Any) -> list[Any]:
    return [keras.layers.ZeroPadding2D(pads, name=f"{name}_pad", dtype=dtype), _keras_layer(layer, name, dtype)]


def _dilated_tconv(layer: Layer, axes: Sequence[Placement | Spread], name: str, dtype: Any) -> list[Any]:
    """A transposed convolution of stride 1 as the convolution that it is: LiteRT has none with dilation.

    Its kernel is the other one turned around, as Dumoulin and Visin derive it (arXiv:1603.07285, relationship 8).
    """
    pads = [(axis.window.extent - 1 - axis.before, axis.window.extent - 1 - axis.after) for axis in axes]
    if min(map(min, pads)) < 0:
        raise ShapeError(f"{name} ({token(layer)}): more padding than the window reaches over; use less, or 'same'")
    return _padded(replace(layer, kind="conv", padding="valid"), pads, name, dtype)


def _in_words(layer: Layer, shape: Shape) -> Layer:
    """`layer` with its padding called `same` or `valid` where that is the same for this input; Keras is faster then."""
    if isinstance(layer.padding, str):
        return layer
    words = ("same", "valid") if set(layer.padding) == {(0, 0)} else ("same",)
    alike = (replace(layer, padding=word) for word in words)
    axes = measure(layer, shape).axes
    return next((other for other in alike if measure(other, shape).axes == axes), layer)


def _padded_pool(layer: Layer, axes: Sequence[Placement | Spread], name: str, dtype: Any) -> list[Any]:
    """Pooling where padding counts neither for a maximum nor for an average, as in Keras, which knows only `same`.

    So every window of stride 1 is pooled with `same`, and those that are wanted are picked out.
    """
    crops = []
    for axis in axes:
        kernel, stride = axis.window.kernel, axis.window.stride
        first = (kernel - 1) // 2 - axis.before  # where the first window stands among all those of stride 1
        after = axis.size - 1 - first - (axis.output - 1) * stride
        if first < 0 or after < 0:
            raise ShapeError(
                f"{name} ({token(layer)}): a pooling window of {kernel} can be padded by {(kernel - 1) // 2} before "
                f"and {kernel // 2} after at most. Use less padding, or 'same'"
            )
        crops.append((first, after))
    pick = Layer("pool", kernel=(1,), stride=layer.stride)
    return [
        _keras_layer(replace(layer, stride=(1,), padding="same"), f"{name}_all", dtype),
        keras.layers.Cropping2D(crops, name=f"{name}_crop", dtype=dtype),
        _keras_layer(pick, name, dtype),
    ]


def _keras_layer(layer: Layer, name: str, dtype: Any) -> Any:
    """The one layer of Keras that `layer` is, its padding being `same` or `valid`."""
    named = {"name": name, "dtype": dtype}
    if layer.kind in ACTIVATIONS:
        return keras.layers.Activation(layer.kind, **named)
    return _MAKERS[layer.kind](layer, named)


def _both(values: Sizes) -> Sizes:
    """One number for either axis."""
    return values * (3 - len(values))


def _window(layer: Layer) -> dict[str, Any]:
    return {"strides": _both(layer.stride), "padding": layer.padding}


def _weighted(layer: Layer) -> dict[str, Any]:
    return {"use_bias": layer.bias, "activation": layer.activation or None}


def _conv(layer: Layer) -> dict[str, Any]:
    kernel, dilation = _both(layer.kernel), _both(layer.dilation)
    return {"kernel_size": kernel, "dilation_rate": dilation, **_window(layer), **_weighted(layer)}


_MAKERS: dict[str, Callable[[Layer, dict[str, Any]], Any]] = {
    "conv": lambda a, named: keras.layers.Conv2D(a.units, groups=a.groups, **_conv(a), **named),
    "dwconv": lambda a, named: keras.layers.DepthwiseConv2D(depth_multiplier=a.multiplier, **_conv(a), **named),
    "tconv": lambda a, named: keras.layers.Conv2DTranspose(a.units, **_conv(a), **named),
    "pool": lambda a, named: keras.layers.MaxPooling2D(_both(a.kernel), **_window(a), **named),
    "avgpool": lambda a, named: keras.layers.AveragePooling2D(_both(a.kernel), **_window(a), **named),
    "gap": lambda a, named: keras.layers.GlobalAveragePooling2D(**named),
    "gmp": lambda a, named: keras.layers.GlobalMaxPooling2D(**named),
    "bn": lambda a, named: keras.layers.BatchNormalization(momentum=_BN_MOMENTUM, **named),
    "add": lambda a, named: keras.layers.Add(**named),
    "dropout": lambda a, named: keras.layers.Dropout(float(a.rate), **named),
    "flatten": lambda a, named: keras.layers.Flatten(**named),
    "dense": lambda a, named: keras.layers.Dense(a.units, **_weighted(a), **named),
}


def with_probabilities(logits: Any) -> Any:
    """The network with a softmax after its logits, in float32: the form that is saved.

    A float32 network shares its layers with it; of another it has the weights of this moment.
    """
    computes_in = {layer.compute_dtype for layer in logits.layers}
    network = logits if computes_in == {"float32"} else float32_twin(logits)
    return keras.Model(network.input, keras.layers.Softmax(name="probabilities")(network.output), name=network.name)


def float32_twin(model: Any) -> Any:
    """The same layers in float32, with weights of their own, which are those of this moment."""
    config = json.loads(model.to_json())
    check_config(config, Path(model.name))  # makes it float32, as reading it from a file would
    twin = keras.models.model_from_json(json.dumps(config))
    copy_weights(model.layers, twin.layers)
    return twin


def as_trained(model: Any, size: tuple[int, int] | None = None) -> Any:
    """The same network, weights shared, as steps of training compute it, for images of its or another size.

    `size` is `(height, width)`. Raises TrainingError.
    """
    own = model.inputs[0]
    inputs = keras.Input(own.shape[1:] if size is None else (*size, own.shape[-1]), name=own.name)
    try:
        return keras.models.clone_model(model, input_tensors=inputs, clone_function=_stand_in)
    except ValueError as problem:
        raise TrainingError(
            f"this network cannot take images of {inputs.shape[1]}x{inputs.shape[2]} as well: "
            "--progressive needs one that ends in gap or gmp, and images that are large enough for it"
        ) from problem


def _stand_in(layer: Any) -> Any:
    """The layer, or what stands for it in a step of training.

    What is frozen computes as in use: it drops nothing (Keras's guide to transfer learning).
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        return FusedNormalization(layer)
    if not layer.trainable and (isinstance(layer, keras.layers.Dropout) or type(layer).__name__ == "StochasticDepth"):
        return keras.layers.Identity(name=layer.name, dtype=layer.dtype_policy)
    return layer


def copy_weights(sources: Iterable[Any], targets: Iterable[Any]) -> None:
    """Gives layers the weights of others, which are of the same kinds in the same order."""
    for source, target in zip(_with_weights(sources), _with_weights(targets), strict=True):
        target.set_weights(source.get_weights())
        if isinstance(target, keras.layers.Normalization):
            target.finalize_state()  # it computes with a copy of its weights


def _with_weights(layers: Iterable[Any]) -> list[Any]:
    return [layer for layer in layers if layer.weights]
