"""The user's cache folder: compiled networks, stamps of files whose content is known, and locks."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.errors import CacheError
from cnncli.files import digests, replacing

if TYPE_CHECKING:
    import filelock

Notify = Callable[[str], None]

STALLED_S = 10.0  # a holder of a lock that has done nothing for this long is not waited for
SETTLED_S = 2.0  # the coarsest clock of a file system (FAT): a younger file may change without its times changing


@cache
def _default_folder() -> Path:
    import platformdirs

    with contextlib.suppress(RuntimeError):  # a user without a home; older platformdirs give a path in "~"
        path = Path(platformdirs.user_cache_dir("cnncli", appauthor=False))
        if path.is_absolute():
            return path
    raise CacheError("this user has no home folder; set CNNCLI_CACHE to a folder for compiled networks")


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

    A file counts as unchanged while its size, times and inode are the same. Nothing is kept of a file that was
    written this moment.
    """
    path = path.resolve()
    record = folder() / "stamps" / f"{_short_hash(f'{about} {path}')}.json"
    identity = _identity(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        known = json.loads(record.read_bytes())
        if known["identity"] == identity and known["seal"] == _seal(identity, known["found"]):
            return dict(known["found"])
    begin_ns = time.time_ns()
    found = compute()
    if abs(begin_ns - max(identity[1:3])) > SETTLED_S * 1e9:  # a clock that was wrong leaves files of the future
        _remember(record, {"identity": identity, "found": found, "seal": _seal(identity, found)})
    return found


def _seal(identity: list[int], found: dict[str, str]) -> str:
    """By this a record that was damaged on the disk is known: it is made anew and never believed."""
    return _short_hash(json.dumps([identity, sorted(found.items())]))


def _remember(record: Path, values: dict[str, object]) -> None:
    with contextlib.suppress(OSError, CacheError):  # a read-only cache costs time, nothing else
        writable(record.parent)
        with replacing(record) as file:
            file.write(json.dumps(values).encode())


def _identity(path: Path) -> list[int]:
    """Size, the two times in nanoseconds, inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _short_hash(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()[:32]


class Work:
    """Work that others may be waiting for. `held` says whether it is the only one of its kind."""

    def __init__(self, pulse: Path, held: bool) -> None:
        self._pulse, self.held = pulse, held
        self.beat()

    def beat(self) -> None:
        """Tells those who wait that the work goes on; due within every 10 s."""
        if self.held:
            with contextlib.suppress(OSError):
                self._pulse.touch()


@contextlib.contextmanager
def lock(name: str, *, notify: Notify, waiting_for: str) -> Iterator[Work]:
    """Holds the lock `name`, which the system frees when its holder ends, however it ends.

    While another process holds it, `notify` hears `waiting_for` once, and the wait goes on as long as the other's
    work beats; after 10 s without a beat the work is done twice rather than not at all, which is safe because every
    result is written under a name of its own and renamed.
    """
    import filelock

    path = writable(folder() / "locks") / f"{_short_hash(name)}.lock"
    file_lock, pulse = filelock.FileLock(path), path.with_suffix(".pulse")
    held = _acquire(file_lock, pulse, lambda: notify(waiting_for))
    try:
        yield Work(pulse, held)
    finally:
        if held:
            with contextlib.suppress(OSError):
                pulse.unlink(missing_ok=True)
            file_lock.release()


def _acquire(file_lock: filelock.BaseFileLock, pulse: Path, tell: Callable[[], None]) -> bool:
    """Whether the lock was got; False after waiting in vain, or where the file system has no locks."""
    if (got := _try_lock(file_lock, timeout_s=0)) is not None:
        return got
    tell()
    seen, since = _last_beat(pulse), time.monotonic()
    while time.monotonic() - since < STALLED_S:
        if (got := _try_lock(file_lock, timeout_s=0.2)) is not None:
            return got
        if (now := _last_beat(pulse)) != seen:
            seen, since = now, time.monotonic()
    return False


def _try_lock(file_lock: filelock.BaseFileLock, timeout_s: float) -> bool | None:
    """True: got it; False: there are no locks here; None: another process has it."""
    import filelock

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the file system lacks flock
            file_lock.acquire(timeout=timeout_s)
    except filelock.Timeout:
        return None
    except (OSError, NotImplementedError):
        return False
    return True


def _last_beat(pulse: Path) -> int | None:
    with contextlib.suppress(OSError):
        return pulse.stat().st_mtime_ns
    return None
