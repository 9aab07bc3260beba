"""A manifest as a data set: a CSV or JSON Lines file that names images, their labels and splits."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from cnncli.datasets.dataset import SPLIT_NAMES, Dataset, Split
from cnncli.datasets.layout import MANIFEST, Found, arranged, refused
from cnncli.errors import DataError
from cnncli.text import printable

EXTENSIONS = (".csv", ".jsonl")

_Row = tuple[int, dict[str, Any]]  # its line in the file, and its fields


def read_manifest(data: str, *, to_train: bool = True) -> Dataset:
    """The data set that a manifest describes: fields path, label and, if there are splits, split; others are ignored.

    Paths are relative to the manifest's folder. Raises DataError naming the line; `to_train` as in `read_folder`.
    """
    path = Path(data)
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    by_split: dict[Split, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    lines: dict[Path, int] = {}
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # any file name survives
            for line, row in read(data, file):
                name, label, split = _fields(data, line, row)
                image = path.parent / name
                if (first := lines.setdefault(image, line)) != line:
                    raise DataError(f"{data}: line {line}: {image} was named in line {first} already")
                by_split[split][label].append(image)
    except OSError as problem:
        raise DataError(f"{data}: cannot be read ({problem.strerror})") from problem
    if not by_split:
        raise refused(data, "no image is named here", MANIFEST)
    found: Found = {split: dict(classes) for split, classes in by_split.items()}
    return arranged(data, found, (), MANIFEST, to_train=to_train)


def _csv_rows(data: str, file: TextIO) -> Iterator[_Row]:
    reader = csv.DictReader(file, strict=True)
    try:
        columns = reader.fieldnames or ()
        if not {"path", "label"} <= set(columns):
            found = printable(", ".join(columns)[:100])
            raise refused(data, f"its first line has no columns path and label, but: {found or 'nothing'}", MANIFEST)
        for row in reader:
            if None in row:
                raise DataError(f"{data}: line {reader.line_num}: more fields than columns; quote what has a comma")
            yield reader.line_num, row
    except csv.Error as problem:
        raise DataError(f"{data}: line {reader.reader.line_num}: this is no CSV ({problem})") from problem


def _json_rows(data: str, lines: Iterable[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise DataError(f"{data}: line {number}: this is no JSON ({problem})") from problem
        if not isinstance(row, dict):
            raise DataError(f"{data}: line {number}: expected an object with path, label and split")
        yield number, row


def _fields(data: str, line: int, row: dict[str, Any]) -> tuple[str, str, Split]:
    """Path, label and split of a row. Raises DataError."""
    path, label, split = (row.get(name) for name in ("path", "label", "split"))
    if isinstance(label, int):  # JSON's, for classes that are digits
        label = str(label)
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise DataError(f"{data}: line {line}: expected the path of an image, got {path!r}")
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"{data}: line {line}: expected the label of {path}, got {label!r}")
    known = SPLIT_NAMES.get(str(split or "train").strip().lower())
    if known is None:
        raise DataError(f"{data}: line {line}: expected a split (train, val or test), got {split!r}")
    return path, label.strip(), known
