"""A web server on a free port that tests tell, request by request, how to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Request"], None]


class WeightsServer(ThreadingHTTPServer):
    """Serves `content` under every address. Request number n meets `behaviours[n]`, later ones the last of them."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.content = content
        self.behaviours: list[Behaviour] = [whole]
        self.requests: list[tuple[str, dict[str, str]]] = []  # path and headers
        self.paused = threading.Event()  # set when `pauses_after` has sent its bytes
        self.go_on = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what many tests are about."""


class Request(BaseHTTPRequestHandler):
    """One request."""

    server: WeightsServer

    def do_GET(self) -> None:
        number = len(self.server.requests)
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.behaviours[min(number, len(self.server.behaviours) - 1)](self)

    def begin(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def whole(request: Request) -> None:
    """Sends everything, whatever range was asked for."""
    content = request.server.content
    request.begin(200, Content_Length=len(content), ETag=request.server.etag)
    request.wfile.write(content)


def ranged(request: Request) -> None:
    """Sends the range that was asked for, if what the client has is of the same version."""
    content, asked = request.server.content, request.headers.get("Range")
    if asked is None or request.headers.get("If-Range", request.server.etag) != request.server.etag:
        whole(request)
        return
    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
    request.begin(
        206, Content_Length=len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}"
    )
    request.wfile.write(content[start:])


def dies_after(num_bytes: int) -> Behaviour:
    """Promises everything and closes the connection early."""

    def behave(request: Request) -> None:
        request.begin(200, Content_Length=len(request.server.content), ETag=request.server.etag)
        request.wfile.write(request.server.content[:num_bytes])

    return behave


def pauses_after(num_bytes: int) -> Behaviour:
    """Sends a part, says so, and the rest when the test lets it."""

    def behave(request: Request) -> None:
        content = request.server.content
        request.begin(200, Content_Length=len(content), ETag=request.server.etag)
        request.wfile.write(content[:num_bytes])
        request.server.paused.set()
        request.server.go_on.wait(60)
        request.wfile.write(content[num_bytes:])

    return behave


def answers(status: int, body: bytes = b"", **headers: object) -> Behaviour:
    """Sends this answer; without a Content-Length the end of the connection ends it."""

    def behave(request: Request) -> None:
        request.begin(status, **headers)
        request.wfile.write(body)

    return behave


def drip(pieces: int, pause: threading.Event, seconds: float) -> Behaviour:
    """Sends everything slowly."""

    def behave(request: Request) -> None:
        content = request.server.content
        request.begin(200, Content_Length=len(content))
        size = -(-len(content) // pieces)
        for start in range(0, len(content), size):
            request.wfile.write(content[start : start + size])
            pause.wait(seconds)

    return behave


@contextmanager
def serving(content: bytes) -> Iterator[WeightsServer]:
    """A server that runs for as long as the block."""
    server = WeightsServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
