"""Lists of names: `@FILE`, and `@-` for standard input."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from cnncli.errors import ImageError
from cnncli.imagekinds import sniff

MAX_NAME_BYTES = 1 << 20  # of a line in a list: a longer one is no name
_BLOCK_BYTES = 1 << 16


def is_streamed(argument: str) -> bool:
    """Whether an argument is a list that comes through a pipe: `@-`, or `@<(find ...)` in a shell."""
    if not argument.startswith("@") or os.path.lexists(argument):
        return False
    return argument == "@-" or (os.path.exists(argument[1:]) and not os.path.isfile(argument[1:]))  # noqa: PTH110, PTH113


def read(argument: str) -> Iterator[str]:
    """The names in `@FILE` (`@-`: standard input), one a line or NUL-separated, as one would type them.

    Raises OSError, or ImageError if this is no list.
    """
    with _open_list(argument) as file:
        next_block = getattr(file, "read1", file.read)  # a pipe's names as they come
        block = next_block(_BLOCK_BYTES)
        _require_text(block)
        block = block.removeprefix(codecs.BOM_UTF8)
        separator = b"\0" if b"\0" in block else b"\n"
        rest = b""
        while block:
            *whole, rest = (rest + block).split(separator)
            yield from _typed(whole, separator)
            if len(rest) > MAX_NAME_BYTES:
                raise ImageError("this is no list of names: it has a line of more than a megabyte")
            block = next_block(_BLOCK_BYTES)
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
