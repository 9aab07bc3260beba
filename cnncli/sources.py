"""What IMAGE arguments stand for: files, folders, globs, addresses, lists and standard input, in order."""

from __future__ import annotations

import codecs
import contextlib
import functools
import glob
import io
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from cnncli import network
from cnncli.errors import ImageError
from cnncli.images import EXTENSIONS, sniff

MAX_FILE_BYTES = 2_000_000_000  # more than the largest image that is accepted takes without compression
MAX_NAME_BYTES = 1 << 20  # of a line in a list: a longer one is no name
_BLOCK_BYTES = 1 << 16
_JUNK = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}  # @eaDir: thumbnails that a Synology keeps

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
    if any(map(_is_streamed_list, arguments)):
        return None
    return sum(1 for _ in _find_without_stdin(arguments, recursive, results)) + arguments.count("-")


def names_in(folder: Path, arguments: Sequence[str], *, recursive: bool) -> set[str]:
    """The names of the images in `folder` that `find` will yield, through links too, if `folder` is where results
    go; of all its files if only a stream knows.
    """
    if any(map(_is_streamed_list, arguments)):
        return {path.name for path in folder.iterdir()}
    found = (source.path for source in _find_without_stdin(arguments, recursive, folder) if source.path is not None)
    resolved = folder.resolve()
    is_inside = functools.cache(lambda parent: parent.resolve() == resolved)
    names = (name for path in found for name in ((path, path.resolve()) if path.is_symlink() else (path,)))
    return {path.name for path in names if is_inside(path.parent)}


def is_one(arguments: Sequence[str]) -> bool:
    """Whether arguments stand for a single image, as far as that can be told without looking for it."""
    return len(arguments) == 1 and (
        arguments[0] == "-" or "://" in arguments[0] or os.path.isfile(arguments[0])  # noqa: PTH113
    )


def _find_without_stdin(arguments: Sequence[str], recursive: bool, results: Path | None) -> Iterator[Source]:
    others = [argument for argument in arguments if argument != "-"]
    return find(others, recursive=recursive, offline=True, notify=lambda message: None, results=results)


def _is_streamed_list(argument: str) -> bool:
    """Whether an argument is a list that comes through a pipe: `@-`, or `@<(find ...)` in a shell."""
    if not argument.startswith("@") or os.path.lexists(argument):
        return False
    return argument == "@-" or (os.path.exists(argument[1:]) and not os.path.isfile(argument[1:]))  # noqa: PTH110, PTH113


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
            for line in _lines(argument):
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
                filter(self._is_input(pattern), set(_glob(pattern.replace(os.sep, "/")))), key=natural_order
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
        if self.results is None or _is_inside(begin, self.results):
            return lambda match: True
        results = self.results
        return lambda match: not _is_inside(match, results)

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


def natural_order(name: str) -> tuple[str, str]:
    """Sort key under which `2.jpg` comes before `10.jpg`, by code points and not by locale."""
    # a number is led by its number of digits, so that numbers compare as text does; the name tells "01" from "1"
    return re.sub(r"0*([0-9]+)", lambda digits: f"{len(digits[1]):04}{digits[1]}", name), name


def walk(folder: Path, *, recursive: bool = True, without: Path | None = None) -> Iterator[Path | Source]:
    """The files below a folder in natural order, without hidden ones and junk; a fault for what cannot be read.

    Links to folders are followed, but no folder is read twice, and `without` only if it is `folder` itself.
    """
    seen: set[tuple[int, int]] = set()
    if without is not None and not same_folder(without, folder):
        _is_new(str(without), seen)
    waiting = [str(folder)]  # next one last
    while waiting:
        path = waiting.pop()
        if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it never raises
            yield Path(path)
        elif recursive or path == str(folder):
            try:
                names = visible_names(path) if _is_new(path, seen) else []
            except OSError as problem:
                yield Source(path, fault=unreadable(problem))
                continue
            waiting += (os.path.join(path, name) for name in reversed(names))  # noqa: PTH118 - smaller than a Path


def _is_inside(path: str, folder: Path) -> bool:
    """Whether a path is `folder` or lies below it, through links too."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def same_folder(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, which is there."""
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was not seen before, by whatever path; now it was."""
    status = os.stat(folder)  # noqa: PTH116
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return False
    seen.add(identity)
    return True


def visible_names(folder: str | Path) -> list[str]:
    """The names in a folder in natural order, without hidden ones and junk. Raises OSError."""
    names = [name for name in os.listdir(folder) if not name.startswith(".") and name not in _JUNK]  # noqa: PTH208
    return sorted(names, key=natural_order)


def unreadable(problem: OSError) -> str:
    """What is said of a folder whose names cannot be had."""
    return f"this folder cannot be read ({_reason(problem)})"


def _glob(pattern: str) -> Iterator[str]:
    """Like `glob.iglob`, but `**` does not follow links to folders, which may lead round in circles."""
    stars = re.fullmatch(r"((?:.*?/)??)\*\*(?:/+(.*))?", pattern, re.DOTALL)
    if stars is None:
        yield from glob.iglob(pattern)  # noqa: PTH207 - keeps "./"
        return
    before, after = stars.groups()
    bases = glob.iglob(before) if before else [""]  # noqa: PTH207
    if not after:  # all that is below: the folder itself, read as any folder
        yield from (base or "." for base in bases)
        return
    for base in bases:
        for folder in _folders(base):
            yield from _glob(glob.escape(folder) + after)


def _folders(base: str) -> Iterator[str]:
    """A folder (`""` is the current one) and the visible ones below it, each with a slash at its end."""
    waiting = [base]
    while waiting:
        folder = waiting.pop()
        yield folder
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            below = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
            waiting += (f"{folder}{entry.name}/" for entry in below if not entry.name.startswith("."))


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


def _lines(argument: str) -> Iterator[str]:
    """The names in `@FILE` (`@-`: standard input), one a line or NUL-separated, as one would type them.

    Raises OSError, or ImageError if this is no list.
    """
    with _open_list(argument) as file:
        read = getattr(file, "read1", file.read)  # a pipe's names as they come
        block = read(_BLOCK_BYTES)
        _require_text(block)
        block = block.removeprefix(codecs.BOM_UTF8)
        separator = b"\0" if b"\0" in block else b"\n"
        rest = b""
        while block:
            *names, rest = (rest + block).split(separator)
            yield from _typed(names, separator)
            if len(rest) > MAX_NAME_BYTES:
                raise ImageError("this is no list of names: it has a line of more than a megabyte")
            block = read(_BLOCK_BYTES)
        yield from _typed([rest], separator)


def _typed(names: Iterable[bytes], separator: bytes) -> Iterator[str]:
    ends = b"\r" if separator == b"\n" else b""
    return filter(str.strip, (os.fsdecode(name.removesuffix(ends)) for name in names))


def _open_list(argument: str) -> AbstractContextManager[BinaryIO]:
    if argument == "@-":
        return contextlib.nullcontext(sys.stdin.buffer)
    path = Path(argument[1:])
    if stat.S_ISCHR(path.stat().st_mode):  # /dev/zero never ends
        raise ImageError("this is a device; expected a list of names")
    return path.open("rb")


def _require_text(head: bytes) -> None:
    if sniff(head) is not None:
        raise ImageError("this is an image, not a list of names; leave out the @")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ImageError("this list is UTF-16 text; save it as UTF-8")
