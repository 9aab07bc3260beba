"""Convolution layers on arrays of shape `(height, width, channels)`: correlation with a kernel.

Whole numbers stay exact: a kernel is taken as whole numbers over a common denominator where it can be, its sums are
accumulated in the smallest integers that hold them, and nothing is divided before the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.errors import KernelError, ShapeError
from cnncli.kernels import Kernel, Matrix, flipped
from cnncli.setting import Border, Pair, Setting
from cnncli.shapes import Placement

Array = npt.NDArray[Any]
Reader = Callable[[int, int], Array]  # rows `first` to `last` of a picture, shape `(rows, width, channels)`

MAX_REACH_PX = 10_000  # how far windows may reach beyond a picture, on either side
_LEAST_WEIGHT, _MOST_WEIGHT = Fraction(1, 10**60), Fraction(10**30)  # beyond them sums do not fit floating point
_BLOCK_BYTES = 768 * 1024  # of sums at a time: they and what they are made of stay in a core's own cache
_TALL_BLOCK_BYTES = 16 * 1024 * 1024  # where windows are so tall that the cache is out of the question
_FLOAT32_STEPS = 16  # roundings of at most 2**-24 each: together below 1e-6 of the largest possible sum


_MATRIX = Setting()  # what matrices default to


class Scratch:
    """Memory for arrays that are made again and again: fresh pages would cost more than the arithmetic."""

    def __init__(self) -> None:
        self._buffers: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of any content that is valid until the next one of this `name` is asked for.

        With three axes, `(rows, columns, channels)`, a channel lies in one piece: strides and single channels then
        leave a long innermost loop.
        """
        size_bytes = math.prod(shape) * dtype.itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < size_bytes:
            buffer = self._buffers[name] = np.empty(size_bytes, np.uint8)
        values = buffer[:size_bytes].view(dtype)
        if len(shape) == 3:
            return values.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
        return values.reshape(shape)


Tap = tuple[int, int, Any]  # row and column in the window before dilation, weight
Pass = tuple[Tap, ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """A kernel made ready for pictures of one size and type. Its sums are `denominator` times the feature map."""

    vertical: Placement
    horizontal: Placement
    border: Border
    channels: int  # of the picture
    planes: tuple[tuple[Pass, ...], ...]  # one for all channels, or one for each; two passes where it is separable
    dtype: np.dtype[Any]  # of the sums
    denominator: int
    map_dtype: np.dtype[Any]  # of the feature map, the sums divided

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole feature map: `(height, width, channels)`."""
        return self.vertical.output, self.horizontal.output, self.channels if len(self.planes) == 1 else 1

    def blocks(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Rows `first` to `last` of the feature map in portions that fit into the cache."""
        row_bytes = self.horizontal.output * self.channels * self.dtype.itemsize
        reach = (
            self.vertical.window.extent // self.vertical.window.stride
        )  # fewer rows would cost more to read than to sum
        rows = max(_BLOCK_BYTES // row_bytes, min(reach, _TALL_BLOCK_BYTES // row_bytes), 1)
        for start in range(first, last, rows):
            yield start, min(start + rows, last)

    def source_rows(self, first: int, last: int) -> tuple[int, int]:
        """The rows of the picture, without the border, that rows `first` to `last` of the feature map are made of."""
        top, bottom = self._padded_rows(first, last)
        low, high = (min(max(row, 0), self.vertical.size) for row in (top, bottom))
        return low, high

    def _padded_rows(self, first: int, last: int) -> tuple[int, int]:
        window, before = self.vertical.window, self.vertical.before
        return first * window.stride - before, (last - 1) * window.stride + window.extent - before

    def sums(self, read: Reader, first: int, last: int, scratch: Scratch) -> Array:
        """Rows `first` to `last` of the feature map times `denominator`, shape `(rows, width, channels)`, in `scratch`.

        `read` gives rows of the picture: those of `source_rows` at once, then single ones that the border repeats.
        """
        strip = self._strip(read, first, last, scratch)
        rows, columns, channels = last - first, self.horizontal.output, self.channels
        if not self._is_planar:  # neighbours in a row are `channels` apart: the longest inner loop
            return self._plane(strip, self.planes[0], rows, columns * channels, scratch).reshape(
                rows, columns, channels
            )
        if len(self.planes) == 1:
            return self._plane(strip, self.planes[0], rows, columns, scratch)
        total = self._plane(strip[:, :, :1], self.planes[0], rows, columns, scratch)
        for channel, passes in enumerate(self.planes[1:], 1):
            total += self._plane(strip[:, :, channel : channel + 1], passes, rows, columns, scratch, "one of several")
        return total

    @property
    def _is_planar(self) -> bool:
        return len(self.planes) > 1 or self.horizontal.window.stride > 1

    def _strip(self, read: Reader, first: int, last: int, scratch: Scratch) -> Array:
        """What the windows see, border and all: `(rows, width, channels)`, or `(rows, width * channels)`."""
        top, bottom = self._padded_rows(first, last)
        low, high = self.source_rows(first, last)
        size, before, after = self.horizontal.size, self.horizontal.before, self.horizontal.after
        rows, width = bottom - top, before + size + after
        if self._is_planar:
            strip = pixels = scratch.array("strip", (rows, width, self.channels), self.dtype)
        else:
            strip = scratch.array("strip", (rows, width * self.channels), self.dtype)
            pixels = strip.reshape(rows, width, self.channels)
        inside = pixels[:, before : before + size]
        if high > low:
            inside[low - top : high - top] = read(low, high)
        for row in (*range(top, min(low, bottom)), *range(max(high, top), bottom)):
            source = int(_seen(np.array(row), self.vertical.size, self.border))
            if source < 0:
                inside[row - top] = 0
            else:
                inside[row - top] = inside[source - top] if low <= source < high else read(source, source + 1)[0]
        for start, stop in ((0, before), (before + size, width)):
            if stop > start and self.border == "zero":
                pixels[:, start:stop] = 0
            elif stop > start:
                pixels[:, start:stop] = inside[:, _seen(np.arange(start, stop) - before, size, self.border)]
        return strip

    def _plane(
        self, strip: Array, passes: tuple[Pass, ...], rows: int, columns: int, scratch: Scratch, name: str = "total"
    ) -> Array:
        """`strip` correlated with one plane, as a new array of `rows` x `columns` (and channels) called `name`."""
        stride_y, stride_x = self.vertical.window.stride, self.horizontal.window.stride
        dilation_y = self.vertical.window.dilation
        dilation_x = self.horizontal.window.dilation * (1 if self._is_planar else self.channels)  # in elements

        def seen(tap: Tap, height: int, width: int, stride_y: int, stride_x: int) -> Array:
            y, x = tap[0] * dilation_y, tap[1] * dilation_x
            return strip[y : y + (height - 1) * stride_y + 1 : stride_y, x : x + (width - 1) * stride_x + 1 : stride_x]

        def total_of(taps: Pass, height: int, width: int, stride_y: int, stride_x: int, name: str) -> Array:
            if self.dtype.kind == "f" and strip.ndim == 2:
                return _dense_sum(strip, taps, (height, width), (stride_y, dilation_y, dilation_x), scratch, name)
            terms = [(seen(tap, height, width, stride_y, stride_x), tap[2]) for tap in taps]
            return _weighted_sum(terms, scratch, name)

        if len(passes) == 2:  # down all columns, then along the rows that are left
            strip, stride_y = total_of(passes[0], rows, strip.shape[1], stride_y, 1, "down"), 1
        return total_of(passes[-1], rows, columns, stride_y, stride_x, name)


def _dense_sum(
    strip: Array, taps: Pass, shape: tuple[int, int], steps: tuple[int, int, int], scratch: Scratch, name: str
) -> Array:
    """The same sum for floating point: einsum multiplies and adds in one go, which is twice as fast.

    `steps` are the stride down, the dilation down, and the dilation across in elements.
    """
    stride, down, across = steps
    weights = np.zeros((max(y for y, _, _ in taps) + 1, max(x for _, x, _ in taps) + 1), strip.dtype)
    for y, x, weight in taps:
        weights[y, x] = weight
    # With steps of one element einsum would run along the window and not along the row: then column by column.
    columns = [weights] if across > 1 else [weights[:, x : x + 1] for x in range(weights.shape[1])]
    row_bytes, item_bytes = strip.strides
    strides = down * row_bytes, across * item_bytes, stride * row_bytes, item_bytes
    total = scratch.array(name, shape, strip.dtype)
    for x, column in enumerate(columns):
        seen: Array = np.ndarray(column.shape + shape, strip.dtype, strip, x * across * item_bytes, strides)
        part = scratch.array("part", shape, strip.dtype) if x else total
        np.einsum("yxij,yx->ij", seen, column, out=part)
        if x:
            total += part
    return total


def _weighted_sum(terms: list[tuple[Array, Any]], scratch: Scratch, name: str) -> Array:
    """The sum of arrays times weights; arrays whose weights differ only in sign are multiplied once, together."""
    groups: dict[Any, list[tuple[Array, Any]]] = {}
    for term in terms:
        groups.setdefault(abs(term[1]), []).append(term)
    shape, dtype = terms[0][0].shape, terms[0][0].dtype
    first, *others = groups.values()
    total = scratch.array(name, shape, dtype)
    _group(first, total)
    for group in others:
        if abs(group[0][1]) == 1:  # nothing to multiply
            for values, weight in group:
                (np.add if weight == 1 else np.subtract)(total, values, out=total)
        else:
            part = scratch.array("part", shape, dtype)
            _group(group, part)
            total += part
    return total


def _group(terms: list[tuple[Array, Any]], total: Array) -> None:
    """`total` becomes the sum of arrays times weights that differ only in sign."""
    (first, weight), *others = terms
    if not others:
        np.multiply(first, weight, out=total)
        return
    for number, (values, other) in enumerate(others):
        combine = np.add if other == weight else np.subtract
        combine(total if number else first, values, out=total)
    if weight != 1:
        total *= weight


def _seen(positions: npt.NDArray[np.intp], size: int, border: Border) -> npt.NDArray[np.intp]:
    """Which element of an axis is seen at each position, inside and outside `0..size - 1`; -1 where it is a zero."""
    if border == "edge":
        return positions.clip(0, size - 1)
    if border == "wrap":
        return positions % size
    if border == "reflect":
        period = max(2 * (size - 1), 1)
        return np.minimum(positions % period, -positions % period)
    return np.where((positions >= 0) & (positions < size), positions, -1)


def prepare(
    shape: tuple[int, int, int], kernel: Kernel, setting: Setting, *, dtype: np.dtype[Any], limit: float
) -> Correlation:
    """`kernel` ready for pictures of `shape` of type `dtype`, whose whole numbers are within `-limit..limit`.

    Raises KernelError if the kernel does not fit the channels, and ShapeError if no window fits.
    """
    height, width, channels = shape
    if len(kernel.planes) not in (1, channels):
        raise KernelError(
            f"{kernel.name}: this kernel is for pictures of {len(kernel.planes)} channels, this one has {channels}"
        )
    vertical, horizontal = _placed((height, width), (kernel.height, kernel.width), setting)
    planes = (flipped(kernel) if setting.flip else kernel).planes
    weights = [abs(weight) for plane in planes for row in plane for weight in row if weight]
    if any(not _LEAST_WEIGHT <= weight <= _MOST_WEIGHT for weight in weights):
        raise KernelError(f"{kernel.name}: expected weights of a size from 1e-60 to 1e30, or 0")
    total = sum((abs(weight) for plane in planes for row in plane for weight in row), Fraction(0))
    denominator = math.lcm(*(weight.denominator for plane in planes for row in plane for weight in row))
    is_8_bit = dtype == np.uint8
    sums = _whole_type(total, denominator, limit, is_8_bit) if dtype.kind in "biu" else None
    passes = tuple(_passes(plane, denominator if sums else 1) for plane in planes)
    if sums is None:
        denominator, sums = 1, _float_type(passes, is_8_bit)
    maps = sums if sums.kind == "f" else np.promote_types(sums, np.int32)
    if denominator > 1:
        maps = np.dtype(np.float32 if is_8_bit else np.float64)
    typed = tuple(tuple(tuple(_typed(tap, sums) for tap in taps) for taps in plane) for plane in passes)
    return Correlation(vertical, horizontal, setting.border, channels, typed, sums, denominator, maps)


def _placed(shape: Pair, kernel_shape: Pair, setting: Setting) -> tuple[Placement, Placement]:
    places = setting.places(shape, kernel_shape)
    reach = max(max(place.before, place.after) for place in places)
    if reach > MAX_REACH_PX:
        raise ShapeError(f"the windows reach {reach:,} pixels beyond the picture; expected at most {MAX_REACH_PX:,}")
    return places


def _whole_type(total: Fraction, denominator: int, limit: float, is_8_bit: bool) -> np.dtype[Any] | None:
    """The smallest integers that hold every sum and half of what it may be divided by; None for floating point.

    Fractions of 8-bit pixels that need more than 16 bits are as exact, and quicker, in float32.
    """
    peak = (math.ceil(limit) + 1) * total * denominator
    if peak <= np.iinfo(np.int16).max:
        return np.dtype(np.int16)
    if denominator > 1 and (is_8_bit or peak > np.iinfo(np.int32).max):
        return None
    if peak > np.iinfo(np.int64).max:
        raise KernelError(f"sums up to {float(peak):.3g} do not fit into 64 bits; expected smaller weights or pixels")
    return np.dtype(np.int32 if peak <= np.iinfo(np.int32).max else np.int64)


def _float_type(planes: tuple[tuple[Pass, ...], ...], is_8_bit: bool) -> np.dtype[Any]:
    steps = sum(len(taps) + 1 for plane in planes for taps in plane)
    return np.dtype(np.float32 if is_8_bit and steps <= _FLOAT32_STEPS else np.float64)


def _typed(tap: Tap, dtype: np.dtype[Any]) -> Tap:
    try:
        weight = dtype.type(int(tap[2]) if dtype.kind == "i" else float(tap[2]))
    except OverflowError:
        weight = dtype.type(np.inf)
    if not abs(weight) <= _MOST_WEIGHT:
        raise KernelError("its weights differ too much in size to be applied")
    return tap[0], tap[1], weight


def _passes(plane: Matrix, factor: int) -> tuple[Pass, ...]:
    """The weights times `factor` without those that are 0, as two passes, down and across, where that is less work."""
    taps = [(y, x, weight * factor) for y, row in enumerate(plane) for x, weight in enumerate(row) if weight]
    if not taps:
        return (((0, 0, Fraction(0)),),)
    first = taps[0][0]
    across = [weight * factor for weight in plane[first]]
    unit = Fraction(math.gcd(*(w.numerator for w in across)), math.lcm(*(w.denominator for w in across)))
    across = [weight / unit for weight in across]  # whole numbers without a common divisor, so `down` is whole as well
    column = next(x for x, weight in enumerate(across) if weight)
    down = [row[column] * factor / across[column] for row in plane]
    separable = all(
        weight * factor == d * a
        for row, d in zip(plane, down, strict=True)
        for weight, a in zip(row, across, strict=True)
    )
    two = tuple((y, 0, w) for y, w in enumerate(down) if w), tuple((0, x, w) for x, w in enumerate(across) if w)
    return two if separable and len(two[0]) + len(two[1]) < len(taps) else (tuple(taps),)


def _limit(pixels: Array) -> float:
    """The largest size of values of this type or, for other integers, of those in this array."""
    if pixels.dtype in (np.uint8, np.uint16):
        return int(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind in "biu" and pixels.size:
        return max(int(pixels.max()), -int(pixels.min()))
    return 0


def _correlation_of(pixels: Array, kernel: Kernel, setting: Setting) -> Correlation:
    """`kernel` ready for an array of shape `(height, width, channels)`; raises what `prepare` raises."""
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise KernelError(f"an array of shape {pixels.shape}; expected (height, width, channels), none of them 0")
    height, width, channels = pixels.shape
    return prepare((height, width, channels), kernel, setting, dtype=pixels.dtype, limit=_limit(pixels))


def convolve(pixels: Array, kernel: Kernel, setting: Setting = _MATRIX) -> Array:
    """The feature map of `pixels`, shape `(height, width, channels)`, or one channel for a kernel with several planes.

    A whole-number kernel on whole-number pixels gives exact int32 or int64. Otherwise the result is float32 for 8-bit
    pixels, if it is within 1e-6 of the largest possible sum, else float64. Raises KernelError and ShapeError.
    """
    correlation = _correlation_of(pixels, kernel, setting)

    def read(first: int, last: int) -> Array:
        return pixels[first:last]

    maps, scratch = np.empty(correlation.shape, correlation.map_dtype), Scratch()
    for first, last in correlation.blocks(0, correlation.shape[0]):
        maps[first:last] = divided(correlation.sums(read, first, last, scratch), correlation.denominator)
    return maps


def divided(sums: Array, denominator: int) -> Array:
    """What `sums` are `denominator` times of; whole numbers stay so if there is nothing to divide."""
    return sums if denominator == 1 else sums / denominator
