"""What `evaluate` asks, how classes are matched, and which figures are kept."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from photos_for_tests import write_photos
from PIL import Image

from cnncli.backbones import ImageClass, InputSpec
from cnncli.datasets.dataset import Dataset, Example
from cnncli.datasets.find import open_dataset
from cnncli.datasets.pixels import Failure
from cnncli.errors import DataError
from cnncli.evaluation.comparison import compare
from cnncli.evaluation.evaluation import Answer, Evaluation
from cnncli.evaluation.gates import Gate
from cnncli.evaluation.matching import match, require_all, require_some
from cnncli.evaluation.run import MISTAKES, Question, Tellers, chosen, evaluate, task
from cnncli.inference.models import ReadyModel
from cnncli.modelcard import ModelCard

CLASSES = tuple(ImageClass(f"n{number}", label) for number, label in enumerate(("ant", "bee", "cat", "dog")))


class Table:
    """An engine that answers with fixed scores: the value of the first pixel says which."""

    def __init__(self, scores: list[list[float]]) -> None:
        self._scores = np.array(scores, np.float32)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self._scores[int(pixels[0, 0, 0])]


def model(scores: list[list[float]], monkeypatch: pytest.MonkeyPatch, name: str = "table") -> ReadyModel:
    """A model of CLASSES whose answer to a picture of value i is `scores[i]`."""
    card = ModelCard(name, CLASSES, InputSpec(4, 4, "rgb"))
    table = Table(scores)
    monkeypatch.setattr(ReadyModel, "most_engines", lambda self, at_once: at_once)
    monkeypatch.setattr(ReadyModel, "engine", lambda self, num_threads: TABLES[self.name])
    TABLES[name] = table
    return ReadyModel(name, card, Path(__file__), "litert")


TABLES: dict[str, Table] = {}


def data(truths: list[int], classes: tuple[ImageClass, ...] = CLASSES, split: str = "test") -> Dataset:
    """A picture for each truth, of the value of its place; the folders are named by the classes' ids."""
    examples = tuple(
        Example(f"{value}.png", truth, pixels=np.full((4, 4, 3), value, np.uint8)) for value, truth in enumerate(truths)
    )
    return Dataset("pictures", classes, {split: examples})  # type: ignore[dict-item]


def ask(model: ReadyModel, dataset: Dataset, **question: object) -> tuple[Evaluation, list[Answer], list[Failure]]:
    answers, failures = list[Answer](), list[Failure]()
    tellers = Tellers(lambda done, total: None, answers.append, failures.append)
    asked = task(model, dataset, Question(**question))  # type: ignore[arg-type]
    found = evaluate(asked, tellers, trained_on=frozenset())
    return found, answers, failures


ROWS = [
    [0.4, 0.3, 0.2, 0.1],  # right, where the truth is 0
    [0.1, 0.6, 0.2, 0.1],  # wrong, where it is 0: second of the tie for third place
    [0.25, 0.25, 0.25, 0.25],  # a tie: the first class is the answer
    [0.0, 0.0, 0.1, 0.9],
]


def test_ranks_scores_and_counts_follow_from_the_scores_of_the_network(monkeypatch) -> None:
    found, answers, failures = ask(model(ROWS, monkeypatch), data([0, 0, 2, 3]), top=2)
    assert [answer.truth_rank for answer in answers] == [1, 3, 3, 1]
    assert [answer.truth_score for answer in answers] == pytest.approx([0.4, 0.1, 0.25, 0.9])
    assert [[p.index for p in answer.predictions][:2] for answer in answers] == [[0, 1], [1, 2], [0, 1], [3, 2]]
    assert (found.accuracy, found.top_k(2), found.top_k(3)) == (0.5, 0.5, 1.0)
    assert found.confusion.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert found.loss == pytest.approx(-np.log([0.4, 0.1, 0.25, 0.9]).mean())
    assert failures == [] and found.shown == (0, 1, 2, 3)


def test_with_only_present_the_choice_is_among_the_classes_of_the_data(monkeypatch) -> None:
    some = data([1, 0], (CLASSES[0], CLASSES[2]))  # folders n0 and n2; the first picture is of n2
    found, answers, _ = ask(model([[0.2, 0.5, 0.3, 0.0], [0.5, 0.1, 0.3, 0.1]], monkeypatch), some)
    assert found.accuracy == 0.5 and answers[0].predictions[0].index == 1
    found, answers, _ = ask(model([[0.2, 0.5, 0.3, 0.0], [0.5, 0.1, 0.3, 0.1]], monkeypatch), some, only_present=True)
    assert found.accuracy == 1.0
    assert [[p.index for p in answer.predictions] for answer in answers] == [[2, 0], [0, 2]]
    assert [p.score for p in answers[0].predictions] == pytest.approx([0.6, 0.4])
    assert answers[0].predictions[0].image_class == CLASSES[2]


def test_classes_that_the_split_has_no_images_of_are_no_choice(monkeypatch) -> None:
    scores = [[0.2, 0.5, 0.3, 0.0], [0.5, 0.1, 0.3, 0.1]]
    folder = ask(model(scores, monkeypatch), data([1, 0], (CLASSES[0], CLASSES[2])), only_present=True)[0]
    manifest = data([2, 0])  # its classes are those of all splits
    assert ask(model(scores, monkeypatch), manifest, only_present=True)[0].loss == folder.loss


def test_scores_of_nothing_but_zero_are_no_fault(monkeypatch) -> None:
    two = data([1, 0], (CLASSES[0], CLASSES[2]))
    found, _, _ = ask(model([[0, 1, 0, 0]] * 2, monkeypatch), two, only_present=True)
    assert found.accuracy == 0.5 and np.isfinite(found.loss)


def test_the_most_confident_mistakes_come_first_and_no_more_than_are_shown_are_kept(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.permutation(np.linspace(0.3, 0.9, 60)).round(3).tolist()
    rows = [[(1 - score) / 3, score, (1 - score) / 3, (1 - score) / 3] for score in wrong]
    found, _, _ = ask(model(rows, monkeypatch), data([0] * 60))
    scores = [mistake.predictions[0].score for mistake in found.mistakes]
    assert scores == pytest.approx(sorted(wrong, reverse=True)[:MISTAKES])
    assert all(len(mistake.predictions) == 3 and mistake.truth == 0 for mistake in found.mistakes)


def test_an_image_that_cannot_be_read_is_a_failure_and_counts_for_nothing(monkeypatch, tmp_path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    examples = (Example("broken.jpg", 0, tmp_path / "broken.jpg"), *data([0, 0, 0]).splits["test"][1:])
    found, _, failures = ask(model(ROWS, monkeypatch), Dataset("pictures", CLASSES, {"test": examples}))
    assert [failure.name for failure in failures] == ["broken.jpg"] and found.failures == tuple(failures)
    assert found.images == 2 and found.columns.rows.tolist() == [1, 2]
    found, _, _ = ask(model(ROWS, monkeypatch), Dataset("pictures", CLASSES, {"test": examples[:1]}))
    assert (found.images, found.accuracy, found.loss, len(found.failures)) == (0, 0, 0, 1)


def test_images_that_the_model_learned_from_are_counted(monkeypatch, tmp_path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    dataset = Dataset("pictures", CLASSES, {"test": (Example("0.png", 0, tmp_path / "0.png"),)})
    digest = sha256((tmp_path / "0.png").read_bytes()).digest()
    quiet = Tellers(lambda done, total: None, lambda answer: None, lambda failure: None)
    for trained_on, count in ((frozenset({digest}), 1), (frozenset[bytes](), 0)):
        found = evaluate(task(model(ROWS, monkeypatch), dataset, Question()), quiet, trained_on=trained_on)
        assert found.seen_in_training == count


def test_the_split_is_test_else_val_else_everything(tmp_path) -> None:
    for names, expected in ((("train", "val", "test"), "test"), (("train", "val"), "val")):
        base = tmp_path / expected
        for name in names:
            write_photos(base / name, each=1, first=len(name))
        split, examples = chosen(opened(base), None)
        assert split == expected and len(examples) == 3
        assert all(f"/{expected}/" in example.name for example in examples)
    write_photos(tmp_path / "flat", each=2)
    assert [len(chosen(opened(tmp_path / "flat"), split)[1]) for split in (None, "all", "train")] == [6, 6, 6]
    with pytest.raises(DataError, match="it has no test split, nor any other; leave --split out"):
        chosen(opened(tmp_path / "flat"), "test")


def opened(path: Path) -> Dataset:
    return open_dataset(str(path), offline=True, notify=print, progress=lambda done, total: None)


def folders(*names: str) -> tuple[ImageClass, ...]:
    return tuple(ImageClass(name, name) for name in names)


def test_classes_match_by_id_then_by_a_label_that_is_unique() -> None:
    twice = (*CLASSES, ImageClass("n9", "cat"))
    found = match(folders("n1", "dog", "cat", "cow"), twice)
    assert [(one.index, one.by) for one in found] == [(1, "id"), (3, "label"), (None, ""), (None, "")]
    found = match((ImageClass("x", "bee"), ImageClass("y", "bee")), CLASSES)
    assert [one.index for one in found] == [None, None]


def test_a_mismatch_lists_both_sides() -> None:
    found = match(folders("dog", "cow", "yak"), CLASSES)
    with pytest.raises(DataError) as problem:
        require_all(found, CLASSES, model_name="zoo", data_name="farm/")
    assert str(problem.value) == (
        "farm/: 2 of its 3 classes are none of zoo's 4; --allow-missing leaves their images out\n"
        "  only in the data: cow, yak\n"
        "  the model has:    n0 (ant), n1 (bee), n2 (cat), n3 (dog)"
    )
    with pytest.raises(DataError, match=r"\n  spelled otherwise: Dog for n3 \(dog\); names must be equal"):
        require_all(match(folders("Dog", "ant"), CLASSES), CLASSES, model_name="zoo", data_name="farm/")
    with pytest.raises(DataError, match="none of its classes is one of zoo's"):
        require_some(match(folders("cow"), CLASSES), CLASSES, model_name="zoo", data_name="farm/")
    with pytest.raises(DataError, match=r"the classes n3, dog are both zoo's n3 \(dog\)"):
        require_some(match(folders("n3", "dog"), CLASSES), CLASSES, model_name="zoo", data_name="farm/")


def test_allow_missing_leaves_images_of_unknown_classes_out(monkeypatch) -> None:
    dataset = data([0, 1, 1, 0], folders("n0", "yak"))
    with pytest.raises(DataError, match="only in the data: yak"):
        ask(model(ROWS, monkeypatch), dataset)
    found, answers, _ = ask(model(ROWS, monkeypatch), dataset, allow_missing=True)
    assert (found.images, found.left_out) == (2, 2)
    assert [answer.example.name for answer in answers] == ["0.png", "3.png"]


def test_gates_read_the_figure_that_they_name(monkeypatch) -> None:
    found, _, _ = ask(model(ROWS, monkeypatch), data([0, 0, 2, 3]))
    figures = {
        "accuracy": 0.5,
        "top3": 1.0,
        "top-2": 0.5,
        "recall-macro": (0.5 + 0 + 1) / 3,
        "f1-weighted": (2 * 0.5 + 0 + 1) / 4,
    }
    for name, value in figures.items():
        assert Gate(name, value).value(found) == pytest.approx(value)
    assert Gate.parse("accuracy=0.5").fault(found) is None
    assert Gate.parse("f1-macro=0.9").fault(found) == "table: f1-macro is 0.5000, below 0.9"


@pytest.mark.parametrize("text", ["top3", "top0=0.5", "f1=0.5", "accuracy=2", "accuracy=nan", "=0.5", "top3="])
def test_a_gate_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=P|no figure is called"):
        Gate.parse(text)


def test_two_models_are_compared_image_by_image(monkeypatch) -> None:
    truths = [0, 0, 0, 0, 1]
    right, wrong, other = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]
    a, _, _ = ask(model([right, wrong, right, wrong, other], monkeypatch, "a"), data(truths))
    b, _, _ = ask(model([right, right, wrong, other, other], monkeypatch, "b"), data(truths))
    found = compare(a, b)
    assert (found.both_right, found.only_a, found.only_b, found.both_wrong) == (1, 1, 1, 2)
    assert [difference.example.name for difference in found.differences] == ["1.png", "2.png", "3.png"]
    assert (found.differences[0].a.label, found.differences[0].b.label) == ("bee", "ant")
    assert found.p_value == 1 and found.better is None


def test_a_model_is_better_when_the_paired_test_says_so(monkeypatch) -> None:
    right, wrong = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]
    a, _, _ = ask(model([right] * 12, monkeypatch, "a"), data([0] * 12))
    b, _, _ = ask(model([wrong] * 8 + [right] * 4, monkeypatch, "b"), data([0] * 12))
    found = compare(a, b)
    assert found.p_value == pytest.approx(2 / 2**8) and found.better == "a" and compare(b, a).better == "a"
