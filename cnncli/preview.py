"""Pictures as the cells of a terminal: each shows two pixels, one above the other, as the half block `▀`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

HALF_BLOCK = "▀"  # U+2580: its ink is the upper pixel, its background the lower one


def half_blocks(image: Image.Image, columns: int, rows: int) -> npt.NDArray[np.uint8]:
    """The colours of a picture's cells, shape `(rows, columns, 2, 3)`: upper and lower pixel, red, green and blue.

    It takes at most so many `columns` and `rows`, keeps its proportions where a cell is twice as high as it is wide,
    and is never enlarged. A reduced pixel is the mean of the area that it stands for.
    """
    scale = min(1.0, columns / image.width, 2 * rows / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale / 2))
    pixels = image.convert("RGB").resize((width, 2 * height), Image.Resampling.BOX)
    return np.asarray(pixels).reshape(height, 2, width, 3).transpose(0, 2, 1, 3)
