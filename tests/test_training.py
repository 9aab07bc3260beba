"""The training loop on arrays: what a step does, and that a run that was stopped ends as one that was not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cnncli.backbones import InputSpec
from cnncli.grammar import parse
from cnncli.history import EpochRow
from cnncli.interruption import Stop
from cnncli.learning import augment, keras
from cnncli.learning.checkpoints import Checkpoints, assign, values_of
from cnncli.learning.networks import build, float32_twin, with_probabilities
from cnncli.learning.steps import Objective, Steps
from cnncli.learning.training import Batches, Phase, Places, Training
from cnncli.schedules import Plateau, Schedule

SPEC = InputSpec(12, 12, "rgb")
PLAIN = "conv:4:3:relu pool:2 flatten dense:8:relu dropout:0.3 dense:3"
NORMALISED = "conv:4:3 bn relu gap dropout:0.2 dense:3"


def images(count: int = 90) -> Batches:
    """Pictures of three classes: the channel that is brightest, with noise. Two of three rows are used."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, count).astype(np.int32)
    pixels = rng.integers(0, 200, (count, 12, 12, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, labels] += 40
    return Batches(pixels, labels, np.arange(0, count, dtype=np.int64))


class Silent:
    """Watches a run without saying anything, and can ask it to stop after some stretches."""

    def __init__(self, stop: Stop, stop_after: int | None = None) -> None:
        self.stop, self.left, self.rows = stop, stop_after, list[EpochRow]()

    def begin(self, total_epochs: int, steps_per_epoch: int, images: int) -> None:
        pass

    def step(self, epoch: int, step: int, loss: float, accuracy: float, learning_rate: float, rate: float) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.stop.signal = 2

    def epoch(self, row: EpochRow, improved: bool) -> None:
        self.rows.append(row)


@dataclass
class Done:
    """What a run ended with."""

    training: Training
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]

    def history(self) -> list[EpochRow]:
        return [replace(row, seconds=0.0) for row in self.training.progress.history]


def run(
    folder: Path,
    net: str = PLAIN,
    *,
    objective: Objective | None = None,
    epochs: int = 4,
    stop_after: int | None = None,
    resume: bool = False,
    lr: float = 1e-2,
    average: float | None = 0.9,
    patience: int | None = None,
    every_s: float = 1e9,
) -> Done:
    """Trains on `images()`; stops after some stretches if asked to."""
    keras.utils.set_random_seed(0)
    model = build(parse([net]), SPEC)
    twin = float32_twin(model)
    optimizer = keras.optimizers.Adam(lr)
    optimizer.build(model.trainable_variables)
    data = images()
    train, val = replace(data, rows=data.rows[:70]), replace(data, rows=data.rows[70:])
    goal = objective or Objective(seed=3)
    phase = Phase(
        "train", model, twin, lambda: values_of(twin.weights), optimizer, lambda epoch: goal,
        Schedule("cosine", lr, epochs * 5), epochs, train, val,
    )  # fmt: skip
    stop, checkpoints = Stop(), Checkpoints(folder)
    folder.mkdir(exist_ok=True)
    saved = with_probabilities(twin)
    places = Places(
        checkpoints, Silent(stop, stop_after), stop, lambda best, p: assign(saved.weights, best), lambda phase, p: None
    )
    training = Training(
        lambda index, best: phase if index == 0 else None, places,
        total_epochs=epochs, seed=5, batch_size=16, parts=2, average=average, patience=patience,
        checkpoint_every_s=every_s,
    )  # fmt: skip
    checkpoint = checkpoints.latest(lambda message: None) if resume else None
    try:
        training.run(checkpoint)
    except KeyboardInterrupt:
        assert stop_after is not None
    return Done(training, values_of(model.variables), values_of(optimizer.variables), training.best or [])


def test_average_forgets_the_first_weights_within_some_steps(tmp_path: Path) -> None:
    """And is what its formula says; with a decay of 0.999 alone, 97 % of it would be the random weights."""
    keras.utils.set_random_seed(0)
    model = build(parse(["conv:2:3 gap dense:3"]), SPEC)
    steps = Steps(model, keras.optimizers.SGD(0.5), Objective(), parts=1, average=0.999)
    expected, data = values_of(steps.averages), images(32)
    first = expected[-2]
    for step in range(30):
        steps.train(data.inputs[None], data.labels[None], step, [0.5])
        decay = min(0.999, (1 + step) / (10 + step))
        now = values_of(model.trainable_variables)
        expected = [decay * mean + (1 - decay) * weight for mean, weight in zip(expected, now, strict=True)]
    for mean, wanted in zip(values_of(steps.averages), expected, strict=True):
        np.testing.assert_allclose(mean, wanted, rtol=1e-4, atol=1e-6)
    last = values_of(model.trainable_variables)[-2]
    assert np.abs(expected[-2] - last).sum() < 0.5 * np.abs(first - last).sum()


def test_phase_begins_with_its_own_rate_whatever_a_plateau_made_of_the_one_before(tmp_path: Path) -> None:
    done = run(tmp_path / "run", epochs=1)
    training = done.training
    training.progress.plateau = Plateau(factor=0.01)
    training.progress.phase, training.progress.epoch = 1, 0
    training._train(replace(training._phase, epochs=1), None)
    assert training.progress.plateau.factor == 1


AUGMENTED = Objective(
    0.1, (1.0, 2.0, 0.5), augment.augmentation(("crop", "flip", "color", "cutout")), augment.mixup, None, seed=9
)


@pytest.mark.parametrize(("net", "objective"), [(PLAIN, None), (NORMALISED, AUGMENTED)], ids=["plain", "augmented"])
@pytest.mark.parametrize("stop_after", [1, 6])
def test_run_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, net: str, objective: Objective | None, stop_after: int
) -> None:
    whole = run(tmp_path / "whole", net, objective=objective)
    run(tmp_path / "stopped", net, objective=objective, stop_after=stop_after)
    resumed = run(tmp_path / "stopped", net, objective=objective, resume=True)
    assert resumed.history() == whole.history() and len(whole.history()) == 4
    for group in ("weights", "optimizer", "best"):
        for ours, theirs in zip(getattr(resumed, group), getattr(whole, group), strict=True):
            assert np.array_equal(ours, theirs)


def test_checkpoints_and_averages_do_not_touch_the_weights_that_are_trained(tmp_path: Path) -> None:
    rare = run(tmp_path / "rare", average=None)
    often = run(tmp_path / "often", average=0.5, every_s=0)
    for ours, theirs in zip(often.weights, rare.weights, strict=True):
        assert np.array_equal(ours, theirs)
    assert not all(np.array_equal(ours, theirs) for ours, theirs in zip(often.best, rare.best, strict=True))
