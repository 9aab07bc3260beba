"""What DATA stands for: a published data set, a folder or a manifest."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from cnncli.datasets import manifest
from cnncli.datasets.dataset import Dataset
from cnncli.datasets.folders import Progress, read_folder
from cnncli.datasets.layout import class_folders, refused


def open_dataset(
    data: str,
    *,
    offline: bool,
    notify: Callable[[str], None],
    progress: Progress,
    to_train: bool = True,
    wanted: str | None = "all",
) -> Dataset:
    """The labelled images that DATA stands for; no image is read yet.

    The name of a published data set wins over a path (`./mnist` is the path). `progress` hears the bytes of a
    download or the files of a folder. Raises DataError, drawing the expected layout where that is the trouble; with
    `to_train` also for images that no network can learn from: a single class, a split that lacks one. Of a folder with
    splits those are read that are `wanted`, as `wanted_splits` has it.
    """
    from cnncli.datasets import published

    row = published.find(data)
    if row is not None:
        return published.load(row, offline=offline, notify=notify, progress=progress)
    path = Path(data)
    try:
        if path.is_dir():
            return read_folder(data, progress, to_train=to_train, wanted=wanted)
        if path.is_file() and path.suffix.lower() in manifest.EXTENSIONS:
            return manifest.read_manifest(data, to_train=to_train)
        exists = path.exists()
    except ValueError:  # a null character
        exists = False
    if exists:
        problem = "this is no folder and no manifest (.csv, .jsonl); an archive has to be unpacked first"
        raise refused(data, problem, class_folders(data))
    names = tuple(published.PUBLISHED)
    close = difflib.get_close_matches(data.lower(), names, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    raise refused(data, f"no such folder or file.{guess} Names: {', '.join(names)}", class_folders(data))
