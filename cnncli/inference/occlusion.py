"""Where a network looks, without looking inside it: a grey patch covers one place after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cnncli.framing import Size
from cnncli.images import PADDING
from cnncli.inference.engine import Pixels, Scores
from cnncli.mapgrid import MapGrid, even_grid

Maps = npt.NDArray[np.float32]  # (classes, rows, columns), signed: above zero speaks for the class
Scorer = Callable[[Iterable[Pixels]], Iterator[Scores]]  # probabilities of each image, in order
Progress = Callable[[int, int | None], None]

GRID = 14  # cells along each axis
_PATCH_CELLS = 3  # a fifth of the input: as in Zeiler & Fergus it has to hide a part of an object, not a dot


def occlusion_maps(pixels: Pixels, indices: Sequence[int], score: Scorer, progress: Progress) -> Maps:
    """How much the probability of each class falls when a grey patch is centred on a cell (arXiv:1311.2901, 4.2).

    `pixels` are the network's input, uint8 `(height, width, channels)`; `indices` name the classes. The maps have
    shape `(classes, rows, columns)`, values -1..1: 0.3 is a fall by 30 percentage points.
    """
    rows, columns = (min(GRID, side) for side in pixels.shape[:2])
    covered = (_covered(pixels, (row, column), (rows, columns)) for row in range(rows) for column in range(columns))
    before, falls = None, []
    for done, scores in enumerate(score(_with_first(pixels, covered))):
        if before is None:
            before = scores[list(indices)]
        else:
            falls.append(before - scores[list(indices)])
        progress(done, rows * columns)
    maps: Maps = np.stack(falls, axis=-1).reshape(len(indices), rows, columns)
    return maps


def occlusion_grid(size: Size) -> MapGrid:
    """Where the cells of `occlusion_maps` lie in an input `(width, height)`."""
    return even_grid(min(GRID, size[1]), min(GRID, size[0]), size)


def _with_first(first: Pixels, rest: Iterable[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from rest


def _covered(pixels: Pixels, cell: tuple[int, int], grid: tuple[int, int]) -> Pixels:
    """The input with the patch over a cell and the cells around it, as far as they are inside."""
    reach = _PATCH_CELLS // 2
    covered = pixels.copy()
    bounds = [
        (max(0, at - reach) * side // cells, min(cells, at + reach + 1) * side // cells)
        for at, cells, side in zip(cell, grid, pixels.shape, strict=False)
    ]
    (top, bottom), (left, right) = bounds
    covered[top:bottom, left:right] = neutral(pixels)
    return covered


def neutral(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """The colour that says nothing to a network: ImageNet's mean, of shape `(channels,)`."""
    return np.array(PADDING if pixels.shape[2] == 3 else [round(sum(PADDING) / 3)], np.uint8)
