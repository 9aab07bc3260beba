"""Measures of a classifier, from true and predicted classes and their scores. NumPy only.

Names and conventions are those of scikit-learn's `metrics`, so that figures can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int32]  # of classes, `(images,)`
Scores = npt.NDArray[np.float32]  # probabilities, `(images,)`
Figures = npt.NDArray[np.float64]  # `(classes,)`
Interval = tuple[float, float]

NUM_BINS = 10  # of scores: tenths are easily named; Guo et al. 2017 have 15


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """Precision, recall and F1 of every class, each `(classes,)` from 0 to 1; 0 where it is not defined."""

    precision: Figures  # of the images that were called so, how many are
    recall: Figures  # of the images that are, how many were called so
    f1: Figures  # the harmonic mean of both
    support: npt.NDArray[np.int64]  # images of the class
    predicted: npt.NDArray[np.int64]  # images that were called so


@dataclass(frozen=True, slots=True)
class Averages:
    """One figure each for all classes that have images."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Bin:
    """The images whose best score lies in `(low, high]`."""

    low: float
    high: float
    count: int
    score: float  # mean; 0 without images
    accuracy: float  # the part that is right; 0 without images


def wilson(right: int, total: int, confidence: float = 0.95) -> Interval:
    """The interval for a proportion of `right` in `total` (Wilson 1927); (0, 1) without images."""
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = right / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion(truth: Indices, predicted: Indices, classes: int) -> npt.NDArray[np.int64]:
    """Counts of shape `(classes, classes)`: a row for each true class, a column for each predicted one."""
    pairs = truth.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_scores(matrix: npt.NDArray[np.int64]) -> ClassScores:
    """The figures of every class from a confusion matrix."""
    right, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        _ratio(right, predicted), _ratio(right, support), _ratio(2 * right, support + predicted), support, predicted
    )


def macro(scores: ClassScores) -> Averages:
    """Every class that has images counts alike; the recall is the balanced accuracy.

    scikit-learn's `average="macro"` with `labels` those classes.
    """
    return _averages(scores, (scores.support > 0).astype(float))


def weighted(scores: ClassScores) -> Averages:
    """Every class counts as often as it has images: scikit-learn's `average="weighted"`."""
    return _averages(scores, scores.support.astype(float))


def _averages(scores: ClassScores, weights: Figures) -> Averages:
    if not weights.any():
        return Averages(0.0, 0.0, 0.0)
    return Averages(*(float(np.average(of, weights=weights)) for of in (scores.precision, scores.recall, scores.f1)))


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Figures:
    return part / np.maximum(whole, 1)


def log_loss(truth_scores: Scores) -> float:
    """The mean of -ln of the true classes' scores, in nats; scores below float32's epsilon count as that.

    0 without images.
    """
    if not len(truth_scores):
        return 0.0
    return float(-np.log(np.maximum(truth_scores, np.finfo(np.float32).eps), dtype=np.float64).mean())


def reliability(scores: Scores, right: npt.NDArray[np.bool_], bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Images in bins of equal width by their best score: where the scores are honest, score and accuracy agree."""
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    score_sums = np.bincount(places, weights=scores, minlength=bins)
    num_right = np.bincount(places, weights=right, minlength=bins)
    return tuple(
        Bin(low, high, int(count), score / max(1, count), hits / max(1, count))
        for low, high, count, score, hits in zip(
            edges[:-1].tolist(),
            edges[1:].tolist(),
            counts.tolist(),
            score_sums.tolist(),
            num_right.tolist(),
            strict=True,
        )
    )


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """The expected calibration error: the bins' mean distance of score and accuracy, weighted by their images.

    Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, equation 3. 0 without images.
    """
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.accuracy - each.score) for each in bins) / max(1, total)


def mcnemar(only_a: int, only_b: int) -> float:
    """The chance that two equally good classifiers differ at least so much: McNemar's test, exact and two-sided.

    `only_a` and `only_b` are the images that one of them alone has right (McNemar 1947; the binomial form of Edwards
    1948 without approximation).
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    logs = [math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1) for i in range(fewer + 1)]
    largest = max(logs)
    tail = math.log(sum(math.exp(log - largest) for log in logs)) + largest
    return min(1.0, math.exp(tail + (1 - total) * math.log(2)))
