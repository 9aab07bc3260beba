"""The rows of `--predictions`: what a model said of each image beside what it is, as CSV and JSON Lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from cnncli import formats
from cnncli.backbones import ImageClass
from cnncli.datasets.pixels import Failure
from cnncli.evaluation.evaluation import Answer
from cnncli.formats import SCORE_DIGITS, score
from cnncli.inference.models import ReadyModel
from cnncli.inference.pipeline import Result
from cnncli.outputs import saving
from cnncli.sources import Source
from cnncli.text import csv_lines

COLUMNS = (  # of CSV
    "path", "model", "true_class_id", "true_label", "true_rank", "true_score",
    "rank", "index", "class_id", "label", "score", "error",
)  # fmt: skip


def answer_csv(answer: Answer, model: str, classes: tuple[ImageClass, ...]) -> str:
    """One image as CSV lines, one for each prediction."""
    named, start = classes[answer.truth], (answer.example.name, model)
    truth = (*named, answer.truth_rank, score(answer.truth_score))
    return csv_lines(
        (*start, *truth, said.rank, said.index, *said.image_class, score(said.score), "") for said in answer.predictions
    )


def failure_csv(failure: Failure, model: str) -> str:
    """An image that could not be read as a CSV line."""
    return csv_lines([(failure.name, model, *[""] * (len(COLUMNS) - 3), failure.reason)])


def answer_object(answer: Answer, model: str, classes: tuple[ImageClass, ...]) -> dict[str, Any]:
    """One image as the JSON object that `predict` gives, with its true class and what that scored."""
    truth = {
        "index": answer.truth,
        "class_id": classes[answer.truth].id,
        "label": classes[answer.truth].label,
        "rank": answer.truth_rank,
        "score": round(answer.truth_score, SCORE_DIGITS),
    }
    return {**formats.as_object(Result(Source(answer.example.name), model, answer.predictions)), "truth": truth}


def answer_json(answer: Answer, model: str, classes: tuple[ImageClass, ...]) -> str:
    """One image as a line of JSON."""
    return json.dumps(answer_object(answer, model, classes)) + "\n"


def failure_json(failure: Failure, model: str) -> str:
    """An image that could not be read as a line of JSON."""
    result = Result(Source(failure.name), model, error=failure.reason)
    return json.dumps({**formats.as_object(result), "truth": None}) + "\n"


class Rows:
    """Writes the rows of `--predictions` as they come; without a file, nowhere."""

    def __init__(self, file: BinaryIO | None, *, as_csv: bool = False, top: int = 0) -> None:
        self._file, self._as_csv, self._top = file, as_csv, top
        if as_csv:
            self._put(csv_lines([COLUMNS]))

    def answer(self, answer: Answer, model: ReadyModel) -> None:
        if self._file is not None:
            form = answer_csv if self._as_csv else answer_json
            kept = replace(answer, predictions=answer.predictions[: self._top])
            self._put(form(kept, model.name, model.card.classes))

    def failure(self, failure: Failure, model: str) -> None:
        if self._file is not None:
            form = failure_csv if self._as_csv else failure_json
            self._put(form(failure, model))

    def _put(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def saving_rows(path: Path | None, top: int) -> Iterator[Rows]:
    """Yields what writes the rows of `--predictions`, a file that is there when all are in it."""
    if path is None:
        yield Rows(None)
        return
    with saving(path) as file:
        yield Rows(file, as_csv=path.suffix.lower() == ".csv", top=top)
