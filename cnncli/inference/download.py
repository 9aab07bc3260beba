"""Fetches one large file over HTTP: bounded in size, resumed where a connection broke, faults in plain words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from cnncli import __version__, network

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if they are known

CONNECT_S = 5.0
STALL_S = 30.0
TRIES = 3  # once bytes have flowed; one try before that, so that a machine without a network hears so at once
PAUSE_S = 1.0  # before another try
_BLOCK_BYTES = 1 << 15  # small, so that progress shows on a slow line too


class DownloadError(Exception):
    """Why a file could not be fetched, in a few words."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be fetched, and how to tell early that something else comes."""

    url: str
    kind: str  # "an HDF5 weights file"
    signature: bytes  # its first bytes
    limit_bytes: int  # more than this is not taken


def fetch(wanted: Wanted, file: BinaryIO, progress: Progress) -> None:
    """Writes what is behind an address into the empty `file`. Raises DownloadError."""
    import requests

    transfer = _Transfer(wanted, file, progress)
    for tries_left in reversed(range(TRIES)):
        try:
            transfer.go_on()
            return
        except requests.RequestException as problem:
            if not (tries_left and transfer.flowed and _may_pass(problem)):
                raise DownloadError(_words(problem)) from problem
        time.sleep(PAUSE_S)


class _Transfer:
    """The bytes that have come so far, over one connection or several."""

    def __init__(self, wanted: Wanted, file: BinaryIO, progress: Progress) -> None:
        self._wanted, self._file, self._progress = wanted, file, progress
        self._version: str | None = None  # names what the server sent first: only that may be continued
        self.flowed = False

    def go_on(self) -> None:
        """Fetches what is missing over one connection."""
        import requests

        start = self._file.tell()
        with requests.get(
            self._wanted.url, stream=True, timeout=(CONNECT_S, STALL_S), headers=self._headers(start)
        ) as answer:
            total = self._begin(answer, start)
            for block in answer.iter_content(_BLOCK_BYTES):
                self._take(block, total)
        if total is not None and self._file.tell() < total:
            raise requests.exceptions.ChunkedEncodingError("the connection ended early")

    def _headers(self, start: int) -> dict[str, str]:
        headers = {"User-Agent": f"cnncli/{__version__}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._version is not None:
                headers["If-Range"] = self._version
        return headers

    def _begin(self, answer: requests.Response, start: int) -> int | None:
        """Makes the file ready for what comes; returns the bytes in all if the server says how many."""
        import requests

        if answer.status_code != requests.codes.requested_range_not_satisfiable:
            answer.raise_for_status()
        continued = start > 0 and _continues(answer, start)
        if not continued:
            self._file.seek(0)
            self._file.truncate()
            if start and answer.status_code != requests.codes.ok:
                raise requests.ConnectionError("the server could not continue the download")
            if answer.status_code != requests.codes.ok:
                raise DownloadError(f"the server answered {answer.status_code} {answer.reason}")
            self._version = _version(answer)
        total = _total_bytes(answer, start if continued else 0)
        self._check_size(total or 0)
        return total

    def _take(self, block: bytes, total: int | None) -> None:
        signature = self._wanted.signature[: len(block)]
        if self._file.tell() == 0 and not block.startswith(signature):
            raise DownloadError(_foreign_content(block, self._wanted.kind))
        self._check_size(self._file.tell() + len(block))
        self._file.write(block)
        self.flowed = True
        self._progress(self._file.tell(), total)

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self._wanted.limit_bytes:
            raise DownloadError(f"the server sends more than the {self._wanted.limit_bytes / 1e6:.0f} MB it may have")


def _continues(answer: requests.Response, start: int) -> bool:
    """Whether the answer begins where the file ends."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    plain = "Content-Encoding" not in answer.headers
    return answer.status_code == 206 and plain and found is not None and int(found[1]) == start


def _version(answer: requests.Response) -> str | None:
    """What `If-Range` takes (RFC 9110, 13.1.5): a strong entity tag, or else the date of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _total_bytes(answer: requests.Response, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() and "Content-Encoding" not in answer.headers else None


def _foreign_content(block: bytes, wanted: str) -> str:
    kind = "an HTML page (a login page of the network?)" if block.lstrip()[:1] == b"<" else "something else"
    return f"the server sent {kind} instead of {wanted}"


def _may_pass(problem: requests.RequestException) -> bool:
    """Whether the same request may do better in a moment."""
    import requests

    if isinstance(problem, requests.HTTPError):
        return problem.response.status_code >= 500
    return isinstance(problem, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _words(problem: requests.RequestException) -> str:
    import requests

    if isinstance(problem, requests.HTTPError):
        return f"the server answered {problem.response.status_code} {problem.response.reason}".strip()
    if isinstance(problem, requests.ConnectTimeout):
        return f"no connection within {CONNECT_S:.0f} s"
    if isinstance(problem, requests.ReadTimeout) or _stalled(problem):
        return f"nothing came for {STALL_S:.0f} s"
    if isinstance(problem, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return network.reason(problem)


def _stalled(problem: requests.RequestException) -> bool:
    """Whether the body stopped coming, which requests reports as a ConnectionError."""
    from urllib3.exceptions import ReadTimeoutError

    return isinstance(problem.__context__, ReadTimeoutError)
