"""Colours for numbers: even steps look even, and colour-blind readers and black-and-white prints keep the order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Float = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]

# Matplotlib's inferno (van der Walt & Smith, CC0) at 17 equal steps: lightness rises all the way.
_INFERNO = np.array([
    (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106), (163, 44, 97),
    (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53),
    (242, 234, 105), (252, 255, 164),
], np.float32)  # fmt: skip
# ColorBrewer's RdBu with 11 classes, from blue to red (https://colorbrewer2.org, Apache 2.0): neutral in the middle.
_BLUE_RED = np.array([
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247), (253, 219, 199),
    (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
], np.float32)  # fmt: skip


def sequential(values: Float) -> Pixels:
    """Values 0..1 of shape `(...)` in colours `(..., 3)`, black over red to yellow; what is outside is cut."""
    return _mixed(_INFERNO, values)


def diverging(values: Float) -> Pixels:
    """Values -1..1 of shape `(...)` in colours `(..., 3)`, blue over white, which is zero, to red."""
    return _mixed(_BLUE_RED, (values + 1) / 2)


def _mixed(steps: Float, values: Float) -> Pixels:
    places = np.clip(np.nan_to_num(values), 0, 1) * (len(steps) - 1)
    low = np.minimum(places.astype(np.intp), len(steps) - 2)
    part = (places - low)[..., np.newaxis]
    mixed: Pixels = np.rint(steps[low] * (1 - part) + steps[low + 1] * part).astype(np.uint8)
    return mixed


def strip(kind: str, width: int = 256, height: int = 16) -> Image.Image:
    """The colours of a scale from left to right: `sequential`, `diverging`, or `gray` from black to white."""
    values = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    if kind == "gray":
        return Image.fromarray(np.repeat(np.rint(255 * values)[..., np.newaxis], 3, axis=2).astype(np.uint8))
    return Image.fromarray(sequential(values) if kind == "sequential" else diverging(2 * values - 1))
