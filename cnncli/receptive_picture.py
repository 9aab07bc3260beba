"""Receptive fields as frames on the image that the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from cnncli.architecture import title
from cnncli.fonts import MIN_TEXT_PX, font_of, typeface
from cnncli.frames import draw_frame
from cnncli.palette import DISTINCT
from cnncli.receptive import View
from cnncli.tracing import joined

_IMAGE_PX = 800  # the longer side of image and margin, about
_MOST_MARGIN = 0.75  # of the image's side: a field that reaches farther is drawn to the edge of the picture
_EDGE_PX = 6  # what a frame takes at the edge of the picture, where one that reaches farther is drawn
_MARGIN_PX, _LINE = 16, 1.5  # around everything; height of a text line, in text heights
_INK, _FAINT, _PAPER, _OUTSIDE = (25, 25, 25), (105, 105, 105), (255, 255, 255), (205, 205, 205)


def picture(pixels: npt.NDArray[np.uint8], views: Sequence[View]) -> Image.Image:
    """The network's input `(height, width, channels)` with a frame for each view, and beside it what they are.

    What lies in the padding is grey ground around the image; mode `RGB`.
    """
    height, width = pixels.shape[:2]
    reach = _reach_over(views, (height, width))
    over = min(reach, round(_MOST_MARGIN * max(height, width)))
    scale = max(1, round(_IMAGE_PX / (max(height, width) + 2 * over)))
    room = _EDGE_PX * len(views)  # for frames at the edge of the ground
    size = ((width + 2 * over) * scale + 2 * room, (height + 2 * over) * scale + 2 * room)
    ground = Image.new("RGB", size, _OUTSIDE if over else _PAPER)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    shown = image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
    ground.paste(shown, (over * scale + room, over * scale + room))
    outermost = reversed(list(zip(views, DISTINCT, strict=False)))  # the small ones on top
    for number, (view, colour) in enumerate(outermost):
        (top, bottom), (left, right) = view.field or view.seen
        box = [(place + over) * scale + room for place in (left, top, right, bottom)]
        draw_frame(ground, _within(box, ground.size, _EDGE_PX * (number + 1)), colour)
    notes = ["grey: outside of the image,", "where layers pad"] if over else []
    notes += ["frames that reach farther", "end at the edge"] if reach > over else []
    return _with_captions(ground, views, notes)


def _reach_over(views: Sequence[View], size: tuple[int, int]) -> int:
    """How many pixels fields reach over the image's edge, at most."""
    over = 0
    for view in views:
        for (start, end), length in zip(view.field or view.seen, size, strict=True):
            over = max(over, -start, end - length)
    return over


def _within(box: Sequence[int], size: tuple[int, int], edge: int) -> tuple[int, int, int, int]:
    """A box cut so that its frame lies inside of the picture and, of several, inside of the larger ones."""
    left, top, right, bottom = (min(max(edge, at), size[axis % 2] - edge) for axis, at in enumerate(box))
    return left, top, right, bottom


def _with_captions(ground: Image.Image, views: Sequence[View], notes: Sequence[str]) -> Image.Image:
    captions = [caption(view) for view in views]
    font = font_of(typeface(frozenset("".join((*(text for lines in captions for text in lines), *notes)))), MIN_TEXT_PX)
    line = round(_LINE * MIN_TEXT_PX)
    each = 2 * line + line // 2
    widest = max(font.getlength(text) for text in (*(text for lines in captions for text in lines), *notes))
    left = ground.width + 2 * _MARGIN_PX
    size = (
        left + 2 * line + round(widest) + _MARGIN_PX,
        max(ground.height, each * len(views) + line * (len(notes) + 1)) + 2 * _MARGIN_PX,
    )
    canvas = Image.new("RGB", size, _PAPER)
    canvas.paste(ground, (_MARGIN_PX, _MARGIN_PX))
    draw = ImageDraw.Draw(canvas)
    for number, ((head, more), colour) in enumerate(zip(captions, DISTINCT, strict=False)):
        y = _MARGIN_PX + each * number
        draw.rectangle((left, y, left + line, y + line), _PAPER, colour, 4)
        draw.text((left + 2 * line, y + line / 2), head, _INK, font, anchor="lm")
        draw.text((left + 2 * line, y + 1.4 * line), more, _FAINT, font, anchor="lm")
    for number, text in enumerate(notes):
        draw.text((left, _MARGIN_PX + each * len(views) + line * number), text, _FAINT, font, anchor="lt")
    return canvas


def caption(view: View) -> tuple[str, str]:
    """What a frame is: the layer, and how much which of its cells sees."""
    sizes, (row, column) = view.row.measure.output[:-1], view.cell
    seen = f"sees {joined(view.size)} pixels" if view.field is not None else "sees the whole image"
    if any(start == end for start, end in view.seen):
        seen = "sees nothing of the image"
    return f"{view.row.node.name} ({title(view.row.node.layer)}) {seen}", f"cell {column},{row} of {joined(sizes)}"
