"""A contact sheet: pictures of one size side by side, each with its name below it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from cnncli.fonts import MIN_TEXT_PX, font_of, typeface

_GAP_PX = 12
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def columns_for(count: int, size: tuple[int, int]) -> int:
    """How many of `count` pictures `(width, height)` stand in a row so that the sheet is about 4:3 on a screen."""
    best = math.sqrt(count * 4 / 3 * size[1] / size[0])
    return min(count, max(1, round(best)))


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """The named pictures in rows, mode `RGB`; each cell is as large as the largest picture."""
    width = max(image.width for _, image in pictures)
    height = max(image.height for _, image in pictures)
    font = font_of(typeface(frozenset("".join(name for name, _ in pictures))), MIN_TEXT_PX)
    width = max(width, *(math.ceil(font.getlength(name)) for name, _ in pictures))
    caption = round(font.size * 1.6)
    columns = columns_for(len(pictures), (width, height + caption))
    rows = math.ceil(len(pictures) / columns)
    step = (width + _GAP_PX, height + caption + _GAP_PX)
    canvas = Image.new("RGB", (columns * step[0] + _GAP_PX, rows * step[1] + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, (name, image) in enumerate(pictures):
        left, top = _GAP_PX + number % columns * step[0], _GAP_PX + number // columns * step[1]
        canvas.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
        draw.text((left + width / 2, top + height + caption / 2), name, _INK, font, anchor="mm")
    return canvas
