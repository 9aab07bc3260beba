"""Numbers in a grid of coloured cells, as a picture in which every one can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from cnncli.fonts import MIN_TEXT_PX, font_of, typeface

Colour = tuple[int, int, int]

_AROUND_PX = 6  # left and right of the longest number of a cell
_LINE, _FAINT = (128, 128, 128), (96, 96, 96)
_PAPER = (255, 255, 255)
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def luminance(colour: Sequence[int]) -> float:
    """Relative luminance of an sRGB colour from 0 to 1 (WCAG 2.2, https://www.w3.org/TR/WCAG22)."""
    parts = [value / 255 for value in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ink_on(colour: Sequence[int]) -> Colour:
    """Black or white, whichever has more contrast on a colour (WCAG's ratio is the same at 0.179)."""
    return _BLACK if luminance(colour) > 0.179 else _WHITE


def cell_px(texts: Sequence[Sequence[str]], text_px: int = MIN_TEXT_PX) -> int:
    """The side of a square cell that has room for each of the texts, in pixels."""
    font = font_of(typeface(frozenset("".join(map("".join, texts)))), text_px)
    widest = max(font.getlength(text) for text in {text for row in texts for text in row})
    return max(math.ceil(widest) + 2 * _AROUND_PX, 2 * text_px)


def number_grid(
    texts: Sequence[Sequence[str]],
    fills: npt.NDArray[np.uint8],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    text_px: int = MIN_TEXT_PX,
    side: int | None = None,
) -> Image.Image:
    """The texts, each in the middle of a square cell of its colour in `fills`, `(height, width, 3)`; mode `RGB`.

    `columns` and `rows` are written along the top and the left. `side` is that of a cell, by default `cell_px`.
    """
    every = [*texts, columns, rows]
    font = font_of(typeface(frozenset("".join(map("".join, every)))), text_px)
    side = side or cell_px([row for row in every if row], text_px)
    left, top = (side if rows else 0), (side if columns else 0)
    canvas = Image.new("RGB", (left + side * len(texts[0]) + 1, top + side * len(texts) + 1), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for at, text in enumerate(columns):
        draw.text((left + side * (at + 0.5), top - text_px * 0.7), text, _FAINT, font, anchor="mm")
    for y, (row, colours) in enumerate(zip(texts, fills.tolist(), strict=True)):
        if rows:
            draw.text((left - _AROUND_PX, top + side * (y + 0.5)), rows[y], _FAINT, font, anchor="rm")
        for x, (text, colour) in enumerate(zip(row, colours, strict=True)):
            corner = left + side * x, top + side * y
            draw.rectangle((*corner, corner[0] + side, corner[1] + side), tuple(colour), _LINE)
            draw.text((corner[0] + side / 2, corner[1] + side / 2), text, ink_on(colour), font, anchor="mm")
    return canvas
