"""Work on many images spread over the cores: by threads, or by processes where the images are so small that nearly
all the work is Python's own, which threads only hinder.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from cnncli.datasets.dataset import Example
from cnncli.errors import DataError

Item = TypeVar("Item")
Found = TypeVar("Found")
Progress = Callable[[int, int | None], None]  # images so far, images in all

WORTH_PROCESSES = 2000  # small images: to start a process takes as long as to read a thousand
_SMALL_FILE_BYTES = 4000  # at 32x32, 1000 bytes, two threads take 1.7 times as long as one; at 96x96 they gain nothing
_AT_ONCE = 16  # images a thread or process takes at a time: enough that handing them out costs nothing
_AHEAD = 4  # such parts under way for each worker: enough to keep all busy


def _are_small(images: Sequence[Example]) -> bool:
    """Whether threads are of no use, judged by the size of some of the files, or of the pixels of published images."""
    sizes = []
    for example in images[:: max(1, len(images) // 100)]:
        with contextlib.suppress(OSError):  # reading it will say so
            if example.pixels is not None:
                sizes.append(example.pixels.nbytes)
            elif example.path is not None:
                sizes.append(example.path.stat().st_size)
    return sum(sizes) < _SMALL_FILE_BYTES * len(sizes)


def on_cores(
    prepare: Callable[[], Callable[[Item], Found]],
    items: Sequence[Item],
    workers: int,
    progress: Progress,
    *,
    images: Sequence[Example],
) -> Iterator[Found]:
    """`map(prepare(), items)`, in order, on as many cores as are of use for items that are about `images`.

    `prepare`, items and results have to go from one process to another: see pickle.
    """
    if worth_processes(images, workers):
        return on_processes(prepare, items, workers, progress)
    return on_threads(prepare(), items, 1 if _are_small(images) else workers, progress)


def worth_processes(images: Sequence[Example], workers: int) -> bool:
    """Whether these are many small files and there are cores to share them."""
    return workers > 1 and len(images) >= WORTH_PROCESSES and images[0].path is not None and _are_small(images)


def on_threads(
    function: Callable[[Item], Found], items: Sequence[Item], workers: int, progress: Progress
) -> Iterator[Found]:
    """`map` on threads, in order. An exception, an interrupt too, ends it after the images under way."""

    def several(some: Sequence[Item]) -> list[Found]:
        return [function(item) for item in some]

    with _ended(ThreadPoolExecutor(workers)) as pool:
        yield from _mapped(pool, several, items, workers, progress, _AT_ONCE)


def on_processes(
    prepare: Callable[[], Callable[[Item], Found]],
    items: Sequence[Item],
    workers: int,
    progress: Progress,
    *,
    at_once: int = _AT_ONCE,
) -> Iterator[Found]:
    """`map(prepare(), items)` on processes, in order, which prepare once and are handed `at_once` items at a time.

    Raises DataError if one of them dies.
    """
    context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(prepare,))
    try:
        with _ended(pool):
            yield from _mapped(pool, _several, items, workers, progress, at_once)
    except BrokenProcessPool as problem:
        raise DataError(
            "a process that read images has ended without an answer (not enough memory?); try --workers 1"
        ) from problem


@contextlib.contextmanager
def _ended(pool: Executor) -> Iterator[Executor]:
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _mapped(
    pool: Executor,
    several: Callable[[Sequence[Item]], list[Found]],
    items: Sequence[Item],
    workers: int,
    progress: Progress,
    at_once: int,
) -> Iterator[Found]:
    """The results in order. Only some are under way at a time: whoever takes them may be slower than the pool."""
    parts = (items[begin : begin + at_once] for begin in range(0, len(items), at_once))
    under_way = deque(pool.submit(several, part) for part in itertools.islice(parts, _AHEAD * workers))
    done = 0
    while under_way:
        results = under_way.popleft().result()
        under_way.extend(pool.submit(several, part) for part in itertools.islice(parts, 1))
        yield from results
        done += len(results)
        progress(done, len(items))


_work: Callable[[Any], Any]  # of this process, if it is one of `on_processes`


def _begin(prepare: Callable[[], Callable[[Any], Any]]) -> None:
    """What such a process does first. Ctrl-C is for the process that started it, and it ends when that one has."""
    global _work
    for name in ("SIGINT", "SIGHUP"):  # no Windows has the second
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work = prepare()
    except Exception as problem:  # it belongs to the process that waits for answers
        _work = partial(_fail, problem)


def _fail(problem: Exception, item: Any) -> Any:
    raise problem


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _several(some: Sequence[Any]) -> list[Any]:
    return [_work(item) for item in some]
