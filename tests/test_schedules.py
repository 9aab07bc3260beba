"""Learning rates, plateaus, early stopping and class weights, against values worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cnncli.backbones import ImageClass
from cnncli.balance import class_weights
from cnncli.errors import DataError, ExitCode, GrammarError, TrainingError
from cnncli.schedules import SCHEDULES, Plateau, Schedule
from cnncli.stopping import Stopping

PETS = (ImageClass("cat", "cat"), ImageClass("dog", "dog"), ImageClass("n1", "crane"), ImageClass("n2", "crane"))


def rates(name: str, total: int, warmup: int = 0) -> list[float]:
    schedule = Schedule(name, 0.1, total, warmup)  # type: ignore[arg-type]
    return [schedule.rate(step) for step in range(total)]


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_constant_and_plateau_schedules_keep_the_rate(name: str) -> None:
    assert rates(name, 5) == [0.1] * 5


def test_cosine_falls_from_the_whole_rate_to_nothing() -> None:
    found = rates("cosine", 6)
    assert found == pytest.approx([0.1, 0.0933013, 0.075, 0.05, 0.025, 0.0066987], abs=1e-7)
    assert Schedule("cosine", 0.1, 6).rate(6) == 0 == Schedule("cosine", 0.1, 6).rate(100)


def test_step_divides_by_ten_at_half_and_at_three_quarters() -> None:
    assert rates("step", 8) == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    assert rates("step", 7) == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001])


def test_one_cycle_rises_on_a_line_for_30_percent_and_falls_as_a_cosine() -> None:
    found = rates("one-cycle", 100)
    assert found[0] == pytest.approx(0.004) and found[15] == pytest.approx(0.052) and found[30] == 0.1
    assert np.diff(found[:31]) == pytest.approx(0.0032)
    assert found[65] == pytest.approx(0.05) and found[99] < 1e-4 and (np.diff(found[30:]) < 0).all()
    assert rates("one-cycle", 100, 10)[10] == 0.1 > rates("one-cycle", 100, 10)[9]


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "plateau"])
def test_a_warm_up_rises_on_a_line_and_joins_the_schedule_at_the_whole_rate(name: str) -> None:
    found = rates(name, 20, 4)
    assert found[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    if name == "cosine":
        assert found[4:] == rates("cosine", 16)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (2, 1), (3, 0), (1000, 50)])
def test_no_rate_is_negative_or_above_the_base(name: str, total: int, warmup: int) -> None:
    assert all(0 < rate <= 0.1 for rate in rates(name, total, warmup))


@pytest.mark.parametrize(("total", "warmup"), [(10, 10), (10, -1), (0, 0)])
def test_a_warm_up_that_does_not_fit_is_refused(total: int, warmup: int) -> None:
    with pytest.raises(TrainingError, match=f"a warm-up of {warmup} steps does not fit into a run of {total}"):
        Schedule("cosine", 0.1, total, warmup)


def test_plateau_divides_the_rate_after_so_many_epochs_without_a_lower_loss() -> None:
    state, factors = Plateau(patience=2), []
    for loss in (1.0, 0.9, 0.9, 0.8, 0.85, 0.8, 0.81, 0.82, 0.7):
        state = state.after(loss)
        factors.append(state.factor)
    assert factors == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert (state.best, state.bad_epochs) == (0.7, 0)


def test_plateau_takes_a_loss_that_is_no_number_for_a_bad_one() -> None:
    state = Plateau().after(math.nan)
    assert (state.best, state.bad_epochs) == (None, 1)
    assert state.after(5.0).best == 5.0


def test_stopping_prefers_accuracy_and_breaks_ties_by_loss() -> None:
    state, improved = Stopping(patience=2), []
    for accuracy, loss in ((0.5, 1.0), (0.6, 2.0), (0.6, 1.9), (0.6, 1.9), (0.55, 0.1), (0.7, 9.0)):
        state = state.after(accuracy, loss)
        improved.append((state.improved, state.should_stop))
    assert improved == [(True, False)] * 3 + [(False, False), (False, True), (True, False)]
    assert (state.best_accuracy, state.best_loss) == (0.7, 9.0)


def test_stopping_without_patience_never_stops() -> None:
    state = Stopping().after(0.5, 1.0)
    for _ in range(100):
        state = state.after(0.1, 1.0)
    assert state.bad_epochs == 100 and not state.should_stop and not state.improved


def test_stopping_has_no_best_epoch_before_the_first_or_where_the_loss_is_no_number() -> None:
    assert not Stopping().improved and not Stopping(patience=0).should_stop
    state = Stopping(patience=1).after(0.9, math.nan)
    assert not state.improved and state.should_stop and state.best_accuracy is None
    assert not Stopping().after(math.nan, 1.0).improved


def test_states_go_through_json_and_come_back_exactly() -> None:
    stopping = Stopping(patience=3).after(1 / 3, 2 / 7).after(0.1, 0.2)
    plateau = Plateau(patience=1).after(1 / 3).after(0.5)
    assert Stopping.from_json(json.loads(json.dumps(stopping.to_json()))) == stopping
    assert Plateau.from_json(json.loads(json.dumps(plateau.to_json()))) == plateau
    assert Stopping.from_json(json.loads(json.dumps(Stopping().to_json()))) == Stopping()


def test_auto_weights_make_every_class_count_the_same() -> None:
    labels = [0] * 6 + [1] * 3 + [2] * 2 + [3]
    weights = class_weights(labels, "auto", PETS)
    assert weights == pytest.approx([12 / (4 * 6), 1, 12 / (4 * 2), 3])
    totals = np.bincount(labels, weights=np.take(weights, labels))
    assert totals == pytest.approx([3, 3, 3, 3]) and np.mean(np.take(weights, labels)) == pytest.approx(1)


def test_auto_weights_name_a_class_without_images() -> None:
    with pytest.raises(DataError, match="class 'dog' has no training images"):
        class_weights([0, 0, 2, 3], "auto", PETS)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cat=2,dog=1", [2, 1, 1, 1]),
        (" dog = .5 ", [1, 0.5, 1, 1]),
        ("n2=3", [1, 1, 1, 3]),
    ],
)
def test_weights_are_given_by_id_or_label(spec: str, expected: list[float]) -> None:
    assert class_weights([], spec, PETS) == expected


def test_weights_take_names_with_commas_and_equals_signs() -> None:
    classes = (ImageClass("a", "crane, bird"), ImageClass("b", "x=y"), ImageClass("c", "c"))
    assert class_weights([], "crane, bird=2,x=y=3,c=4", classes) == [2, 3, 4]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cow=2", "no class is called 'cow'; the data has cat, dog, n1, n2"),
        ("crane=2", "2 classes have the label 'crane'; name one by its id: n1, n2"),
        ("cat=2,cat=3", "class 'cat' is given twice"),
        ("cat=0", "expected a number above 0"),
        ("cat=-1", "expected a number above 0"),
        ("cat=nan", "expected a number above 0"),
        ("cat=two", "expected a number above 0"),
        ("cat", "expected auto, or CLASS=WEIGHT"),
        ("cat=2,", "expected auto, or CLASS=WEIGHT"),
        ("cat=2,dog", "expected auto, or CLASS=WEIGHT"),
        ("", "expected auto, or CLASS=WEIGHT"),
    ],
)
def test_weights_that_cannot_be_understood_are_refused(spec: str, message: str) -> None:
    with pytest.raises(GrammarError) as caught:
        class_weights([], spec, PETS)
    assert message in str(caught.value) and caught.value.exit_code == ExitCode.USAGE
