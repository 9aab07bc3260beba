"""Pooling layers on arrays of shape `(height, width, channels)`, as Keras computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.setting import Pool
from cnncli.shapes import Placement

Array = npt.NDArray[Any]


def pool(maps: Array, layer: Pool) -> Array:
    """`maps` pooled, each channel on its own; maxima keep their type, averages are float64. Raises ShapeError."""
    vertical, horizontal = layer.places((maps.shape[0], maps.shape[1]))
    if layer.is_global:
        return combined(row_totals(maps, layer), layer, maps.shape[1])
    return pool_rows(maps, layer, (vertical.before, vertical.after), (vertical, horizontal))


def row_totals(maps: Array, layer: Pool) -> Array:
    """What a global layer takes of each row, shape `(rows, 1, channels)`: its maximum or its sum."""
    across: Array = maps.max(axis=1) if layer.kind == "max" else maps.sum(axis=1, dtype=_sum_type(maps))
    return across[:, np.newaxis]


def combined(totals: Array, layer: Pool, width: int) -> Array:
    """The answer of a global layer, shape `(1, 1, channels)`, from `row_totals` of maps that were `width` wide."""
    down: Array = totals.max(axis=0) if layer.kind == "max" else totals.sum(axis=0) / (len(totals) * width)
    return down[np.newaxis]


def pool_rows(maps: Array, layer: Pool, ends: tuple[int, int], places: tuple[Placement, Placement]) -> Array:
    """Some rows of a map pooled by a layer with a window; `ends` is the padding above and below them, in rows."""
    vertical, horizontal = places
    window, stride = (vertical.window.kernel, horizontal.window.kernel), vertical.window.stride
    sides, across = (horizontal.before, horizontal.after), horizontal.window.stride
    if layer.kind == "max":
        lowest = -np.inf if maps.dtype.kind == "f" else np.iinfo(maps.dtype).min
        down = _slide(maps, 0, window[0], stride, ends, np.maximum, lowest)
        return _slide(down, 1, window[1], across, sides, np.maximum, lowest)
    down = _slide(maps.astype(_sum_type(maps)), 0, window[0], stride, ends, np.add, 0)
    total = _slide(down, 1, window[1], across, sides, np.add, 0)
    rows = _slide(np.ones(maps.shape[0]), 0, window[0], stride, ends, np.add, 0)
    columns = _slide(np.ones(maps.shape[1]), 0, window[1], across, sides, np.add, 0)
    average: Array = total / np.outer(rows, columns)[:, :, np.newaxis]  # by what of each window is not padding
    return average


def _sum_type(maps: Array) -> type[np.generic]:
    return np.float64 if maps.dtype.kind == "f" else np.int64


def _slide(
    values: Array, axis: int, kernel: int, stride: int, ends: tuple[int, int], combine: np.ufunc, neutral: float
) -> Array:
    """Each window along one axis combined into one value; `ends` are filled with what changes nothing."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = ends
    along = np.moveaxis(np.pad(values, widths, constant_values=neutral) if any(ends) else values, axis, 0)
    last = len(along) - kernel
    total = along[: last + 1 : stride].copy()
    for place_in_window in range(1, kernel):
        combine(total, along[place_in_window : last + place_in_window + 1 : stride], out=total)
    return np.moveaxis(total, 0, axis)
