"""The picture of one or several training runs: loss and accuracy over the epochs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from cnncli.errors import TrainingError
from cnncli.history import EpochRow, best_epoch
from cnncli.outputs import save
from cnncli.palette import DISTINCT, hexadecimal
from cnncli.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_SIZE_INCHES, _DPI = (10, 4.2), 144  # 1440 by 605 pixels
COLOURS = tuple(map(hexadecimal, DISTINCT))
_TRAIN, _VALIDATION = COLOURS[:2]  # of a single run
_THIN = 1.2  # points: with several runs training steps back behind validation
_LEGEND_COLUMNS, _LEGEND_INCHES = 3, 0.25  # with several runs; height of a line
_INK, _FAINT = "#222222", "#8a8a8a"
_FEW = 40  # up to so many epochs each has a dot
_LOG_FROM = 30.0  # a loss that falls to less than a thirtieth of itself is drawn on a logarithmic scale
_MAX_TITLE, _MAX_NAME = 90, 40  # characters that fit above the panels, and into a legend of three columns
_STYLE: Any = {
    "font.size": 10, "axes.edgecolor": _FAINT, "axes.labelcolor": _INK, "text.color": _INK, "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": _INK, "ytick.color": _INK,
    "axes.grid": True, "grid.color": "#e6e6e6", "axes.axisbelow": True, "axes.ymargin": 0.08, "lines.linewidth": 1.8,
}  # fmt: skip


def draw(rows: Sequence[EpochRow], path: Path, *, title: str, best_epoch: int | None) -> None:
    """Writes the curves of at least one epoch as a PNG, atomically; `best_epoch` (from 1) is marked.

    Raises CnncliError where the file cannot be written.
    """
    save(picture(rows, title=title, best_epoch=best_epoch), path)


def picture(rows: Sequence[EpochRow], *, title: str, best_epoch: int | None) -> Image.Image:
    """Two panels side by side, loss and accuracy, of training and, where there is one, of validation; mode `RGB`."""
    best = next((row for row in rows if row.epoch == best_epoch), None)
    with _figure(title) as (figure, loss, accuracy):
        for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
            for name, column, colour, dash in (
                ("training", what, _TRAIN, "-"),
                ("validation", f"val_{what}", _VALIDATION, "--"),
            ):
                dot = "o" if len(rows) <= _FEW else ""
                _draw_curve(axes, rows, column, colour, dash, marker=dot, markersize=4, label=name)
            axes.set_title(what, loc="left", fontweight="bold")
            if best is not None:
                _mark(axes, best, what)
        _set_axes(loss, accuracy, [rows])
        curves, names = loss.get_legend_handles_labels()
        figure.legend(curves, names, loc="outside lower center", ncols=len(names), frameon=False)
        return _rendered(figure)


def comparison(runs: Sequence[tuple[str, Sequence[EpochRow]]]) -> Image.Image:
    """The curves of several named runs in the same two panels, each in its own colour, validation dashed; mode `RGB`.

    The best epoch of each, whose model it keeps, is marked, and its figures stand in the legend. Raises TrainingError
    for more runs than there are colours that everybody tells apart.
    """
    if len(runs) > len(COLOURS):
        raise TrainingError(f"{len(runs)} runs: expected at most {len(COLOURS)}, whose colours everybody tells apart")
    lines = -(-(len(runs) + 3) // _LEGEND_COLUMNS)
    with _figure(f"{len(runs)} runs", extra_inches=(lines - 1) * _LEGEND_INCHES) as (figure, loss, accuracy):
        for (_, rows), colour in zip(runs, COLOURS, strict=False):
            for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
                _draw_curve(axes, rows, what, colour, "-", linewidth=_THIN)
                _draw_curve(axes, rows, f"val_{what}", colour, "--")
                best = rows[best_epoch(rows) - 1]
                _draw_best(axes, best, _figure_of(best, what), colour)
        for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
            axes.set_title(what, loc="left", fontweight="bold")
        _set_axes(loss, accuracy, [rows for _, rows in runs])
        figure.legend(
            handles=_keys(runs), loc="outside lower center", ncols=min(_LEGEND_COLUMNS, len(runs) + 3), frameon=False
        )
        return _rendered(figure)


@contextlib.contextmanager
def _figure(title: str, extra_inches: float = 0.0) -> Iterator[tuple[Figure, Axes, Axes]]:
    """A figure with a title, and its panels for loss and accuracy, in a style that no setting of the user's changes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style is for other pictures
        matplotlib.rcParams.update(_STYLE)
        width, height = _SIZE_INCHES
        figure = Figure(figsize=(width, height + extra_inches), dpi=_DPI, layout="constrained")
        figure.suptitle(_shortened(title, _MAX_TITLE), fontsize=12, fontweight="bold", parse_math=False)
        loss, accuracy = figure.subplots(1, 2)
        yield figure, loss, accuracy


def _shortened(text: str, most: int) -> str:
    line = printable(text)
    return line if len(line) <= most else line[: most - 3] + "..."


def _draw_curve(axes: Axes, rows: Sequence[EpochRow], column: str, colour: str, dash: str, **options: Any) -> None:
    """The epochs that have a figure in `column`, if any."""
    points = [(row.epoch, value) for row in rows if (value := getattr(row, column)) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), dash, color=colour, **options)


def _keys(runs: Sequence[tuple[str, Sequence[EpochRow]]]) -> list[Line2D]:
    """What the legend shows of several runs: each with its best epoch, then what the lines mean."""
    from matplotlib.lines import Line2D

    def line(label: str, colour: str = _INK, **options: Any) -> Line2D:
        return Line2D([], [], color=colour, label=label.replace("$", r"\$"), **options)

    keys = []
    for (name, rows), colour in zip(runs, COLOURS, strict=False):
        best = rows[best_epoch(rows) - 1]
        told = f"{_written(_figure_of(best, 'accuracy'), 'accuracy')} at epoch {best.epoch}"
        keys.append(line(f"{_shortened(name, _MAX_NAME)}: {told}", colour))
    best_of = line("best epoch", linestyle="", marker="D", markersize=6, markerfacecolor="white")
    return [*keys, line("training", linewidth=_THIN), line("validation", linestyle="--"), best_of]


def _set_axes(loss: Axes, accuracy: Axes, runs: Sequence[Sequence[EpochRow]]) -> None:
    """Scales and names of the axes, for all runs that are in the panels."""
    longest = max(runs, key=len)
    for axes in (loss, accuracy):
        _set_epochs(axes, longest)
    _set_losses(loss, [row for rows in runs for row in rows])
    _set_accuracies(accuracy)


def _set_epochs(axes: Axes, rows: Sequence[EpochRow]) -> None:
    from matplotlib.ticker import MaxNLocator

    first, last = rows[0].epoch, rows[-1].epoch
    margin = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    axes.set_xlabel("epoch")


def _mark(axes: Axes, best: EpochRow, what: str) -> None:
    """A dotted line at the best epoch, and its figure, of validation where there is one, above the panel."""
    value = _figure_of(best, what)
    axes.axvline(best.epoch, color=_FAINT, linewidth=1, linestyle=":", zorder=1)
    _draw_best(axes, best, value, _INK, label="best epoch")
    axes.set_title(f"{_written(value, what)} at epoch {best.epoch}", loc="right", fontsize=10, color=_INK)


def _draw_best(axes: Axes, best: EpochRow, value: float, colour: str, *, label: str | None = None) -> None:
    axes.plot(best.epoch, value, "D", color=colour, markersize=6, markerfacecolor="white", zorder=4, label=label)


def _figure_of(row: EpochRow, what: str) -> float:
    """The loss or accuracy of an epoch: of validation where there is one."""
    validated: float | None = getattr(row, f"val_{what}")
    value: float = getattr(row, what)
    return value if validated is None else validated


def _written(value: float, what: str) -> str:
    return f"{value:.2%}" if what == "accuracy" else f"{value:.4g}"


def _set_losses(axes: Axes, rows: Sequence[EpochRow]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_ylabel("cross-entropy in nats")
    values = [value for row in rows for value in (row.loss, row.val_loss) if value is not None]
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")


def _set_accuracies(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.02), min(high, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _rendered(figure: Figure) -> Image.Image:
    file: Any = io.BytesIO()
    figure.savefig(file, format="png")  # the Agg canvas, which needs no screen
    return Image.open(file).convert("RGB")
