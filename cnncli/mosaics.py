"""Kernels and feature maps as one picture each: tiles in a grid, enlarged so that every value is a visible square."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

MAX_MAPS = 16  # feature maps of one image
MAX_KERNELS = 256  # tiles of one layer
GAP_PX = 2
_PAPER = 255
_KERNEL_PX, _MAP_PX = 36, 64  # a tile is about so large


def kernel_mosaic(kernels: Float, limit: float | None = None) -> Pixels:
    """The kernels of a convolution, `(height, width, inputs, filters)`, as a grid of shape `(height, width, 3)`.

    All on one scale, on which zero is mid-grey and `limit`, by default the weight farthest from zero, white; the same
    below zero is black. Kernels with three inputs are in colour; of others each plane is a grey tile of its own. At
    most 256 tiles are shown.
    """
    height, width, inputs, filters = kernels.shape
    tiles = kernels.transpose(3, 0, 1, 2)
    if inputs != 3:
        tiles = kernels.reshape(height, width, inputs * filters).transpose(2, 0, 1)[..., np.newaxis]
    limit = limit or float(np.abs(tiles).max()) or 1.0
    pixels = _to_pixels(tiles[:MAX_KERNELS], -limit, limit)
    return grid(_enlarged(pixels, _KERNEL_PX), math.ceil(math.sqrt(2 * len(pixels))))


def feature_mosaic(images: Pixels, maps: Float) -> Pixels:
    """A row for each image: the image, then the first 16 of its feature maps; shape `(height, width, 3)`.

    `images` are `(n, height, width, channels)`, `maps` `(n, map height, map width, filters)`. A filter's maps are on
    one scale for all images, black where it answers least and white where most.
    """
    shown = maps[..., :MAX_MAPS]
    low, high = shown.min(axis=(0, 1, 2)), shown.max(axis=(0, 1, 2))
    tiles = _to_pixels(shown, low, high).transpose(0, 3, 1, 2)  # (n, filters, map height, map width)
    size = (_MAP_PX, max(1, round(_MAP_PX * images.shape[2] / images.shape[1])))
    rows = [
        np.concatenate([_scaled(image[np.newaxis], size), _scaled(row[..., np.newaxis], size)])
        for image, row in zip(images, tiles, strict=True)
    ]
    return grid(np.concatenate(rows), len(rows[0]))


def _to_pixels(values: Float, low: Float | float, high: Float | float) -> Pixels:
    """Values from `low` to `high` as 0..255; where both are equal, 0. What is not finite is 0 as well."""
    span = np.where(np.asarray(high) > low, np.subtract(high, low), 1)
    scaled: Pixels = (
        np.nan_to_num((values - low) / span * 255, posinf=0, neginf=0).round().clip(0, 255).astype(np.uint8)
    )
    return scaled


def _scaled(tiles: Pixels, size: tuple[int, int]) -> Pixels:
    """`(n, height, width, 1 or 3)` as `(n, *size, 3)`, by the nearest neighbour, which adds no values."""
    rows, columns = (np.arange(length) * old // length for length, old in zip(size, tiles.shape[1:3], strict=True))
    scaled = tiles[:, rows][:, :, columns]
    return np.broadcast_to(scaled, (*scaled.shape[:3], 3))


def _enlarged(tiles: Pixels, about_px: int) -> Pixels:
    """The same with every value as a square of whole pixels."""
    height, width = tiles.shape[1:3]
    factor = max(1, round(about_px / max(height, width)))
    return _scaled(tiles, (height * factor, width * factor))


def grid(tiles: Pixels, columns: int, below: int = 0) -> Pixels:
    """Tiles `(n, height, width, 3)` in rows on white, with a gap around each and `below` rows for text under it."""
    count, height, width, _ = tiles.shape
    step = (height + below + GAP_PX, width + GAP_PX)
    columns = min(columns, count)
    canvas = np.full((math.ceil(count / columns) * step[0] + GAP_PX, columns * step[1] + GAP_PX, 3), _PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * step[0] + GAP_PX, number % columns * step[1] + GAP_PX
        canvas[top : top + height, left : left + width] = tile
    return canvas
