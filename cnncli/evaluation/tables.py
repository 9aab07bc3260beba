"""An evaluation as people read it in a terminal: dataclasses in, Rich tables out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cnncli.datasets.contact import thinned
from cnncli.text import duration, printable

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

    from cnncli.backbones import ImageClass
    from cnncli.evaluation.comparison import Comparison
    from cnncli.evaluation.evaluation import Evaluation
    from cnncli.evaluation.metrics import Bin, Interval

_WIDE_COLUMNS = 72  # from here on there are bars beside figures
_BAR_COLUMNS = 20
_SMALL_BAR_COLUMNS = 8
_INDENT = 2
_FEW_CLASSES = 20  # up to so many are all in the table
_WORST, _BEST = 15, 5
_PAIRS, _MISTAKES, _DIFFERENCES = 8, 5, 10
_RENAMED = 8
_LABEL_COLUMNS = 24
_MIN_LABEL, _MAX_LABEL = 10, 40
_HONEST = 0.005  # scores that are off by less than half a point are as good as right
# What a cell of the matrix is laid on, by its share of the row: on the diagonal (right) and beside it (wrong). Ink and
# paper are both set, so that it can be read on a dark and on a light screen.
_RIGHT = ((0.75, "bold #ffffff on #00568c"), (0.5, "#ffffff on #2f7fb5"), (0.0, "#000000 on #9cc9e6"))
_WRONG = ((0.3, "bold #ffffff on #a63d00"), (0.1, "#000000 on #f09a5a"), (0.02, "#000000 on #fbdcc3"))


def evaluation_tables(e: Evaluation, width: int) -> RenderableType:
    """One model's evaluation for a terminal of `width` columns."""
    return _stacked(
        [
            _summary(e, width),
            _matrix(e, width),
            _classes(e, width),
            _confused(e, width),
            _mistakes(e, width),
            _reliability(e, width),
        ]
    )


def comparison_tables(
    evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison], width: int
) -> RenderableType:
    """Several models side by side, then each pair on the same images."""
    return _stacked([_side_by_side(evaluations, width), *(_comparison(each, width) for each in comparisons)])


def _stacked(parts: Sequence[RenderableType | None]) -> RenderableType:
    """The parts that there are, an empty line between two."""
    shown = [part for part in parts if part is not None]
    return Group(*(Padding(part, (0, 0, 0 if part is shown[-1] else 1, 0)) for part in shown))


def _titled(title: str, remark: str, body: RenderableType, *after: str) -> RenderableType:
    head = Text.assemble((title, "bold"), (f"  {remark}", "dim")) if remark else Text(title, "bold")
    notes = [Padding(Text(note, "dim"), (0, 0, 0, _INDENT)) for note in after]
    return Group(head, Padding(body, (0, 0, 0, _INDENT)), *notes)


def _grid(*justify: str) -> Table:
    """A table without head and lines."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for each in justify:
        table.add_column(justify="right" if each == "right" else "left", overflow="fold", no_wrap=each == "right")
    return table


def _headed(heads: Sequence[str], num_names: int) -> Table:
    """A table whose first columns are names and whose others are figures, or bars where they have no head."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, head in enumerate(heads):
        is_name = number < num_names
        justify: JustifyMethod = "left" if is_name or not head else "right"
        table.add_column(Text(head, "bold"), justify=justify, no_wrap=not is_name, overflow="fold")
    return table


def _summary(e: Evaluation, width: int) -> RenderableType:
    split = "all of it" if e.split == "all" else f"{e.split} split"
    title = Text.assemble((printable(e.model), "bold"), f" on {printable(e.data)}, {split}")
    table = _grid("left", "left")
    for name, text in _about(e):
        table.add_row(Text(name), text)
    for name, value, interval in _proportions(e):
        table.add_row(Text(name), _proportion(value, interval, width))
    table.add_row(
        Text("F1"), Text(f"{e.macro.f1:.1%} macro (all classes alike), {e.weighted.f1:.1%} weighted (by images)")
    )
    table.add_row(Text("loss"), Text(f"{e.loss:.4f} nats"))
    table.add_row(Text("calibration"), Text(_calibration(e)))
    return Group(title, Padding(table, (0, 0, 0, _INDENT)))


def _about(e: Evaluation) -> list[tuple[str, Text]]:
    """What was measured on."""
    images = Text(f"{e.images:,} in {duration(e.seconds)}")
    if e.seen_in_training:
        images.append(f", {e.seen_in_training:,} of them seen in training", "yellow")
    if e.failures:
        images.append(f"; {len(e.failures):,} could not be read", "yellow")
    if e.left_out:
        images.append(f"; {e.left_out:,} left out, of classes that the model does not know", "yellow")
    known = [(found, e.classes[found.index]) for found in e.matches if found.index is not None]
    ways = " and ".join(sorted({found.by for found, _ in known}))
    among = "; it chose among these only" if e.only_present else ""
    classes = Text(f"{len(known):,} of the model's {len(e.classes):,}, matched by {ways}{among}")
    renamed = [(found.data_class, its) for found, its in known if found.by == "label" and found.data_class.id != its.id]
    lines = [
        f"{_cut(printable(ours.id), _LABEL_COLUMNS)} -> {_cut(_readable(its), _LABEL_COLUMNS)}"
        for ours, its in renamed[:_RENAMED]
    ]
    if len(renamed) > _RENAMED:
        lines.append(f"and {len(renamed) - _RENAMED:,} more, which --format json shows")
    return [("images", images), ("classes", classes), *(("", Text(line, "dim")) for line in lines)]


def _proportions(e: Evaluation) -> list[tuple[str, float, Interval]]:
    choices = sum(found.index is not None for found in e.matches) if e.only_present else len(e.classes)
    ranks = [1] if e.top in (1, choices) or e.top > choices else [1, e.top]
    return [("accuracy" if k == 1 else f"top-{k}", e.top_k(k), e.interval(k)) for k in ranks]


def _proportion(value: float, interval: Interval, width: int) -> RenderableType:
    table = _grid("right", *["left"] * (1 + (width >= _WIDE_COLUMNS)))
    bar = [Bar(1.0, 0, value, width=_BAR_COLUMNS, color="cyan")] if width >= _WIDE_COLUMNS else []
    low, high = interval
    table.add_row(Text(f"{value:6.1%}", "bold"), *bar, Text(f"{low:.1%} to {high:.1%} (95% interval)"))
    return table


def _calibration(e: Evaluation) -> str:
    off = e.overconfidence
    if abs(off) < _HONEST and e.calibration_error > 4 * _HONEST:
        mean = "scores that are too high and too low cancel out"
    elif abs(off) < _HONEST:
        mean = "on average scores are as high as they should be"
    else:
        mean = f"scores are on average {100 * abs(off):.1f} points too {'high' if off > 0 else 'low'}"
    return f"{e.calibration_error:.1%} error (ECE): {mean}"


def _matrix(e: Evaluation, width: int) -> RenderableType:
    size, widest = len(e.shown), len(str(max(len(e.shown), e.counts.max(initial=0))))
    spare = width - _INDENT - len(str(size)) - 1 - _MIN_LABEL - size * (widest + 1)
    if spare < 0:
        return Text(f"confusion matrix: {size:,} classes do not fit here; --confusion FILE.png draws it", "dim")
    cell = widest + 1 + (spare >= size)
    room = min(_MAX_LABEL, width - _INDENT - len(str(size)) - 1 - cell * size)
    labels = _labels(e)
    table = Table(box=None, padding=0, pad_edge=False)
    table.add_column(width=len(str(size)) + 1, no_wrap=True)
    names = [_cut(labels[index], room - 1) for index in e.shown]
    table.add_column(width=max(map(cell_len, names)) + 1, no_wrap=True)
    for number in range(1, size + 1):
        table.add_column(Text(f"{number:>{cell - 1}} ", "dim"), width=cell, no_wrap=True)
    for row, (name, counts, shares) in enumerate(zip(names, e.counts.tolist(), e.shares.tolist(), strict=True)):
        styles = [
            _tint(share, row == column) if count else "dim"
            for column, (count, share) in enumerate(zip(counts, shares, strict=True))
        ]
        figures = [str(count) if count or row == column else "-" for column, count in enumerate(counts)]
        cells = (Text(f"{figure:>{cell - 1}} ", style) for figure, style in zip(figures, styles, strict=True))
        table.add_row(Text(f"{row + 1:>{len(str(size))}} ", "dim"), Text(name), *cells)
    return _titled("confusion matrix", "a row is a truth, a column a prediction", table)


def _tint(share: float, right: bool) -> str:
    return next((style for least, style in (_RIGHT if right else _WRONG) if share >= least), "")


def _classes(e: Evaluation, width: int) -> RenderableType:
    ranked, few, wide = e.by_f1(), len(e.shown) <= _FEW_CLASSES, width >= _WIDE_COLUMNS
    shown = e.shown if few else ranked if len(ranked) <= _FEW_CLASSES else (*ranked[:_WORST], *ranked[-_BEST:])
    bar = [""] if wide else []
    table = _headed(["class", "images", "precision", "recall", *bar, "F1", *bar], 1)
    labels = _labels(e)
    for index in shown:
        name = Text(_cut(labels[index], max(_MIN_LABEL, min(_MAX_LABEL, width - (60 if wide else 38)))))
        table.add_row(name, *_class_figures(e, index, wide))
    remark, notes = "", []
    if len(shown) < len(ranked):
        remark = f"the {_WORST} lowest F1 and the {_BEST} highest of {len(ranked):,}"
        notes.append("--format csv and --report FILE.html show all")
    if e.elsewhere:
        notes.insert(0, f"{e.elsewhere:,} images were called classes that have no images here")
    return _titled("classes", remark, table, *notes)


def _class_figures(e: Evaluation, index: int, wide: bool) -> list[RenderableType]:
    """Images, precision, recall and F1; a dash where there is no such figure."""
    of = e.per_class
    has_images, was_called = bool(of.support[index]), bool(of.predicted[index])
    cells: list[RenderableType] = [Text(f"{of.support[index]:,}")]
    cells.append(Text(f"{of.precision[index]:.1%}" if was_called else "-"))
    for value in (of.recall[index], of.f1[index]):
        cells.append(Text(f"{value:.1%}" if has_images else "-"))
        if wide:
            cells.append(Bar(1.0, 0, value, width=_SMALL_BAR_COLUMNS, color="cyan"))
    return cells


def _confused(e: Evaluation, width: int) -> RenderableType | None:
    pairs, labels = e.confused(_PAIRS), _labels(e)
    table = _grid("left", "left", "right")
    room = max(_MIN_LABEL, (width - _INDENT - 17) // 2)
    for pair in pairs:
        names = (Text(_cut(labels[index], room)) for index in (pair.truth, pair.predicted))
        table.add_row(*names, Text(f"{pair.count:,} of {pair.support:,}"))
    return _titled("most confused", "truth, prediction, images", table) if pairs else None


def _mistakes(e: Evaluation, width: int) -> RenderableType | None:
    answers, labels = e.mistakes[:_MISTAKES], _labels(e)
    room = max(_MIN_LABEL, min(_LABEL_COLUMNS, (width - _INDENT - 12) // 4))
    rows = [
        (f"{each.predictions[0].score:.1%}", *(_cut(labels[i], room) for i in (each.predictions[0].index, each.truth)))
        for each in answers
    ]
    path_room = width - _INDENT - _taken(rows)
    table = _grid("right", "left", "left", "left")
    for answer, cells in zip(answers, rows, strict=True):
        table.add_row(*map(Text, cells), Text(_middle_cut(printable(answer.example.name), path_room), "dim"))
    return _titled("most confident mistakes", "score, prediction, truth", table) if answers else None


def _taken(rows: Sequence[Sequence[str]]) -> int:
    """The columns that cells take, with the space after each."""
    return sum(max(map(cell_len, column)) + 2 for column in zip(*rows, strict=True))


def _reliability(e: Evaluation, width: int) -> RenderableType:
    wide = width >= _WIDE_COLUMNS
    table = _headed(["score", "images", "mean score", "right", *([""] if wide else [])], 1)
    for each in e.reliability:
        if each.count:
            table.add_row(*_bin_cells(each, wide))
    remark = "scores, and how often they are right"
    return _titled("reliability", f"{remark}; | is the mean score" if wide else remark, table)


def _bin_cells(each: Bin, wide: bool) -> list[Text]:
    cells = [f"{each.low:.0%} to {each.high:.0%}", f"{each.count:,}", f"{each.score:.1%}", f"{each.accuracy:.1%}"]
    return [*map(Text, cells), *([_marked_bar(each.accuracy, each.score)] if wide else [])]


def _marked_bar(value: float, mark: float) -> Text:
    """A bar with a line where it should end."""
    place = min(_BAR_COLUMNS - 1, round(mark * _BAR_COLUMNS))
    bar = ("\u2588" * round(value * _BAR_COLUMNS)).ljust(_BAR_COLUMNS)
    return Text.assemble((bar[:place], "cyan"), ("|", "bold"), (bar[place + 1 :], "cyan"))


def _side_by_side(evaluations: Sequence[Evaluation], width: int) -> RenderableType:
    """The figures of each model; a star is at the best ones, and columns are left out where there is no room.

    Models that were asked about different images get no stars.
    """
    alike = len({tuple(e.examples[row].name for row in e.columns.rows) for e in evaluations}) == 1
    heads = {
        "accuracy": [(e.accuracy, f"{e.accuracy:.1%}") for e in evaluations],
        f"top-{evaluations[0].top}": [(e.top_k(e.top), f"{e.top_k(e.top):.1%}") for e in evaluations],
        "F1 macro": [(e.macro.f1, f"{e.macro.f1:.1%}") for e in evaluations],
        "loss": [(-e.loss, f"{e.loss:.3f}") for e in evaluations],
        "ECE": [(-e.calibration_error, f"{e.calibration_error:.1%}") for e in evaluations],
        "time": [(-e.seconds, duration(e.seconds)) for e in evaluations],
    }
    shown = list(heads)[: 6 if width >= _WIDE_COLUMNS else 4]
    rows = [[_starred(heads[head], row, alike) for head in shown] for row in range(len(evaluations))]
    room = width - _INDENT - _taken([[f"{head} " for head in shown], *rows]) - 2
    table = _headed(["model", *(f"{head} " for head in shown)], 1)
    for e, cells in zip(evaluations, rows, strict=True):
        figures = (Text(cell, "bold green" if cell.endswith("*") else "") for cell in cells)
        table.add_row(Text(_middle_cut(printable(e.model), room)), *figures)
    return _titled("models", "* is the best" if alike else "not of the same images, so none is the best", table)


def _starred(column: Sequence[tuple[float, str]], row: int, alike: bool) -> str:
    """A figure with a star if none is better and it can be compared."""
    is_best = alike and column[row][0] >= max(value for value, _ in column)
    return column[row][1] + ("*" if is_best else " ")


def _comparison(c: Comparison, width: int) -> RenderableType:
    a, b = (_middle_cut(printable(name), max(_MIN_LABEL, width // 3)) for name in (c.a, c.b))
    counts = {"both right": c.both_right, f"only {a}": c.only_a, f"only {b}": c.only_b, "both wrong": c.both_wrong}
    table = _grid("left", "right", "left")
    for name, count in counts.items():
        table.add_row(Text(name), Text(f"{count:,}"), Bar(max(1, c.images), 0, count, width=_BAR_COLUMNS, color="cyan"))
    head = _titled(f"{a} against {b}", f"{c.images:,} images", table)
    return _stacked([Group(head, Padding(Text(_verdict(c)), (0, 0, 0, _INDENT))), _differences(c, a, b, width)])


def _verdict(c: Comparison) -> str:
    if not c.images:
        return "no image was asked of both: they cannot be compared"
    if c.only_a == c.only_b:
        return f"equally good: each has {c.only_a:,} right that the other has not"
    found = "no difference beyond chance"
    if c.better is not None:
        found = f"{printable(c.better)} is better: {abs(c.only_a - c.only_b):,} images more right"
    return f"{found}; a difference this large between equally good models has {c.chance} (McNemar)"


def _differences(c: Comparison, a: str, b: str, width: int) -> RenderableType | None:
    if not c.differences:
        return None
    room = max(_MIN_LABEL, min(_LABEL_COLUMNS, (width - _INDENT - 6) // 4))
    heads = ["it is", _middle_cut(a, room), _middle_cut(b, room)]
    telling = [found for found in c.differences if found.a_right != found.b_right] or c.differences
    shown = thinned(telling, _DIFFERENCES)
    rows = [[_cut(_readable(each), room) for each in (found.truth, found.a, found.b)] for found in shown]
    path_room = width - _INDENT - _taken([heads, *rows])
    table = _headed([*heads, "image"], 4)
    for found, cells in zip(shown, rows, strict=True):
        right = ("", "green" if found.a_right else "", "green" if found.b_right else "")
        names = (Text(name, style) for name, style in zip(cells, right, strict=True))
        table.add_row(*names, Text(_middle_cut(printable(found.example.name), path_room), "dim"))
    remark = f"{len(shown)} of {len(c.differences):,}" if len(c.differences) > len(shown) else ""
    return _titled("what they differ on", remark, table)


def _readable(image_class: ImageClass) -> str:
    return printable(image_class.words)


def _labels(e: Evaluation) -> list[str]:
    """The names of the model's classes, with the ids where two have one name."""
    counts = Counter(each.label for each in e.classes)
    return [
        _readable(each) if counts[each.label] == 1 else f"{_readable(each)} ({printable(each.id)})"
        for each in e.classes
    ]


def _cut(name: str, columns: int) -> str:
    """As much of a name as fits."""
    return name if cell_len(name) <= columns else set_cell_size(name, max(1, columns - 3)) + "..."


def _middle_cut(path: str, columns: int) -> str:
    """Begin and end of a path, of which the end says more."""
    if cell_len(path) <= columns:
        return path
    room = max(_MIN_LABEL, columns) - 3
    end = path
    while cell_len(end) > room - room // 3:
        end = end[1:]
    return f"{set_cell_size(path, room // 3)}...{end}"
