"""One layer: what it is, and what it makes of an input in sizes, parameters and work. Exact, standard library only.

Shapes are `(sizes..., channels)` for a map and `(n,)` for a vector, without the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from cnncli.errors import ShapeError
from cnncli.shapes import Padding, Placement, Spread, Window, place, place_transposed

Shape = tuple[int, ...]
Sizes = tuple[int, ...]  # one number for all axes, or one for each
Pairs = tuple[tuple[int, int], ...]  # (before, after): one pair for all axes, or one for each

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "softmax",
    "hard_sigmoid", "hard_silu", "linear",
)  # fmt: skip
MERGES = ("add", "sub", "mul", "div", "average", "maximum", "minimum")  # of maps, element by element
CONVOLUTIONS = ("conv", "dwconv", "sepconv", "tconv")
WINDOWED = (*CONVOLUTIONS, "pool", "avgpool")
T = TypeVar("T")

MAX_VALUES = 10**100  # in one output: more is a slip of the finger, and its digits would fill the screen


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, whatever its input. The fields that its kind has no use for keep their defaults."""

    kind: str
    units: int = 1  # filters of a convolution, units of a dense layer
    kernel: Sizes = ()
    stride: Sizes = (1,)
    dilation: Sizes = (1,)
    padding: str | Pairs = "valid"  # "valid", "same", or how much
    extra: Sizes = ()  # elements put on at the end of a transposed convolution (Keras's output_padding)
    groups: int = 1
    multiplier: int = 1  # depthwise filters for each channel
    bias: bool = True  # of batch and layer normalisation: their shift
    scale: bool = True  # of batch and layer normalisation
    ceil: bool = False  # a window that is partly inside counts
    keep: bool = False  # global pooling keeps axes of size 1
    activation: str = ""
    rate: str = ""  # of dropout, a decimal number
    target: Sizes = ()  # what an input or a reshape gives, what an upsampling multiplies by


@dataclass(frozen=True, slots=True)
class Measure:
    """What a layer makes of an input.

    `macs` counts the products of convolutions and dense layers for one image, each with its addition; products with
    the zeros of the padding are among them.
    """

    output: Shape
    weights: int = 0  # of kernels, matrices and scales
    biases: int = 0
    statistics: int = 0  # kept but not trained: moving averages
    macs: int = 0
    axes: tuple[Placement | Spread, ...] = ()  # one for each axis that a window moves along

    @property
    def parameters(self) -> int:
        """All numbers that the layer stores."""
        return self.weights + self.biases + self.statistics


def measure(layer: Layer, *inputs: Shape) -> Measure:
    """What `layer` makes of its input, or of several that it merges. Raises ShapeError saying what does not fit."""
    if len(inputs) != 1 and layer.kind != "input" and not (inputs and layer.kind in (*MERGES, "concat")):
        raise ShapeError(f"{layer.kind} takes one input and has {len(inputs)}")
    found = _MEASURES.get(layer.kind, _elementwise)(layer, *inputs)
    if prod(found.output) > MAX_VALUES:
        raise ShapeError("its output would have more than 10^100 values")
    return found


def per_axis(values: tuple[T, ...], axes: int, what: str) -> list[T]:
    """One value for each of `axes` axes. Raises ShapeError if there are as many as some other number of axes."""
    if len(values) not in (1, axes):
        raise ShapeError(f"{what} has {len(values)} sizes, its input has {axes}: expected 1 or {axes}")
    return list(values) * (axes // len(values))


def _map(layer: Layer, shape: Shape) -> tuple[Shape, int]:
    """The sizes and the channels of a map."""
    if len(shape) == 1:
        raise ShapeError(f"{layer.kind} needs a map, like 28x28x1; its input is a vector of {shape[0]}")
    return shape[:-1], shape[-1]


def windows(layer: Layer, axes: int) -> list[Window]:
    """The layer's window along each axis."""
    each = (per_axis(getattr(layer, name), axes, name) for name in ("kernel", "stride", "dilation"))
    return [Window(*sizes) for sizes in zip(*each, strict=True)]


def paddings(layer: Layer, axes: int) -> list[Padding]:
    """The layer's padding along each axis."""
    if isinstance(layer.padding, str):
        return [layer.padding] * axes  # type: ignore[list-item]
    return list(per_axis(layer.padding, axes, "padding"))


def _place(layer: Layer, sizes: Shape) -> tuple[Placement, ...]:
    placed = []
    for axis, (size, window, padding) in enumerate(
        zip(sizes, windows(layer, len(sizes)), paddings(layer, len(sizes)), strict=True)
    ):
        try:
            placed.append(place(size, window, padding, ceil=layer.ceil))
        except ShapeError as problem:
            raise ShapeError(f"{axis_name(axis, len(sizes))}: {problem}. {_remedy(size, window)}") from None
    return tuple(placed)


def axis_name(axis: int, axes: int) -> str:
    """What an axis is called: length; height, width; depth, height, width."""
    return ("length",)[axis] if axes == 1 else ("depth", "height", "width")[3 - axes :][axis]


def _remedy(size: int, window: Window) -> str:
    """What to do about a window that does not fit into `size` elements."""
    largest = (size - 1) // window.dilation + 1
    missing = window.extent - size
    ways = [f"a kernel of at most {largest}"] if largest > 1 else []
    ways.append(f"padding {-(-missing // 2)} or 'same'")
    return f"Use {' or '.join(ways)}"


def _conv(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    _check_stride_or_dilation(layer)
    if channels % layer.groups or layer.units % layer.groups:
        raise ShapeError(
            f"{layer.groups} groups: expected a number that divides both the {channels} channels of the input and "
            f"the {layer.units} filters"
        )
    axes = _place(layer, sizes)
    output = (*(axis.output for axis in axes), layer.units)
    weights = _kernel(axes) * (channels // layer.groups) * layer.units
    return Measure(output, weights, layer.units * layer.bias, macs=prod(output[:-1]) * weights, axes=axes)


def _check_stride_or_dilation(layer: Layer) -> None:
    if max(layer.stride) > 1 and max(layer.dilation) > 1:
        raise ShapeError(
            f"stride {_joined(layer.stride)} and dilation {_joined(layer.dilation)}: Keras computes no convolution "
            "with both above 1. Use one of them"
        )


def _joined(sizes: Sizes) -> str:
    return "x".join(map(str, sizes))


def _kernel(axes: tuple[Placement | Spread, ...]) -> int:
    return prod(axis.window.kernel for axis in axes)


def _dwconv(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    axes = _place(layer, sizes)
    output = (*(axis.output for axis in axes), channels * layer.multiplier)
    weights = _kernel(axes) * output[-1]
    return Measure(output, weights, output[-1] * layer.bias, macs=prod(output[:-1]) * weights, axes=axes)


def _sepconv(layer: Layer, shape: Shape) -> Measure:
    depthwise = _dwconv(layer, shape)
    weights = depthwise.weights + depthwise.output[-1] * layer.units
    output = (*depthwise.output[:-1], layer.units)
    macs = prod(output[:-1]) * weights
    return Measure(output, weights, layer.units * layer.bias, macs=macs, axes=depthwise.axes)


def _tconv(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    _check_stride_or_dilation(layer)
    each = zip(sizes, windows(layer, len(sizes)), paddings(layer, len(sizes)), strict=True)
    axes = tuple(place_transposed(size, window, padding) for size, window, padding in each)
    if layer.extra:
        axes = tuple(map(_with_extra, axes, paddings(layer, len(sizes)), per_axis(layer.extra, len(sizes), "extra")))
    weights = _kernel(axes) * channels * layer.units
    output = (*(axis.output for axis in axes), layer.units)
    return Measure(output, weights, layer.units * layer.bias, macs=prod(sizes) * weights, axes=axes)


def _with_extra(axis: Spread, padding: Padding, extra: int) -> Spread:
    """The axis as Keras computes it when it is given an output_padding."""
    whole = (axis.size - 1) * axis.window.stride + axis.window.extent
    output = whole + extra if padding == "valid" else whole - axis.window.extent // 2 * 2 + extra
    return Spread(axis.size, axis.window, axis.before, whole - axis.before - output, output)


def _pool(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    axes = _place(layer, sizes)
    return Measure((*(axis.output for axis in axes), channels), axes=axes)


def _global_pool(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    return Measure((*(1 for _ in sizes if layer.keep), channels))


def _dense(layer: Layer, shape: Shape) -> Measure:
    weights = shape[-1] * layer.units
    return Measure((*shape[:-1], layer.units), weights, layer.units * layer.bias, macs=prod(shape[:-1]) * weights)


def _normalise(layer: Layer, shape: Shape) -> Measure:
    statistics = 2 * shape[-1] if layer.kind == "bn" else 0
    return Measure(shape, shape[-1] * layer.scale, shape[-1] * layer.bias, statistics)


def _standardise(layer: Layer, shape: Shape) -> Measure:
    return Measure(shape, statistics=2 * shape[-1] + 1)  # a mean and a variance for each channel, and how many it saw


def _channel_scale(layer: Layer, shape: Shape) -> Measure:
    return Measure(shape, weights=shape[-1])


def _prelu(layer: Layer, shape: Shape) -> Measure:
    own = (1 if axis in layer.target else size for axis, size in enumerate(shape, 1))
    return Measure(shape, weights=prod(own))


def _elementwise(layer: Layer, shape: Shape) -> Measure:
    return Measure(shape)


def _input(layer: Layer) -> Measure:
    return Measure(layer.target)


def _flatten(layer: Layer, shape: Shape) -> Measure:
    return Measure((prod(shape),))


def _reshape(layer: Layer, shape: Shape) -> Measure:
    """The target may leave one size open: 0."""
    known = prod(size for size in layer.target if size)
    open_sizes = layer.target.count(0)
    if open_sizes > 1 or prod(shape) % known or (not open_sizes and prod(shape) != known):
        raise ShapeError(f"{_joined(shape)} has {prod(shape)} values, which do not fit into {_joined(layer.target)}")
    return Measure(tuple(size or prod(shape) // known for size in layer.target))


def _zeropad(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    pairs = per_axis(tuple(p for p in layer.padding if isinstance(p, tuple)), len(sizes), "padding")
    return Measure((*(size + sum(pair) for size, pair in zip(sizes, pairs, strict=True)), channels))


def _crop(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    pairs = per_axis(tuple(p for p in layer.padding if isinstance(p, tuple)), len(sizes), "cropping")
    output = (*(size - sum(pair) for size, pair in zip(sizes, pairs, strict=True)), channels)
    if min(output) < 1:
        raise ShapeError(f"nothing of {_joined(sizes)} is left after cropping")
    return Measure(output)


def _upsample(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    factors = per_axis(layer.target, len(sizes), "upsampling")
    return Measure((*(size * factor for size, factor in zip(sizes, factors, strict=True)), channels))


def _resize(layer: Layer, shape: Shape) -> Measure:
    sizes, channels = _map(layer, shape)
    return Measure((*per_axis(layer.target, len(sizes), "resize"), channels))


def _merge(layer: Layer, *shapes: Shape) -> Measure:
    """As numpy broadcasts: axes of size 1 are repeated."""
    rank = max(map(len, shapes))
    columns = [{1, *sizes} - {1} for sizes in zip(*((1,) * (rank - len(s)) + s for s in shapes), strict=True)]
    if any(len(sizes) > 1 for sizes in columns):
        raise ShapeError(f"{layer.kind} of {' and '.join(map(_joined, shapes))}: expected equal shapes")
    return Measure(tuple(max(sizes, default=1) for sizes in columns))


def _concat(layer: Layer, *shapes: Shape) -> Measure:
    if len({shape[:-1] for shape in shapes}) > 1:
        raise ShapeError(f"concat of {' and '.join(map(_joined, shapes))}: expected equal sizes")
    return Measure((*shapes[0][:-1], sum(shape[-1] for shape in shapes)))


_MEASURES: dict[str, Callable[..., Measure]] = {
    "input": _input,
    "conv": _conv,
    "dwconv": _dwconv,
    "sepconv": _sepconv,
    "tconv": _tconv,
    "pool": _pool,
    "avgpool": _pool,
    "gap": _global_pool,
    "gmp": _global_pool,
    "dense": _dense,
    "bn": _normalise,
    "ln": _normalise,
    "standardise": _standardise,
    "scale": _channel_scale,
    "prelu": _prelu,
    "flatten": _flatten,
    "reshape": _reshape,
    "zeropad": _zeropad,
    "crop": _crop,
    "upsample": _upsample,
    "resize": _resize,
    "concat": _concat,
    **dict.fromkeys(MERGES, _merge),
}
