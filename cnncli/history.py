"""What a training run reports: to those who watch it, and in the file that keeps a line for each epoch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Protocol

from cnncli.errors import TrainingError
from cnncli.files import replacing
from cnncli.stopping import Stopping
from cnncli.text import csv_lines


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch. Losses are mean cross-entropies in nats, accuracies run from 0 to 1."""

    epoch: int  # from 1
    loss: float  # on the training images as they were shown, augmentation and smoothing included
    accuracy: float
    val_loss: float | None  # None without validation images
    val_accuracy: float | None
    learning_rate: float  # at the epoch's last step
    seconds: float


class Watcher(Protocol):
    """Somebody who watches a run. All calls come from the thread that trains, which waits for them."""

    def begin(self, total_epochs: int, steps_per_epoch: int, images: int) -> None:
        """The run begins, or goes on; `images` are shown in each epoch."""

    def step(
        self, epoch: int, step: int, loss: float, accuracy: float, learning_rate: float, images_per_s: float
    ) -> None:
        """So many steps of an epoch are done; `loss` and `accuracy` are those of the epoch so far."""

    def epoch(self, row: EpochRow, improved: bool) -> None:
        """An epoch is done; `improved` says that its model is the best so far."""


def best_epoch(rows: Sequence[EpochRow]) -> int:
    """The epoch whose model a run keeps: of the best validation, or the last one where there is none."""
    stopping, best = Stopping(), rows[-1].epoch
    for row in rows:
        if row.val_accuracy is not None and row.val_loss is not None:
            stopping = stopping.after(row.val_accuracy, row.val_loss)
            best = row.epoch if stopping.improved else best
    return best


COLUMNS = tuple(field.name for field in fields(EpochRow))
_OPTIONAL = ("val_loss", "val_accuracy")


def write(rows: Sequence[EpochRow], path: Path) -> None:
    """Writes `history.csv` atomically: a header, then a line for each epoch, every float with all its digits.

    What is None stays empty. Raises TrainingError.
    """
    try:
        with replacing(path) as file:
            file.write(csv_lines([COLUMNS, *map(astuple, rows)]).encode())
    except OSError as problem:
        raise TrainingError(f"{path}: cannot be written ({problem.strerror or problem})") from problem


def read(path: Path) -> tuple[EpochRow, ...]:
    """The epochs in a file that `write` made, exactly as they were. Raises TrainingError naming the damaged line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise TrainingError(f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem})") from problem
    lines = text.splitlines()
    if tuple((lines or [""])[0].split(",")) != COLUMNS:
        raise TrainingError(f"{path}, line 1: not a training history; expected {','.join(COLUMNS)}")
    if not text.endswith("\n"):
        raise TrainingError(f"{path}, line {len(lines)}: the file ends within this line; it was cut off")
    return tuple(_row(cells, number, path) for number, cells in enumerate(csv.reader(lines[1:]), 1))


def _row(cells: list[str], epoch: int, path: Path) -> EpochRow:
    """The row of an epoch, which stands one line below its number."""
    try:
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{len(cells)} values; expected {len(COLUMNS)}")
        row = EpochRow(int(cells[0]), *map(_number, COLUMNS[1:], cells[1:]))  # type: ignore[arg-type]
        if row.epoch != epoch:
            raise ValueError(f"epoch {row.epoch}; expected {epoch}")
    except ValueError as problem:
        raise TrainingError(f"{path}, line {epoch + 1}: not a line of a training history ({problem})") from problem
    return row


def _number(column: str, cell: str) -> float | None:
    return None if not cell and column in _OPTIONAL else float(cell)
