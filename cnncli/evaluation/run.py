"""Asks a model about every image of a split, with the pipeline that `predict` has, and keeps what the figures need."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from cnncli import images
from cnncli.datasets.cores import on_processes, worth_processes
from cnncli.datasets.dataset import Dataset, Example, wanted_splits
from cnncli.datasets.pixels import Failure, picture_of
from cnncli.errors import DataError, ImageError
from cnncli.evaluation.evaluation import Answer, Columns, Evaluation
from cnncli.evaluation.matching import Match, match, require_all, require_some
from cnncli.inference import pipeline
from cnncli.inference.engine import Pixels, Scores
from cnncli.inference.models import ReadyModel

MISTAKES = 24  # the most confident ones, which a report shows
MISTAKE_PREDICTIONS = 3
_SMALL_NETWORK_BYTES = 20_000_000  # it answers within milliseconds: what handing an image out costs is felt
_AT_ONCE_BYTES = 10_000_000  # of their pixels
_AT_ONCE = 16  # images that are read and then asked about together, which `_Asker.ask` explains

_Asked = tuple[Answer | Failure, bytes]  # with the sha256 of the image

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a model, and how."""

    split: str | None = None  # train, val, test or all; None: test, else val, else all
    top: int = 3
    only_present: bool = False  # the model chooses among the classes that the data has
    allow_missing: bool = False  # images of classes that the model does not know are left out
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Tellers:
    """What hears of each image as it comes."""

    progress: Progress
    answer: Callable[[Answer], None]  # with `Question.top` predictions, at least 3
    failure: Callable[[Failure], None]


def chosen(dataset: Dataset, split: str | None) -> tuple[str, tuple[Example, ...]]:
    """The name of a split and its images. Raises DataError if the data has none of that name."""
    there = [name for name, examples in dataset.splits.items() if examples]
    splits = wanted_splits(there, split)
    if split not in (None, "all", *splits):
        if there == ["train"]:
            raise DataError(f"{dataset.name}: it has no {split} split, nor any other; leave --split out")
        raise DataError(f"{dataset.name}: it has no {split} split; --split can be: {', '.join(there)}, all")
    name = split or (splits[0] if len(splits) == 1 and splits != ("train",) else "all")
    return name, tuple(itertools.chain.from_iterable(dataset.splits[split] for split in splits))


@dataclass(frozen=True, slots=True)
class Task:
    """What one model is to be asked: the images of a split, and which of its classes each of theirs is."""

    model: ReadyModel
    data: str
    split: str
    question: Question
    matches: tuple[Match, ...]
    examples: tuple[Example, ...]  # of classes that the model knows
    truths: dict[int, int]  # class of the data -> class of the model
    left_out: int

    @property
    def choices(self) -> int:
        """How many classes the model chooses among."""
        return len(self.truths) if self.question.only_present else len(self.model.card.classes)


def task(model: ReadyModel, dataset: Dataset, question: Question) -> Task:
    """Matches the classes that occur in a split with the model's. Raises DataError where they do not match."""
    split, examples = chosen(dataset, question.split)
    labels = sorted({example.label for example in examples})
    classes, names = model.card.classes, {"model_name": model.name, "data_name": dataset.name}
    matches = match([dataset.classes[label] for label in labels], classes)
    require_some(matches, classes, **names)
    if not question.allow_missing:
        require_all(matches, classes, **names)
    truths = {label: found.index for label, found in zip(labels, matches, strict=True) if found.index is not None}
    known = tuple(example for example in examples if example.label in truths)
    return Task(model, dataset.name, split, question, matches, known, truths, len(examples) - len(known))


def evaluate(task: Task, tellers: Tellers, *, trained_on: frozenset[bytes] | None) -> Evaluation:
    """Asks the model about every image; one that cannot be read becomes a failure.

    `trained_on` are the sha256 of the images that the model learned from, if they are known. Raises ModelError if the
    network fails.
    """
    begin, question, card = time.monotonic(), task.question, task.model.card
    asker = _Asker(
        task.model,
        task.truths,
        np.array(sorted(task.truths.values()), np.int64) if question.only_present else None,
        max(question.top, MISTAKE_PREDICTIONS),
    )
    tally = _Tally()
    for row, (answer, digest) in enumerate(_asked(asker, task.examples, question.workers)):
        if isinstance(answer, Failure):
            tally.failures.append(answer)
            tellers.failure(answer)
        else:
            tally.add(row, answer, trained_on is not None and digest in trained_on)
            tellers.answer(answer)
        tellers.progress(row + 1, len(task.examples))
    return Evaluation(
        model=task.model.name,
        data=task.data,
        split=task.split,
        classes=card.classes,
        input=card.input,
        top=question.top,
        only_present=question.only_present,
        matches=task.matches,
        left_out=task.left_out,
        examples=task.examples,
        columns=tally.columns(),
        failures=tuple(tally.failures),
        mistakes=tally.mistakes(),
        seen_in_training=None if trained_on is None else tally.seen_in_training,
        seconds=time.monotonic() - begin,
    )


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks about some images at a time. It can be sent to another process."""

    model: ReadyModel
    truths: dict[int, int]  # class of the data -> class of the model
    among: npt.NDArray[np.int64] | None
    keep: int

    def __call__(self) -> Callable[[Sequence[Example]], list[_Asked]]:
        """What asks with an engine of its own."""
        return partial(self.ask, pipeline.Engines(self.model, 1, 1).run)

    def ask(self, run: pipeline.Run, examples: Sequence[Example]) -> list[_Asked]:
        """Reads them all and then runs the network on all.

        In turn for each image, both would find the other's code in the processor's caches: 1.5 times the time for
        images of 32x32.
        """
        read = [self._read(example) for example in examples]
        scores = iter([run(found[0]) for found in read if not isinstance(found, Failure)])
        return [
            (found, b"") if isinstance(found, Failure) else (self._answer(example, next(scores)), found[1])
            for example, found in zip(examples, read, strict=True)
        ]

    def _read(self, example: Example) -> tuple[Pixels, bytes] | Failure:
        """What the network is shown of an image, and its sha256."""
        spec = self.model.card.input
        try:
            picture, digest = picture_of(example, spec)
        except ImageError as problem:
            return Failure(example.name, str(problem))
        return images.network_input(picture, spec), digest

    def _answer(self, example: Example, scores: Scores) -> Answer:
        """One answer from the scores of all classes; with `among`, only those indices (rising) may be chosen."""
        truth, among = self.truths[example.label], self.among
        if among is not None:
            scores = scores / np.float32(float(scores[among].sum()) or 1.0)
        mine, rivals = scores[truth], scores if among is None else scores[among]
        before = rivals[: truth if among is None else np.searchsorted(among, truth)]
        rank = 1 + int(np.count_nonzero(rivals > mine)) + int(np.count_nonzero(before == mine))
        best = pipeline.best(scores, self.model.card.classes, self.keep, among=among)
        return Answer(example, truth, rank, float(mine), best)


def _asked(asker: _Asker, examples: tuple[Example, ...], workers: int) -> Iterator[_Asked]:
    """What the model says of each image, in order: on threads, or on processes where that is mostly Python's work."""
    model = asker.model
    is_small = model.backend == "litert" and model.path.stat().st_size < _SMALL_NETWORK_BYTES
    pixels = 3 * model.card.input.height * model.card.input.width
    most = min(_AT_ONCE, _AT_ONCE_BYTES // pixels, len(examples) // (4 * workers))
    at_once = max(1, most) if is_small else 1
    parts = [examples[begin : begin + at_once] for begin in range(0, len(examples), at_once)]
    if is_small and worth_processes(examples, workers):
        asked = on_processes(asker, parts, workers, lambda done, total: None, at_once=1)
    else:
        asked = pipeline.each(model, parts, lambda part, run: asker.ask(run, part), workers=workers)
    return itertools.chain.from_iterable(asked)


class _Tally:
    """Collects answers: a few numbers of each, and the most confident mistakes whole."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.failures: list[Failure] = []
        self.seen_in_training = 0
        self._values: list[tuple[int, int, float, int, float]] = []
        self._mistakes: list[tuple[float, int, Answer]] = []  # a heap, the least confident first

    def add(self, row: int, answer: Answer, seen_in_training: bool) -> None:
        best = answer.predictions[0]
        self.rows.append(row)
        self.seen_in_training += seen_in_training
        self._values.append((answer.truth, best.index, best.score, answer.truth_rank, answer.truth_score))
        if not answer.right:
            entry = (best.score, -row, replace(answer, predictions=answer.predictions[:MISTAKE_PREDICTIONS]))
            heapq.heappush(self._mistakes, entry)
            if len(self._mistakes) > MISTAKES:
                heapq.heappop(self._mistakes)

    def columns(self) -> Columns:
        truth, predicted, score, rank, truth_score = zip(*self._values, strict=True) if self._values else ((),) * 5
        return Columns(
            np.array(self.rows, np.int64),
            np.array(truth, np.int32),
            np.array(predicted, np.int32),
            np.array(score, np.float32),
            np.array(rank, np.int32),
            np.array(truth_score, np.float32),
        )

    def mistakes(self) -> tuple[Answer, ...]:
        return tuple(answer for _, _, answer in sorted(self._mistakes, reverse=True))
