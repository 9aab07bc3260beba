"""Published weights: found in Keras's cache, or downloaded into it whole and checked."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cnncli.backbones import Backbone
from cnncli.errors import ModelError, WeightsUnavailableError
from cnncli.files import digests, remove_leftovers, replacing
from cnncli.inference import cache
from cnncli.inference.download import DownloadError, Progress, Wanted, fetch

Notify = Callable[[str], None]

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MODEST_LINE = 20e6 / 8  # bytes per second of a 20 Mbit/s line, for the announced wait
# A file is 0.3 % (ResNet50) to 11 % (MobileNet 0.25) larger than its numbers.
_NEEDED = 1.1  # of disk space
_ALLOWED, _ALLOWED_EXTRA_BYTES = 1.5, 1_000_000  # of a download: a server that sends more sends something else


def cached(row: Backbone) -> bool:
    """Whether the weights of `row` are in Keras's cache (their content is not checked)."""
    return row.weights_path.is_file()


def examine(row: Backbone, path: Path) -> str | None:
    """What is wrong with a weights file of `row`, by reading all of it; None if it is good.

    Compared is the published hash or, where Keras publishes none, structure, values and number of the weights.
    """
    if row.digest is None:
        return _content_fault(row, path)
    return _hash_fault(row, digests(path, row.digest.split(":")[0]))


def fault(row: Backbone, path: Path) -> str | None:
    """The same as `examine`, looked up as long as the file has not changed."""
    if row.digest is not None:
        hashes = cache.hashes(path)
        return _hash_fault(row, {"md5": hashes.md5, "sha256": hashes.sha256})
    known = cache.remembered(path, f"weights of {row.name}", lambda: {"fault": _content_fault(row, path) or ""})
    return known["fault"] or None


def _hash_fault(row: Backbone, actual: dict[str, str]) -> str | None:
    algorithm, expected = str(row.digest).split(":")
    if actual[algorithm] == expected:
        return None
    return f"its {algorithm} is {actual[algorithm]}, expected is the published {expected}"


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
    path = row.weights_path
    damage = fault(row, path) if cached(row) else None
    if cached(row) and damage is None:
        return path
    if offline:
        raise WeightsUnavailableError(_by_hand(row, damage, "were not fetched: --offline was given"))
    if damage is not None:
        notify(f"{path}: damaged: {damage}; fetching it again")
    try:
        _fetch_once(row, path, notify, progress)
    except DownloadError as problem:
        raise WeightsUnavailableError(_by_hand(row, damage, f"could not be fetched: {problem}")) from problem
    return path


def _fetch_once(row: Backbone, path: Path, notify: Notify, progress: Progress) -> None:
    """Downloads the weights unless another process has just done so."""
    cache.writable(path.parent, "KERAS_HOME")
    waiting_for = f"another cnncli is downloading {row.name}; waiting for it"
    with cache.lock(str(path.resolve()), notify=notify, waiting_for=waiting_for) as work:
        if cached(row) and fault(row, path) is None:
            return
        if work.held:
            remove_leftovers(path)
        _announce(row, path, notify)

        def report(completed: int, total: int | None) -> None:
            work.beat()
            progress(completed, total)

        _download(row, path, report)


def _announce(row: Backbone, path: Path, notify: Notify) -> None:
    free, needed = shutil.disk_usage(path.parent).free, row.weights_bytes * _NEEDED
    if free < needed:
        raise DownloadError(f"the disk has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed")
    megabytes, seconds = row.weights_bytes / 1e6, row.weights_bytes / _MODEST_LINE
    wait = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    notify(
        f"Downloading the {row.name} weights, once: about {megabytes:.0f} MB, {wait} at 20 Mbit/s\n"
        f"  from {row.url}\n  to   {path}"
    )


def _download(row: Backbone, path: Path, progress: Progress) -> None:
    """Whatever goes wrong, nothing incomplete or unchecked gets the final name."""
    limit_bytes = int(row.weights_bytes * _ALLOWED) + _ALLOWED_EXTRA_BYTES
    try:
        with replacing(path) as file:
            fetch(Wanted(row.url, HDF5_SIGNATURE, limit_bytes), file, progress)
            _check_download(row, file)
    except OSError as problem:
        raise DownloadError(problem.strerror or str(problem)) from problem


def _check_download(row: Backbone, file: BinaryIO) -> None:
    file.flush()
    wrong = examine(row, Path(file.name))
    if wrong is not None:
        raise DownloadError(f"the server sent a wrong or damaged file: {wrong}")


def _by_hand(row: Backbone, damage: str | None, why: str) -> str:
    state, found = ("not on this machine", "") if damage is None else ("damaged", f"  Damage: {damage}\n")
    return (
        f"the weights of {row.name} are {state} and {why}.\n{found}"
        f"  With a network: cnncli models pull {row.name}\n"
        f"  By hand: save {row.url}\n"
        f"       as  {row.weights_path}"
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
