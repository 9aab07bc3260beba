"""What a model said of labelled images, and every figure that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cnncli.backbones import ImageClass, InputSpec
from cnncli.datasets.dataset import Example
from cnncli.datasets.pixels import Failure
from cnncli.evaluation import metrics
from cnncli.evaluation.matching import Match
from cnncli.evaluation.metrics import Averages, Bin, ClassScores, Indices, Interval, Scores
from cnncli.inference.pipeline import Prediction


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of one labelled image."""

    example: Example
    truth: int  # index of the true class in the model's order
    truth_rank: int  # from 1; of classes with equal scores the one with the lower index comes first
    truth_score: float  # probability of the true class
    predictions: tuple[Prediction, ...]  # the best classes, best first

    @property
    def right(self) -> bool:
        return self.truth_rank == 1


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What is kept of every image that could be read: arrays of shape `(images,)`, in the order of the data."""

    rows: npt.NDArray[np.int64]  # places in the list of examples
    truth: Indices
    predicted: Indices
    score: Scores  # of the predicted class
    truth_rank: Indices
    truth_score: Scores

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        right: npt.NDArray[np.bool_] = self.truth_rank == 1
        return right


@dataclass(frozen=True)
class Pair:
    """Two classes that the model takes for each other."""

    truth: int
    predicted: int
    count: int  # images of `truth` that were called `predicted`
    support: int  # images of `truth`


@dataclass(frozen=True)
class Evaluation:
    """One model on one data set."""

    model: str
    data: str
    split: str  # train, val, test; or all
    classes: tuple[ImageClass, ...]  # the model's, in its order
    input: InputSpec
    top: int  # the k of the top-k accuracy that was asked for
    only_present: bool  # whether the model had to choose among the classes that the data has
    matches: tuple[Match, ...]
    left_out: int  # images of classes that the model does not know
    examples: tuple[Example, ...]  # those of known classes
    columns: Columns
    failures: tuple[Failure, ...]  # images that could not be read
    mistakes: tuple[Answer, ...]  # the most confident, the worst first
    seen_in_training: int | None  # images that the model learned from; None: nobody knows
    seconds: float

    @property
    def images(self) -> int:
        """How many images the figures are about."""
        return len(self.columns.rows)

    @cached_property
    def num_right(self) -> int:
        return int(self.columns.right.sum())

    @property
    def accuracy(self) -> float:
        return self.top_k(1)

    def top_k(self, k: int) -> float:
        """The part of the images whose true class is among the best `k`."""
        return self._num_in_top(k) / max(1, self.images)

    def interval(self, k: int = 1) -> Interval:
        """Wilson's 95 % interval for `top_k(k)`."""
        return metrics.wilson(self._num_in_top(k), self.images)

    def _num_in_top(self, k: int) -> int:
        return int((self.columns.truth_rank <= k).sum())

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return metrics.log_loss(self.columns.truth_score)

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts for all of the model's classes; `shown` says which rows and columns hold something."""
        return metrics.confusion(self.columns.truth, self.columns.predicted, len(self.classes))

    @cached_property
    def shown(self) -> tuple[int, ...]:
        """The classes that the data has or that were predicted, in the model's order."""
        expected = {found.index for found in self.matches if found.index is not None}
        return tuple(sorted(expected | set(self.columns.predicted.tolist())))

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The rows and columns of `confusion` for the classes in `shown`."""
        return self.confusion[np.ix_(self.shown, self.shown)]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """`counts` as parts of their rows: of the images of a class, what they were called; 0 without images."""
        shares: npt.NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return shares

    @cached_property
    def elsewhere(self) -> int:
        """How many images were called a class that the data has no image of."""
        return int(self.per_class.predicted[self.per_class.support == 0].sum())

    @cached_property
    def per_class(self) -> ClassScores:
        """For all of the model's classes."""
        return metrics.class_scores(self.confusion)

    @cached_property
    def macro(self) -> Averages:
        return metrics.macro(self.per_class)

    @cached_property
    def weighted(self) -> Averages:
        return metrics.weighted(self.per_class)

    @cached_property
    def reliability(self) -> tuple[Bin, ...]:
        return metrics.reliability(self.columns.score, self.columns.right)

    @cached_property
    def calibration_error(self) -> float:
        return metrics.calibration_error(self.reliability)

    @property
    def overconfidence(self) -> float:
        """How much higher the mean score of the best class is than the accuracy; negative: it is lower."""
        return float(self.columns.score.mean(dtype=np.float64)) - self.accuracy if self.images else 0.0

    def by_f1(self) -> tuple[int, ...]:
        """The classes that have images, the lowest F1 first; of equal ones the one with more images first."""
        figures, support = self.per_class.f1, self.per_class.support
        return tuple(i for i in np.lexsort((-support, figures)).tolist() if support[i])

    def confused(self, most: int) -> tuple[Pair, ...]:
        """The pairs of classes that are confused most often, at most `most`; of equal counts the first classes."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        truths, predicted = np.nonzero(wrong)
        order = np.argsort(-wrong[truths, predicted], kind="stable")[:most]
        support = self.per_class.support
        return tuple(
            Pair(truth, other, int(wrong[truth, other]), int(support[truth]))
            for truth, other in zip(truths[order].tolist(), predicted[order].tolist(), strict=True)
        )
