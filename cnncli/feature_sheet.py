"""The picture of what layers answer: the network's input, then the feature maps of each layer on one scale."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from cnncli.colormaps import diverging, sequential, strip
from cnncli.fonts import MIN_TEXT_PX, font_of
from cnncli.inference.engine import Pixels
from cnncli.mosaics import GAP_PX, grid
from cnncli.panels import Panel, Scale, panel_sheet
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.learning.features import LayerMaps

Float = npt.NDArray[np.float32]
Sort = Literal["index", "strength"]

_TILE_PX, _COLUMNS = 72, 8
_BELOW_PX = 20  # for a number under a tile
_INPUT_PX = 384  # the longer side of the network's input
_CUT = 99.5  # percentile of all values that has the strongest colour: a single peak must not make the rest dark


def feature_sheet(
    model: str, photo: str, pixels: Pixels, layers: Sequence[LayerMaps], *, count: int, sort: Sort
) -> Image.Image:
    """A panel for the input, uint8 `(height, width, channels)`, and one for each layer with at most `count` maps.

    They stand by their number or by `strength`, the mean of their absolute values. Mode `RGB`. Raises CnncliError for
    more than a picture holds.
    """
    panels = itertools.chain([_input_panel(pixels)], (_layer_panel(layer, count, sort) for layer in layers))
    order = "the strongest first" if sort == "strength" else "in their own order"
    title = f"What the layers of {printable(Path(model).name)} answer to {printable(photo)}"
    about = f"Each tile is a feature map, its number below it, {order}; all of a layer are on one scale."
    return panel_sheet(title, about, panels, len(layers) + 1 if len(layers) <= 1 else None)


def _input_panel(pixels: Pixels) -> Panel:
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0]).convert("RGB")
    scale = _INPUT_PX / max(image.size)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    large = image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
    return Panel(large, "The input", (f"{height}x{width}x{channels}: what the network sees of the photo",))


def _layer_panel(layer: LayerMaps, count: int, sort: Sort) -> Panel:
    total = layer.maps.shape[2]
    shown = _order(layer.maps, sort)[:count]
    signed = bool(layer.maps.min() < 0)
    limit = strongest(layer.maps)
    tiles = np.stack([_tile(layer.maps[..., number]) for number in shown]) / (limit or 1.0)
    picture = numbered(diverging(tiles) if signed else sequential(tiles), shown)
    number = "" if layer.number is None else f"convolution {layer.number}, "
    size = "x".join(map(str, layer.maps.shape))
    low, high = float(layer.maps.min()), float(layer.maps.max())
    lines = (f"{layer.kind}, {number}{size}, values {low:.3g} to {high:.3g}", _shown(len(shown), total, sort))
    ends = (f"{-limit:.3g} or less" if signed else "0", f"{limit:.3g} or more")
    return Panel(picture, printable(layer.name), lines, Scale(strip("diverging" if signed else "sequential"), *ends))


def _shown(shown: int, total: int, sort: Sort) -> str:
    if shown == total:
        return f"all {total} maps"
    which = "strongest" if sort == "strength" else "first"
    return f"the {which} {shown} of {total} maps"


def _order(maps: Float, sort: Sort) -> list[int]:
    if sort == "index":
        return list(range(maps.shape[2]))
    order: list[int] = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable").tolist()
    return order


def strongest(values: Float) -> float:
    """The absolute value that has the strongest colour: nearly all are smaller."""
    return float(np.percentile(np.abs(values), _CUT)) or float(np.abs(values).max())


def _tile(values: Float) -> Float:
    """A map at the size of a tile, aspect kept: enlarged value by value, or reduced to means."""
    scale = _TILE_PX / max(values.shape)
    size = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(values).resize(size, how))


def numbered(tiles: npt.NDArray[np.uint8], numbers: Sequence[int]) -> Image.Image:
    """Tiles `(n, height, width, 3)` in rows of eight, the number of each below it."""
    image = Image.fromarray(grid(tiles, _COLUMNS, _BELOW_PX))
    draw, font = ImageDraw.Draw(image), font_of(None, MIN_TEXT_PX)
    height, width = tiles.shape[1:3]
    for place, number in enumerate(numbers):
        left = GAP_PX + place % _COLUMNS * (width + GAP_PX)
        top = GAP_PX + place // _COLUMNS * (height + _BELOW_PX + GAP_PX)
        draw.text((left + width / 2, top + height + _BELOW_PX / 2), str(number), (20, 20, 20), font, anchor="mm")
    return image
