"""Published weights: found in Keras's cache, or downloaded into it whole and checked."""

from __future__ import annotations

import math
from pathlib import Path

from cnncli.backbones import Backbone
from cnncli.errors import ModelError, WeightsUnavailableError
from cnncli.inference import cache, official
from cnncli.inference.download import Progress
from cnncli.inference.official import Notify, OfficialFile, examine_hash, known_hash_fault

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def cached(row: Backbone) -> bool:
    """Whether the weights of `row` are in Keras's cache (their content is not checked)."""
    return row.weights_path.is_file()


def examine(row: Backbone, path: Path) -> str | None:
    """What is wrong with a weights file of `row`, by reading all of it; None if it is good.

    Compared is the published hash or, where Keras publishes none, structure, values and number of the weights.
    """
    return _content_fault(row, path) if row.digest is None else examine_hash(row.digest)(path)


def fault(row: Backbone, path: Path) -> str | None:
    """The same as `examine`, looked up as long as the file has not changed."""
    if row.digest is not None:
        return known_hash_fault(row.digest)(path)
    known = cache.remembered(path, f"weights of {row.name}", lambda: {"fault": _content_fault(row, path) or ""})
    return known["fault"] or None


def _content_fault(row: Backbone, path: Path) -> str | None:
    from cnncli import hdf5

    try:
        hdf5.check(path, path.stat().st_size, str(path))
        shapes = [shape for _, layer in hdf5.stored_layers(path) for shape in layer]
    except ModelError as problem:
        return str(problem).removeprefix(f"{path}: ")
    found = sum(map(math.prod, shapes))
    return None if found == row.parameters else f"it has {found:,} weights, expected {row.parameters:,}"


def obtain(row: Backbone, *, offline: bool, notify: Notify, progress: Progress) -> Path:
    """The checked weights file of `row`, downloaded if need be.

    Raises WeightsUnavailableError, saying why and how to get the file by hand, if it is neither cached nor to be had.
    """
    return official.obtain(_official(row), offline=offline, notify=notify, progress=progress)


def _official(row: Backbone) -> OfficialFile:
    return OfficialFile(
        name=row.name,
        what="weights",
        url=row.url,
        path=row.weights_path,
        kind="an HDF5 weights file",
        signature=HDF5_SIGNATURE,
        size_bytes=row.weights_bytes,
        examine=lambda path: examine(row, path),
        fault=lambda path: fault(row, path),
        pull="cnncli models pull",
        unavailable=WeightsUnavailableError,
    )


def check_given(path: Path) -> None:
    """Raises ModelError unless `--weights` names a file in the official layout: HDF5 with a list of layers."""
    if path.exists() and not path.is_file():
        raise ModelError(f"--weights {path}: not a file; expected weights in the layout of Keras Applications (.h5)")
    try:
        with path.open("rb") as file:
            head = file.read(len(HDF5_SIGNATURE))
    except OSError as problem:
        raise ModelError(f"--weights {path}: {problem.strerror}") from problem
    if head != HDF5_SIGNATURE:
        raise ModelError(f"--weights {path}: not an HDF5 file; expected weights in the layout of Keras Applications")
