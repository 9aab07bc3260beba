"""The picture of a training run: loss and accuracy over the epochs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from cnncli.history import EpochRow
from cnncli.outputs import save
from cnncli.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES, _DPI = (10, 4.2), 144  # 1440 by 605 pixels
# Two colours that everybody tells apart (Okabe & Ito, https://jfly.uni-koeln.de/color/)
_TRAIN, _VALIDATION = "#0072B2", "#D55E00"
_INK, _FAINT = "#222222", "#8a8a8a"
_FEW = 40  # up to so many epochs each has a dot
_LOG_FROM = 30.0  # a loss that falls to less than a thirtieth of itself is drawn on a logarithmic scale
_MAX_TITLE = 90  # characters that fit above the panels
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
    import matplotlib
    from matplotlib.figure import Figure

    best = next((row for row in rows if row.epoch == best_epoch), None)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style is for other pictures
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
        figure.suptitle(_shortened(title), fontsize=12, fontweight="bold", parse_math=False)
        loss, accuracy = figure.subplots(1, 2)
        for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
            _draw_curves(axes, rows, what)
            _set_epochs(axes, rows)
            if best is not None:
                _mark(axes, best, what)
        _set_losses(loss, rows)
        _set_accuracies(accuracy)
        curves, names = loss.get_legend_handles_labels()
        figure.legend(curves, names, loc="outside lower center", ncols=len(names), frameon=False)
        return _rendered(figure)


def _shortened(title: str) -> str:
    line = printable(title)
    return line if len(line) <= _MAX_TITLE else line[: _MAX_TITLE - 3] + "..."


def _draw_curves(axes: Axes, rows: Sequence[EpochRow], what: str) -> None:
    axes.set_title(what, loc="left", fontweight="bold")
    dot = "o" if len(rows) <= _FEW else ""
    for name, column, colour, dash in (
        ("training", what, _TRAIN, "-"),
        ("validation", f"val_{what}", _VALIDATION, "--"),
    ):
        points = [(row.epoch, value) for row in rows if (value := getattr(row, column)) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), dash, color=colour, marker=dot, markersize=4, label=name)


def _set_epochs(axes: Axes, rows: Sequence[EpochRow]) -> None:
    from matplotlib.ticker import MaxNLocator

    first, last = rows[0].epoch, rows[-1].epoch
    margin = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    axes.set_xlabel("epoch")


def _mark(axes: Axes, best: EpochRow, what: str) -> None:
    """A dotted line at the best epoch, and its figure, of validation where there is one, above the panel."""
    validated = getattr(best, f"val_{what}")
    value = getattr(best, what) if validated is None else validated
    axes.axvline(best.epoch, color=_FAINT, linewidth=1, linestyle=":", zorder=1)
    axes.plot(best.epoch, value, "D", color=_INK, markersize=6, markerfacecolor="white", zorder=4, label="best epoch")
    figure = f"{value:.2%}" if what == "accuracy" else f"{value:.4g}"
    axes.set_title(f"{figure} at epoch {best.epoch}", loc="right", fontsize=10, color=_INK)


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
