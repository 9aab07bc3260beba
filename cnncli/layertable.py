"""A network worked out, for machines and pipes: JSON of schema 1, CSV, Markdown and tab-separated text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from cnncli.explaining import DenseTwin, as_text, dense_twins, facts, jump_text, notes, times
from cnncli.formats import SCHEMA
from cnncli.grammar import token, written_pairs
from cnncli.layers import WINDOWED, Sizes
from cnncli.shapes import Placement, Spread
from cnncli.text import csv_lines, printable
from cnncli.tracing import Row, Trace, joined

COLUMNS = "name layer inputs output kernel stride padding parameters macs activation_bytes receptive_field jump".split()
TWIN_COLUMNS = "name inputs filters weights dense_node_weights node_ratio values dense_map_weights map_ratio".split()
SOLUTION_COLUMNS = "axis kernel stride padding exact output left_out".split()

Cells = tuple[str, ...]


def trace_object(trace: Trace, *, explain: bool = False, compare_dense: bool = False) -> dict[str, Any]:
    """A network as the JSON object of schema 1. Sizes along axes are lists; a field of null is the whole input."""
    layers = [_layer_object(row, trace) for row in trace.layers]
    if explain:
        for row, layer in zip(trace.layers, layers, strict=True):
            layer["explanation"] = [f"{what}: {text}" for what, text in facts(row)]
    found = {
        "schema": SCHEMA,
        "name": trace.network.name,
        "input": list(trace.network.input),
        "layers": layers,
        "output": list(trace.output),
        "parameters": trace.parameters,
        "trainable": trace.parameters - trace.statistics,
        "macs": trace.macs,
        "activation_bytes": trace.activation_bytes,
    }
    if compare_dense:
        found["dense"] = [_twin_object(twin) for twin in dense_twins(trace)]
    return found


def _layer_object(row: Row, trace: Trace) -> dict[str, Any]:
    node, found, axes = row.node, row.measure, row.measure.axes
    return {
        "name": node.name,
        "layer": token(node.layer),
        "inputs": [trace.network.nodes[index].name for index in node.inputs],
        "output": list(found.output),
        "kernel": [axis.window.kernel for axis in axes] or None,
        "stride": [axis.window.stride for axis in axes] or None,
        "dilation": [axis.window.dilation for axis in axes] or None,
        "padding": [[axis.before, axis.after] for axis in axes] or None,
        "groups": node.layer.groups,
        "exact": [_number(axis.exact) for axis in axes if isinstance(axis, Placement)] or None,
        "parameters": row.parameters,
        "weights": found.weights,
        "biases": found.biases,
        "statistics": found.statistics,
        "macs": found.macs,
        "activation_bytes": row.activation_bytes,
        "receptive_field": None if row.field.sizes is None else list(row.field.sizes),
        "jump": None if row.field.jump is None else [_number(jump) for jump in row.field.jump],
        "notes": notes(row),
    }


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else value.numerator / value.denominator


def _twin_object(twin: DenseTwin) -> dict[str, Any]:
    return {
        "name": twin.row.node.name,
        "weights": twin.row.measure.weights,
        "parameters": twin.row.measure.parameters,
        "nodes": twin.nodes,
        "node_weights": twin.node_weights,
        "node_parameters": twin.node_weights + twin.nodes,
        "values": twin.values,
        "map_weights": twin.value_weights,
        "map_parameters": twin.value_weights + twin.values,
    }


def trace_rows(trace: Trace) -> list[Cells]:
    """The layers as rows of text without units: COLUMNS names the columns."""
    return [_cells(row, trace) for row in trace.layers]


def _cells(row: Row, trace: Trace) -> Cells:
    layer, axes = row.node.layer, row.measure.axes
    return (
        row.node.name,
        token(layer),
        ",".join(trace.network.nodes[index].name for index in row.node.inputs),
        joined(row.measure.output),
        axes_text(axis.window.kernel for axis in axes),
        axes_text(axis.window.stride for axis in axes),
        padding_text(axes) if layer.kind in WINDOWED else "",
        str(row.parameters),
        str(row.measure.macs),
        str(row.activation_bytes),
        "all" if row.field.sizes is None else axes_text(row.field.sizes),
        jump_text(row.field.jump) if row.field.jump else "",
    )


def axes_text(sizes: Iterable[int]) -> str:
    """`3`, or `3x5` where axes differ."""
    each: Sizes = tuple(sizes)
    return joined(each[:1] if len(set(each)) == 1 else each)


def padding_text(axes: Sequence[Placement | Spread]) -> str:
    """`1`, `0+1` where the ends differ, `1x2` where the axes do."""
    pairs = tuple((axis.before, max(0, axis.after)) for axis in axes)
    return written_pairs(pairs[:1] if len(set(pairs)) == 1 else pairs)


def total_cells(trace: Trace) -> Cells:
    """The last line of a table: the sums of its columns."""
    sums = (trace.parameters, trace.macs, trace.activation_bytes)
    return ("total", "", "", joined(trace.output), "", "", "", *map(str, sums), "", "")


def twin_rows(trace: Trace) -> list[Cells]:
    """The comparison with fully connected layers as rows of text: TWIN_COLUMNS names the columns."""
    return [
        (
            twin.row.node.name,
            str(twin.inputs),
            str(twin.nodes),
            str(twin.row.measure.weights),
            str(twin.node_weights),
            times(twin.node_weights, twin.row.measure.weights),
            str(twin.values),
            str(twin.value_weights),
            times(twin.value_weights, twin.row.measure.weights),
        )
        for twin in dense_twins(trace)
    ]


def solution_rows(solutions: dict[str, list[Placement] | list[Spread]]) -> list[Cells]:
    """What `solve` found for each axis as rows of text: SOLUTION_COLUMNS names the columns."""
    return [
        (
            axis,
            str(found.window.kernel),
            str(found.window.stride),
            padding_text([found]),
            as_text(found.exact if isinstance(found, Placement) else Fraction(found.output)),
            str(found.output),
            str(max(0, found.unused - found.after) if isinstance(found, Placement) else 0),
        )
        for axis, each in solutions.items()
        for found in each
    ]


def solutions_object(solutions: dict[str, list[Placement] | list[Spread]]) -> dict[str, Any]:
    """What `solve` found for each axis as the JSON object of schema 1."""
    return {
        "schema": SCHEMA,
        "solutions": [_solution(axis, found) for axis, each in solutions.items() for found in each],
    }


def _solution(axis: str, found: Placement | Spread) -> dict[str, Any]:
    return {
        "axis": axis,
        "kernel": found.window.kernel,
        "stride": found.window.stride,
        "dilation": found.window.dilation,
        "padding": [found.before, found.after],
        "exact": _number(found.exact) if isinstance(found, Placement) else found.output,
        "output": found.output,
        "left_out": max(0, found.unused - found.after) if isinstance(found, Placement) else 0,
    }


def as_csv(columns: Sequence[str], rows: list[Cells]) -> str:
    """Rows under their column names, as CSV."""
    return csv_lines([tuple(columns), *rows])


def as_tabs(rows: Iterable[Sequence[str]]) -> str:
    """Rows as lines, their fields separated by tabs."""
    return "".join("\t".join(map(printable, row)) + "\n" for row in rows)


def as_markdown(columns: Sequence[str], rows: list[Cells]) -> str:
    """Rows under their column names, as a table in GitHub's Markdown, figures to the right."""
    figures = {"parameters", "macs", "activation_bytes"}
    lines = [columns, ["---:" if name in figures else "---" for name in columns], *rows]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return printable(cell).replace("\\", "\\\\").replace("|", "\\|")
