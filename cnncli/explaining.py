"""The arithmetic behind a layer's figures, line by line, and what a fully connected layer would take instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from cnncli.grammar import token
from cnncli.layers import axis_name
from cnncli.shapes import Placement, Spread
from cnncli.solving import whole_choices
from cnncli.text import printable
from cnncli.tracing import FLOAT_BYTES, Row, Trace, joined

_LABEL_COLUMNS = 13

Fact = tuple[str, str]  # what, and the text that says it


def facts(row: Row) -> list[Fact]:
    """Output, formula, parameters, MACs, memory and receptive field of a layer, each with its numbers in it."""
    lines = [("output", joined(row.measure.output)), *_size_facts(row)]
    lines.append(("parameters", _parameters(row)))
    if row.measure.macs:
        lines.append(("MACs", _macs(row)))
    lines.append(("activations", _activations(row)))
    lines += _field_facts(row)
    return lines


def card(lines: Sequence[Fact], width: int | None = None, indent: str = "") -> str:
    """`what: text` lines, wrapped to `width` columns below the beginning of their text."""
    import textwrap

    written = []
    for what, text in lines:
        head = f"{indent}{what + ':':{_LABEL_COLUMNS}} "
        wrapper = textwrap.TextWrapper(
            max(width or 10**6, 2 * len(head)),
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_on_hyphens=False,
        )
        written.append(wrapper.fill(text) + "\n")
    return "".join(written)


def explanation(trace: Trace, width: int | None = None) -> str:
    """The arithmetic of every layer below its name."""
    return "".join(
        f"{printable(row.node.name)}, {token(row.node.layer)}\n{card(facts(row), width, '  ')}" for row in trace.layers
    )


def totals(trace: Trace) -> str:
    """The sums of a network in two lines."""
    fixed = f", {trace.statistics:,} of them not trained" if trace.statistics else ""
    return (
        f"input {joined(trace.network.input)}, {trace.parameters:,} parameters{fixed}\n"
        f"{trace.macs:,} MACs and {trace.activation_bytes:,} bytes of activations an image"
    )


def notes(row: Row) -> list[str]:
    """What rounding leaves out of a layer's input: nothing that is wrong, but nothing to overlook."""
    return [f"{name}: {text}" if name else text for name, axis in _distinct(row) for text in _losses(axis)]


def output_note(trace: Trace) -> str | None:
    """A word on a dense layer that was given a map, as when a flatten was forgotten; None where all is well."""
    kinds = {row.node.layer.kind for row in trace.layers}
    mapped = [row for row in trace.layers if row.node.layer.kind == "dense" and len(row.inputs[0]) > 1]
    if not mapped or kinds & {"flatten", "gap", "gmp", "reshape"}:
        return None
    places = joined(mapped[0].inputs[0][:-1])
    return f"{mapped[0].node.name} works on the channels of each of {places} places; for one vector put flatten before"


def as_text(value: Fraction) -> str:
    """A fraction as a decimal where that ends soon, else as `18 1/3`."""
    whole, rest = divmod(value.numerator, value.denominator)
    if rest == 0:
        return str(whole)
    if 1000 % value.denominator == 0:
        return f"{whole}.{rest * 1000 // value.denominator:03d}".rstrip("0")
    return f"{whole} {rest}/{value.denominator}" if whole else f"{rest}/{value.denominator}"


def _distinct(row: Row) -> list[tuple[str, Placement | Spread]]:
    """The axes with their names, or a single nameless one if they are all alike."""
    axes = row.measure.axes
    if len(set(axes)) == 1:
        return [("", axes[0])]
    return [(axis_name(index, len(axes)), axis) for index, axis in enumerate(axes)]


def _size_facts(row: Row) -> list[Fact]:
    kind, shape = row.node.layer.kind, row.inputs[0]
    if kind in ("gap", "gmp"):
        what = "mean" if kind == "gap" else "maximum"
        return [("size", f"the {what} of {joined(shape[:-1])} values in each of {shape[-1]} channels")]
    if kind == "flatten":
        return [("size", f"{' * '.join(map(str, shape))} = {row.measure.output[0]:,}")]
    lines = []
    for name, axis in _distinct(row):
        lines += [(name or "size", text) for text in _formula(row, axis)]
        lines += [("cut off", text) for text in _losses(axis)]
        if isinstance(axis, Placement) and (choices := whole_choices(axis)):
            near = ", ".join(f"{change.what} {change.value} ({change.output})" for change in choices)
            lines.append(("whole with", near))
    return lines


def _formula(row: Row, axis: Placement | Spread) -> list[str]:
    window, padding = axis.window, _ends(axis)
    extent, symbol = str(window.extent), "k"
    lines = []
    if window.dilation > 1:
        symbol = "e"
        lines.append(f"e = d * (k - 1) + 1 = {window.dilation} * ({window.kernel} - 1) + 1 = {extent}")
    if isinstance(axis, Spread):
        terms = f"({axis.size} - 1) * {window.stride} + {extent} - {padding}"
        return [*lines, f"o = (n - 1) * s + {symbol} - p = {terms} = {axis.output}"]
    if row.node.layer.padding == "same":
        lines.append(f"same: o = ceil(n / s) = ceil({axis.size} / {window.stride}) = {axis.output}")
        total = f"(o - 1) * s + {symbol} - n = ({axis.output} - 1) * {window.stride} + {extent} - {axis.size}"
        needed = (axis.output - 1) * window.stride + window.extent - axis.size
        at_least = f", at least 0: {axis.before} + {axis.after}" if needed < 0 else f" = {axis.before} + {axis.after}"
        return [*lines, f"p = {total} = {needed}{at_least}"]
    rounding = "ceil" if row.node.layer.ceil else "floor"
    terms = f"({axis.size} + {padding} - {extent}) / {window.stride}"
    whole = "" if axis.exact.denominator == 1 else f" = {rounding}({as_text(axis.exact)})"
    clipped = " - 1" if axis.output < axis.exact and row.node.layer.ceil else ""  # it would see padding only
    return [
        *lines,
        f"o = {rounding}((n + p - {symbol}) / s + 1) = {rounding}({terms} + 1){whole}{clipped} = {axis.output}",
    ]


def _ends(axis: Placement | Spread) -> str:
    """The padding of both ends as a term."""
    if axis.before != axis.after:
        return f"({axis.before} + {axis.after})"
    return f"2*{axis.before}" if axis.before else "0"


def _losses(axis: Placement | Spread) -> list[str]:
    if isinstance(axis, Spread):
        return []
    found = []
    lost, window = axis.unused - axis.after, axis.window
    skipped = window.stride - window.extent
    if axis.exact.denominator > 1 and axis.unused > max(0, skipped):
        cut = f"{lost} of {axis.size} at the end left out" if lost > 0 else f"{axis.unused} of the padding left out"
        found.append(f"{as_text(axis.exact)} becomes {axis.output}, {cut}")
    if axis.unused < 0:
        found.append(
            f"{as_text(axis.exact)} becomes {axis.output}, the last window reaches {-axis.unused} over the end"
        )
    if skipped > 0 and axis.output > 1:
        found.append(f"stride {window.stride} skips {skipped} of every {window.stride}")
    return found


def _parameters(row: Row) -> str:
    layer, found = row.node.layer, row.measure
    if row.node.shares:
        return "0: it shares those of an earlier layer"
    if not found.parameters:
        return "0"
    parts = [f"{_weight_terms(row)} weights"] if found.weights else []
    if found.biases:
        one, many = ("shift", "shifts") if layer.kind in ("bn", "ln") else ("bias", "biases")
        parts.append(f"{found.biases:,} {one if found.biases == 1 else many}")
    if found.statistics:
        parts.append(f"{found.statistics:,} statistics that are not trained")
    return f"{' + '.join(parts)} = {found.parameters:,}"


def _weight_terms(row: Row) -> str:
    layer, found, channels = row.node.layer, row.measure, row.inputs[0][-1]
    kernel = [axis.window.kernel for axis in found.axes]
    factors = {
        "conv": [*kernel, channels // layer.groups, layer.units],
        "tconv": [*kernel, channels, layer.units],
        "dwconv": [*kernel, found.output[-1]],
        "dense": [channels, layer.units],
    }.get(layer.kind, [])
    if not factors:
        return f"{found.weights:,}"
    return " * ".join(map(str, factors))


def _macs(row: Row) -> str:
    found = row.measure
    transposed = row.node.layer.kind == "tconv"
    places = row.inputs[0][:-1] if transposed else found.output[:-1]
    terms = [*map(str, places), f"{found.weights:,} weights"]
    return f"{' * '.join(terms)} = {found.macs:,}"


def _activations(row: Row) -> str:
    terms = " * ".join(map(str, row.measure.output))
    return f"{terms} values * {FLOAT_BYTES} bytes = {row.activation_bytes:,} bytes"


def _field_facts(row: Row) -> list[Fact]:
    field = row.field
    if field.sizes is None:
        return [("field", "the whole input")]
    text = joined(field.sizes)
    return [("field", f"{text} of the input" + (f", jump {jump_text(field.jump)}" if field.jump else ""))]


def jump_text(jump: tuple[Fraction, ...]) -> str:
    """`2`, `1/2`, or `2x1` where axes differ."""
    each = [str(value) for value in jump]
    return each[0] if len(set(each)) == 1 else "x".join(each)


@dataclass(frozen=True, slots=True)
class DenseTwin:
    """What a fully connected layer would take in the place of a convolution, on the same input."""

    row: Row
    nodes: int  # as many as the convolution has filters
    values: int  # as many as its output has values

    @property
    def inputs(self) -> int:
        return prod(self.row.inputs[0])

    @property
    def node_weights(self) -> int:
        """Weights of a layer with a node for each filter."""
        return self.inputs * self.nodes

    @property
    def value_weights(self) -> int:
        """Weights of a layer that computes as many values."""
        return self.inputs * self.values


def dense_twins(trace: Trace) -> list[DenseTwin]:
    """One for each convolution of a network."""
    kinds = ("conv", "dwconv", "sepconv", "tconv")
    return [
        DenseTwin(row, row.measure.output[-1], prod(row.measure.output))
        for row in trace.layers
        if row.node.layer.kind in kinds
    ]


def twin_facts(twin: DenseTwin) -> list[Fact]:
    """The comparison for one convolution, with the numbers in it."""
    own = twin.row.measure
    return [
        ("convolution", f"{own.weights:,} weights, {own.parameters:,} with biases"),
        ("dense, nodes", f"a node for each filter: {_compared(twin, twin.nodes)}"),
        ("dense, map", f"a node for each value: {_compared(twin, twin.values)}"),
    ]


def _compared(twin: DenseTwin, nodes: int) -> str:
    weights = twin.inputs * nodes
    more = times(weights, twin.row.measure.weights)
    return f"{twin.inputs:,} * {nodes:,} = {weights:,} weights, {weights + nodes:,} with biases: {more} times as many"


def times(weights: int, own: int) -> str:
    """How many times as many, to a tenth, in exact arithmetic."""
    tenths = (20 * weights + own) // (2 * own)
    return f"{tenths // 10:,}.{tenths % 10}"
