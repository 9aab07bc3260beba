"""`cnncli visualize curves`: how training runs went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli import console
from cnncli.commands.options import complete_file
from cnncli.commands.visualize.picture import Pictures, picture_options
from cnncli.errors import CnncliError, ExitCode, outcome
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.history import EpochRow


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_file)
@picture_options
def curves(runs: tuple[str, ...], pictures: Pictures) -> ExitCode:
    """Draw loss and accuracy of training runs over their epochs.

    RUN is a run folder or its history.csv. Several are drawn in one picture, a colour for each and validation
    dashed. The epoch whose model a run keeps is marked; it has the best validation.

    \b
    Example:
      cnncli visualize curves runs/photos
      cnncli visualize curves runs/photos runs/photos-2 -o both.png
    """
    from cnncli import curves as drawing
    from cnncli import history

    pictures.begin()
    found = []
    for run in runs:
        try:
            found.append((run, _epochs(run)))
        except CnncliError as problem:
            console.error(printable(str(problem)))
    if not found:
        return ExitCode.FAILED
    named = list(zip(_names([run for run, _ in found]), (rows for _, rows in found), strict=True))
    if len(named) == 1:
        ((name, rows),) = named
        picture = drawing.picture(rows, title=name, best_epoch=history.best_epoch(rows))
        pictures.save(picture, name, "curves")
    else:
        pictures.save(drawing.comparison(named), "runs", "curves")
    return outcome(len(named), len(runs) - len(named))


def _epochs(run: str) -> tuple[EpochRow, ...]:
    """The epochs of a run, at least one. Raises TrainingError."""
    from cnncli import history
    from cnncli.errors import TrainingError
    from cnncli.runs import Run

    path = Run(Path(run)).history if Path(run).is_dir() else Path(run)
    rows = history.read(path)
    if not rows:
        raise TrainingError(f"{path}: no epoch is done yet")
    return rows


def _names(runs: list[str]) -> list[str]:
    """What the runs are called: as their folders, or as they were typed where two folders have one name."""
    folders = [path if path.is_dir() else path.parent for path in (Path(run).resolve() for run in runs)]
    names = [folder.name for folder in folders]
    return [name if names.count(name) == 1 else run for name, run in zip(names, runs, strict=True)]
