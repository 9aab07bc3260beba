"""Frames lie around what they mark, and can be seen on any ground."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnncli.frames import draw_frame


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (200, 30, 30)])
def test_frame_leaves_what_it_marks_and_differs_from_the_ground(ground: tuple[int, int, int]) -> None:
    canvas = Image.new("RGB", (40, 30), ground)
    draw_frame(canvas, (10, 8, 20, 14), (200, 30, 30), line_px=2)
    pixels = np.asarray(canvas)
    assert (pixels[9:13, 11:19] == ground).all()
    for y, x in ((7, 12), (14, 12), (10, 9), (10, 20)):  # the first pixels outside, on each side
        assert tuple(pixels[y, x]) == (200, 30, 30)
    if ground != (255, 255, 255):
        assert tuple(pixels[8, 12]) == (255, 255, 255) and tuple(pixels[5, 12]) == (255, 255, 255)
