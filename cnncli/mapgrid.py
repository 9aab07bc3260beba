"""Where the cells of a coarse map lie in a network's input, and the map at any place of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.framing import Box, Size

Float = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class MapGrid:
    """The middles of a map's cells in pixels of the input: of the first cell, and from one to the next; x, then y."""

    first: tuple[float, float]
    step: tuple[float, float]

    def middle(self, row: int, column: int) -> tuple[float, float]:
        """The place (x, y) that a cell stands for."""
        return self.first[0] + column * self.step[0], self.first[1] + row * self.step[1]

    def sampled(self, values: Float, box: Box, size: Size) -> Float:
        """The map `(rows, columns)` over a box of the input, at `size` (width, height): an array `(height, width)`.

        Values change evenly from middle to middle, and not at all beyond the outermost ones.
        """
        left, top, right, bottom = (  # in cells, the first of which reaches from 0 to 1
            (at - first) / step + 0.5 for at, first, step in zip(box, self.first * 2, self.step * 2, strict=True)
        )
        rows, columns = values.shape
        around = [
            (max(0, int(np.ceil(-low))), max(0, int(np.ceil(high - count))))
            for low, high, count in ((top, bottom, rows), (left, right, columns))
        ]
        padded = Image.fromarray(np.pad(values, around, mode="edge").astype(np.float32))
        down, across = around[0][0], around[1][0]
        # rounding may put an edge a hair outside, which Pillow refuses
        inside = (
            max(left + across, 0.0),
            max(top + down, 0.0),
            min(right + across, float(padded.width)),
            min(bottom + down, float(padded.height)),
        )
        return np.asarray(padded.resize(size, Image.Resampling.BILINEAR, box=inside))

    def centred(self, columns: int, width: int) -> MapGrid:
        """The grid moved sideways, so that its cells are as far from the left edge of an input as from the right."""
        return MapGrid(((width - (columns - 1) * self.step[0]) / 2, self.first[1]), self.step)

    def shifted(self, values: Float, to: MapGrid) -> Float:
        """Maps `(..., rows, columns)` of this grid as they are at the cells of one that differs in where x begins."""
        last = values.shape[-1] - 1
        at = np.clip(np.arange(last + 1) + (to.first[0] - self.first[0]) / self.step[0], 0, last)
        before = at.astype(int)
        part = (at - before).astype(values.dtype)
        found: Float = values[..., before] * (1 - part) + values[..., np.minimum(before + 1, last)] * part
        return found


def even_grid(rows: int, columns: int, size: Size) -> MapGrid:
    """The cells of a map that divide an input `(width, height)` evenly."""
    step = size[0] / columns, size[1] / rows
    return MapGrid((step[0] / 2, step[1] / 2), step)
