"""A network as a picture: its blocks from left to right, each a cuboid of the size of its output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from cnncli.architecture import Block, blocks
from cnncli.fonts import MIN_TEXT_PX, font_of, typeface
from cnncli.layers import Shape
from cnncli.text import printable
from cnncli.tracing import Trace, joined

Colour = tuple[int, int, int]

_TALLEST_PX, _LOWEST_PX = 240, 14  # of a cuboid's front
_THICK_PX, _THICK_STEP_PX = 8, 7  # with one channel, and for each doubling
_VECTOR_PX = 14  # thickness of a vector, whose height is the logarithm of its length
_SLANT = 0.35  # how far the top goes back for each pixel of depth
_GAP_PX, _MARGIN_PX = 34, 24
_ARC_PX = 26  # how far above its block a shortcut runs
_TITLE_PX = 22
_LINE = 1.35  # height of a text line, in text heights
_INK, _FAINT, _PAPER = (25, 25, 25), (105, 105, 105), (255, 255, 255)
# One colour for a kind, of Okabe & Ito's palette lightened; the title below says the kind as well
_COLOURS: dict[str, Colour] = {
    "conv": (86, 180, 233), "pool": (240, 228, 66), "dense": (230, 159, 0), "join": (0, 158, 115),
    "other": (190, 190, 190),
}  # fmt: skip
_GROUPS = {
    "conv": "conv", "dwconv": "conv", "sepconv": "conv", "tconv": "conv", "pool": "pool", "avgpool": "pool",
    "gap": "pool", "gmp": "pool", "dense": "dense",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cuboid:
    """The size of a block's drawing in pixels."""

    height: int
    thick: int
    depth: int  # how far its top goes to the right and up

    @property
    def width(self) -> int:
        return self.thick + self.depth


def cuboid(output: Shape, largest: int) -> Cuboid:
    """How large an output is drawn beside one whose map is `largest` high.

    Heights and depths follow the square root of the map's, thicknesses the logarithm of the channels: a map of 7 and
    one of 224 are both seen.
    """
    if len(output) == 1:
        return Cuboid(round(20 + 16 * math.log2(max(output[0], 2))), _VECTOR_PX, 6)
    height = output[-3] if len(output) > 2 else output[0]
    width = output[-2] if len(output) > 2 else 1
    front, back = (max(_LOWEST_PX, round(_TALLEST_PX * math.sqrt(size / largest))) for size in (height, width))
    thick = round(_THICK_PX + _THICK_STEP_PX * math.log2(output[-1]))
    return Cuboid(front, thick, round(_SLANT * back))


@dataclass(frozen=True, slots=True)
class _Column:
    """A block with its texts, below each other: what it is, what follows, its output, its parameters."""

    block: Block
    size: Cuboid
    layer: tuple[str, ...]
    then: tuple[str, ...]
    output: str
    parameters: str

    def width(self, font: ImageFont.FreeTypeFont) -> int:
        texts = (*self.layer, *self.then, self.output, self.parameters)
        return max(self.size.width, *(math.ceil(font.getlength(text)) for text in texts)) + _GAP_PX


def picture(trace: Trace) -> Image.Image:
    """The network's blocks with their output sizes and parameters, branches as arcs above them; mode `RGB`."""
    found = blocks(trace)
    maps = [block.output for block in found if len(block.output) > 1]
    largest = max((max(output[:-1]) for output in maps), default=1)
    columns = [_column(block, largest) for block in found]
    title = f"{printable(trace.network.name)}: {_facts(trace)}"
    texts = [title, *(text for one in columns for text in (*one.layer, *one.then))]
    face = typeface(frozenset("".join(texts) + "0123456789,x/"))
    font, heading = font_of(face, MIN_TEXT_PX), font_of(face, _TITLE_PX)
    return _drawn(columns, title, font, heading)


def _column(block: Block, largest: int) -> _Column:
    then = (", ".join(dict.fromkeys(block.then)),) if block.then else ()
    parameters = f"{block.parameters:,}" if block.parameters else ""
    return _Column(block, cuboid(block.output, largest), block.lines, then, joined(block.output), parameters)


def _facts(trace: Trace) -> str:
    layers = len(trace.layers)
    return f"{layers:,} layers, {trace.parameters:,} parameters, {trace.macs:,} multiplications for one image"


def _drawn(
    columns: Sequence[_Column], title: str, font: ImageFont.FreeTypeFont, heading: ImageFont.FreeTypeFont
) -> Image.Image:
    heads = ("layer", "then", "output", "parameters")
    beside = math.ceil(max(font.getlength(head) for head in heads)) + _GAP_PX
    widths = [column.width(font) for column in columns]
    line = round(_LINE * MIN_TEXT_PX)
    layers, thens = max(len(column.layer) for column in columns), max(len(column.then) for column in columns)
    room = max(column.size.height + column.size.depth for column in columns) + 2 * _ARC_PX
    top = _MARGIN_PX + round(_LINE * _TITLE_PX)
    axis = top + _ARC_PX + room // 2 + _MARGIN_PX // 2
    text_top = top + room + _MARGIN_PX
    rows = (text_top, text_top + layers * line, text_top + (layers + thens) * line)
    size = (
        max(beside + sum(widths), math.ceil(heading.getlength(title))) + 2 * _MARGIN_PX,
        rows[2] + 2 * line + _MARGIN_PX,
    )
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN_PX, _MARGIN_PX), title, _INK, heading, anchor="lt")
    for head, y in zip(heads, (*rows, rows[2] + line), strict=True):
        if head != "then" or thens:
            draw.text((_MARGIN_PX, y), head, _FAINT, font, anchor="lt")
    centres = [
        _MARGIN_PX + beside + before + width // 2
        for before, width in zip(itertools.accumulate(widths, initial=0), widths, strict=False)
    ]
    for number, (column, x) in enumerate(zip(columns, centres, strict=True)):
        left = x - column.size.width // 2
        if number:
            end = centres[number - 1] + columns[number - 1].size.width // 2
            _arrow(draw, end + 4, left - 4, axis)
        _draw_cuboid(draw, left, axis, column)
        texts = [(rows[0] + line * at, text) for at, text in enumerate(column.layer)]
        texts += [(rows[1] + line * at, text) for at, text in enumerate(column.then)]
        texts += [(rows[2], column.output), (rows[2] + line, column.parameters)]
        for y, text in texts:
            draw.text((x, y), text, _INK, font, anchor="mt")
    return canvas


def _arrow(draw: ImageDraw.ImageDraw, start: int, end: int, y: int) -> None:
    draw.line((start, y, end, y), _FAINT, 2)
    draw.polygon(((end, y), (end - 8, y - 5), (end - 8, y + 5)), _FAINT)


def _draw_cuboid(draw: ImageDraw.ImageDraw, left: int, axis: int, column: _Column) -> None:
    """A cuboid whose middle is at `axis`: its front narrow, as thick as there are channels, its side the map."""
    size = column.size
    colour = _colour(column.block)
    top = axis - size.height // 2 + size.depth // 2
    bottom = top + size.height
    right = left + size.thick
    if column.block.join:
        _draw_shortcut(draw, left, right + size.depth, top - size.depth, axis)
    back = (right + size.depth, top - size.depth)
    side = ((right, top), back, (back[0], bottom - size.depth), (right, bottom))
    lid = ((left, top), (left + size.depth, top - size.depth), back, (right, top))
    draw.polygon(side, _shaded(colour, 0.72), _INK)
    draw.polygon(lid, _shaded(colour, 0.88), _INK)
    draw.rectangle((left, top, right, bottom), colour, _INK)


def _draw_shortcut(draw: ImageDraw.ImageDraw, left: int, right: int, top: int, axis: int) -> None:
    """What goes past a block and meets its output: a line from before it to behind it."""
    before, behind, above = left - _GAP_PX // 3, right + _GAP_PX // 3, top - _ARC_PX // 2
    colour = _shaded(_COLOURS["join"], 0.8)
    draw.line(((before, axis), (before, above), (behind, above), (behind, axis)), colour, 3, joint="curve")
    draw.ellipse((behind - 6, axis - 6, behind + 6, axis + 6), _PAPER, colour, 2)
    draw.line((behind - 3, axis, behind + 3, axis), colour, 2)
    draw.line((behind, axis - 3, behind, axis + 3), colour, 2)


def _colour(block: Block) -> Colour:
    if block.join:
        return _COLOURS["join"]
    groups = [_GROUPS.get(kind, "other") for kind in block.kinds]
    return _COLOURS[max(set(groups), key=lambda group: (group != "other", groups.count(group), group))]


def _shaded(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(value * share) for value in colour)
    return red, green, blue
