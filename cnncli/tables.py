"""Results as people read them in a terminal: dataclasses in, Rich tables out, no arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cnncli.formats import INVENTORY_COLUMNS, inventory_rows
from cnncli.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cnncli.inference.compiled import Compiled
    from cnncli.inference.inventory import Holding
    from cnncli.inference.pipeline import Result

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
        label, class_id = Text(printable(named.label.replace("_", " "))), Text(printable(named.id))
        if named.id == named.label:  # a model whose classes have no ids of their own
            class_id = Text()
        number, percent = str(answer.rank), f"{answer.score:.1%}"
        table.add_row(*((number, percent, bar, label, class_id) if wide else (number, percent, label)))
    return Group(title, table)


def inventory_table(holdings: list[Holding], others: list[Compiled], width: int) -> RenderableType:
    """What `models list` shows: all columns from 72 on, the most needed ones in a narrower terminal."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    shown = [name for name in INVENTORY_COLUMNS if width >= _INVENTORY_COLUMNS or name in _NARROW_INVENTORY]
    for name in shown:
        table.add_column(name, justify="left" if name == "name" else "right", overflow="fold", no_wrap=name != "name")
    for row in inventory_rows(holdings, others):
        cells = dict(zip(INVENTORY_COLUMNS, row, strict=True))
        table.add_row(*(Text(printable(cells[name])) for name in shown), style="" if row[-1] != "-" else "dim")
    return table
