"""Fonts for what is written into pictures: Pillow's own, or one of the system's where that lacks a character."""

from __future__ import annotations

import contextlib
import functools

from PIL import ImageFont

MIN_TEXT_PX = 16  # legible on any screen
# Pillow's own font has hardly more than ASCII: what Linux, macOS and Windows have beside it, widest use first
_SYSTEM_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc")
_UNASSIGNED = "\U000f0000"  # a character for private use, which no font has


@functools.lru_cache(64)
def typeface(characters: frozenset[str]) -> str | None:
    """The first font that has these characters; None, Pillow's own, if that does or if no other does."""
    for face in (None, *_SYSTEM_FONTS):
        with contextlib.suppress(OSError):  # not on this machine
            font = font_of(face, MIN_TEXT_PX)
            missing = bytes(font.getmask(_UNASSIGNED))  # the box that stands for a character that the font lacks
            if all(bytes(font.getmask(character)) != missing for character in characters):
                return face
    return None


@functools.lru_cache(8)  # each holds a file open
def font_of(face: str | None, size: int) -> ImageFont.FreeTypeFont:
    """A font in a size in pixels; `face` is what `typeface` found."""
    if face is not None:
        return ImageFont.truetype(face, size)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # as it is whenever a size is given
    return font
