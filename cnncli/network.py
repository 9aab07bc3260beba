"""Fetches images from addresses, and says in few words why a network failed."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from cnncli import __version__
from cnncli.errors import ImageError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MAX_STREAM_BYTES = 256_000_000  # of an image on stdin or behind an address: well above any photo
CONNECT_S, READ_S, TOTAL_S = 5.0, 10.0, 60.0  # time-outs of an address
_BLOCK_BYTES = 1 << 16


def fetch(url: str) -> bytes:
    """The bytes behind an address, within limits of size and time; raises ImageError."""
    answer: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put(_fetch(url))
        except BaseException as problem:
            answer.put(problem)

    # A thread of its own: time-outs of sockets know nothing of a server whose headers come drop by drop.
    threading.Thread(target=work, daemon=True).start()
    try:
        content = answer.get(timeout=TOTAL_S)
    except queue.Empty:
        raise ImageError(f"it takes more than {TOTAL_S:g} s to fetch; download it first") from None
    if isinstance(content, BaseException):
        raise content
    return content


def _fetch(url: str) -> bytes:
    import requests
    import urllib3

    deadline = time.monotonic() + TOTAL_S
    headers = {"User-Agent": f"cnncli/{__version__}"}
    try:
        with requests.get(url, stream=True, timeout=(CONNECT_S, READ_S), headers=headers) as answer:
            if not answer.ok:
                raise ImageError(f"the server answered {answer.status_code} {answer.reason}")
            return _body(answer.raw, deadline)
    except requests.ConnectTimeout as problem:
        raise ImageError(f"the server could not be reached within {CONNECT_S:g} s") from problem
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as problem:
        raise ImageError(f"the server sent nothing for {READ_S:g} s") from problem
    except (OSError, urllib3.exceptions.HTTPError, ValueError) as problem:  # those of requests are OSErrors
        raise ImageError(f"cannot be fetched ({reason(problem)})") from problem


def _body(stream: BaseHTTPResponse, deadline: float) -> bytes:
    """What a server sends. `read1` returns what has come, so that a trickle cannot outlast the deadline."""
    content = bytearray()
    while len(content) + (stream.length_remaining or 0) <= MAX_STREAM_BYTES:
        block = stream.read1(_BLOCK_BYTES, decode_content=True)
        if not block:
            return bytes(content)
        content += block
        if time.monotonic() > deadline:
            raise ImageError(f"it takes more than {TOTAL_S:g} s to fetch; download it first")
    raise ImageError(f"more than {MAX_STREAM_BYTES / 1e6:g} MB behind this address")


def reason(problem: BaseException) -> str:
    """The innermost reason of a network failure, in a few words: `Connection refused`."""
    while True:
        inner = problem.__cause__ or problem.__context__ or getattr(problem, "reason", None)
        if not isinstance(inner, BaseException):
            break
        problem = inner
    return getattr(problem, "strerror", None) or (str(problem).splitlines() or [type(problem).__name__])[0]
