"""A worked exercise as pictures, one for each step: the window, its products, and the result as it fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnncli.errors import ShapeError
from cnncli.explanations import Exercise
from cnncli.fonts import font_of, typeface
from cnncli.frames import draw_frame
from cnncli.kernels import Kernel, Matrix
from cnncli.layout import number
from cnncli.numbergrid import Colour, cell_px, number_grid
from cnncli.palette import DISTINCT
from cnncli.setting import Pair, Pool, Setting
from cnncli.sheet import check_pixels, contact_sheet
from cnncli.worked import by, correlate, pool, pool_steps, shape, steps
from cnncli.worked_text import pool_spelled, spelled

MOST_STEPS = 100  # a map of 10x10: a minute and a half of animation
_TEXT_PX = 20
_MARGIN_PX, _SIGN_PX = 20, 44  # around everything; for x, = and the like between matrices
_INK, _PAPER = (25, 25, 25), (255, 255, 255)
_PLAIN, _PADDING, _WINDOW, _KERNEL = (255, 255, 255), (222, 222, 222), (255, 224, 178), (200, 225, 245)
_DONE, _NOW, _OPEN = (205, 235, 220), (120, 205, 170), (245, 245, 245)
_FRAME, _RESULT = DISTINCT[1], DISTINCT[2]

Cells = dict[Pair, Fraction]  # by (row, column), counted from 1; what is outside of the matrix is padding


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix with a title and a sign before it."""

    sign: str
    title: str
    texts: tuple[tuple[str, ...], ...]
    fills: tuple[tuple[Colour, ...], ...]
    framed: tuple[Pair, Pair] | None = None  # (rows, columns) of a frame: from and to, counted from 0
    frame: Colour = _FRAME


@dataclass(frozen=True, slots=True)
class Scene:
    """What one picture shows."""

    grids: tuple[Grid, ...]
    lines: tuple[str, ...]


def scenes(exercise: Exercise, exact: bool = False) -> list[Scene]:
    """A scene for each number of each map, in order.

    Raises ShapeError for what is impossible or has too many steps, KernelError for a kernel of several channels.
    """
    count = sum(vertical.output * horizontal.output for vertical, horizontal in exercise.places)
    if count > MOST_STEPS:
        raise ShapeError(f"{count:,} steps: at most {MOST_STEPS} are drawn; expected a smaller matrix or more stride")
    found: list[Scene] = []
    current = exercise.matrix
    if exercise.kernel is not None:
        found += _convolution(current, exercise.kernel, exercise.setting, exact)
        current = correlate(current, exercise.kernel, exercise.setting)
    for pooling in exercise.pools:
        found += _pooling(current, pooling, exact)
        current = pool(current, pooling)
    return found


def pictures(scenes: Sequence[Scene]) -> list[Image.Image]:
    """The scenes on canvases of one size, their matrices in cells of one size; mode `RGB`.

    Raises CnncliError for more than can be in memory at once.
    """
    rows = [row for scene in scenes for grid in scene.grids for row in grid.texts]
    side = cell_px(rows, _TEXT_PX)
    layouts = [_layout(scene, side) for scene in scenes]
    width, height = max(layout.size[0] for layout in layouts), max(layout.size[1] for layout in layouts)
    what = f"{len(scenes)} pictures of {width:,}x{height:,} pixels"
    check_pixels(len(scenes) * width * height, what, "a smaller matrix or more stride")
    return [_drawn(scene, layout, side, (width, height)) for scene, layout in zip(scenes, layouts, strict=True)]


def sheet(frames: Sequence[Image.Image]) -> Image.Image:
    """All steps on one picture, numbered."""
    return contact_sheet([(f"step {at} of {len(frames)}", frame) for at, frame in enumerate(frames, 1)])


def _convolution(matrix: Matrix, kernel: Kernel, setting: Setting, exact: bool) -> Iterator[Scene]:
    made = list(steps(matrix, kernel, setting))
    cells = _cells(matrix)
    for step in made:
        for row, values in zip(step.patch.rows, step.patch.values, strict=True):
            cells |= {(row, column): value for column, value in zip(step.patch.columns, values, strict=True)}
    done: Cells = {}
    output = (made[-1].patch.row, made[-1].patch.column)
    for step in made:
        at = (step.patch.row, step.patch.column)
        done[at] = step.sum
        grids = (
            _input(cells, shape(matrix), step.patch.rows, step.patch.columns, exact),
            _filled("x", "kernel", step.weights, _KERNEL, exact),
            _filled("=", "products", step.products, _WINDOW, exact),
            _result("sum", done, at, output, exact),
        )
        yield Scene(grids, _told(at, spelled(step, exact)))


def _told(at: Pair, sums: list[str]) -> tuple[str, ...]:
    return f"row {at[0]}, column {at[1]}:  {sums[0]}", *sums[1:]


def _pooling(matrix: Matrix, pooling: Pool, exact: bool) -> Iterator[Scene]:
    made = list(pool_steps(matrix, pooling))
    cells, done = _cells(matrix), Cells()
    output = (made[-1].row, made[-1].column)
    for step in made:
        at = (step.row, step.column)
        done[at] = step.value
        sign = "max" if pooling.kind == "max" else "mean"
        grids = (
            _input(cells, shape(matrix), step.rows, step.columns, exact),
            _result(sign, done, at, output, exact, "pooled"),
        )
        yield Scene(grids, _told(at, pool_spelled(step, pooling, exact)))


def _cells(matrix: Matrix) -> Cells:
    return {(row, column): value for row, values in enumerate(matrix, 1) for column, value in enumerate(values, 1)}


def _input(cells: Cells, size: Pair, rows: tuple[int, ...], columns: tuple[int, ...], exact: bool) -> Grid:
    """The matrix and its padding with the window marked."""
    first, last = min(cells), max(cells)
    downs, acrosses = range(first[0], last[0] + 1), range(min(c for _, c in cells), max(c for _, c in cells) + 1)

    def fill(row: int, column: int) -> Colour:
        if row in rows and column in columns:
            return _WINDOW
        return _PLAIN if 1 <= row <= size[0] and 1 <= column <= size[1] else _PADDING

    texts = tuple(
        tuple(number(cells[row, column], exact) if (row, column) in cells else "" for column in acrosses)
        for row in downs
    )
    fills = tuple(tuple(fill(row, column) for column in acrosses) for row in downs)
    window = (
        (rows[0] - downs.start, rows[-1] + 1 - downs.start),
        (columns[0] - acrosses.start, columns[-1] + 1 - acrosses.start),
    )
    return Grid("", f"input {by(size)}", texts, fills, window)


def _filled(sign: str, title: str, matrix: Matrix, colour: Colour, exact: bool) -> Grid:
    texts = tuple(tuple(number(value, exact) for value in row) for row in matrix)
    return Grid(sign, title, texts, tuple(tuple(colour for _ in row) for row in matrix))


def _result(sign: str, done: Cells, now: Pair, size: Pair, exact: bool, title: str = "feature map") -> Grid:
    """The map as far as it is known."""
    places = [[(row, column) for column in range(1, size[1] + 1)] for row in range(1, size[0] + 1)]
    texts = tuple(tuple(number(done[at], exact) if at in done else "" for at in row) for row in places)
    fills = tuple(tuple(_NOW if at == now else _DONE if at in done else _OPEN for at in row) for row in places)
    framed = ((now[0] - 1, now[0]), (now[1] - 1, now[1]))
    return Grid(sign, f"{title} {by(size)}", texts, fills, framed, _RESULT)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How much room the parts of a scene take, in pixels."""

    font: ImageFont.FreeTypeFont
    line: int
    widths: tuple[int, ...]  # of the grids with their titles
    signs: tuple[int, ...]  # of the signs before them
    tallest: int  # of the grids
    size: Pair  # of everything: width, height


def _layout(scene: Scene, side: int) -> _Layout:
    texts = [*scene.lines, *(grid.title + grid.sign for grid in scene.grids)]
    font = font_of(typeface(frozenset("".join(texts))), _TEXT_PX)
    line = round(1.5 * _TEXT_PX)
    widths = tuple(max(side * len(grid.texts[0]), round(font.getlength(grid.title))) for grid in scene.grids)
    signs = tuple(0 if not grid.sign else round(font.getlength(grid.sign)) + _SIGN_PX for grid in scene.grids)
    width = max(sum(widths) + sum(signs), *(round(font.getlength(text)) for text in scene.lines))
    tallest = side * max(len(grid.texts) for grid in scene.grids)
    height = line + tallest + _MARGIN_PX + line * len(scene.lines)
    return _Layout(font, line, widths, signs, tallest, (width + 2 * _MARGIN_PX, height + 2 * _MARGIN_PX))


def _drawn(scene: Scene, layout: _Layout, side: int, size: Pair) -> Image.Image:
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    font, line = layout.font, layout.line
    x, middle = _MARGIN_PX, _MARGIN_PX + line + layout.tallest // 2
    for grid, across, sign in zip(scene.grids, layout.widths, layout.signs, strict=True):
        draw.text((x + sign / 2, middle), grid.sign, _INK, font, anchor="mm")
        x += sign
        top, left = middle - side * len(grid.texts) // 2, x + (across - side * len(grid.texts[0])) // 2
        draw.text((x + across / 2, top - line / 2), grid.title, _INK, font, anchor="mm")
        fills = np.array(grid.fills, np.uint8)
        canvas.paste(number_grid(grid.texts, fills, text_px=_TEXT_PX, side=side), (left, top))
        if grid.framed is not None:
            (above, below), (begin, end) = grid.framed
            box = (left + side * begin, top + side * above, left + side * end + 1, top + side * below + 1)
            draw_frame(canvas, box, grid.frame)
        x += across
    for at, text in enumerate(scene.lines):
        y = _MARGIN_PX + line + layout.tallest + _MARGIN_PX + line * at
        draw.text((_MARGIN_PX, y), text, _INK, font, anchor="lt")
    return canvas
