"""The streaming prediction pipeline: photos in, one result each in the same order, all cores busy, memory flat."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from cnncli import images
from cnncli.backbones import ImageClass
from cnncli.errors import ImageError, ModelError
from cnncli.images import Picture
from cnncli.inference.engine import Engine, Pixels, Scores
from cnncli.inference.models import ReadyModel
from cnncli.sources import Source

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
    picture: Picture | None = None  # where it was asked for


def predict(
    model: ReadyModel,
    sources: Iterable[Source],
    *,
    top: int,
    min_confidence: float = 0.0,
    max_pixels: int = images.MAX_PIXELS,
    workers: int,
    keep_pictures: bool = False,
) -> Iterator[Result]:
    """Yields one Result for each source, in order; reading and running overlap on `workers` threads.

    A file that cannot be read gives a Result with `error`. Raises ModelError if the network itself fails.
    With `keep_pictures` the results carry the pictures in their full size.
    """
    sources = iter(sources)
    first = list(islice(sources, 2))
    engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
    # one image alone has all the cores for its network; of many, each has a core for its whole way
    threads = workers if len(first) > 1 else 1
    for engine in model.engines(images_at_once=threads, num_threads=workers):
        engines.put(engine)

    side = max(model.card.input.height, model.card.input.width)

    def one(source: Source) -> Result:
        try:
            source = source.fetched()
            picture = images.read(source, shorter_side_px=side, max_pixels=max_pixels)
            # read once more, whole, so that asking for pictures cannot change a score
            kept = images.read(source, max_pixels=max_pixels) if keep_pictures else None
        except ImageError as problem:
            return Result(source, model.name, error=str(problem))
        scores = _run(engines, images.network_input(picture, model.card.input), model)
        answers = best(scores, model.card.classes, top, min_confidence)
        return Result(source, model.name, answers, None, picture.notes, kept)

    yield from _ordered_map(one, chain(first, sources), threads)


def _run(engines: queue.SimpleQueue[Engine], pixels: Pixels, model: ReadyModel) -> Scores:
    engine = engines.get()
    try:
        scores = engine(pixels)
    finally:
        engines.put(engine)
    if not np.isfinite(scores).all():
        raise ModelError(f"{model.name}: its output is not finite: the model is damaged or was trained to NaN")
    return scores


def best(
    scores: Scores, classes: tuple[ImageClass, ...], top: int, min_confidence: float = 0.0
) -> tuple[Prediction, ...]:
    """The `top` classes by score, best first; of equal scores the lower index first."""
    order = np.argsort(-scores, kind="stable")[:top]
    ranked = enumerate(order.tolist(), 1)
    rows = (Prediction(rank, index, classes[index], float(scores[index])) for rank, index in ranked)
    return tuple(row for row in rows if row.score >= min_confidence)


def _ordered_map(function: Callable[[Source], Result], sources: Iterable[Source], threads: int) -> Iterator[Result]:
    """`map` on threads, results in order, at most `_AHEAD` per thread under way. Stopping drops what waits."""
    if threads == 1:
        yield from map(function, sources)
        return
    under_way: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for source in sources:
            under_way.append(pool.submit(function, source))
            if len(under_way) >= _AHEAD * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
