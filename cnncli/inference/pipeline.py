"""The streaming prediction pipeline: photos in, one result each in the same order, all cores busy, memory flat."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cnncli import images
from cnncli.backbones import ImageClass
from cnncli.errors import ImageError, ModelError
from cnncli.inference.engine import Engine, Pixels, Scores
from cnncli.inference.models import ReadyModel
from cnncli.sources import Source

Item = TypeVar("Item")
Found = TypeVar("Found")
Run = Callable[[Pixels], Scores]  # uint8 `(height, width, channels)` -> probabilities `(classes,)`

_AHEAD = 4  # images under way for each worker: enough to keep all busy, few enough to stay small


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer for one image."""

    rank: int  # from 1
    index: int  # of the class in the model's order
    image_class: ImageClass
    score: float  # probability, 0..1


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one image: predictions, best first, or the reason why there are none."""

    source: Source
    model: str
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()
    fallback_from: str | None = None  # the default model, where another one had to answer


def predict(
    model: ReadyModel,
    sources: Iterable[Source],
    *,
    top: int,
    min_confidence: float = 0.0,
    max_pixels: int = images.MAX_PIXELS,
    workers: int,
    single: bool = False,
) -> Iterator[Result]:
    """Yields one Result for each source, in order, each as soon as it is known.

    Finding, reading and running overlap on `workers` threads. `single` says that one image is all there is, and
    gives its network all threads. A file that cannot be read gives a Result with `error`; raises ModelError if the
    network itself fails, and whatever `sources` raises.
    """
    side = max(model.card.input.height, model.card.input.width)

    def one(source: Source, run: Run) -> Result:
        try:
            source = source.fetched()  # an address is asked once, also for an annotated copy
            picture = images.read(source, shorter_side_px=side, max_pixels=max_pixels)
        except ImageError as problem:
            return Result(source, model.name, error=str(problem), fallback_from=model.fallback_from)
        scores = run(images.network_input(picture, model.card.input))
        answers = best(scores, model.card.classes, top, min_confidence)
        return Result(source, model.name, answers, None, picture.notes, model.fallback_from)

    yield from each(model, sources, one, workers=workers, single=single)


def each(
    model: ReadyModel,
    items: Iterable[Item],
    work: Callable[[Item, Run], Found],
    *,
    workers: int,
    single: bool = False,
) -> Iterator[Found]:
    """Yields `work(item, run)` for each item, in order; `run` gives the network's scores for one image's pixels.

    Drawing items, reading and running overlap on `workers` threads; with `single` there is one item at a time, and its
    network gets them all. Raises what `items` and `work` raise, and ModelError if the network itself fails.
    """
    at_once = 1 if single else workers
    engines = Engines(model, at_once, workers)
    yield from _ordered_map(lambda item: work(item, engines.run), items, at_once)


class Engines:
    """Engines for as many threads as turn out to need one, made when they do, with `num_threads` between them."""

    def __init__(self, model: ReadyModel, at_once: int, num_threads: int) -> None:
        self._model = model
        self._limit = model.most_engines(at_once)
        self._threads_each = max(1, num_threads // self._limit)
        self._made = 0
        self._making = threading.Lock()
        self._idle: queue.SimpleQueue[Engine] = queue.SimpleQueue()

    def run(self, pixels: Pixels) -> Scores:
        """Probabilities of shape `(classes,)`. Raises ModelError if the network fails or gives no numbers."""
        engine = self._take()
        try:
            scores = engine(pixels)
        finally:
            self._idle.put(engine)
        if not np.isfinite(scores).all():
            raise ModelError(f"{self._model.name}: its output is not finite: it is damaged or was trained to NaN")
        return scores

    def _take(self) -> Engine:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        with self._making:
            if self._made < self._limit:
                engine = self._model.engine(self._threads_each)
                self._made += 1
                return engine
        return self._idle.get()


def best(
    scores: Scores,
    classes: tuple[ImageClass, ...],
    top: int,
    min_confidence: float = 0.0,
    among: npt.NDArray[np.int64] | None = None,
) -> tuple[Prediction, ...]:
    """The `top` classes by score, best first; of equal scores the lower index first.

    `among` are the indices, rising, of the classes that may be answered; None: all.
    """
    if among is None:
        order = np.argsort(-scores, kind="stable")[:top]
    else:
        order = among[np.argsort(-scores[among], kind="stable")[:top]]
    ranked = enumerate(order.tolist(), 1)
    rows = (Prediction(rank, index, classes[index], float(scores[index])) for rank, index in ranked)
    return tuple(row for row in rows if row.score >= min_confidence)


def _ordered_map(function: Callable[[Item], Found], items: Iterable[Item], workers: int) -> Iterator[Found]:
    """`map` on threads: results in order, each as soon as it is there, at most `_AHEAD` per worker under way.

    A thread of its own draws from `items`, which may be slow: a list that comes through a pipe, a large folder. A
    single worker needs neither: handing small images over costs as much as reading them.
    """
    if workers == 1:
        yield from map(function, items)
        return
    under_way: queue.SimpleQueue[Future[Found] | None] = queue.SimpleQueue()
    room = threading.Semaphore(_AHEAD * workers)
    stopped = threading.Event()
    pool = ThreadPoolExecutor(workers)

    def feed() -> None:
        try:
            for item in items:
                room.acquire()
                if stopped.is_set():
                    return
                under_way.put(pool.submit(function, item))
        except BaseException as problem:
            failed: Future[Found] = Future()
            failed.set_exception(problem)
            under_way.put(failed)
        finally:
            under_way.put(None)

    threading.Thread(target=feed, daemon=True).start()
    try:
        while (future := under_way.get()) is not None:
            yield future.result()
            room.release()
    finally:
        stopped.set()
        room.release()
        pool.shutdown(wait=False, cancel_futures=True)
