"""The rows of `--predictions`: what a model said of each image beside what it is, as CSV and JSON Lines."""

from __future__ import annotations

import json
from typing import Any

from cnncli import formats
from cnncli.backbones import ImageClass
from cnncli.datasets.pixels import Failure
from cnncli.evaluation.evaluation import Answer
from cnncli.formats import SCORE_DIGITS, csv_lines, score
from cnncli.inference.pipeline import Result
from cnncli.sources import Source

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
