"""Frames around parts of a picture that stay visible on any photo."""

from __future__ import annotations

from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]  # left, top, right, bottom; right and bottom are the first pixels outside

_LINE_PX = 3
_EDGE = (255, 255, 255)  # beside the colour, so that the frame is seen on a ground of that colour


def draw_frame(canvas: Image.Image, box: Box, colour: tuple[int, int, int], *, line_px: int = _LINE_PX) -> None:
    """Draws the outline of `box` on `canvas`: its line lies around the box, and a white one around and inside it."""
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = map(round, box)
    for colour_of, grow, width in ((_EDGE, line_px + 1, line_px + 2), (colour, line_px, line_px)):
        corners = (left - grow, top - grow, right + grow - 1, bottom + grow - 1)
        draw.rectangle(corners, outline=colour_of, width=width)
