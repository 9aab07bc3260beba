"""An image as the numbers that a computer has of it: a plane for each channel, in a picture or as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.errors import CnncliError
from cnncli.frames import draw_frame
from cnncli.numbergrid import cell_px, number_grid
from cnncli.palette import DISTINCT
from cnncli.sheet import contact_sheet, fitted
from cnncli.text import csv_lines

Channel = Literal["red", "green", "blue", "gray"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
RANGES = {"0..255": (0.0, 255.0), "0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}  # name -> of black, of white
MOST_CELLS = 64  # along a side of a picture, which is then about 2600 px
_CELLS, _CELLS_OF_ONE = 16, 28  # along a side by default: three planes beside the photo, or one; MNIST's have 28
_DIGITS = 2  # decimals in the picture
_CSV_DIGITS = 6
_FRAME = DISTINCT[1]  # vermilion, which few photos have


@dataclass(frozen=True, slots=True)
class Planes:
    """Some channels of a part of an image."""

    channels: tuple[Channel, ...]
    values: npt.NDArray[np.uint8]  # (height, width, channels)
    box: tuple[int, int, int, int]  # of the image: left, top, right, bottom in pixels

    @property
    def shrunk(self) -> tuple[float, float]:
        """How many pixels of the image a number stands for, across and down; each number is their mean."""
        height, width = self.values.shape[:2]
        return (self.box[2] - self.box[0]) / width, (self.box[3] - self.box[1]) / height


def planes(
    image: Image.Image, *, channel: Channel | None, at: tuple[int, int] | None, size: tuple[int, int] | None
) -> Planes:
    """The numbers of an image, mode `RGB` or `L`: of a window `size` at `at` (x, y), or of the whole.

    Without `at` the whole image is reduced until it fits into `size` `(width, height)`; without either it is as it is.
    `channel` leaves one of them, by default all. Raises CnncliError where `at` lies outside.
    """
    channels = _channels(image, channel)
    if image.mode == "RGB" and channel == "gray":
        image = image.convert("L")
    box = (0, 0, *image.size) if at is None else _window(image, at, size or image.size)
    part = image.crop(box)
    if at is None and size is not None and (image.width > size[0] or image.height > size[1]):
        scale = min(size[0] / image.width, size[1] / image.height)
        small = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        part = part.resize(small, Image.Resampling.BOX)
    values = np.asarray(part).reshape(part.height, part.width, -1)
    if image.mode == "RGB":
        values = values[:, :, [CHANNELS.index(name) for name in channels]]
    return Planes(channels, values, box)


def legible_size(image: Image.Image, channel: Channel | None) -> tuple[int, int]:
    """How many numbers `(width, height)` a picture has at most if nobody says how many."""
    cells = _CELLS if len(_channels(image, channel)) > 1 else _CELLS_OF_ONE
    return cells, cells


def _channels(image: Image.Image, channel: Channel | None) -> tuple[Channel, ...]:
    if channel is not None and channel != "gray" and image.mode == "L":
        raise CnncliError(f"--channel {channel}: this image is grey and has one channel")
    if channel is not None:
        return (channel,)
    return ("gray",) if image.mode == "L" else ("red", "green", "blue")


def _window(image: Image.Image, at: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What of a window lies within the image."""
    (x, y), (width, height) = at, image.size
    if x >= width or y >= height:
        raise CnncliError(
            f"--at {x},{y}: the image has {width}x{height} pixels; expected x up to {width - 1}, y up to {height - 1}"
        )
    return x, y, min(x + size[0], width), min(y + size[1], height)


def in_range(values: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.float64]:
    """Pixels 0..255 in one of RANGES, black and white being its ends."""
    low, high = RANGES[name]
    scaled: npt.NDArray[np.float64] = low + values * np.float64((high - low) / 255)
    return scaled


def written(value: float, digits: int) -> str:
    """A number as short as it is right to so many decimals: `0.5`, `-1`, `0`."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    return "0" if text == "-0" else text


def as_csv(found: Planes, range_name: str) -> Iterator[str]:
    """One plane as its rows, which is how a matrix is written; several as lines of x, y and a number for each.

    Yields the text for one row of the image after the other: that of a photo is larger than the photo many times.
    """
    texts = [written(value, _CSV_DIGITS) for value in in_range(np.arange(256, dtype=np.uint8), range_name).tolist()]
    if len(found.channels) == 1:
        for values in found.values[:, :, 0]:
            yield csv_lines([tuple(texts[value] for value in values.tolist())])
        return
    left, top = found.box[:2]
    yield csv_lines([("x", "y", *found.channels)])
    for y, row in enumerate(found.values, top):
        yield csv_lines((x, y, *(texts[value] for value in pixel)) for x, pixel in enumerate(row.tolist(), left))


def picture(found: Planes, image: Image.Image, name: str, range_name: str) -> Image.Image:
    """The photo with the window marked, and a grid of numbers for each plane; mode `RGB`.

    Raises CnncliError for more numbers than a picture has room for.
    """
    height, width = found.values.shape[:2]
    if max(height, width) > MOST_CELLS:
        raise CnncliError(
            f"{width}x{height} numbers: at most {MOST_CELLS}x{MOST_CELLS} fit into a picture; expected a smaller "
            "--size, or --format csv"
        )
    grids = [_grid(found, number, range_name) for number in range(len(found.channels))]
    parts = [f"{channel}, {range_name}" for channel in found.channels]
    photo = _photo(found, image, grids[0].size)
    return contact_sheet([(_caption(found, image, name), photo), *zip(parts, grids, strict=True)])


def _grid(found: Planes, number: int, range_name: str) -> Image.Image:
    plane = found.values[:, :, number]
    digits = _DIGITS if range_name != "0..255" else 0
    texts = [[written(value, digits) for value in row] for row in in_range(plane, range_name).tolist()]
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    if found.shrunk == (1, 1):
        columns, rows = (tuple(map(str, range(*found.box[axis::2]))) for axis in (0, 1))
    widest = [*texts, columns, rows]
    side = cell_px([["255"] if not digits else ["-0.99"], *(row for row in widest if row)])
    return number_grid(texts, _tinted(plane, found.channels[number]), columns=columns, rows=rows, side=side)


def _tinted(plane: npt.NDArray[np.uint8], channel: Channel) -> npt.NDArray[np.uint8]:
    """A plane in its own colour, `(height, width, 3)`: what this channel alone adds to the picture."""
    if channel == "gray":
        return np.repeat(plane[:, :, np.newaxis], 3, axis=2)
    colours = np.zeros((*plane.shape, 3), np.uint8)
    colours[:, :, CHANNELS.index(channel)] = plane
    return colours


def _photo(found: Planes, image: Image.Image, size: tuple[int, int]) -> Image.Image:
    shown = fitted(image.convert("RGB"), size)
    if max(image.size) > MOST_CELLS:  # a photo, which has no pixels that one wants to count
        scale = min(size[0] / image.width, size[1] / image.height)
        whole = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        shown = image.convert("RGB").resize(whole)
    if found.box != (0, 0, *image.size):
        across, down = shown.width / image.width, shown.height / image.height
        left, top, right, bottom = found.box
        draw_frame(shown, (left * across, top * down, right * across, bottom * down), _FRAME)
    return shown


def _caption(found: Planes, image: Image.Image, name: str) -> str:
    text = f"{name}, {image.width}x{image.height} pixels"
    across, down = found.shrunk
    if (across, down) != (1, 1):
        text += f"; each number is the mean of {across:.3g}x{down:.3g}"
    return text
