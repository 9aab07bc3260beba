"""What one cell of a layer's map sees of the network's input, exactly, in elements. Standard library only.

Windows are followed back from the cell through every path to the input, as Araujo, Norris and Sim describe it
(https://distill.pub/2019/computing-receptive-fields), with the padding of each layer where it really lies. Gates are
left out: as in a squeeze-and-excitation block (arXiv:1709.01507), they weigh whole maps by one number each, which is
made from all of the input and says nothing about where a cell looks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from cnncli.errors import ModelError, ShapeError
from cnncli.layers import CONVOLUTIONS, WINDOWED, Layer, Shape, per_axis
from cnncli.shapes import Placement, Spread
from cnncli.tracing import Row, Trace, joined

Span = tuple[int, int]  # from the first element to the one behind the last, counted from 0
Spans = tuple[Span, ...]  # for each axis

MOST_SHOWN = 7


@dataclass(frozen=True, slots=True)
class View:
    """What one cell of a layer sees of the input."""

    row: Row
    cell: tuple[int, ...]  # its place in the layer's map, counted from 0
    field: Spans | None  # with what lies in the padding, where numbers below 0 are before the input; None: everything
    seen: Spans  # those of the input's elements that can change the cell, first to last; empty if none can
    gated: bool = False  # gates were left out, by which everything else can change it too

    @property
    def size(self) -> tuple[int, ...]:
        """Of the receptive field, padding included, or of the whole input."""
        return tuple(end - start for start, end in self.field or self.seen)


def view(trace: Trace, index: int, cell: tuple[int, ...] | None = None) -> View:
    """What a cell (default: the middle one) of the layer at `index` of `trace.rows` sees.

    Raises ShapeError for a cell that the layer does not have, or a layer that has no map.
    """
    row = trace.rows[index]
    sizes = row.measure.output[:-1]
    if not sizes:
        raise ShapeError(f"{row.node.name}: its output is a vector, each value of which may see everything")
    cell = tuple(size // 2 for size in sizes) if cell is None else cell
    if len(cell) != len(sizes) or not all(0 <= place < size for place, size in zip(cell, sizes, strict=False)):
        raise ShapeError(f"{row.node.name}: no cell {','.join(map(str, cell))} in a map of {joined(sizes)}")
    start: Spans = tuple((place, place + 1) for place in cell)
    whole, within = (_back(trace, index, start, inside=inside) for inside in (False, True))
    size = trace.network.input[:-1]
    full: Spans = tuple((0, length) for length in size)
    nothing: Spans = tuple((0, 0) for _ in size)
    field, seen = whole.get(0, nothing), within.get(0, nothing)
    gated = any(_is_gate(trace.rows[at], shape) for at in whole for shape in trace.rows[at].inputs)
    return View(row, cell, field, full if seen is None else seen, gated)


def nested(trace: Trace, index: int, cell: tuple[int, ...] | None = None) -> list[View]:
    """What that cell sees and what those below it see, of the layers with windows; at most `MOST_SHOWN`, small first.

    Below are the cells in the middle of what it sees of each layer. Of many layers the last of each map size is
    taken, and of those that see the same the last.
    """
    top = view(trace, index, cell)
    spans = _back(trace, index, tuple((place, place + 1) for place in top.cell), inside=True)
    below = [at for at in sorted(spans) if at < index and trace.rows[at].node.layer.kind in WINDOWED]
    if len(below) >= MOST_SHOWN:
        last = {trace.rows[at].measure.output[:-1]: at for at in below}
        below = sorted(last.values())[-MOST_SHOWN + 1 :]
    found: dict[Spans | None, View] = {}
    for at in below:
        if (span := spans[at]) is not None:
            one = view(trace, at, tuple((first + end - 1) // 2 for first, end in span))
            found[one.field] = one
    found.pop(top.field, None)
    return [*found.values(), top]


def last_with_window(trace: Trace) -> int:
    """The index of the last layer whose cells see a part of the input. Raises ShapeError if there is none."""
    for index in reversed(range(len(trace.rows))):
        row = trace.rows[index]
        if row.node.layer.kind in WINDOWED and len(row.measure.output) > 1 and max(row.measure.output[:-1]) > 1:
            return index
    raise ShapeError(f"{trace.network.name}: it has no convolution or pooling layer whose output is a map")


def find_layer(trace: Trace, name: str) -> int:
    """The index of the last layer called so, or of a convolution by its number, from 0; -1 is the last.

    Raises ModelError.
    """
    names = [row.node.name for row in trace.rows]
    if name in names:
        return len(names) - 1 - names[::-1].index(name)
    convolutions = [at for at, row in enumerate(trace.rows) if row.node.layer.kind in CONVOLUTIONS]
    digits, count = name.removeprefix("-"), len(convolutions)
    if digits.isascii() and digits.isdigit() and -count <= int(name) < count:
        return convolutions[int(name)]
    close = difflib.get_close_matches(name, names, n=1)
    first = ", ".join([*names[:8], "..."] if len(names) > 8 else names)
    numbers = f", or a convolution by number, 0 to {count - 1}" if count else ""
    hint = f"did you mean {close[0]}?" if close else f"give one of {first}{numbers}"
    raise ModelError(f"--layer {name}: {trace.network.name} has no such layer; {hint}")


def _back(trace: Trace, index: int, start: Spans, *, inside: bool) -> dict[int, Spans | None]:
    """By node, what of its map the cells `start` of node `index` depend on; None is all of it.

    `inside` leaves out what lies in the padding of a layer, whose zeros nothing in the input changes. Nodes of which
    nothing is seen are left out, too.
    """
    found: dict[int, Spans | None] = {index: start}
    for at in range(index, -1, -1):
        if at not in found:
            continue
        for before, span in _inputs(trace.rows[at], found[at]):
            sizes = trace.rows[before].measure.output[:-1]
            if inside and span is not None:
                span = tuple((max(0, a), min(size, b)) for (a, b), size in zip(span, sizes, strict=True))
            if span is not None and any(a >= b for a, b in span):
                continue
            found[before] = _hull(found[before], span) if before in found else span
    return found


def _hull(one: Spans | None, other: Spans | None) -> Spans | None:
    if one is None or other is None:
        return None
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))


def _inputs(row: Row, spans: Spans | None) -> Iterator[tuple[int, Spans | None]]:
    """What a layer's cells depend on, for each of its inputs that is no gate."""
    for before, shape in zip(row.node.inputs, row.inputs, strict=True):
        if not _is_gate(row, shape):
            yield before, None if spans is None else _through(row, spans, shape)


def _is_gate(row: Row, shape: Shape) -> bool:
    """Whether an input of that shape is one number for each of the maps that it is merged with."""
    return len(row.inputs) > 1 and max(shape[:-1], default=1) == 1 < max(row.measure.output[:-1], default=1)


def _through(row: Row, spans: Spans, shape: Shape) -> Spans | None:
    layer, sizes = row.node.layer, shape[:-1]
    if row.measure.axes:
        return tuple(_window(axis, span) for axis, span in zip(row.measure.axes, spans, strict=True))
    if layer.kind in ("zeropad", "crop"):
        sign = 1 if layer.kind == "crop" else -1
        shifts = [sign * before for before, _ in _pairs(layer, len(sizes))]
        return tuple((first + shift, end + shift) for (first, end), shift in zip(spans, shifts, strict=True))
    if layer.kind in ("upsample", "resize"):
        return tuple(
            (first * size // out, -(-end * size // out))
            for (first, end), size, out in zip(spans, sizes, row.measure.output[:-1], strict=True)
        )
    if layer.kind in ("gap", "gmp", "flatten", "reshape") or len(sizes) != len(spans):
        return None
    # a merge repeats what has size 1 along an axis
    return tuple((0, 1) if size == 1 else span for span, size in zip(spans, sizes, strict=True))


def _pairs(layer: Layer, axes: int) -> list[tuple[int, int]]:
    return per_axis(tuple(pair for pair in layer.padding if isinstance(pair, tuple)), axes, "padding")


def _window(axis: Placement | Spread, span: Span) -> Span:
    """The inputs of a window's outputs, along one axis."""
    first, last = span[0], span[1] - 1
    stride, extent = axis.window.stride, axis.window.extent
    if isinstance(axis, Spread):  # input i spreads to the outputs i * stride - before and the extent from there
        return -(-(first + axis.before - extent + 1) // stride), (last + axis.before) // stride + 1
    return first * stride - axis.before, last * stride - axis.before + extent
