"""DATA on the command line: completed, and opened with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from cnncli import console
from cnncli.commands.options import complete_file

if TYPE_CHECKING:
    from cnncli.datasets.dataset import Dataset


def complete_data(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Published data sets or, where none begins so, files."""
    from cnncli.datasets.published import PUBLISHED

    found = [CompletionItem(name) for name in PUBLISHED if name.startswith(incomplete)]
    return found or complete_file(ctx, param, incomplete)


def opened(data: str, *, offline: bool, to_train: bool = True, wanted: str | None = "all") -> Dataset:
    """The data set that DATA names, as `open_dataset` gives it; what was passed over is noted. Raises DataError."""
    from cnncli.datasets import published
    from cnncli.datasets.find import open_dataset

    what, unit = ("download", "bytes") if published.find(data) else ("folder", "files")
    with console.progress(what, unit=unit) as update:
        dataset = open_dataset(
            data, offline=offline, notify=console.note, progress=update, to_train=to_train, wanted=wanted
        )
    for text in dataset.notes:
        console.note(text)
    return dataset


def short_name(dataset: Dataset) -> str:
    """What results that are made from a data set are named after."""
    root = Path(dataset.name).resolve()
    return root.name if root.is_dir() else root.stem
