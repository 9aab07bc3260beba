"""Whole pictures through a convolution layer: in bands of rows, on all cores, in little memory.

A band is cut out of the picture, with the rows that the windows reach beyond it, computed and pasted into the result,
so that neither the picture nor the feature map ever exists as one array, unless raw values are asked for. Every value
has the same bits as if the whole picture were convolved at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.convolution import Correlation, Scratch, divided, prepare
from cnncli.errors import ImageError, KernelError
from cnncli.kernels import Kernel
from cnncli.pooling import combined, pool_rows, row_totals
from cnncli.ranges import Range, RangeMode, as_pixels, extremes, magnitude, resolve
from cnncli.setting import FOR_PHOTOS, Pool, Setting
from cnncli.shapes import Placement

Array = npt.NDArray[Any]
T = TypeVar("T")

WHITE = {"L": 255, "RGB": 255, "I;16": 65535}  # the modes that are filtered, and their largest value
_PIXELS: dict[int, np.dtype[Any]] = {255: np.dtype(np.uint8), 65535: np.dtype(np.uint16)}
_BAND_BYTES = 2_000_000  # of the picture that are cut out at a time, about: few enough for several threads and big


@dataclass(frozen=True, slots=True)
class Layer:
    """One feature map of one picture, ready to be computed in any portion of its rows.

    With two kernels it is the magnitude of both. Values are `denominator` times those of the feature map.
    """

    image: Image.Image
    correlations: tuple[Correlation, ...]
    pool: Pool | None
    placed: tuple[Placement, Placement] | None  # of the pool's windows on the feature map

    @property
    def denominator(self) -> int:
        return 1 if len(self.correlations) == 2 else self.correlations[0].denominator

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: `(height, width, channels)`."""
        height, width, channels = self.correlations[0].shape
        return (self.placed[0].output, self.placed[1].output, channels) if self.placed else (height, width, channels)

    def bands(self) -> Iterator[tuple[int, int]]:
        """The rows of the result in portions; a global pool has one row, of which each portion is a part."""
        rows = self.correlations[0].shape[0] if self.is_global else self.shape[0]
        row_bytes = self.image.width * len(self.image.getbands()) * max(1, self.image.height // rows)
        height = max(1, _BAND_BYTES // row_bytes)
        yield from ((first, min(first + height, rows)) for first in range(0, rows, height))

    @property
    def is_global(self) -> bool:
        return self.pool is not None and self.pool.is_global

    def portions(self, first: int, last: int) -> Iterator[tuple[int, int, Array]]:
        """Rows `first` to `last` of the result, in portions `(first, last, values)` that fit into the cache.

        For a global pool the rows are those of the feature map, the values what the pool takes of each.
        """
        if self.pool is None or self.placed is None or self.pool.is_global:
            for top, bottom, values in self._maps(first, last):
                yield top, bottom, row_totals(values, self.pool) if self.pool else values
            return
        vertical = self.placed[0]
        top = first * vertical.window.stride - vertical.before
        bottom = (last - 1) * vertical.window.stride - vertical.before + vertical.window.extent
        low, high = max(top, 0), min(bottom, vertical.size)
        maps = np.concatenate([values.copy() for _, _, values in self._maps(low, high)])
        yield first, last, pool_rows(maps, self.pool, (low - top, bottom - high), self.placed)

    def _maps(self, first: int, last: int) -> Iterator[tuple[int, int, Array]]:
        one = self.correlations[0]
        read = _band(self.image, *one.source_rows(first, last))
        scratches = [Scratch() for _ in self.correlations]
        for top, bottom in one.blocks(first, last):
            maps = [each.sums(read, top, bottom, own) for each, own in zip(self.correlations, scratches, strict=True)]
            if len(maps) == 2:
                a, b = (divided(sums, each.denominator) for sums, each in zip(maps, self.correlations, strict=True))
                yield top, bottom, magnitude(a, b)
            else:
                yield top, bottom, maps[0]


def _band(image: Image.Image, low: int, high: int) -> Callable[[int, int], Array]:
    """A reader of the picture that has rows `low` to `high` at hand."""

    def rows(first: int, last: int) -> Array:
        part = np.asarray(image.crop((0, first, image.width, last)))
        return part.reshape(last - first, image.width, -1)

    at_hand = rows(low, high) if high > low else None

    def read(first: int, last: int) -> Array:
        if at_hand is not None and low <= first and last <= high:
            return at_hand[first - low : last - low]
        return rows(first, last)

    return read


def layer_of(
    image: Image.Image, kernels: Sequence[Kernel], setting: Setting = FOR_PHOTOS, pool: Pool | None = None
) -> Layer:
    """What one kernel, or the magnitude of two, makes of a picture of mode `L`, `RGB` or `I;16`.

    Raises ImageError for another mode, KernelError if a kernel does not fit the picture or the other kernel, and
    ShapeError if no window fits.
    """
    if image.mode not in WHITE:
        raise ImageError(f"pictures of mode {image.mode} are not filtered; expected {', '.join(WHITE)}")
    image.load()  # a file that is opened only would be decoded by several threads at once
    shape = image.height, image.width, len(image.getbands())
    white = WHITE[image.mode]
    correlations = tuple(prepare(shape, kernel, setting, dtype=_PIXELS[white], limit=white) for kernel in kernels)
    if len({one.shape for one in correlations}) != 1 or len(correlations) > 2:
        shapes = ", ".join("x".join(map(str, one.shape)) for one in correlations)
        raise KernelError(f"the magnitude takes two kernels with maps of one size; these have {shapes}")
    height, width, _ = correlations[0].shape
    return Layer(image, correlations, pool, pool.places((height, width)) if pool else None)


def feature_maps(
    image: Image.Image,
    kernels: Sequence[Kernel],
    setting: Setting = FOR_PHOTOS,
    pool: Pool | None = None,
    *,
    workers: int | None = None,
) -> Array:
    """The raw maps of several kernels, shape `(height, width, kernels * channels)`: all channels of the first, then on.

    Integers where every map is whole. Raises what `layer_of` raises.
    """
    layers = [layer_of(image, [kernel], setting, pool) for kernel in kernels]
    return np.concatenate([raw_map(layer, workers) for layer in layers], axis=2)


def raw_map(layer: Layer, workers: int | None = None) -> Array:
    """The values themselves, shape `(height, width, channels)`, integers where they are whole."""
    if layer.is_global:
        return divided(_global(layer, workers), layer.denominator).astype(_map_dtype(layer))
    result = np.empty(layer.shape, _map_dtype(layer))

    def compute(first: int, last: int) -> None:
        for top, bottom, values in layer.portions(first, last):
            result[top:bottom] = divided(values, layer.denominator)

    _in_parallel(compute, layer, workers)
    return result


def _map_dtype(layer: Layer) -> np.dtype[Any]:
    averaged = layer.pool is not None and layer.pool.kind in ("avg", "gap")
    return np.dtype(np.float64) if averaged or len(layer.correlations) == 2 else layer.correlations[0].map_dtype


def _global(layer: Layer, workers: int | None) -> Array:
    """The one value of each channel that a global pool gives, times the denominator, shape `(1, 1, channels)`."""
    assert layer.pool is not None

    def compute(first: int, last: int) -> list[Array]:
        return [values for _, _, values in layer.portions(first, last)]

    totals = np.concatenate([part for parts in _in_parallel(compute, layer, workers) for part in parts])
    return combined(totals, layer.pool, layer.correlations[0].shape[1])


def filtered(
    image: Image.Image,
    kernels: Sequence[Kernel],
    setting: Setting = FOR_PHOTOS,
    *,
    mode: RangeMode = "auto",
    pool: Pool | None = None,
    workers: int | None = None,
) -> tuple[Image.Image | Array, str]:
    """A picture through one kernel, or the magnitude of two: a picture of the same depth, and what the range step did.

    With `raw` the first is the array of `raw_map`. `workers` threads, by default one for each core. Raises what
    `layer_of` raises.
    """
    layer = layer_of(image, kernels, setting, pool)
    found = resolve(mode, kernels[0].sum) if len(kernels) == 1 else _of_magnitude(mode)
    if found.mode == "raw":
        return raw_map(layer, workers), found.said
    low, high, said = 0.0, 0.0, found.said
    if found.mode == "scale":
        low, high = _extremes(layer, workers)
        said += f": from {low / layer.denominator:.6g} to {high / layer.denominator:.6g}"
    return _picture(layer, found, low, high, workers), said


def _of_magnitude(mode: RangeMode) -> Range:
    """The range step of a length, which has no sum of weights and is never negative."""
    found = resolve("clip" if mode == "auto" else mode, Fraction(1))
    return replace(found, said=f"{found.said}, of the magnitude")


def _picture(layer: Layer, found: Range, low: float, high: float, workers: int | None) -> Image.Image:
    white = WHITE[layer.image.mode]

    def draw(values: Array, pixels: Array) -> None:
        as_pixels(values, pixels, found, white, denominator=layer.denominator, low=low, high=high)

    height, width, channels = layer.shape
    dtype = _PIXELS[white]
    if layer.is_global:
        pixel = np.empty(layer.shape, dtype)
        draw(_global(layer, workers), pixel)
        return Image.fromarray(_drawable(pixel))
    result = Image.new("RGB" if channels == 3 else "L" if white == 255 else "I;16", (width, height))

    def compute(first: int, last: int) -> None:
        band = np.empty((last - first, width, channels), dtype)
        for top, bottom, values in layer.portions(first, last):
            draw(values, band[top - first : bottom - first])
        result.paste(Image.fromarray(_drawable(band)), (0, first))

    _in_parallel(compute, layer, workers)
    return result


def _drawable(pixels: Array) -> Array:
    """Pixels as Pillow takes them: a single channel without its axis."""
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _extremes(layer: Layer, workers: int | None) -> tuple[float, float]:
    """The lowest and highest value of the whole result, times the denominator."""
    if layer.is_global:
        return extremes(_global(layer, workers))

    def compute(first: int, last: int) -> list[tuple[float, float]]:
        return [extremes(values) for _, _, values in layer.portions(first, last)]

    lows, highs = zip(*(pair for pairs in _in_parallel(compute, layer, workers) for pair in pairs), strict=True)
    return min(lows), max(highs)


def _in_parallel(compute: Callable[[int, int], T], layer: Layer, workers: int | None) -> list[T]:
    """What `compute` makes of each band, in order; threads suffice because numpy lets others run while it computes."""
    bands = list(layer.bands())
    threads = min(workers or os.cpu_count() or 1, len(bands))
    if threads == 1:
        return [compute(first, last) for first, last in bands]
    with ThreadPoolExecutor(threads) as executor:
        futures = [executor.submit(compute, first, last) for first, last in bands]
        try:
            return [future.result() for future in futures]
        except BaseException:  # an error in one band, or Ctrl-C: the others are not worth waiting for
            executor.shutdown(cancel_futures=True)
            raise
