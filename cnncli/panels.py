"""Pictures side by side, each with a heading, a scale of its colours and some lines of text below it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from cnncli.fonts import MIN_TEXT_PX, font_of, typeface
from cnncli.sheet import check_pixels, columns_for

_HEADING_PX, _TITLE_PX = 22, 26
_MARGIN_PX, _BAR_GAP_PX = 24, 8
_LEADING = 1.35  # from one line of text to the next, in font sizes
_INK, _FAINT, _PAPER = (20, 20, 20), (90, 90, 90), (255, 255, 255)
_REMEDY = "fewer: name some layers (--layer), or lower --count or --top"
_LEAST_TEXT_PX = 300  # lines of text are at least so wide


@dataclass(frozen=True, slots=True)
class Scale:
    """What the colours of a picture mean: a strip of them, and the values at its ends."""

    strip: Image.Image
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its text."""

    picture: Image.Image
    heading: str
    lines: tuple[str, ...] = ()
    scale: Scale | None = None


def panel_sheet(title: str, about: str, panels: Iterable[Panel], columns: int | None = None) -> Image.Image:
    """A title, a sentence about it, and panels in rows; mode `RGB`. Text is at least 16 px and wrapped, not cut.

    Panels are taken one by one. Raises CnncliError as soon as they are too much for one picture.
    """
    panels = list(_limited(panels))
    text = "".join((title, about, *(line for panel in panels for line in _texts(panel))))
    fonts = _Fonts(typeface(frozenset(text)))
    width = max(_LEAST_TEXT_PX, *(panel.picture.width for panel in panels))
    drawn = [_drawn(panel, fonts, width) for panel in panels]
    height = max(image.height for image in drawn)
    columns = columns or columns_for(len(panels), (width, height))
    across = columns * (width + _MARGIN_PX) + _MARGIN_PX
    head = _text_block([*_wrapped(title, fonts.title, across - 2 * _MARGIN_PX)], fonts.title, _INK, across)
    said = _text_block(_wrapped(about, fonts.text, across - 2 * _MARGIN_PX), fonts.text, _FAINT, across)
    rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    heights = [max(image.height for image in row) for row in rows]
    top = _MARGIN_PX + head.height + said.height + _MARGIN_PX // 2
    size = (across, top + sum(heights) + _MARGIN_PX * len(rows))
    check_pixels(size[0] * size[1], f"{len(panels)} panels", _REMEDY)
    canvas = Image.new("RGB", size, _PAPER)
    canvas.paste(head, (_MARGIN_PX, _MARGIN_PX))
    canvas.paste(said, (_MARGIN_PX, _MARGIN_PX + head.height))
    for row, row_height in zip(rows, heights, strict=True):
        for place, image in enumerate(row):
            canvas.paste(image, (_MARGIN_PX + place * (width + _MARGIN_PX), top))
        top += row_height + _MARGIN_PX
    return canvas


def _limited(panels: Iterable[Panel]) -> Iterator[Panel]:
    """The panels, as long as all below each other are not too much; each gets the width of the widest."""
    width = height = 0
    for number, panel in enumerate(panels, 1):
        width, height = max(width, panel.picture.width), height + panel.picture.height
        check_pixels(width * height, f"{number} panels", _REMEDY)
        yield panel


class _Fonts:
    def __init__(self, face: str | None) -> None:
        self.text = font_of(face, MIN_TEXT_PX)
        self.heading = font_of(face, _HEADING_PX)
        self.title = font_of(face, _TITLE_PX)


def _texts(panel: Panel) -> tuple[str, ...]:
    ends = () if panel.scale is None else (panel.scale.low, panel.scale.high)
    return (panel.heading, *panel.lines, *ends)


def _drawn(panel: Panel, fonts: _Fonts, width: int) -> Image.Image:
    """A panel as a picture of its own: heading, picture, scale, lines."""
    parts = [_text_block(_wrapped(panel.heading, fonts.heading, width), fonts.heading, _INK, width), panel.picture]
    if panel.scale is not None:
        parts.append(_scale_block(panel.scale, fonts.text, panel.picture.width, width))
    lines = [part for line in panel.lines for part in _wrapped(line, fonts.text, width)]
    parts.append(_text_block(lines, fonts.text, _INK, width))
    parts = [part for part in parts if part.height > 1]
    canvas = Image.new("RGB", (width, sum(part.height + _BAR_GAP_PX for part in parts)), _PAPER)
    top = 0
    for part in parts:
        canvas.paste(part, (0, top))
        top += part.height + _BAR_GAP_PX
    return canvas


def _scale_block(scale: Scale, font: ImageFont.FreeTypeFont, bar: int, width: int) -> Image.Image:
    """The strip as wide as its picture, or as its words, and below it the values at its ends."""
    bar = min(width, max(bar, math.ceil(font.getlength(scale.low + "   " + scale.high))))
    line = _line_height(font)
    canvas = Image.new("RGB", (width, scale.strip.height + line), _PAPER)
    canvas.paste(scale.strip.resize((bar, scale.strip.height)), (0, 0))
    draw = ImageDraw.Draw(canvas)
    middle = scale.strip.height + line / 2
    draw.text((0, middle), scale.low, _INK, font, anchor="lm")
    draw.text((bar, middle), scale.high, _INK, font, anchor="rm")
    return canvas


def _text_block(lines: Sequence[str], font: ImageFont.FreeTypeFont, ink: tuple[int, ...], width: int) -> Image.Image:
    line = _line_height(font)
    canvas = Image.new("RGB", (width, max(1, line * len(lines))), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(lines):
        draw.text((0, line * number + line / 2), text, ink, font, anchor="lm")
    return canvas


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size * _LEADING)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A text in lines that fit; a word that alone is too long is broken."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        while font.getlength(word) > width:
            cut = next(at for at in range(len(word), 0, -1) if at == 1 or font.getlength(word[:at]) <= width)
            lines.append(word[:cut])
            word = word[cut:]
        lines.append(word)
    return lines
