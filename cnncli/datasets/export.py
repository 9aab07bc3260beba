"""Writes a data set that was split: a manifest, or a tree of copied or linked files. The images stay as they are."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cnncli.backbones import ImageClass
from cnncli.datasets.dataset import SPLITS, Dataset, Example, Split
from cnncli.datasets.inspection import Inspected, readable
from cnncli.datasets.splitting import split_by_content
from cnncli.errors import DataError, OutputError
from cnncli.files import replacing
from cnncli.text import csv_lines

Parts = Mapping[Split, Sequence[Example]]
How = Literal["copy", "link"]
Progress = Callable[[int, int | None], None]  # files so far, files in all

MANIFESTS = (".csv", ".jsonl")
COLUMNS = ("path", "label", "split")
_RECORD = ".cnncli-split.json"  # in a tree: the files that were written, so that a later --force removes only those


def parted(dataset: Dataset, seen: list[Inspected], shares: Mapping[Split, float]) -> dict[Split, list[Example]]:
    """The readable images by split, where those that `shares` names and the data set lacks come out of train.

    Raises DataError if there is nothing to take out, or a class is too small for it.
    """
    good = list(readable(seen))
    wanted = {split: share for split, share in shares.items() if share > 0 and not dataset.splits.get(split)}
    if not wanted:
        have = ", ".join(split for split in SPLITS if dataset.splits.get(split))
        raise DataError(f"{dataset.name}: it has {have} already, and no share of train is asked for; nothing to do")
    train = [one for one in good if one.split == "train"]
    fractions = [1 - sum(wanted.values()), *wanted.values()]
    digests, labels = [one.digest for one in train], [one.example.label for one in train]
    purpose = f"data split {' '.join(wanted)}"  # so that a second split of train does not follow the first
    taken = split_by_content(digests, labels, fractions, classes=dataset.classes, purpose=purpose)
    parts = {split: [one.example for one in good if one.split == split] for split in SPLITS}
    for split, indices in zip(("train", *wanted), taken, strict=True):
        parts[split] = [train[index].example for index in indices]
    return {split: examples for split, examples in parts.items() if examples}


def check_output(output: Path, how: How | None, *, force: bool) -> None:
    """Raises OutputError or DataError if a result cannot go there, before any work is done."""
    is_manifest = output.suffix.lower() in MANIFESTS
    if is_manifest and how is not None:
        raise OutputError(f"-o {output}: a manifest needs no --{how}; give a folder for a tree of files")
    if not is_manifest and how is None:
        raise OutputError(
            f"-o {output}: expected a manifest (.csv or .jsonl), or --copy or --link with a folder for a tree of files"
        )
    if is_manifest:
        if output.is_dir():
            raise OutputError(f"-o {output}: this is a folder; expected a file")
        if output.exists() and not force:
            raise DataError(f"{output}: exists; --force replaces it")
    elif output.exists():
        _check_folder(output, force)


def _check_folder(folder: Path, force: bool) -> None:
    if not folder.is_dir():
        raise OutputError(f"-o {folder}: this is a file; expected a folder")
    if not any(folder.iterdir()):
        return
    if not force:
        raise DataError(f"{folder}: this folder is not empty; --force replaces one that 'data split' has written")
    foreign = next(_foreign(folder), None)
    if foreign is not None:
        raise DataError(f"{folder}: 'data split' did not write {foreign}; give another folder")


def _foreign(folder: Path) -> Iterator[str]:
    """Files in a folder that its record does not name."""
    try:
        written = set(json.loads((folder / _RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        written = set()
    for place, _, names in os.walk(folder):
        for name in names:
            relative = str(Path(place, name).relative_to(folder))
            if relative not in written and relative != _RECORD:
                yield relative


def check_apart(output: Path, dataset: Dataset) -> None:
    """Raises OutputError if the result would replace what the data set is read from, or become a part of it."""
    target, root = output.resolve(), Path(dataset.name).resolve()
    if target == root and root.exists():
        raise OutputError(f"-o {output}: this is the input, which is never written over; give another name")
    if output.suffix.lower() in MANIFESTS:
        return
    if root.is_dir() and target.is_relative_to(root):
        raise OutputError(f"-o {output}: lies inside the data set and would become a part of it; give another folder")
    paths = (example.path for examples in dataset.splits.values() for example in examples)
    for folder in {path.parent for path in paths if path is not None}:
        if folder.resolve().is_relative_to(target):
            raise OutputError(
                f"-o {output}: holds images of the data set, which are never replaced; give another folder"
            )


def write_manifest(path: Path, parts: Parts, classes: Sequence[ImageClass]) -> None:
    """Writes path (relative to the manifest), label and split of every image as CSV or JSON Lines, atomically.

    Raises DataError for a class whose name begins or ends in a blank, which no manifest keeps.
    """
    if odd := [one.id for one in classes if one.id != one.id.strip()]:
        raise DataError(f"class {odd[0]!r}: a manifest does not keep blanks at the ends of a name; rename the class")
    rows = list(_rows(path, parts, classes))
    if path.suffix.lower() == ".csv":
        text = csv_lines([COLUMNS, *rows])
        content = os.fsencode(text) if os.sep == "/" else text.encode()
    else:
        content = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def _rows(manifest: Path, parts: Parts, classes: Sequence[ImageClass]) -> Iterator[tuple[str, str, str]]:
    begin = os.path.realpath(manifest.parent)
    folders: dict[str, str] = {}  # a folder as it was given, and seen from the manifest
    for split, examples in parts.items():
        for example in examples:
            folder, name = os.path.split(_file_of(example))
            if folder not in folders:
                folders[folder] = os.path.relpath(os.path.realpath(folder), begin)
            yield os.path.normpath(os.path.join(folders[folder], name)), classes[example.label].id, split  # noqa: PTH118


def _file_of(example: Example) -> Path:
    if example.path is None:
        raise DataError(f"{example.name}: this image has no file of its own; --copy writes a tree of PNG files")
    return example.path


def write_tree(
    folder: Path,
    parts: Parts,
    classes: Sequence[ImageClass],
    how: How,
    *,
    progress: Progress = lambda done, total: None,
) -> None:
    """Writes `split/class/file` for every image, whole or not at all; an older tree in its place is replaced.

    `link` makes hard links, or symbolic ones on another disk. Images without a file become PNG. Raises DataError if
    a class has a name that no folder can have.
    """
    for image_class in classes:
        _check_folder_name(image_class.id)
    folder = folder.resolve()  # a link to a folder stays one
    folder.parent.mkdir(parents=True, exist_ok=True)
    made, older = _beside(folder), _beside(folder)
    try:
        written = list(_write_files(made, parts, classes, how, progress))
        (made / _RECORD).write_text(json.dumps(written))
        if folder.exists():
            folder.rename(older)
        made.rename(folder)
    finally:
        if older.exists() and not folder.exists():
            older.rename(folder)
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def _beside(folder: Path) -> Path:
    """A hidden name beside a folder that nothing has."""
    return folder.with_name(f".{folder.name[:50]}.{secrets.token_hex(4)}.tmp")


def _write_files(
    root: Path, parts: Parts, classes: Sequence[ImageClass], how: How, progress: Progress
) -> Iterator[str]:
    done, total = 0, sum(map(len, parts.values()))
    for split, examples in parts.items():
        taken: set[str] = set()
        for image_class in classes:
            (root / split / image_class.id).mkdir(parents=True)
        for example in examples:
            relative = _free_name(Path(split, classes[example.label].id, _name_of(example)), taken)
            _place(example, root / relative, how)
            yield str(relative)
            done += 1
            progress(done, total)


def _name_of(example: Example) -> str:
    return f"{Path(example.name).name}.png" if example.path is None else example.path.name


def _free_name(wanted: Path, taken: set[str]) -> Path:
    """`wanted`, or with a number where files of the same name come from several folders."""
    path, number = wanted, 1
    while str(path).casefold() in taken:
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    taken.add(str(path).casefold())
    return path


def _place(example: Example, target: Path, how: How) -> None:
    if example.path is None:
        from PIL import Image

        assert example.pixels is not None
        Image.fromarray(example.pixels).save(target, "PNG")
    elif how == "copy":
        shutil.copyfile(example.path, target)
    else:
        source = example.path.resolve()
        try:
            target.hardlink_to(source)
        except OSError:  # another disk, or a file system without them
            target.symlink_to(source)


def _check_folder_name(name: str) -> None:
    if name.startswith(".") or not name or "/" in name or "\0" in name or os.sep in name:
        raise DataError(f"{name!r}: a class of this name cannot be a folder; write a manifest instead (-o split.csv)")
