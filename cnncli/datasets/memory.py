"""Large arrays: in memory while they fit well, else in a file of the user's cache that vanishes with the process."""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnncli.errors import CacheError
from cnncli.inference import cache

_SHARE = 0.5  # of the free memory that an array may take: the network and its training need the rest
_UNKNOWN_BYTES = 4_000_000_000  # where the system does not say how much is free
_CGROUP = Path("/sys/fs/cgroup")  # of a container


def bytes_array(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """An uninitialised uint8 array. Raises CacheError if it needs a file and the cache folder has no room for it."""
    size_bytes = math.prod(shape)
    if size_bytes <= _SHARE * free_bytes():
        return np.empty(shape, np.uint8)
    return np.frombuffer(_mapped(size_bytes), np.uint8).reshape(shape)


def _mapped(size_bytes: int) -> mmap.mmap:
    """A new file in the cache folder, mapped. It has no name, so that nothing is left of it however this ends."""
    folder = cache.writable(cache.folder() / "pixels")
    free = shutil.disk_usage(folder).free
    try:
        if size_bytes > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(size_bytes)
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            return mmap.mmap(file.fileno(), size_bytes)
    except OSError as problem:
        raise CacheError(
            f"{folder}: the decoded images need {size_bytes / 1e9:.1f} GB here, which has {free / 1e9:.1f} GB free "
            f"({problem.strerror}); set CNNCLI_CACHE to a folder with more, or take smaller images"
        ) from problem


def free_bytes() -> int:
    """How much memory this process may still take, as far as the system says."""
    limits = [limit for limit in (_system_free_bytes(), _container_free_bytes()) if limit is not None]
    return min(limits, default=_UNKNOWN_BYTES)


def _system_free_bytes() -> int | None:
    with contextlib.suppress(OSError, ValueError, StopIteration):  # Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):  # macOS says only what is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _container_free_bytes() -> int | None:
    with contextlib.suppress(OSError, ValueError):  # "max", or no container
        limit = int((_CGROUP / "memory.max").read_text())
        return max(0, limit - int((_CGROUP / "memory.current").read_text()))
    return None
