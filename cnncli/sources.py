"""What IMAGE arguments stand for: files, folders, globs, addresses, lists and standard input, in order."""

from __future__ import annotations

import functools
import glob
import io
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from cnncli import namelists, network
from cnncli.errors import ImageError
from cnncli.imagekinds import EXTENSIONS, sniff
from cnncli.listing import is_inside, is_new, matching, natural_order, same_folder, visible_names

MAX_FILE_BYTES = 2_000_000_000  # more than the largest image that is accepted takes without compression

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
            return io.BytesIO(network.fetch(self.url))
        assert self.path is not None
        return _open_regular_file(self.path)

    def fetched(self) -> Source:
        """This source with the content of its address, if it has one, so that it is fetched only once."""
        if self.url is None or self.fault is not None:
            return self
        return replace(self, url=None, content=network.fetch(self.url))


def find(
    arguments: Iterable[str], *, recursive: bool, offline: bool, notify: Notify, results: Path | None = None
) -> Iterator[Source]:
    """Yields the images that IMAGE arguments stand for, in order, reading folders as it goes.

    A path that exists wins over `@list`, an address and a glob. What cannot be found is a Source with a fault, never
    an exception. `notify` is told about files that were passed over because they are no images. The folder
    `results`, which is being written meanwhile, is not read as a part of another folder.
    """
    search = _Search(recursive, offline, notify, results)
    for argument in arguments:
        yield from search.expand(argument)


def count(arguments: Sequence[str], *, recursive: bool, results: Path | None = None) -> int | None:
    """How many images `find` will yield; None if only a stream knows, which can be read only once."""
    if any(map(namelists.is_streamed, arguments)):
        return None
    return sum(1 for _ in _find_without_stdin(arguments, recursive, results)) + arguments.count("-")


def names_in(folder: Path, arguments: Sequence[str], *, recursive: bool) -> set[str]:
    """The names of the images in `folder` that `find` will yield, through links too, if `folder` is where results
    go; of all its files if only a stream knows.
    """
    if any(map(namelists.is_streamed, arguments)):
        return {path.name for path in folder.iterdir()}
    found = (source.path for source in _find_without_stdin(arguments, recursive, folder) if source.path is not None)
    resolved = folder.resolve()
    is_there = functools.cache(lambda parent: parent.resolve() == resolved)
    names = (name for path in found for name in ((path, path.resolve()) if path.is_symlink() else (path,)))
    return {path.name for path in names if is_there(path.parent)}


def up_to_one_there(found: Iterator[Source]) -> list[Source]:
    """Draws what `find` yields up to the first source that can be opened; all of it if none can."""
    drawn: list[Source] = []
    for source in found:
        drawn.append(source)
        if source.fault is None:
            break
    return drawn


def is_one(arguments: Sequence[str]) -> bool:
    """Whether arguments stand for a single image, as far as that can be told without looking for it."""
    return len(arguments) == 1 and (
        arguments[0] == "-" or "://" in arguments[0] or os.path.isfile(arguments[0])  # noqa: PTH113
    )


def _find_without_stdin(arguments: Sequence[str], recursive: bool, results: Path | None) -> Iterator[Source]:
    others = [argument for argument in arguments if argument != "-"]
    return find(others, recursive=recursive, offline=True, notify=lambda message: None, results=results)


@dataclass(frozen=True, slots=True)
class _Search:
    """Turns IMAGE arguments into sources."""

    recursive: bool
    offline: bool
    notify: Notify
    results: Path | None = None

    def expand(self, argument: str, *, listed: bool = False) -> Iterator[Source]:
        """What one argument, or one line of a list, stands for."""
        if argument == "-" and not listed:
            yield _standard_input()
        elif os.path.lexists(argument):
            yield from self._existing(argument)
        elif "://" in argument:
            yield self._address(argument)
        elif argument.startswith("@") and not listed:
            yield from self._list(argument)
        elif glob.has_magic(argument):
            yield from self._pattern(argument)
        else:
            yield Source(argument, fault=_why_missing(argument))

    def _existing(self, name: str) -> Iterable[Source]:
        return self._folder(Path(name)) if os.path.isdir(name) else [Source(name, path=Path(name))]  # noqa: PTH112

    def _address(self, url: str) -> Source:
        if not url.lower().startswith(("http://", "https://")):
            return Source(url, fault="only addresses that begin with http:// or https:// are fetched")
        return Source(url, url=url, fault="not fetched because of --offline" if self.offline else None)

    def _list(self, argument: str) -> Iterator[Source]:
        empty = True
        try:
            for line in namelists.read(argument):
                empty = False
                yield from self.expand(line, listed=True)
        except OSError as problem:
            yield Source(argument, fault=f"this list cannot be read ({_reason(problem)})")
        except ImageError as problem:
            yield Source(argument, fault=str(problem))
        else:
            if empty:
                yield Source(argument, fault="this list is empty")

    def _pattern(self, pattern: str) -> Iterator[Source]:
        """The files and folders that a pattern matches; what lies in a folder that matches comes with the folder."""
        try:
            matches = sorted(
                filter(self._is_input(pattern), set(matching(pattern.replace(os.sep, "/")))), key=natural_order
            )
        except (OSError, ValueError, RecursionError) as problem:
            yield Source(pattern, fault=f"this pattern cannot be searched for ({problem})")
            return
        folders = {Path(match) for match in matches if os.path.isdir(match)}  # noqa: PTH112
        for match in matches:
            above = Path(match).parents if self.recursive else Path(match).parents[:1]
            if folders.isdisjoint(above):
                yield from self._existing(match)
        if not matches:
            yield Source(pattern, fault="no file matches this pattern")

    def _is_input(self, pattern: str) -> Callable[[str], bool]:
        """Whether a match is to be read: not `results` and what lies in it, unless the pattern begins there."""
        begin = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        if self.results is None or is_inside(begin, self.results):
            return lambda match: True
        results = self.results
        return lambda match: not is_inside(match, results)

    def _folder(self, folder: Path) -> Iterator[Source]:
        passed_over: Counter[str] = Counter()
        found = False
        for item in walk(folder, recursive=self.recursive, without=self.results):
            if isinstance(item, Path) and not is_image(item):
                passed_over[kind(item)] += 1
                continue
            found = True
            yield Source(str(item), path=item) if isinstance(item, Path) else item
        if passed_over:
            self.notify(f"{folder}: passed over files in formats that are not read ({counts(passed_over)})")
        if not found:
            yield Source(
                str(folder),
                fault=f"no images in this folder{'' if self.recursive else '; --no-recursive leaves out those inside'}",
            )


def walk(folder: Path, *, recursive: bool = True, without: Path | None = None) -> Iterator[Path | Source]:
    """The files below a folder in natural order, without hidden ones and junk; a fault for what cannot be read.

    Links to folders are followed, but no folder is read twice, and `without` only if it is `folder` itself.
    """
    seen: set[tuple[int, int]] = set()
    if without is not None and not same_folder(without, folder):
        is_new(str(without), seen)
    waiting = [str(folder)]  # next one last
    while waiting:
        path = waiting.pop()
        if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it never raises
            yield Path(path)
        elif recursive or path == str(folder):
            try:
                names = visible_names(path) if is_new(path, seen) else []
            except OSError as problem:
                yield Source(path, fault=unreadable(problem))
                continue
            waiting += (os.path.join(path, name) for name in reversed(names))  # noqa: PTH118 - smaller than a Path


def unreadable(problem: OSError) -> str:
    """What is said of a folder whose names cannot be had."""
    return f"this folder cannot be read ({_reason(problem)})"


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image: by its extension or, if that is unknown, by how it begins."""
    return path.suffix.lower() in EXTENSIONS or _looks_like_image(path)


def kind(path: Path) -> str:
    """What a file that is no image is counted under."""
    return path.suffix.lower() or "without extension"


def counts(kinds: Counter[str]) -> str:
    """Files by kind as text: `2 .txt, 1 without extension`."""
    return ", ".join(f"{number} {of_kind}" for of_kind, number in sorted(kinds.items()))


def _looks_like_image(path: Path) -> bool:
    try:
        with _open_regular_file(path) as file:
            return sniff(file.read(64)) is not None
    except ImageError:
        return False


def _open_regular_file(path: Path) -> BinaryIO:
    """Opens a file for reading, but never a folder, pipe or device, which could block or never end."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("this is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file; give its bytes on standard input, with '-' for the image")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"{status.st_size / 1e9:.1f} GB, more than the {MAX_FILE_BYTES / 1e9:g} GB that are read")
        return path.open("rb")
    except OSError as problem:
        raise ImageError(_reason(problem)) from problem


def _why_missing(name: str) -> str:
    """Why there is nothing under a name: missing, or behind a folder that may not be entered."""
    if not name:
        return "the name is empty"
    try:
        os.lstat(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character in the name
        return "no such file or folder"
    except OSError as problem:
        return _reason(problem)
    return "no such file or folder"  # it came into being just now


def _reason(problem: OSError) -> str:
    if isinstance(problem, FileNotFoundError):
        return "no such file"
    return (problem.strerror or str(problem)).lower()


def _standard_input() -> Source:
    content = sys.stdin.buffer.read(network.MAX_STREAM_BYTES + 1)
    if len(content) > network.MAX_STREAM_BYTES:
        return Source("-", fault=f"more than {network.MAX_STREAM_BYTES / 1e6:g} MB on standard input")
    if not content:
        return Source("-", fault="nothing came on standard input; expected the bytes of an image")
    return Source("-", content=content)
