"""The user's cache folder: compiled networks, stamps of files whose content is known, and locks."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cnncli.errors import CacheError
from cnncli.files import digests, replacing

Notify = Callable[[str], None]

STALLED_S = 10.0  # a holder of a lock that has done nothing for this long is not waited for


@cache
def _default_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("cnncli", appauthor=False))


def folder() -> Path:
    """`$CNNCLI_CACHE`, or `cnncli` in the cache folder that the system gives its users."""
    configured = os.environ.get("CNNCLI_CACHE")
    return Path(configured) if configured else _default_folder()


def writable(path: Path, variable: str = "CNNCLI_CACHE") -> Path:
    """`path` as a folder that exists and takes files; raises CacheError naming it and the variable to set."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise CacheError(
            f"{path}: cannot be made a folder ({problem.strerror}); set {variable} to another"
        ) from problem
    if not os.access(path, os.W_OK | os.X_OK):
        raise CacheError(f"{path}: this folder cannot be written; set {variable} to another")
    return path


@dataclass(frozen=True, slots=True)
class Hashes:
    """Hexadecimal hashes of a file's content."""

    sha256: str
    md5: str


def hashes(path: Path) -> Hashes:
    """The hashes of `path`, computed once for each content."""
    known = remembered(path, "hashes", lambda: digests(path, "sha256", "md5"))
    return Hashes(known["sha256"], known["md5"])


def remembered(path: Path, about: str, compute: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What `compute` finds out about the content of `path`, looked up as long as the file has not changed.

    A file counts as unchanged while its size, times and inode are the same.
    """
    path = path.resolve()
    record = folder() / "stamps" / f"{_short_hash(f'{about} {path}')}.json"
    identity = _identity(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(record.read_bytes())
        if known["identity"] == identity:
            return {str(k): str(v) for k, v in known["found"].items()}
    found = compute()
    with contextlib.suppress(OSError, CacheError):  # a read-only cache costs time, nothing else
        writable(record.parent)
        with replacing(record) as file:
            file.write(json.dumps({"identity": identity, "found": found}).encode())
    return found


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _short_hash(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()[:32]


@contextlib.contextmanager
def lock(name: str, *, notify: Notify, waiting_for: str, growing: Callable[[], Any]) -> Iterator[None]:
    """Holds the lock `name`, which the system frees when its holder ends, however it ends.

    While another process holds it, `notify` hears `waiting_for` once, and the wait goes on as long as `growing()`
    keeps changing; after 10 s without a change the work is done twice rather than not at all, which is safe because
    every result is written under a name of its own and renamed.
    """
    import filelock

    file_lock = filelock.FileLock(writable(folder() / "locks") / f"{_short_hash(name)}.lock")
    held = _acquire(file_lock, notify, waiting_for, growing)
    try:
        yield
    finally:
        if held:
            file_lock.release()


def _acquire(file_lock: Any, notify: Notify, waiting_for: str, growing: Callable[[], Any]) -> bool:
    import filelock

    told = False
    seen, since = growing(), time.monotonic()
    while time.monotonic() - since < STALLED_S:
        try:
            file_lock.acquire(timeout=0 if not told else 0.2)
            return True
        except filelock.Timeout:
            if not told:
                notify(waiting_for)
                told = True
            if (now := growing()) != seen:
                seen, since = now, time.monotonic()
        except OSError:  # a file system without locks
            return False
    return False
