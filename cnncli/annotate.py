"""Writes photos with their labels on a panel below, so that nothing of the photo is hidden."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cnncli import outputs
from cnncli.fonts import MIN_TEXT_PX, font_of, typeface
from cnncli.images import Picture
from cnncli.outputs import Names, original_name
from cnncli.sources import Source

_TEXT_SHARE = 1 / 28  # text height as a share of the picture's geometric mean side
_MAX_LABEL = 100  # characters; of a longer label the end is left out
_INK, _PAPER, _BAR, _TRACK = (20, 20, 20), (255, 255, 255), (38, 110, 190), (225, 225, 225)
_NOTHING = "no label above the threshold"


def annotated(image: Image.Image, lines: Iterable[tuple[str, float]]) -> Image.Image:
    """The picture with a panel below it: for each `(label, score)` its bar, percentage and label.

    The text grows with the picture, but not beyond its width, and is never smaller than 16 px; a narrow picture gets
    a wider canvas.
    """
    rows = [(_one_line(label), score) for label, score in lines]
    labels = [label for label, _ in rows] or [_NOTHING]
    font = _fitting_font(image.size, labels)
    width = max(image.width, _panel_width(font, labels))
    row_height, margin = _row_height(font), round(font.size)
    canvas = Image.new("RGB", (width, image.height + row_height * len(labels) + margin), _PAPER)
    canvas.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    middle = image.height + margin // 2 + row_height // 2
    if not rows:
        draw.text((margin, middle), _NOTHING, _INK, font, anchor="lm")
    for number, (label, score) in enumerate(rows):
        _draw_row(draw, middle + row_height * number, font, label, score)
    return canvas


def _draw_row(draw: ImageDraw.ImageDraw, middle: int, font: ImageFont.FreeTypeFont, label: str, score: float) -> None:
    left, right, half = round(font.size), round(font.size) + _bar_width(font), round(font.size / 3)
    draw.rectangle((left, middle - half, right, middle + half), fill=_TRACK)
    draw.rectangle((left, middle - half, left + round(_bar_width(font) * score), middle + half), fill=_BAR)
    draw.text((_label_left(font) - font.size / 2, middle), f"{score:.1%}", _INK, font, anchor="rm")
    draw.text((_label_left(font), middle), label, _INK, font, anchor="lm")


def _fitting_font(picture: tuple[int, int], labels: list[str]) -> ImageFont.FreeTypeFont:
    """A font that has the labels' characters, in the size for a picture `(width, height)`."""
    face = typeface(frozenset("".join(labels)))
    size = max(MIN_TEXT_PX, round((picture[0] * picture[1]) ** 0.5 * _TEXT_SHARE))
    fitting = int(size * picture[0] / _panel_width(font_of(face, size), labels))
    return font_of(face, max(MIN_TEXT_PX, min(size, fitting)))


def _bar_width(font: ImageFont.FreeTypeFont) -> int:
    return round(5 * font.size)


def _row_height(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size * 1.5)


def _label_left(font: ImageFont.FreeTypeFont) -> int:
    """Where labels begin: right of the margin, the bar and the percentage, with half a margin between them."""
    return round(2 * font.size) + _bar_width(font) + round(font.getlength("100.0%"))


def _panel_width(font: ImageFont.FreeTypeFont, labels: Iterable[str]) -> int:
    return _label_left(font) + max(round(font.getlength(label)) for label in labels) + round(font.size)


def _one_line(label: str) -> str:
    """A label without line ends and control characters, cut to a length that can be read at a glance."""
    text = "".join(c if c.isprintable() else " " for c in label)
    return text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 3] + "..."


def path_for(names: Names, source: Source) -> Path:
    """The path of the annotated copy of an input: a JPEG for what is one by its name, a PNG for everything else."""
    jpeg = original_name(source).suffix.lower() in (".jpg", ".jpeg", ".jfif", ".jpe")
    return names.path_for(source, "labels", ".jpg" if jpeg else ".png")


def save(image: Image.Image, picture: Picture, path: Path) -> None:
    """Writes an annotated `picture` atomically, with its colour profile; raises CnncliError where that fails."""
    # the panel is coloured, so a grey picture's profile no longer fits
    outputs.save(image, path, icc_profile=picture.icc_profile if picture.image.mode == "RGB" else None)
