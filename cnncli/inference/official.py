"""Files that their makers publish: found where Keras keeps them, or downloaded there whole and checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cnncli.errors import CnncliError
from cnncli.files import digests, remove_leftovers, replacing
from cnncli.inference import cache
from cnncli.inference.download import DownloadError, Progress, Wanted, fetch
from cnncli.text import duration

Notify = Callable[[str], None]
Examine = Callable[[Path], str | None]  # what is wrong with a file, or None

_MODEST_LINE = 20e6 / 8  # bytes per second of a 20 Mbit/s line, for the announced wait
# A weights file is 0.3 % (ResNet50) to 11 % (MobileNet 0.25) larger than its numbers.
_NEEDED = 1.1  # of disk space
_ALLOWED, _ALLOWED_EXTRA_BYTES = 1.5, 1_000_000  # of a download: a server that sends more sends something else


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """A published file, its place on this machine, and how to tell that it is whole."""

    name: str  # of the network or data set
    what: str  # of it this is, in the plural: "weights"
    url: str
    path: Path
    kind: str  # "an HDF5 weights file"
    signature: bytes  # its first bytes
    size_bytes: int  # about
    examine: Examine  # reads all of it
    fault: Examine  # the same, looked up as long as the file has not changed
    pull: str  # the command that fetches it, without the name
    unavailable: type[CnncliError]

    @property
    def cached(self) -> bool:
        """Whether it is on this machine (its content is not checked)."""
        return self.path.is_file()


def hash_fault(digest: str, actual: dict[str, str]) -> str | None:
    """What is wrong with a file of these hashes, by algorithm, if `digest` (`sha256:...`) is the published one."""
    algorithm, expected = digest.split(":")
    if actual[algorithm] == expected:
        return None
    return f"its {algorithm} is {actual[algorithm]}, expected is the published {expected}"


def examine_hash(digest: str) -> Examine:
    """Compares a file with its published hash by reading all of it."""
    return lambda path: hash_fault(digest, digests(path, digest.split(":")[0]))


def known_hash_fault(digest: str) -> Examine:
    """Compares a file with its published hash, looked up as long as the file has not changed."""

    def fault(path: Path) -> str | None:
        hashes = cache.hashes(path)
        return hash_fault(digest, {"md5": hashes.md5, "sha256": hashes.sha256})

    return fault


def obtain(wanted: OfficialFile, *, offline: bool, notify: Notify, progress: Progress) -> Path:
    """The checked file, downloaded if need be.

    Raises `wanted.unavailable`, saying why and how to get the file by hand, if it is neither cached nor to be had.
    """
    damage = wanted.fault(wanted.path) if wanted.cached else None
    if wanted.cached and damage is None:
        return wanted.path
    if offline:
        raise wanted.unavailable(_by_hand(wanted, damage, "were not fetched: --offline was given"))
    if damage is not None:
        notify(f"{wanted.path}: damaged: {damage}; fetching it again")
    try:
        _fetch_once(wanted, notify, progress)
    except DownloadError as problem:
        raise wanted.unavailable(_by_hand(wanted, damage, f"could not be fetched: {problem}")) from problem
    return wanted.path


def _fetch_once(wanted: OfficialFile, notify: Notify, progress: Progress) -> None:
    """Downloads the file unless another process has just done so."""
    cache.writable(wanted.path.parent, "KERAS_HOME")
    waiting_for = f"another cnncli is downloading {wanted.name}; waiting for it"
    with cache.lock(str(wanted.path.resolve()), notify=notify, waiting_for=waiting_for) as work:
        if wanted.cached and wanted.fault(wanted.path) is None:
            return
        if work.held:
            remove_leftovers(wanted.path)
        _announce(wanted, notify)

        def report(completed: int, total: int | None) -> None:
            work.beat()
            progress(completed, total)

        _download(wanted, report)


def _announce(wanted: OfficialFile, notify: Notify) -> None:
    free, needed = shutil.disk_usage(wanted.path.parent).free, wanted.size_bytes * _NEEDED
    if free < needed:
        raise DownloadError(f"the disk has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed")
    wait = duration(wanted.size_bytes / _MODEST_LINE)
    notify(
        f"Downloading the {wanted.name} {wanted.what}, once: about {_megabytes(wanted.size_bytes)}, {wait} at 20 Mbit/s"
        f"\n  from {wanted.url}\n  to   {wanted.path}"
    )


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e6:.2f} MB"


def _download(wanted: OfficialFile, progress: Progress) -> None:
    """Whatever goes wrong, nothing incomplete or unchecked gets the final name."""
    limit_bytes = int(wanted.size_bytes * _ALLOWED) + _ALLOWED_EXTRA_BYTES
    try:
        with replacing(wanted.path) as file:
            fetch(Wanted(wanted.url, wanted.kind, wanted.signature, limit_bytes), file, progress)
            _check_download(wanted, file)
    except OSError as problem:
        raise DownloadError(problem.strerror or str(problem)) from problem


def _check_download(wanted: OfficialFile, file: BinaryIO) -> None:
    file.flush()
    wrong = wanted.examine(Path(file.name))
    if wrong is not None:
        raise DownloadError(f"the server sent a wrong or damaged file: {wrong}")


def _by_hand(wanted: OfficialFile, damage: str | None, why: str) -> str:
    state, found = ("not on this machine", "") if damage is None else ("damaged", f"  Damage: {damage}\n")
    return (
        f"the {wanted.what} of {wanted.name} are {state} and {why}.\n{found}"
        f"  With a network: {wanted.pull} {wanted.name}\n"
        f"  By hand: save {wanted.url}\n"
        f"       as  {wanted.path}"
    )
