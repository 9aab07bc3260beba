"""Heat maps over photos: colours, the frame of what a network sees, and what it does not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from cnncli.colormaps import sequential
from cnncli.framing import Framing
from cnncli.mapgrid import MapGrid

Float = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]

_COLD, _HOT = 0.3, 0.75  # how much of a place is colour, the rest being the photo in grey
_DIMMED = 0.7  # brightness of the photo under the colours, which a white wall would bleach
_GRAY = 128  # the photo under the colours of a scale
_UNSEEN = 0.4  # brightness of what the network does not see
_HATCH_PX, _HATCH_LIGHT = 12, 40  # from one line to the next; how much lighter a line is
_RING_PX = 9


def tinted(gray: Float, values: Float) -> Pixels:
    """Grey values 0..255 under the colours of values 0..1: hot places hide more of what is below."""
    share = (_COLD + (_HOT - _COLD) * np.clip(values, 0, 1))[..., np.newaxis]
    mixed: Pixels = np.rint(gray[..., np.newaxis] * _DIMMED * (1 - share) + sequential(values) * share).astype(np.uint8)
    return mixed


def colour_bar(width: int, height: int) -> Image.Image:
    """The colours of 0 to 1 from left to right, as they look over mid-grey."""
    values = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    return Image.fromarray(tinted(np.full((height, width), _GRAY, np.float32), values))


def on_photo(values: Float, grid: MapGrid, seen: Framing) -> Float:
    """A map `(rows, columns)`, whose cells lie in the input where `grid` says, as it lies on the photo.

    Returns `(height, width)` of the part of the photo that the network sees (see `pixel_box`).
    """
    left, top, right, bottom = pixel_box(seen)
    box = (*seen.to_input(left, top), *seen.to_input(right, bottom))
    return grid.sampled(values, box, (right - left, bottom - top))


def pixel_box(seen: Framing) -> tuple[int, int, int, int]:
    """What the network sees of the photo, in whole pixels: left, top, right, bottom."""
    left, top = (min(round(at), side - 1) for at, side in zip(seen.seen[:2], seen.photo, strict=True))
    right, bottom = round(seen.seen[2]), round(seen.seen[3])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def overlay(
    photo: Image.Image, values: Float, grid: MapGrid, seen: Framing, limit: float, peak: tuple[int, int] | None
) -> Image.Image:
    """The photo in grey under the map's colours, `limit` being the hottest; mode `RGB`, of the photo's size.

    What is below zero is cold. `peak` (x, y) gets a ring, and what the network does not see is dark and hatched.
    """
    gray = np.asarray(photo.convert("L"), np.float32)
    drawn = _unseen(np.repeat(gray[..., np.newaxis], 3, axis=2))
    left, top, right, bottom = pixel_box(seen)
    shares = np.maximum(on_photo(values, grid, seen), 0) / (limit or 1.0)
    drawn[top:bottom, left:right] = tinted(gray[top:bottom, left:right], shares)
    image = _with_frame(Image.fromarray(drawn), seen)
    if peak is not None:
        draw = ImageDraw.Draw(image)
        draw.circle(peak, _RING_PX, outline=(0, 0, 0), width=4)
        draw.circle(peak, _RING_PX - 1, outline=(255, 255, 255), width=2)
    return image


def framed(photo: Image.Image, seen: Framing) -> Image.Image:
    """The photo with a frame around what the network sees; the rest is dark and hatched. Mode `RGB`."""
    pixels = np.asarray(photo.convert("RGB"))
    drawn = _unseen(pixels.astype(np.float32))
    left, top, right, bottom = pixel_box(seen)
    drawn[top:bottom, left:right] = pixels[top:bottom, left:right]
    return _with_frame(Image.fromarray(drawn), seen)


def _unseen(pixels: Float) -> Pixels:
    """`(height, width, 3)` darkened, with diagonal lines, so that it is not taken for a dark part of the photo."""
    y, x = np.indices(pixels.shape[:2])
    lines = np.less((x + y) % _HATCH_PX, 2)[..., np.newaxis]
    dark: Pixels = np.rint(pixels * _UNSEEN + lines * _HATCH_LIGHT).astype(np.uint8)
    return dark


def _with_frame(image: Image.Image, seen: Framing) -> Image.Image:
    """With a white line around what is seen, unless that is all."""
    left, top, right, bottom = pixel_box(seen)
    if (left, top, right, bottom) != (0, 0, *image.size):
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=2)
    return image
