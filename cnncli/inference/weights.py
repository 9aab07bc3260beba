"""Published weights: found in Keras's cache, or downloaded into it whole and checked."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cnncli import network
from cnncli.backbones import Backbone
from cnncli.errors import ModelError, WeightsUnavailableError
from cnncli.files import digests
from cnncli.inference import cache

if TYPE_CHECKING:
    import requests

Notify = Callable[[str], None]
Progress = Callable[[int, int | None], None]

CONNECT_S = 5.0
STALL_S = 30.0
TRIES = 3  # once bytes have flowed
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MODEST_LINE = 20e6 / 8  # bytes per second of a 20 Mbit/s line, for the announced wait


def cached(row: Backbone) -> bool:
    """Whether the weights of `row` are in Keras's cache (their content is not checked)."""
    return row.weights_path.is_file()


def matches(row: Backbone, path: Path) -> bool:
    """Whether a weights file has the published hash of `row`; True where Keras publishes none."""
    if row.digest is None:
        return True
    algorithm, expected = row.digest.split(":")
    return bool(getattr(cache.hashes(path), algorithm) == expected)


def obtain(row: Backbone, *, offline: bool, notify: Notify, progress: Progress) -> Path:
    """The checked weights file of `row`, downloaded if need be.

    Raises WeightsUnavailableError, saying why and how to get the file by hand, if it is neither cached nor to be had.
    """
    path = row.weights_path
    if cached(row):
        if matches(row, path):
            return path
        notify(f"{path}: damaged: its hash is not the published one" + ("" if offline else "; fetching it again"))
    if offline:
        raise WeightsUnavailableError(_by_hand(row, "--offline was given"))
    cache.writable(path.parent, "KERAS_HOME")
    partial = path.with_name(f".{path.name}.part")
    with cache.lock(
        str(path),
        notify=notify,
        waiting_for=f"another cnncli is downloading {row.name}; waiting for it",
        growing=lambda: partial.stat().st_size if partial.exists() else None,
    ):
        if not (cached(row) and matches(row, path)):
            _announce(row, path, notify)
            _download(row, path, partial, progress)
    return path


def _announce(row: Backbone, path: Path, notify: Notify) -> None:
    megabytes, seconds = row.weights_bytes / 1e6, row.weights_bytes / _MODEST_LINE
    wait = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    notify(
        f"Downloading the {row.name} weights, once: about {megabytes:.0f} MB, {wait} at 20 Mbit/s\n"
        f"  from {row.url}\n  to   {path}"
    )
    free = shutil.disk_usage(path.parent).free
    if free < row.weights_bytes * 1.02:
        why = f"the disk has {free / 1e6:.0f} MB free, {row.weights_bytes * 1.02 / 1e6:.0f} MB are needed"
        raise WeightsUnavailableError(_by_hand(row, why))


def _download(row: Backbone, path: Path, partial: Path, progress: Progress) -> None:
    """Fetches into `partial` and renames: whatever goes wrong, nothing incomplete gets the final name."""
    import requests

    try:
        with partial.open("wb") as file:
            _fetch(row, file, progress)
            file.flush()
            os.fsync(file.fileno())
        _check_download(row, partial)
        partial.replace(path)
    except requests.RequestException as problem:
        raise WeightsUnavailableError(_by_hand(row, _network_fault(problem))) from problem
    except OSError as problem:
        raise WeightsUnavailableError(_by_hand(row, problem.strerror or str(problem))) from problem
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _fetch(row: Backbone, file: BinaryIO, progress: Progress) -> None:
    """Streams the weights into `file`, continuing where a broken connection left off."""
    import requests

    for attempt in range(1, TRIES + 1):
        try:
            _fetch_rest(row, file, progress)
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            if file.tell() == 0 or attempt == TRIES:
                raise


def _fetch_rest(row: Backbone, file: BinaryIO, progress: Progress) -> None:
    import requests

    start = file.tell()
    headers = {"Range": f"bytes={start}-"} if start else {}
    with requests.get(row.url, stream=True, timeout=(CONNECT_S, STALL_S), headers=headers) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            file.seek(0)
            file.truncate()
        total = _total_bytes(answer, file.tell())
        for block in answer.iter_content(1 << 18):
            if file.tell() == 0 and not block.startswith(HDF5_SIGNATURE):
                raise WeightsUnavailableError(_by_hand(row, _foreign_content(block)))
            file.write(block)
            progress(file.tell(), total)
        if total is not None and file.tell() != total:
            raise requests.ConnectionError(f"the connection ended after {file.tell()} of {total} bytes")


def _total_bytes(answer: requests.Response, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() and "Content-Encoding" not in answer.headers else None


def _foreign_content(block: bytes) -> str:
    kind = "an HTML page (a login page of the network?)" if block.lstrip()[:1] == b"<" else "something else"
    return f"the server sent {kind} instead of an HDF5 weights file"


def _check_download(row: Backbone, partial: Path) -> None:
    if row.digest is None:
        return
    algorithm, expected = row.digest.split(":")
    actual = digests(partial, algorithm)[algorithm]
    if actual != expected:
        raise WeightsUnavailableError(_by_hand(row, f"what came has {algorithm} {actual}, expected {expected}"))


def _network_fault(problem: requests.RequestException) -> str:
    import requests

    if isinstance(problem, requests.HTTPError):
        return f"the server answered {problem.response.status_code} {problem.response.reason}"
    if isinstance(problem, requests.ConnectTimeout):
        return f"no connection within {CONNECT_S:.0f} s"
    if isinstance(problem, requests.ReadTimeout):
        return f"nothing came for {STALL_S:.0f} s"
    return network.reason(problem)


def _by_hand(row: Backbone, why: str) -> str:
    return (
        f"the weights of {row.name} are not on this machine and could not be fetched: {why}.\n"
        f"  With a network: cnncli models pull {row.name}\n"
        f"  By hand: save {row.url}\n"
        f"       as  {row.weights_path}"
    )


def check_given(path: Path) -> None:
    """Raises ModelError unless `--weights` names a file in the official layout: HDF5 with a list of layers."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as problem:
        raise ModelError(f"--weights {path}: {problem.strerror}") from problem
    if head != HDF5_SIGNATURE:
        raise ModelError(f"--weights {path}: not an HDF5 file; expected weights in the layout of Keras Applications")
