"""Writing files so that a reader sees the old whole one or the new whole one, never a part."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `target` that takes its place when the block ends well.

    A link stays one; what it leads to is replaced. The new file is flushed to the disk before the rename; on any
    error it is removed and `target` stays as it was. Raises OSError, also where `target` is a folder or a device,
    which nothing may take the place of.
    """
    target = _written_through(target)
    if target.exists() and not target.is_file():
        raise OSError(errno.EEXIST, "not a regular file", str(target))
    temporary = target.with_name(f".{_stem(target)}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def remove_leftovers(target: Path) -> None:
    """Removes what `replacing` left beside `target` in processes that were killed. Nobody may be writing it now."""
    target = _written_through(target)
    _remove(target.parent, glob.escape(_stem(target)))


def remove_leftovers_in(folder: Path) -> None:
    """Removes what `replacing` left of any file in a folder that nobody else may be writing to now."""
    _remove(folder, "*")


def _remove(folder: Path, stem: str) -> None:
    for leftover in folder.glob(f".{stem}.{'[0-9a-f]' * 8}.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _written_through(target: Path) -> Path:
    """`target`, or what it leads to if it is a link."""
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _stem(target: Path) -> str:
    """As much of its name as leaves room for the rest in 255 bytes, whatever its letters."""
    return target.name[:50]


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system and file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digests(path: Path, *algorithms: str) -> dict[str, str]:
    """The hexadecimal hashes of a file's content, by algorithm, in one reading."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for one in hashes.values():
                one.update(block)
    return {name: one.hexdigest() for name, one in hashes.items()}
