"""What IMAGE arguments stand for: files, folders, globs, addresses, lists and standard input, in order."""

from __future__ import annotations

import glob
import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from cnncli import network
from cnncli.errors import ImageError
from cnncli.images import EXTENSIONS, sniff

MAX_STREAM_BYTES = 256_000_000  # of an image on stdin or behind an address: well above any photo
_CONNECT_S, _READ_S, _TOTAL_S = 5.0, 10.0, 60.0  # time-outs of an address
_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """One image to read. `name` is what the user sees; `fault` says why there is nothing to open."""

    name: str
    path: Path | None = None
    url: str | None = None
    content: bytes | None = None
    fault: str | None = None

    def open(self) -> BinaryIO:
        """Opens the image's bytes; raises ImageError with the reason where that fails."""
        if self.fault is not None:
            raise ImageError(self.fault)
        if self.content is not None:
            return io.BytesIO(self.content)
        if self.url is not None:
            return io.BytesIO(_fetch(self.url))
        assert self.path is not None
        return _open_regular_file(self.path)

    def fetched(self) -> Source:
        """This source with the content of its address, if it has one, so that it is fetched only once."""
        if self.url is None or self.fault is not None:
            return self
        return replace(self, url=None, content=_fetch(self.url))


def find(arguments: Iterable[str], *, recursive: bool, offline: bool, notify: Notify) -> Iterator[Source]:
    """Yields the images that IMAGE arguments stand for, in order, reading folders as it goes.

    A path that exists wins over `@list`, an address and a glob. What cannot be found is a Source with a fault, never
    an exception. `notify` is told about files that were passed over because they are no images.
    """
    for argument in arguments:
        yield from _expand(argument, recursive=recursive, offline=offline, notify=notify, lists=True)


def count(arguments: Sequence[str], *, recursive: bool) -> int | None:
    """How many images `find` will yield; None if only standard input knows."""
    if "@-" in arguments:
        return None
    return sum(1 for _ in _find_without_stdin(arguments, recursive)) + arguments.count("-")


def names_in(folder: Path, arguments: Sequence[str], *, recursive: bool) -> set[str]:
    """The names of the images in `folder` that `find` will yield; of all its files if only standard input knows."""
    if "@-" in arguments:
        return {path.name for path in folder.iterdir()}
    found = (source.path for source in _find_without_stdin(arguments, recursive) if source.path is not None)
    return {path.name for path in found if path.parent.resolve() == folder.resolve()}


def _find_without_stdin(arguments: Sequence[str], recursive: bool) -> Iterator[Source]:
    others = [argument for argument in arguments if argument != "-"]
    return find(others, recursive=recursive, offline=True, notify=lambda message: None)


def _expand(argument: str, *, recursive: bool, offline: bool, notify: Notify, lists: bool) -> Iterator[Source]:
    path = Path(argument)
    if argument == "-":
        yield _standard_input()
    elif os.path.lexists(path):
        yield from _folder(path, recursive, notify) if path.is_dir() else [Source(argument, path=path)]
    elif argument.startswith(("http://", "https://")):
        fault = "not fetched because of --offline" if offline else None
        yield Source(argument, url=argument, fault=fault)
    elif argument.startswith("@") and lists:
        for line in _listed(argument):
            if isinstance(line, Source):
                yield line
            else:
                yield from _expand(line, recursive=recursive, offline=offline, notify=notify, lists=False)
    elif glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True), key=natural_order)  # noqa: PTH207 - keeps "./"
        for match in matches:
            yield from _expand(match, recursive=recursive, offline=offline, notify=notify, lists=False)
        if not matches:
            yield Source(argument, fault="no file matches this pattern")
    else:
        yield Source(argument, fault="no such file or folder")


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Sort key under which `2.jpg` comes before `10.jpg`, by code points and not by locale."""
    parts = re.split(r"([0-9]+)", name)
    key: list[tuple[int, int | str]] = [(0, int(p)) if i % 2 else (1, p) for i, p in enumerate(parts) if p]
    return [*key, (2, name)]  # tells "01" from "1"


def _folder(folder: Path, recursive: bool, notify: Notify) -> Iterator[Source]:
    seen: set[tuple[int, int]] = set()
    passed_over: dict[str, int] = {}
    found = False
    for source in _walk(folder, recursive, seen, passed_over):
        found = True
        yield source
    if passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
        notify(f"{folder}: passed over files that are not images ({kinds})")
    if not found:
        yield Source(str(folder), fault="no images in this folder" + ("" if recursive else " (--no-recursive)"))


def _walk(folder: Path, recursive: bool, seen: set[tuple[int, int]], passed_over: dict[str, int]) -> Iterator[Source]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder already read
            return
        seen.add((status.st_dev, status.st_ino))
        names = sorted(os.listdir(folder), key=natural_order)  # noqa: PTH208 - names alone
    except OSError as problem:
        yield Source(str(folder), fault=f"this folder cannot be read ({problem.strerror})")
        return
    for name in names:
        path = folder / name
        if name.startswith(".") or name in _JUNK:
            continue
        if path.is_dir():
            if recursive:
                yield from _walk(path, recursive, seen, passed_over)
        elif path.suffix.lower() in EXTENSIONS or _looks_like_image(path):
            yield Source(str(path), path=path)
        else:
            kind = path.suffix.lower() or "without extension"
            passed_over[kind] = passed_over.get(kind, 0) + 1


def _looks_like_image(path: Path) -> bool:
    """Whether a file with an unknown extension begins like an image."""
    try:
        with _open_regular_file(path) as file:
            return sniff(file.read(64)) is not None
    except ImageError:
        return False


def _open_regular_file(path: Path) -> BinaryIO:
    """Opens a file for reading, but never a folder, pipe or device, which could block or never end."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("this is a folder")
        if not stat.S_ISREG(mode):
            raise ImageError("not a regular file; give its bytes on standard input, with '-' for the image")
        return path.open("rb")
    except OSError as problem:
        raise ImageError(_reason(problem)) from problem
    except ValueError as problem:  # a null character in the name
        raise ImageError(f"no such file ({problem})") from problem


def _reason(problem: OSError) -> str:
    if isinstance(problem, FileNotFoundError):
        return "no such file"
    return (problem.strerror or str(problem)).lower()


def _standard_input() -> Source:
    content = sys.stdin.buffer.read(MAX_STREAM_BYTES + 1)
    if len(content) > MAX_STREAM_BYTES:
        return Source("-", fault=f"more than {MAX_STREAM_BYTES // 10**6} MB on standard input")
    if not content:
        return Source("-", fault="nothing came on standard input; expected the bytes of an image")
    return Source("-", content=content)


def _listed(argument: str) -> Iterator[str | Source]:
    """The lines of `@FILE` (`@-`: standard input), or its NUL-separated names; paths are as typed in the shell."""
    try:
        content = sys.stdin.buffer.read() if argument == "@-" else Path(argument[1:]).read_bytes()
    except OSError as problem:
        yield Source(argument, fault=f"this list cannot be read ({_reason(problem)})")
        return
    separator = b"\0" if b"\0" in content else b"\n"
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(separator)]
    names = [line for line in lines if line.strip()]
    yield from names
    if not names:
        yield Source(argument, fault="this list is empty")


def _fetch(url: str) -> bytes:
    """The bytes behind an address, within limits of size and time; raises ImageError."""
    import time

    import requests

    from cnncli import __version__

    deadline = time.monotonic() + _TOTAL_S
    content = bytearray()
    try:
        headers = {"User-Agent": f"cnncli/{__version__}"}
        with requests.get(url, stream=True, timeout=(_CONNECT_S, _READ_S), headers=headers) as answer:
            if not answer.ok:
                raise ImageError(f"the server answered {answer.status_code} {answer.reason}")
            for block in answer.iter_content(1 << 16):
                content += block
                if len(content) > MAX_STREAM_BYTES:
                    raise ImageError(f"more than {MAX_STREAM_BYTES // 10**6} MB behind this address")
                if time.monotonic() > deadline:
                    raise ImageError(f"not there after {_TOTAL_S:.0f} s")
    except requests.Timeout as problem:
        raise ImageError(f"the server did not answer within {_READ_S:.0f} s") from problem
    except (requests.RequestException, ValueError) as problem:
        raise ImageError(f"cannot be fetched ({network.reason(problem)})") from problem
    return bytes(content)
