"""What lies in folders, in an order that no locale changes, and what patterns match."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

_JUNK = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}  # @eaDir: thumbnails that a Synology keeps


def natural_order(name: str) -> tuple[str, str]:
    """Sort key under which `2.jpg` comes before `10.jpg`, by code points and not by locale."""
    # a number is led by its number of digits, so that numbers compare as text does; the name tells "01" from "1"
    return re.sub(r"0*([0-9]+)", lambda digits: f"{len(digits[1]):04}{digits[1]}", name), name


def is_inside(path: str, folder: Path) -> bool:
    """Whether a path is `folder` or lies below it, through links too."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def same_folder(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, which is there."""
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
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


def matching(pattern: str) -> Iterator[str]:
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
        for folder in _below(base):
            yield from matching(glob.escape(folder) + after)


def _below(base: str) -> Iterator[str]:
    """A folder (`""` is the current one) and the visible ones below it, each with a slash at its end."""
    waiting = [base]
    while waiting:
        folder = waiting.pop()
        yield folder
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            below = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
            waiting += (f"{folder}{entry.name}/" for entry in below if not entry.name.startswith("."))
