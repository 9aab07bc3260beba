"""Writes photos with their labels on a panel below, so that nothing of the photo is hidden."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cnncli.errors import CnncliError
from cnncli.files import replacing
from cnncli.images import Picture
from cnncli.sources import Source

_MIN_TEXT_PX = 16  # legible on any screen
_TEXT_SHARE = 1 / 28  # text height as a share of the picture's geometric mean side
_INK, _PAPER, _BAR, _TRACK = (20, 20, 20), (255, 255, 255), (38, 110, 190), (225, 225, 225)
_JPEG_QUALITY = 92


def annotated(image: Image.Image, lines: Iterable[tuple[str, float]]) -> Image.Image:
    """The picture with a panel below it: for each `(label, score)` its bar, percentage and label.

    The text grows with the picture and is never smaller than 16 px; a narrow picture gets a wider canvas.
    """
    size = max(_MIN_TEXT_PX, round((image.width * image.height) ** 0.5 * _TEXT_SHARE))
    font = ImageFont.load_default(size)
    rows = [(f"{score:.1%}", label, score) for label, score in lines] or [("", "no label above the threshold", 0.0)]
    percent_width = round(font.getlength("100.0%"))
    bar_width = 5 * size
    text_left = size + bar_width + size // 2 + percent_width + size // 2
    width = max(image.width, *(text_left + round(font.getlength(label)) + size for _, label, _ in rows))
    row_height = round(size * 1.5)
    panel_height = row_height * len(rows) + size
    canvas = Image.new("RGB", (width, image.height + panel_height), _PAPER)
    canvas.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for number, (percent, label, score) in enumerate(rows):
        middle = image.height + size // 2 + row_height * number + row_height // 2
        top, bottom = middle - size // 3, middle + size // 3
        if percent:
            draw.rectangle((size, top, size + bar_width, bottom), fill=_TRACK)
            draw.rectangle((size, top, size + round(bar_width * score), bottom), fill=_BAR)
        draw.text((text_left - size // 2, middle), percent, _INK, font, anchor="rm")
        draw.text((text_left if percent else size, middle), label, _INK, font, anchor="lm")
    return canvas


class Names:
    """File names for results in one folder: made from the inputs' names, never one twice, never an input."""

    def __init__(self, folder: Path, inputs: Iterable[str]) -> None:
        """`inputs` are the names of files in `folder` that must not be written over."""
        self._folder = folder
        self._taken = set(inputs)

    def path_for(self, source: Source) -> Path:
        """The path of the annotated copy of an input: `cat-labels.jpg`, or `cat-labels-2.jpg` if that is taken."""
        stem = source.path.stem if source.path is not None else _stem_of_stream(source.name)
        suffix = ".jpg" if Path(source.name).suffix.lower() in (".jpg", ".jpeg", ".jfif", ".jpe") else ".png"
        candidates = (f"{stem[:80]}-labels{'' if n == 1 else f'-{n}'}{suffix}" for n in itertools.count(1))
        name = next(name for name in candidates if name not in self._taken)
        self._taken.add(name)
        return self._folder / name


def _stem_of_stream(name: str) -> str:
    """A file name for an image that came from an address or from standard input."""
    stem = Path(name.split("?")[0].rstrip("/")).stem
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem).strip("-. ") or "stdin"


def save(image: Image.Image, picture: Picture, path: Path) -> None:
    """Writes a picture atomically, keeping the colour profile; raises CnncliError where that fails."""
    options = {"icc_profile": picture.icc_profile} if picture.icc_profile else {}
    try:
        with replacing(path) as file:
            if path.suffix == ".jpg":
                image.save(file, "JPEG", quality=_JPEG_QUALITY, **options)
            else:
                image.save(file, "PNG", **options)
    except OSError as problem:
        raise CnncliError(f"{path}: cannot be written ({problem.strerror or problem})") from problem
