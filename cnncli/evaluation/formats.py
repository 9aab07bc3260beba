"""An evaluation as machines read it: JSON, CSV and tab-separated text, schema 1."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from cnncli.backbones import ImageClass
from cnncli.evaluation.comparison import Comparison
from cnncli.evaluation.evaluation import Evaluation, Pair
from cnncli.evaluation.matching import Match
from cnncli.evaluation.metrics import Averages, Interval
from cnncli.evaluation.rows import answer_object
from cnncli.formats import SCHEMA, SCORE_DIGITS, score, tab_lines
from cnncli.text import csv_lines

CSV_HEADER = ("model", "metric", "class_id", "label", "value", "low", "high")
_CONFUSED = 20  # pairs in JSON, which has the whole matrix too

Cells = tuple[object, ...]


def as_json(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> str:
    """JSON: one model's object, or several with what they have been compared on.

    ASCII, so that any path survives any encoding.
    """
    if len(evaluations) == 1:
        return json.dumps(evaluation_object(evaluations[0])) + "\n"
    models, compared = map(evaluation_object, evaluations), map(comparison_object, comparisons)
    return json.dumps({"schema": SCHEMA, "models": list(models), "comparisons": list(compared)}) + "\n"


def evaluation_object(e: Evaluation) -> dict[str, Any]:
    """One model's evaluation as the JSON object of schema 1.

    Accuracies are not rounded: they are what tallying the predictions gives.
    """
    return {
        "schema": SCHEMA,
        "model": e.model,
        "data": e.data,
        "split": e.split,
        "images": e.images,
        "errors": len(e.failures),
        "accuracy": e.accuracy,
        "top_k": {str(e.top): e.top_k(e.top)},
        "loss": _rounded(e.loss),
        "per_class": _per_class(e),
        "confusion": {"class_ids": [e.classes[i].id for i in e.shown], "counts": e.counts.tolist()},
        "intervals": {"accuracy": _interval(e.interval()), f"top_{e.top}": _interval(e.interval(e.top))},
        "macro": _averages(e.macro),
        "weighted": _averages(e.weighted),
        "calibration": _calibration(e),
        "confused": [_pair(pair, e.classes) for pair in e.confused(_CONFUSED)],
        "mistakes": [answer_object(answer, e.model, e.classes) for answer in e.mistakes],
        "failures": [{"path": failure.name, "error": failure.reason} for failure in e.failures],
        "left_out": e.left_out,
        "seen_in_training": e.seen_in_training,
        "only_present": e.only_present,
        "classes": len(e.classes),
        "classes_matched": [_match(found, e.classes) for found in e.matches],
        "seconds": round(e.seconds, 3),
    }


def comparison_object(c: Comparison) -> dict[str, Any]:
    """Two models on the same images as a JSON object."""
    return {
        "a": c.a,
        "b": c.b,
        "images": c.images,
        "both_right": c.both_right,
        "only_a": c.only_a,
        "only_b": c.only_b,
        "both_wrong": c.both_wrong,
        "p_value": c.p_value,
        "better": c.better,
        "differences": [
            {
                "path": found.example.name,
                **_named(found.truth),
                "a": {**_named(found.a), "right": found.a_right},
                "b": {**_named(found.b), "right": found.b_right},
            }
            for found in c.differences
        ],
    }


def _per_class(e: Evaluation) -> list[dict[str, Any]]:
    of = e.per_class
    return [
        {
            "index": index,
            **_named(e.classes[index]),
            "support": int(of.support[index]),
            "predicted": int(of.predicted[index]),
            "precision": _rounded(of.precision[index]),
            "recall": _rounded(of.recall[index]),
            "f1": _rounded(of.f1[index]),
        }
        for index in e.shown
    ]


def _calibration(e: Evaluation) -> dict[str, Any]:
    return {
        "ece": _rounded(e.calibration_error),
        "overconfidence": _rounded(e.overconfidence),
        "bins": [
            {
                "low": _rounded(each.low),
                "high": _rounded(each.high),
                "count": each.count,
                "score": _rounded(each.score),
                "accuracy": _rounded(each.accuracy),
            }
            for each in e.reliability
        ],
    }


def _pair(pair: Pair, classes: tuple[ImageClass, ...]) -> dict[str, Any]:
    return {
        "truth": _named(classes[pair.truth]),
        "predicted": _named(classes[pair.predicted]),
        "count": pair.count,
        "support": pair.support,
    }


def _match(found: Match, classes: tuple[ImageClass, ...]) -> dict[str, Any]:
    known = None if found.index is None else {"index": found.index, **_named(classes[found.index])}
    return {**_named(found.data_class), "model": known, "by": found.by or None}


def _named(image_class: ImageClass) -> dict[str, str]:
    return {"class_id": image_class.id, "label": image_class.label}


def _averages(averages: Averages) -> dict[str, float]:
    return {
        "precision": _rounded(averages.precision),
        "recall": _rounded(averages.recall),
        "f1": _rounded(averages.f1),
    }


def _interval(interval: Interval) -> list[float]:
    return [_rounded(end) for end in interval]


def _rounded(value: float) -> float:
    return round(float(value), SCORE_DIGITS)


def as_csv(evaluations: Sequence[Evaluation]) -> str:
    """A line for each figure, with a header: those of a whole model have no class."""
    return csv_lines([CSV_HEADER, *(row for e in evaluations for row in _csv_rows(e))])


def _csv_rows(e: Evaluation) -> Iterator[Cells]:
    for metric, value, ends in _overall(e):
        low, high = map(score, ends) if ends else ("", "")
        yield (e.model, metric, "", "", value, low, high)
    for row in _per_class(e):
        for metric in ("support", "predicted"):
            yield (e.model, metric, row["class_id"], row["label"], row[metric], "", "")
        for metric in ("precision", "recall", "f1"):
            yield (e.model, metric, row["class_id"], row["label"], score(row[metric]), "", "")


def _overall(e: Evaluation) -> Iterator[tuple[str, str, Interval | None]]:
    """The figures of a whole model as text, with their 95 % intervals where they have one."""
    yield "images", str(e.images), None
    yield "errors", str(len(e.failures)), None
    yield "left_out", str(e.left_out), None
    yield "seen_in_training", "" if e.seen_in_training is None else str(e.seen_in_training), None
    yield "accuracy", repr(e.accuracy), e.interval()
    yield f"top_{e.top}", repr(e.top_k(e.top)), e.interval(e.top)
    yield "loss", score(e.loss), None
    yield "ece", score(e.calibration_error), None
    yield "overconfidence", score(e.overconfidence), None
    for name, averages in (("macro", e.macro), ("weighted", e.weighted)):
        for metric, value in _averages(averages).items():
            yield f"{metric}_{name}", score(value), None
    yield "seconds", f"{e.seconds:.3f}", None


def as_tabs(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> str:
    """What the tables show, nothing cut: each line begins with the model and with what the line is about."""
    rows = [row for e in evaluations for row in _tab_rows(e)]
    return tab_lines(rows + [row for c in comparisons for row in _comparison_rows(c)])


def _tab_rows(e: Evaluation) -> Iterator[tuple[str, ...]]:
    yield (e.model, "data", e.data)
    yield (e.model, "split", e.split)
    for metric, value, ends in _overall(e):
        yield (e.model, metric, value, *map(score, ends or ()))
    for found in e.matches:
        known = ("", "") if found.index is None else e.classes[found.index]
        yield (e.model, "match", *found.data_class, *known, found.by)
    for row in _per_class(e):
        counts = (str(row["support"]), str(row["predicted"]))
        figures = (score(row[metric]) for metric in ("precision", "recall", "f1"))
        yield (e.model, "class", row["class_id"], row["label"], *counts, *figures)
    for pair in e.confused(e.images):
        named = (e.classes[pair.truth].id, e.classes[pair.predicted].id)
        yield (e.model, "confused", *named, str(pair.count), str(pair.support))
    for answer in e.mistakes:
        said = answer.predictions[0]
        named = (e.classes[answer.truth].id, said.image_class.id)
        yield (e.model, "mistake", *named, score(said.score), answer.example.name)
    for each in e.reliability:
        ends_and_means = (each.low, each.high, each.score, each.accuracy)
        yield (e.model, "bin", *map(score, ends_and_means), str(each.count))


def _comparison_rows(c: Comparison) -> Iterator[tuple[str, ...]]:
    for name in ("both_right", "only_a", "only_b", "both_wrong"):
        yield (c.a, c.b, name, str(getattr(c, name)))
    yield (c.a, c.b, "p_value", f"{c.p_value:.6g}")
    yield (c.a, c.b, "better", c.better or "")
    for found in c.differences:
        yield (c.a, c.b, "differ", found.truth.id, found.a.id, found.b.id, found.example.name)
