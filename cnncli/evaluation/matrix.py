"""The confusion matrix as a file: all counts as CSV, or a picture of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cnncli import outputs
from cnncli.evaluation.evaluation import Evaluation
from cnncli.fonts import MIN_TEXT_PX, font_of, typeface
from cnncli.text import csv_lines, printable

_MAP = "viridis_r"  # perceptually uniform, and the same order for the colour-blind; dark is much
_LEAST = 0.1  # where on it the smallest share begins: its palest colours cannot be told from paper
_EXPONENT = 0.5  # of a share, so that confusions of a few percent can be seen
_INK, _FAINT, _GRID, _PAPER = (20, 20, 20), (120, 120, 120), (225, 225, 225), (255, 255, 255)
_COUNTED = 30  # up to so many classes each cell has its count
_CELL_PX, _LARGE_CELL_PX, _MIN_CELL_PX = 34, 90, 2  # sides of a cell: with its count, of few classes, without
_FEW_PX, _MAP_PX = 500, 1600  # sides of the matrix of few and of many classes
_MARGIN_PX, _TICK_PX, _SCALE_PX = 24, 6, 18
_NAME_PX = 220  # for the name of a class
_TICKS = (0.01, 0.05, 0.2, 0.5, 1.0)  # shares that the scale of colours names
Colours = npt.NDArray[np.uint8]  # `(..., 3)`


def write(e: Evaluation, path: Path) -> None:
    """Writes the matrix atomically, a picture if the name ends in .png, else CSV. Raises CnncliError."""
    if path.suffix.lower() == ".png":
        outputs.save(as_picture(e), path)
        return
    with outputs.saving(path) as file:
        file.write(as_csv(e).encode("utf-8", "surrogateescape"))


def as_csv(e: Evaluation) -> str:
    """The counts of the classes that are shown: a row for each true class, a column for each predicted one."""
    ids = [e.classes[index].id for index in e.shown]
    rows = ((class_id, *counts) for class_id, counts in zip(ids, e.counts.tolist(), strict=True))
    return csv_lines([("truth", *ids), *rows])


def as_picture(e: Evaluation) -> Image.Image:
    """The matrix in colours by the part of each row, mode `RGB`; with at most 30 classes also with its counts."""
    names = [printable(e.classes[index].words) for index in e.shown]
    font = font_of(typeface(frozenset("".join(names))), MIN_TEXT_PX)
    names = [_cut(name, font) for name in names]
    cell = _cell_px(e, font)
    beside = math.ceil(max(font.getlength(name) for name in names)) + _TICK_PX + 4
    left, top = _MARGIN_PX + round(1.8 * font.size) + beside, _MARGIN_PX + round(4.2 * font.size) + beside
    side = cell * len(names)
    title = _cut(f"{printable(e.model)} on {printable(e.data)}", font, max(side + beside, 2 * _NAME_PX))
    scale_left = left + side + _MARGIN_PX
    width = max(scale_left + _SCALE_PX + round(4 * font.size), _MARGIN_PX * 2 + round(font.getlength(title)))
    canvas = Image.new("RGB", (width, top + max(side, 160) + _MARGIN_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN_PX, _MARGIN_PX), title, _INK, font, anchor="lt")
    draw.text((left + side / 2, _MARGIN_PX + 1.8 * font.size), "predicted", _FAINT, font, anchor="mt")
    _write_upright(canvas, (_MARGIN_PX + font.size / 2, top + side / 2), "true class", font, _FAINT, middle=True)
    _name_classes(canvas, names, (left, top), cell, font)
    canvas.paste(_heat(e, cell), (left, top))
    if len(names) <= _COUNTED:
        _write_counts(draw, e, (left, top), cell, font)
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline=_FAINT)
    _draw_scale(canvas, (scale_left, top), max(side, 160), font)
    return canvas


def _cell_px(e: Evaluation, font: ImageFont.FreeTypeFont) -> int:
    size = len(e.shown)
    if size <= _COUNTED:
        widest = math.ceil(font.getlength(str(e.counts.max(initial=0)))) + 10
        return max(_CELL_PX, widest, min(_LARGE_CELL_PX, _FEW_PX // size))
    return max(_MIN_CELL_PX, _MAP_PX // size)


def _heat(e: Evaluation, cell: int) -> Image.Image:
    """The cells, with lines between them where they have counts."""
    pixels = _colours(e.shares).repeat(cell, axis=0).repeat(cell, axis=1)
    if len(e.shown) <= _COUNTED:
        pixels[cell - 1 :: cell] = _GRID
        pixels[:, cell - 1 :: cell] = _GRID
    return Image.fromarray(pixels)


def _colours(shares: npt.NDArray[np.float64]) -> Colours:
    """Of shares from 0 to 1; nothing at all is white."""
    import matplotlib

    places = _LEAST + (1 - _LEAST) * shares**_EXPONENT
    colours = matplotlib.colormaps[_MAP](places, bytes=True)[..., :3]
    return np.where(shares[..., None] > 0, colours, 255).astype(np.uint8)


def _write_counts(
    draw: ImageDraw.ImageDraw, e: Evaluation, corner: tuple[int, int], cell: int, font: ImageFont.FreeTypeFont
) -> None:
    dark = _colours(e.shares) @ np.array([0.299, 0.587, 0.114]) < 140  # luma, ITU-R BT.601
    for (row, column), count in np.ndenumerate(e.counts):
        if count:
            place = (corner[0] + (column + 0.5) * cell - 1, corner[1] + (row + 0.5) * cell)
            draw.text(place, str(count), _PAPER if dark[row, column] else _INK, font, anchor="mm")


def _name_classes(
    canvas: Image.Image, names: list[str], corner: tuple[int, int], cell: int, font: ImageFont.FreeTypeFont
) -> None:
    """Names beside the rows and above the columns; of many classes as many as there is room for."""
    draw = ImageDraw.Draw(canvas)
    left, top = corner
    for number in range(0, len(names), math.ceil(1.25 * font.size / cell)):
        middle = (number + 0.5) * cell
        draw.line((left - _TICK_PX, top + middle, left - 2, top + middle), _FAINT)
        draw.line((left + middle, top - _TICK_PX, left + middle, top - 2), _FAINT)
        draw.text((left - _TICK_PX - 4, top + middle), names[number], _INK, font, anchor="rm")
        _write_upright(canvas, (left + middle, top - _TICK_PX - 4), names[number], font, _INK)


def _write_upright(
    canvas: Image.Image,
    place: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
    *,
    middle: bool = False,
) -> None:
    """Text from below to above that begins at `place`, or has its middle there."""
    height = round(1.5 * font.size)
    line = Image.new("L", (math.ceil(font.getlength(text)) + 2, height))
    ImageDraw.Draw(line).text((0, height / 2), text, 255, font, anchor="lm")
    line = line.rotate(90, expand=True)
    x, y = round(place[0] - height / 2), round(place[1] - line.height / (2 if middle else 1))
    canvas.paste(colour, (x, y), line)


def _draw_scale(canvas: Image.Image, corner: tuple[int, int], height: int, font: ImageFont.FreeTypeFont) -> None:
    """The colours of shares: of the images of a class, how many were called so."""
    left, top = corner
    places = np.linspace(1, 0, height)
    strip = _colours(places[:, None] ** (1 / _EXPONENT)).repeat(_SCALE_PX, axis=1)
    canvas.paste(Image.fromarray(strip), (left, top))
    draw = ImageDraw.Draw(canvas)
    for share in _TICKS:
        y = top + (1 - share**_EXPONENT) * (height - 1)
        draw.line((left + _SCALE_PX, y, left + _SCALE_PX + 3, y), _FAINT)
        draw.text((left + _SCALE_PX + 7, y), f"{share:.0%}", _FAINT, font, anchor="lm")
    draw.text((left, top - 0.6 * font.size), "of the row", _FAINT, font, anchor="ls")


def _cut(name: str, font: ImageFont.FreeTypeFont, width_px: int = _NAME_PX) -> str:
    """As much of a name as fits, with dots where it was cut."""
    if font.getlength(name) <= width_px:
        return name
    while font.getlength(name + "...") > width_px:
        name = name[:-1]
    return name + "..."
