"""What a person sees of a run: a line for each epoch and, on a terminal, where it is now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cnncli import console
from cnncli.history import EpochRow, Watcher

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

# column -> width; the epoch's grows with how many there are
_WIDTHS = {
    "epoch": 5, "loss": 8, "acc": 6, "val loss": 8, "val acc": 7, "rate": 8, "images/s": 8, "time": 7, "best": 4,
}  # fmt: skip
_GAP = 2
_SPARED = ("images/s", "rate", "time", "val loss", "loss", "best", "acc")  # in a narrow terminal, the first one first
_MAX_BAR = 40  # columns
_MIN_BAR = 5
Cells = dict[str, str]
Widths = dict[str, int]


@dataclass(frozen=True, slots=True)
class _Now:
    """Where a run is."""

    total_epochs: int = 0
    steps_per_epoch: int = 0
    images: int = 0  # in an epoch
    epoch: int = 0  # from 1; 0 before the first step
    step: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    learning_rate: float = 0.0
    images_per_s: float = 0.0
    last: EpochRow | None = None  # the last epoch that was done

    @property
    def done(self) -> int:
        """Steps of the whole run."""
        return (self.epoch - 1) * self.steps_per_epoch + self.step

    @property
    def left(self) -> int:
        """Steps that are still to do, if nothing ends the run early."""
        return self.total_epochs * self.steps_per_epoch - self.done


@contextlib.contextmanager
def display(clock: Callable[[], float] = time.monotonic) -> Iterator[Watcher]:
    """Yields what a training loop reports to: on a terminal a live display, else a plain line for each epoch."""
    with contextlib.ExitStack() as screen:
        yield _Display(clock, screen)


class _Display:
    def __init__(self, clock: Callable[[], float], screen: contextlib.ExitStack) -> None:
        self._print_above: Callable[[Text], None] | None = None
        self._clock, self._screen = clock, screen
        self._now = _Now()
        self._begin: tuple[float, int] | None = None  # when the first step was reported, and how many were done then
        self._header: Widths = {}  # the columns that were printed last

    def begin(self, total_epochs: int, steps_per_epoch: int, images: int) -> None:
        if not self._now.total_epochs:  # not before: the reading of images has a progress bar of its own
            self._print_above = self._screen.enter_context(console.foot(self.foot))
        self._now = _Now(total_epochs, steps_per_epoch, images)
        self._begin = None

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, learning_rate: float, images_per_s: float
    ) -> None:
        self._now = replace(
            self._now,
            epoch=epoch,
            step=step,
            loss=loss,
            accuracy=accuracy,
            learning_rate=learning_rate,
            images_per_s=images_per_s,
        )
        if self._begin is None:
            self._begin = self._clock(), self._now.done

    def epoch(self, row: EpochRow, improved: bool) -> None:
        now = self._now
        self.step(row.epoch, now.steps_per_epoch, row.loss, row.accuracy, row.learning_rate, now.images_per_s)
        self._now = now = replace(self._now, last=row)
        columns = _columns(now, None if self._print_above is None else console.results().width)
        if columns != self._header:  # the first epoch, or the terminal has another width now
            self._header = columns
            self._print(_line({name: name for name in columns}, columns), "bold")
        self._print(_line(_row_cells(row, now, improved), columns), "green" if improved else "")

    def _print(self, line: str, style: str) -> None:
        if self._print_above is None:
            console.note(line)
        else:
            from rich.text import Text

            self._print_above(Text(line, style))

    def foot(self, width: int) -> RenderableType:
        """The epoch that is going on, under the columns of those before it, and a bar."""
        from rich.console import Group
        from rich.text import Text

        now = self._now
        if not now.epoch:
            return Text("preparing the first step", style="dim")
        columns = _columns(now, width)
        lines = [Text(_line(_now_cells(now), columns), "cyan", no_wrap=True, overflow="crop")]
        if not self._header:  # they are printed with the first epoch
            lines.insert(0, Text(_line({name: name for name in columns}, columns), no_wrap=True, overflow="crop"))
        return Group(*lines, _bar(now, self._time_left(), width))

    def _time_left(self) -> float | None:
        """Seconds to the end of the run at the mean speed so far, validation included; None where nobody knows."""
        now = self._now
        if self._begin is None or now.done <= self._begin[1]:
            return None
        return (self._clock() - self._begin[0]) / (now.done - self._begin[1]) * now.left


def _columns(now: _Now, width: int | None) -> Widths:
    """The columns that fit a terminal, all for None; without validation there are none for it."""
    widths = {**_WIDTHS, "epoch": max(_WIDTHS["epoch"], 2 * len(str(now.total_epochs)) + 1)}
    if now.last is not None and now.last.val_loss is None:
        del widths["val loss"], widths["val acc"]
    for name in _SPARED if width is not None else ():
        if sum(widths.values()) + _GAP * (len(widths) - 1) > (width or 0) and len(widths) > 2:
            widths.pop(name, None)
    return widths


def _line(cells: Cells, columns: Widths) -> str:
    return (" " * _GAP).join(cells[name].rjust(width) for name, width in columns.items()).rstrip()


def _row_cells(row: EpochRow, now: _Now, improved: bool) -> Cells:
    return {
        "epoch": f"{row.epoch}/{now.total_epochs}",
        "loss": _loss(row.loss),
        "acc": _percent(row.accuracy),
        "val loss": _loss(row.val_loss),
        "val acc": _percent(row.val_accuracy),
        "rate": f"{row.learning_rate:.3g}",
        "images/s": f"{now.images / row.seconds:,.0f}" if row.seconds > 0 else "-",
        "time": _duration(row.seconds),
        "best": "best" if improved else "",
    }


def _now_cells(now: _Now) -> Cells:
    """The epoch so far, which is not validated yet."""
    return {
        "epoch": f"{now.epoch}/{now.total_epochs}",
        "loss": _loss(now.loss),
        "acc": _percent(now.accuracy),
        "val loss": "-",
        "val acc": "-",
        "rate": f"{now.learning_rate:.3g}",
        "images/s": f"{now.images_per_s:,.0f}",
        "time": "",
        "best": "",
    }


def _bar(now: _Now, seconds_left: float | None, width: int) -> RenderableType:
    """How much of the epoch is done, and the time to the end of the run."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    left = "" if seconds_left is None else f"  {_duration(seconds_left)} left"
    text = f"{now.step}/{now.steps_per_epoch}{left}"
    room = min(_MAX_BAR, width - len(text) - 2)
    line = Text(text, no_wrap=True, overflow="crop")
    if room < _MIN_BAR:
        return line
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(now.steps_per_epoch, now.step, width=room, complete_style="cyan"), line)
    return grid


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value < 1000 else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}" if value < 1 else "100.0%"


def _duration(seconds: float) -> str:
    """`9.8s`, `1:05` or `2:01:05`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
