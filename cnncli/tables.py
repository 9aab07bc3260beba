"""Results as people read them in a terminal: dataclasses in, Rich tables out, no arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cnncli.formats import INVENTORY_COLUMNS, inventory_rows
from cnncli.text import duration, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from cnncli.inference.compiled import Compiled
    from cnncli.inference.inventory import Bundled, Holding
    from cnncli.inference.pipeline import Result
    from cnncli.layertable import Cells
    from cnncli.learning.plan import Plan
    from cnncli.tracing import Trace

_WIDE_COLUMNS = 64
_BAR_COLUMNS = 20
_INVENTORY_COLUMNS = 72
_NARROW_INVENTORY = ("name", "MB", "top-1", "cached", "compiled")
_LABEL_COLUMNS = 24  # most ImageNet labels fit, so that the blocks of several images line up


def prediction_block(result: Result, width: int) -> RenderableType:
    """One image with its labels, best first, for a terminal of `width` columns: without bars on a narrow one."""
    title = Text(printable(result.source.name), style="bold", overflow="fold")
    if not result.predictions:
        return Group(title, Text("  no label reaches --min-confidence", style="dim"))
    wide = width >= _WIDE_COLUMNS
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(justify="right", width=4 if wide else 2, no_wrap=True)
    table.add_column(justify="right", width=6, no_wrap=True)
    if wide:
        table.add_column(width=_BAR_COLUMNS, no_wrap=True)
    table.add_column(overflow="fold", min_width=_LABEL_COLUMNS if wide else None)
    if wide:
        table.add_column(style="dim", overflow="fold")
    for answer in result.predictions:
        bar = Bar(1.0, 0, answer.score, width=_BAR_COLUMNS, color="cyan")
        named = answer.image_class
        label, class_id = Text(printable(named.words)), Text(printable(named.id))
        if named.id == named.label:  # a model whose classes have no ids of their own
            class_id = Text()
        number, percent = str(answer.rank), f"{answer.score:.1%}"
        table.add_row(*((number, percent, bar, label, class_id) if wide else (number, percent, label)))
    return Group(title, table)


def inventory_table(holdings: list[Holding], own: Bundled, others: list[Compiled], width: int) -> RenderableType:
    """What `models list` shows: all columns from 72 on, the most needed ones in a narrower terminal."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    shown = [name for name in INVENTORY_COLUMNS if width >= _INVENTORY_COLUMNS or name in _NARROW_INVENTORY]
    for name in shown:
        table.add_column(name, justify="left" if name == "name" else "right", overflow="fold", no_wrap=name != "name")
    for row in inventory_rows(holdings, own, others):
        cells = dict(zip(INVENTORY_COLUMNS, row, strict=True))
        table.add_row(*(Text(printable(cells[name])) for name in shown), style="" if row[-1] != "-" else "dim")
    return table


_LAYER_HEADS = {
    "name": "layer", "output": "output", "kernel": "k", "stride": "s", "padding": "p", "parameters": "parameters",
    "macs": "MACs", "activation_bytes": "memory", "receptive_field": "field", "jump": "jump",
}  # fmt: skip
_LAYER_NAME_COLUMNS = 20  # names of layers that are longer are folded where the terminal is narrow
_SPARED = ("jump", "activation_bytes", "receptive_field", "macs", "padding", "stride", "kernel")  # the first one first


def layer_table(trace: Trace, width: int) -> RenderableType:
    """What `shapes` shows of a network in `width` columns: exact where there is room, else MACs are shortened.

    On a very narrow terminal columns are left out.
    """
    from cnncli.layertable import COLUMNS, trace_rows

    rows = [_layer_cells(dict(zip(COLUMNS, row, strict=True))) for row in trace_rows(trace)]
    widths = {name: max(len(head), *(len(cells[name]) for cells in rows)) for name, head in _LAYER_HEADS.items()}
    if sum(widths.values()) + 2 * len(widths) > width:
        rows = [{**cells, "macs": _short(int(cells["macs"].replace(",", "")), "")} for cells in rows]
        widths["macs"] = max(4, *(len(cells["macs"]) for cells in rows))
        widths["name"] = min(widths["name"], _LAYER_NAME_COLUMNS)
    for name in _SPARED:
        if sum(widths.values()) + len(widths) - 1 > width:
            del widths[name]
    table = Table(box=None, padding=(0, 2 if sum(widths.values()) + 2 * len(widths) <= width else 1, 0, 0))
    table.pad_edge = False
    for name in widths:
        layer = name == "name"
        table.add_column(
            Text(_LAYER_HEADS[name], style="bold"),
            justify="left" if layer else "right",
            overflow="fold",
            no_wrap=not layer,
        )
    for cells in rows:
        table.add_row(*(Text(printable(cells[name])) for name in widths))
    return table


def _layer_cells(cells: dict[str, str]) -> dict[str, str]:
    """The cells of a layer with their figures as people read them."""
    figures = {name: f"{int(cells[name]):,}" for name in ("parameters", "macs")}
    return {**cells, **figures, "activation_bytes": _short(int(cells["activation_bytes"]), "B")}


def _short(number: int, unit: str) -> str:
    """A number with three digits and k, M, G or T before its unit; 1 kB is 1000 bytes."""
    for power, prefix in enumerate(("", "k", "M", "G")):
        if number < 999.5 * 1000**power:
            scaled = number / 1000**power
            return f"{scaled:.{0 if not power or scaled >= 99.95 else 1}f} {prefix}{unit}".rstrip()
    return f"{number // 10**12:,} T{unit}"


_TWIN_HEADS = ("layer", "inputs", "filters", "weights", "dense, nodes", "times", "values", "dense, map", "times")


def twin_table(trace: Trace, width: int) -> RenderableType:
    """What `shapes --compare-dense` shows: weights of convolutions, and of dense layers in their place."""
    from cnncli.layertable import twin_rows

    rows = [(name, *(_grouped(text) for text in figures)) for name, *figures in twin_rows(trace)]
    if sum(max(map(len, column)) + 2 for column in zip(_TWIN_HEADS, *rows, strict=True)) > width:
        rows = [(name, *map(_shortened, figures)) for name, *figures in rows]
    table = _figures(_TWIN_HEADS)
    for name, *figures in rows:
        table.add_row(Text(printable(name)), *figures)
    return table


def _grouped(figure: str) -> str:
    return f"{int(figure):,}" if figure.isdigit() else figure


def _shortened(figure: str) -> str:
    return _short(int(figure.replace(",", "").partition(".")[0]), "") if len(figure) > 7 else figure


def solution_table(rows: list[Cells]) -> RenderableType:
    """What `shapes --solve` found, a line each; the axis is named where axes differ."""
    from cnncli.layertable import SOLUTION_COLUMNS

    first = 0 if len({row[0] for row in rows}) > 1 else 1
    table = _figures([name.replace("_", " ") for name in SOLUTION_COLUMNS[first:]])
    for row in rows:
        table.add_row(*row[first:])
    return table


def named_figures(heads: Sequence[str], rows: Sequence[Sequence[str]], num_names: int = 1) -> RenderableType:
    """Rows that begin with names, which are folded where they are long, and go on with figures."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, head in enumerate(heads):
        is_name = number < num_names
        table.add_column(
            Text(head, style="bold"), justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _figures(heads: Sequence[str]) -> Table:
    """A table of figures, to be read from the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(Text(head, style="bold"), justify="right", overflow="fold")
    return table


def plan_table(plan: Plan) -> RenderableType:
    """What `train --plan` shows."""
    height, width, channels = plan.input
    rows = (
        ("network", printable(plan.network)),
        ("input", f"{height}x{width}x{channels}"),
        ("classes", f"{plan.classes:,}"),
        ("parameters", f"{plan.parameters:,}, {plan.trainable:,} of them trained"),
        ("images", f"about {plan.images:,} train"),
        ("steps", f"{plan.steps_per_epoch:,} an epoch, {plan.epochs} epochs"),
        ("memory", f"about {plan.memory_bytes / 1e9:.1f} GB at its peak"),
        ("time", f"about {duration(plan.seconds)} on this machine; reading images, validation, saving not counted"),
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    return table
