"""A contact sheet: pictures of one size side by side, each with its name below it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from cnncli.errors import CnncliError
from cnncli.fonts import MIN_TEXT_PX, font_of, typeface

MOST_PIXELS = 100_000_000  # of what is in memory at once to make one sheet: 400 MB

_GAP_PX, _SMALL_GAP_PX = 12, 4
_NAME_PX = 180  # for a name beside its pictures
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def check_pixels(pixels: int, what: str, remedy: str) -> None:
    """Raises CnncliError if so many pixels are more than a sheet may have: `what` has them, `remedy` leads to fewer."""
    if pixels > MOST_PIXELS:
        raise CnncliError(f"{what}: more than {MOST_PIXELS // 10**6} megapixels; expected {remedy}")


def columns_for(count: int, size: tuple[int, int]) -> int:
    """How many of `count` pictures `(width, height)` stand in a row so that the sheet is about 4:3 on a screen."""
    best = math.sqrt(count * 4 / 3 * size[1] / size[0])
    return min(count, max(1, round(best)))


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in a box `(width, height)`: reduced, or enlarged by a whole number, pixel by pixel."""
    times = min(size[0] // image.width, size[1] // image.height)
    if times:
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image = image.copy()
    image.thumbnail(size, Image.Resampling.HAMMING)
    return image


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


def class_sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], *, columns: int | None = None) -> Image.Image:
    """A row for each class: its name, then its pictures. Many rows stand in several columns, about 4:3 in all,
    unless `columns` says how many.

    The picture has mode `RGB`; names that are longer than a few words are cut.
    """
    pictures = [image for _, images in rows for image in images]
    width, height = max(image.width for image in pictures), max(image.height for image in pictures)
    font = font_of(typeface(frozenset("".join(name for name, _ in rows))), MIN_TEXT_PX)
    names = [_cut(name, font, _NAME_PX) for name, _ in rows]
    beside = math.ceil(max(font.getlength(name) for name in names)) + _GAP_PX
    across = max(len(images) for _, images in rows)
    step = (beside + across * (width + _SMALL_GAP_PX) + _GAP_PX, max(height, round(font.size * 1.3)) + _SMALL_GAP_PX)
    columns = columns or columns_for(len(rows), step)
    each = math.ceil(len(rows) / columns)
    columns = math.ceil(len(rows) / each)
    canvas = Image.new("RGB", (columns * step[0] + _GAP_PX, each * step[1] + 2 * _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, (name, (_, images)) in enumerate(zip(names, rows, strict=True)):
        left, top = _GAP_PX + number // each * step[0], _GAP_PX + number % each * step[1]
        draw.text((left, top + height / 2), name, _INK, font, anchor="lm")
        for place, image in enumerate(images):
            x = left + beside + place * (width + _SMALL_GAP_PX)
            canvas.paste(image, (x + (width - image.width) // 2, top + (height - image.height) // 2))
    return canvas


def _cut(name: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """As much of a name as fits, with dots where it was cut."""
    if font.getlength(name) <= width_px:
        return name
    while font.getlength(name + "...") > width_px:
        name = name[:-1]
    return name + "..."
