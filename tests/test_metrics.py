"""Measures of a classifier, compared with scikit-learn, SciPy and plain loops."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn import metrics as oracle

from cnncli.backbones import ImageClass, InputSpec
from cnncli.datasets.dataset import Example
from cnncli.evaluation import metrics
from cnncli.evaluation.comparison import compare
from cnncli.evaluation.evaluation import Columns, Evaluation

# name -> classes, images, classes that are true, classes that can be predicted, whether scores tie
CASES = {
    "three classes": (3, 200, range(3), range(3), False),
    "ties": (4, 300, range(4), range(4), True),
    "many classes, few images": (100, 60, range(100), range(100), False),
    "some absent in truth": (6, 200, (0, 2, 5), range(6), False),
    "some never predicted": (6, 200, range(6), (1, 3), False),
    "some absent in both": (7, 200, (0, 2, 5), (2, 3), False),
    "never right": (5, 50, (0, 1), (3, 4), False),
    "one class in the data": (4, 30, (2,), range(4), False),
    "a model of one class": (1, 10, (0,), (0,), False),
    "two classes, ties": (2, 99, range(2), range(2), True),
    "one image": (3, 1, (1,), (1,), False),
}


class Case:
    """Random probabilities `(images, classes)`, and what follows from them by the pipeline's rules."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.classes, images, truths, predicted, ties = CASES[name]
        rng = np.random.default_rng([seed, *name.encode()])
        self.truth = rng.choice(list(truths), images).astype(np.int32)
        scores = rng.gamma(0.5, size=(images, self.classes))
        scores[:, list(predicted)] += 1e-3
        scores[:, [c for c in range(self.classes) if c not in predicted]] *= 1e-9
        if ties:
            scores = rng.integers(1, 3, scores.shape).astype(float)
        self.scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
        order = np.argsort(-self.scores, axis=1, kind="stable")  # of equal scores the lower index first
        self.predicted = order[:, 0].astype(np.int32)
        self.rank = (np.argmax(order == self.truth[:, None], axis=1) + 1).astype(np.int32)
        self.labels = list(range(self.classes))

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        return metrics.confusion(self.truth, self.predicted, self.classes)

    def evaluation(self) -> Evaluation:
        rows = np.arange(len(self.truth))
        return Evaluation(
            model="random",
            data="data",
            split="test",
            classes=tuple(ImageClass(f"c{index}", f"class {index}") for index in self.labels),
            input=InputSpec(8, 8),
            top=2,
            only_present=False,
            matches=(),
            left_out=0,
            examples=tuple(Example(f"{row}.png", int(self.truth[row])) for row in rows),
            columns=Columns(
                rows, self.truth, self.predicted, self.scores.max(axis=1), self.rank, self.scores[rows, self.truth]
            ),
            failures=(),
            mistakes=(),
            seen_in_training=0,
            seconds=1.0,
        )


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_confusion_matrix_is_that_of_scikit_learn(case: Case) -> None:
    expected = oracle.confusion_matrix(case.truth, case.predicted, labels=case.labels)
    assert case.matrix.tolist() == expected.tolist()


def test_scores_of_every_class_are_those_of_scikit_learn(case: Case) -> None:
    found = metrics.class_scores(case.matrix)
    expected = oracle.precision_recall_fscore_support(
        case.truth, case.predicted, labels=case.labels, average=None, zero_division=0
    )
    for ours, theirs in zip((found.precision, found.recall, found.f1, found.support), expected, strict=True):
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-12)
    assert found.predicted.tolist() == np.bincount(case.predicted, minlength=case.classes).tolist()


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_averages_over_classes_are_those_of_scikit_learn(case: Case, average: str) -> None:
    found = getattr(metrics, average)(metrics.class_scores(case.matrix))
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        case.truth, case.predicted, labels=np.unique(case.truth), average=average, zero_division=0
    )
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1), abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_macro_recall_is_scikit_learns_balanced_accuracy(case: Case) -> None:
    found = metrics.macro(metrics.class_scores(case.matrix))
    assert found.recall == pytest.approx(oracle.balanced_accuracy_score(case.truth, case.predicted), abs=1e-12)


def test_accuracy_is_that_of_scikit_learn_and_of_the_matrix(case: Case) -> None:
    found = case.evaluation()
    assert found.accuracy == oracle.accuracy_score(case.truth, case.predicted)
    assert found.num_right == int(np.trace(case.matrix)) and found.images == int(case.matrix.sum())


@pytest.mark.parametrize("name", [name for name in CASES if "ties" not in name and "one class" not in name])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_accuracy_is_that_of_scikit_learn(name: str, k: int) -> None:
    case = Case(name)
    if case.classes <= max(2, k):  # where scikit-learn refuses or wants other scores
        assert case.evaluation().top_k(max(k, case.classes)) == 1.0
        return
    expected = oracle.top_k_accuracy_score(case.truth, case.scores, k=k, labels=case.labels)
    assert case.evaluation().top_k(k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["ties", "two classes, ties"])
def test_top_k_accuracy_with_ties_prefers_the_lower_index(name: str) -> None:
    case = Case(name)
    for k in range(1, case.classes + 1):
        hits = [
            truth in sorted(case.labels, key=lambda c, row=row: (-row[c], c))[:k]
            for truth, row in zip(case.truth.tolist(), case.scores.tolist(), strict=True)
        ]
        assert case.evaluation().top_k(k) == sum(hits) / len(hits)


def test_log_loss_is_that_of_scikit_learn(case: Case) -> None:
    found = case.evaluation().loss
    if case.classes == 1:
        assert found == 0.0  # scikit-learn refuses
    else:
        assert found == pytest.approx(oracle.log_loss(case.truth, case.scores, labels=case.labels), rel=1e-5, abs=1e-7)


def test_log_loss_of_a_score_of_zero_is_cut_off_like_scikit_learns() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    expected = oracle.log_loss([0, 0], scores, labels=[0, 1])
    assert metrics.log_loss(scores[:, 0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 10), (7, 10), (10, 10), (613, 1000), (9990, 10000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_interval_is_that_of_scipy(right: int, total: int, confidence: float) -> None:
    expected = stats.binomtest(right, total).proportion_ci(confidence, method="wilson")
    assert metrics.wilson(right, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_stays_within_0_and_1_and_knows_nothing_without_images() -> None:
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    assert metrics.wilson(0, 5)[0] == 0.0 and metrics.wilson(5, 5)[1] == 1.0


@pytest.mark.parametrize(
    ("a", "b"), [(0, 0), (0, 1), (1, 0), (5, 5), (3, 12), (12, 3), (40, 41), (100, 150), (0, 900), (5000, 5200)]
)
def test_mcnemar_is_the_exact_binomial_test_of_scipy(a: int, b: int) -> None:
    expected = stats.binomtest(min(a, b), a + b, 0.5).pvalue if a + b else 1.0
    assert metrics.mcnemar(a, b) == pytest.approx(expected, rel=1e-8, abs=1e-290)


def test_mcnemar_of_very_many_images_is_quick_and_right() -> None:
    begin = time.process_time()
    found = metrics.mcnemar(500_000, 502_000)
    assert time.process_time() - begin < 5
    assert found == pytest.approx(stats.binomtest(500_000, 1_002_000, 0.5).pvalue, rel=1e-6)
    assert metrics.mcnemar(0, 100_000) == 0.0


def test_calibration_error_is_that_of_a_plain_loop(case: Case) -> None:
    scores, right = case.scores.max(axis=1), case.rank == 1
    error = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = [
            (float(score), bool(hit))
            for score, hit in zip(scores, right, strict=True)
            if low < score <= high or (number == 9 and score > high)
        ]
        if inside:
            accuracy = sum(hit for _, hit in inside) / len(inside)
            error += len(inside) / len(scores) * abs(accuracy - sum(score for score, _ in inside) / len(inside))
    bins = metrics.reliability(scores, right)
    assert metrics.calibration_error(bins) == pytest.approx(error, abs=1e-9)
    assert sum(each.count for each in bins) == len(scores)


def test_score_on_an_edge_belongs_to_the_bin_below_and_zero_to_the_first() -> None:
    bins = metrics.reliability(np.array([0.0, 0.5, 0.75, 1.0], np.float32), np.array([True, False, True, True]), 4)
    assert [each.count for each in bins] == [1, 1, 1, 1]
    assert [each.accuracy for each in bins] == [1.0, 0.0, 1.0, 1.0]
    assert [(each.low, each.high) for each in bins] == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    assert metrics.calibration_error(bins) == pytest.approx((1.0 + 0.5 + 0.25 + 0.0) / 4)


def test_measures_of_no_images_are_zero() -> None:
    none = np.array([], np.int32)
    scores = metrics.class_scores(metrics.confusion(none, none, 3))
    assert scores.f1.tolist() == [0, 0, 0]
    assert metrics.macro(scores) == metrics.weighted(scores) == metrics.Averages(0.0, 0.0, 0.0)
    empty = np.array([], np.float32)
    assert metrics.log_loss(empty) == 0.0
    assert metrics.calibration_error(metrics.reliability(empty, np.array([], np.bool_))) == 0.0


def test_confused_pairs_are_the_largest_counts_beside_the_diagonal() -> None:
    case = Case("three classes")
    matrix = oracle.confusion_matrix(case.truth, case.predicted)
    beside = [(-matrix[i, j], i, j) for i in range(3) for j in range(3) if i != j]
    expected = [(i, j, -count, int(matrix[i].sum())) for count, i, j in sorted(beside)]
    found = case.evaluation().confused(10)
    assert [(pair.truth, pair.predicted, pair.count, pair.support) for pair in found] == expected
    assert case.evaluation().confused(2) == found[:2]


def test_comparison_counts_the_images_that_each_model_has_right() -> None:
    a, b = Case("three classes", seed=1), Case("three classes", seed=2)
    b.truth = a.truth
    b.rank = (np.argmax(np.argsort(-b.scores, axis=1, kind="stable") == b.truth[:, None], axis=1) + 1).astype(np.int32)
    found = compare(a.evaluation(), b.evaluation())
    right_a, right_b = a.predicted == a.truth, b.predicted == b.truth
    assert (found.both_right, found.only_a) == (sum(right_a & right_b), sum(right_a & ~right_b))
    assert (found.only_b, found.both_wrong) == (sum(~right_a & right_b), sum(~right_a & ~right_b))
    expected = stats.binomtest(found.only_a, found.only_a + found.only_b).pvalue
    assert found.p_value == pytest.approx(expected)
    assert len(found.differences) == int((a.predicted != b.predicted).sum())


def test_models_that_are_both_right_do_not_differ_whatever_they_call_the_class() -> None:
    ours = Case("three classes").evaluation()
    theirs = replace(
        ours, classes=tuple(ImageClass(f"n{index}", found.label) for index, found in enumerate(ours.classes))
    )
    found = compare(ours, theirs)
    assert found.both_right == ours.num_right and found.p_value == 1.0 and found.better is None
    assert len(found.differences) == found.both_wrong  # nobody knows what other names mean
    assert not any(each.a_right or each.b_right for each in found.differences)
