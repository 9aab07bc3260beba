"""The training loop: epochs over images in memory, validated, checkpointed, and resumed to the same bits.

What an epoch does follows from the seed and the epoch's number alone (order of images, augmentation); everything else
that changes is in the checkpoint. A run that was killed therefore ends as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.errors import TrainingError
from cnncli.history import EpochRow, Watcher
from cnncli.interruption import Stop
from cnncli.learning.checkpoints import Array, Checkpoint, Checkpoints, assign, values_of
from cnncli.learning.steps import Evaluation, Objective, Steps
from cnncli.schedules import Plateau, Schedule
from cnncli.stopping import Stopping

STRETCH_S = 0.2  # of steps between two looks at the clock and at signals
MAX_STRETCH_BYTES = 64_000_000  # of images that a stretch holds
EVALUATION_BATCH = 64


@dataclass(frozen=True, slots=True)
class Batches:
    """Images, or their features, and which of them are used: `rows` indexes the first axis of both arrays."""

    inputs: npt.NDArray[Any]  # `(images, ...)`
    labels: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]

    def take(self, order: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Inputs and labels in an order of any shape."""
        return self.inputs[order], self.labels[order]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run with one network to train and one way to train it."""

    name: str
    model: Any  # inputs -> logits; its trainable variables are trained
    twin: Any  # the same network in float32, for validation and for the file
    publish: Callable[[], list[Array]]  # the weights of the complete network, with those of `twin` in it
    optimizer: Any
    objectives: Callable[[int], Objective]  # by epoch of the phase, from 0
    schedule: Schedule
    epochs: int
    train: Batches
    val: Batches | None


@dataclass
class Progress:
    """Where a run stands, apart from its arrays."""

    phase: int = 0
    epoch: int = 0  # epochs of the phase that are done
    step: int = 0  # steps of the epoch that are done
    loss_sum: float = 0.0  # over the images of the epoch so far
    num_right: int = 0
    seconds: float = 0.0  # of the epoch so far
    history: list[EpochRow] = field(default_factory=list)
    best_epoch: int | None = None
    stopping: Stopping = field(default_factory=Stopping)
    plateau: Plateau = field(default_factory=Plateau)

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("phase", "epoch", "step", "loss_sum", "num_right", "seconds")}
        return values | {
            "history": [asdict(row) for row in self.history],
            "best_epoch": self.best_epoch,
            "stopping": self.stopping.to_json(),
            "plateau": self.plateau.to_json(),
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> Progress:
        parts = {
            "history": [EpochRow(**row) for row in values["history"]],
            "stopping": Stopping.from_json(values["stopping"]),
            "plateau": Plateau.from_json(values["plateau"]),
        }
        return Progress(**{**values, **parts})


@dataclass(frozen=True, slots=True)
class Places:
    """What a run calls while it goes on."""

    checkpoints: Checkpoints
    monitor: Watcher
    stop: Stop
    save_best: Callable[[list[Array], Progress], None]  # called before each checkpoint after which the best is new
    epoch_done: Callable[[Phase, Progress], None]  # writes what is derived: history, TensorBoard


class Training:
    """A run over one or more phases."""

    def __init__(
        self,
        phase_at: Callable[[int, list[Array] | None], Phase | None],
        places: Places,
        *,
        total_epochs: int,
        seed: int,
        batch_size: int,
        parts: int,
        average: float | None,
        patience: int | None,
        checkpoint_every_s: float,
    ) -> None:
        """`phase_at(index, best)` makes a phase, beginning with the best weights so far; None after the last.

        `total_epochs` are those of all phases together.
        """
        self._phase_at, self._places = phase_at, places
        self._total_epochs = total_epochs
        self._seed, self._batch_size, self._parts, self._average = seed, batch_size, parts, average
        self._every_s = checkpoint_every_s
        self.progress = Progress(stopping=Stopping(patience))
        self.best: list[Array] | None = None
        self._saved_at = time.monotonic()
        self._best_is_new = False
        self._step_s: float | None = None  # how long a step takes, once that is known

    def run(self, checkpoint: Checkpoint | None = None) -> None:
        """Trains to the end. Raises KeyboardInterrupt or TerminatedError after saving, and TrainingError."""
        if checkpoint is not None:
            self.progress = Progress.from_json(checkpoint.values)
            self.best = checkpoint.arrays.get("best")
        while (phase := self._phase_at(self.progress.phase, self.best)) is not None:
            self._train(phase, checkpoint)
            checkpoint = None
            self.progress = replace(self.progress, phase=self.progress.phase + 1, epoch=0, step=0)
        self._save_best()

    def _train(self, phase: Phase, checkpoint: Checkpoint | None) -> None:
        progress = self.progress
        if checkpoint is None:
            progress.stopping, progress.plateau = replace(progress.stopping, bad_epochs=0), Plateau()
        self._phase = phase
        self._objective = phase.objectives(progress.epoch)
        self._steps = self._new_steps()
        self._evaluation = Evaluation(phase.twin, parts=self._parts)
        if checkpoint is not None:
            for group, variables in self._groups().items():
                assign(variables, checkpoint.arrays.get(group, []))
        self._places.monitor.begin(self._total_epochs, self._num_steps, len(phase.train.rows))
        while progress.epoch < phase.epochs and not progress.stopping.should_stop:
            if (objective := phase.objectives(progress.epoch)) != self._objective:
                self._objective, averages = objective, values_of(self._steps.averages)
                self._steps = self._new_steps()
                assign(self._steps.averages, averages)
            self._epoch()

    def _new_steps(self) -> Steps:
        phase = self._phase
        return Steps(phase.model, phase.optimizer, self._objective, parts=self._parts, average=self._average)

    def _groups(self) -> dict[str, Sequence[Any]]:
        """The variables that a checkpoint keeps, by the name of their group."""
        phase = self._phase
        return {
            "model": phase.model.variables,
            "optimizer": phase.optimizer.variables,
            "averages": self._steps.averages,
        }

    @property
    def _num_steps(self) -> int:
        return -(-len(self._phase.train.rows) // self._batch_size)

    def _epoch(self) -> None:
        progress, phase = self.progress, self._phase
        order = self._order()
        while progress.step < self._num_steps:
            self._stretch(order)
            self._heed()
            if time.monotonic() - self._saved_at > self._every_s and progress.step < self._num_steps:
                self._save()
        begin = time.monotonic()
        self._publish_weights()
        val_loss, val_accuracy = (
            (None, None) if phase.val is None else evaluate(self._evaluation, phase.val, lambda done: self._heed())
        )
        images = len(phase.train.rows)
        row = EpochRow(
            len(progress.history) + 1,
            progress.loss_sum / images,
            progress.num_right / images,
            val_loss,
            val_accuracy,
            self._rate(self._num_steps - 1),
            progress.seconds + time.monotonic() - begin,
        )
        self._judge(row)
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum, progress.num_right, progress.seconds = (
            progress.epoch + 1,
            0,
            0.0,
            0,
            0.0,
        )
        self._places.epoch_done(phase, progress)
        self._places.monitor.epoch(row, progress.best_epoch == row.epoch)
        if self._is_last() or self._places.stop.requested or time.monotonic() - self._saved_at > self._every_s:
            self._save()
        self._places.stop.raise_again()

    def _heed(self) -> None:
        """Saves and ends where the user wants the run to end."""
        if self._places.stop.requested:
            self._save()
            self._places.stop.raise_again()

    def _is_last(self) -> bool:
        return self.progress.epoch == self._phase.epochs or self.progress.stopping.should_stop

    def _judge(self, row: EpochRow) -> None:
        """Keeps the weights if they are the best so far; counts epochs without a better one."""
        progress = self.progress
        if row.val_accuracy is not None and row.val_loss is not None:
            self._require_finite(row.val_loss, "the validation loss")
            progress.stopping = progress.stopping.after(row.val_accuracy, row.val_loss)
            if self._phase.schedule.name == "plateau":
                progress.plateau = progress.plateau.after(row.val_loss)
            if not progress.stopping.improved:
                return
        self.best = self._phase.publish()
        progress.best_epoch, self._best_is_new = row.epoch, True

    def _publish_weights(self) -> None:
        """Brings the weights that are validated, saved and reported into the float32 twin."""
        phase = self._phase
        assign(phase.twin.weights, values_of(phase.model.weights))
        if self._steps.averages:
            assign(phase.twin.trainable_variables, values_of(self._steps.averages))

    def _order(self) -> npt.NDArray[np.int64]:
        """The epoch's order of images, from seed, phase and epoch."""
        progress = self.progress
        generator = np.random.default_rng([self._seed, progress.phase, progress.epoch])
        return generator.permutation(self._phase.train.rows)

    def _stretch(self, order: npt.NDArray[np.int64]) -> None:
        """Some steps, about as many as take `STRETCH_S`."""
        progress, size = self.progress, self._batch_size
        full = len(order) // size  # the epoch's last batch may be smaller, and goes alone
        count = min(self._stretch_steps(), full - progress.step) if progress.step < full else 1
        begin = time.monotonic()
        chosen = order[progress.step * size : (progress.step + count) * size]
        inputs, labels = self._phase.train.take(chosen.reshape(count, -1))
        rates = [self._rate(step) for step in range(progress.step, progress.step + count)]
        rows = self._steps.train(inputs, labels, self._global_step(progress.step), rates)
        elapsed = time.monotonic() - begin
        self._pace(elapsed / count)
        for offset, (loss, right) in enumerate(rows.tolist()):
            self._require_finite(loss, f"the loss in step {progress.step + offset + 1}")
            progress.loss_sum += loss * inputs.shape[1]
            progress.num_right += int(right)
        progress.step += count
        progress.seconds += elapsed
        seen = min(progress.step * size, len(order))
        self._places.monitor.step(
            len(progress.history) + 1,
            progress.step,
            progress.loss_sum / seen,
            progress.num_right / seen,
            rates[-1],
            inputs.shape[1] * count / elapsed,
        )

    def _stretch_steps(self) -> int:
        most: int = MAX_STRETCH_BYTES // (self._batch_size * self._phase.train.inputs[0].nbytes)
        wanted = 1 if self._step_s is None else round(STRETCH_S / self._step_s)
        return max(1, min(most, wanted))

    def _pace(self, step_s: float) -> None:
        self._step_s = step_s if self._step_s is None else min(step_s, 1.2 * self._step_s)

    def _global_step(self, step: int) -> int:
        """Counts over all epochs of the phase: with it the seed of augmentation changes."""
        return self.progress.epoch * self._num_steps + step

    def _rate(self, step: int) -> float:
        return self._phase.schedule.rate(self.progress.epoch * self._num_steps + step) * self.progress.plateau.factor

    def _require_finite(self, loss: float, what: str) -> None:
        if not np.isfinite(loss):
            kept = " The best model so far is kept." if self.best else ""
            raise TrainingError(
                f"epoch {len(self.progress.history) + 1}: {what} is not a finite number: training diverged.{kept} "
                f"Try --lr below {self._rate(self.progress.step):g}, --warmup 1 or --clip-norm 1"
            )

    def _save(self) -> None:
        """Writes the best network if it is new, then a checkpoint: a run goes on from here."""
        arrays = {group: values_of(variables) for group, variables in self._groups().items()}
        if not all(np.isfinite(array).all() for array in arrays["model"]):
            raise TrainingError(
                f"epoch {len(self.progress.history) + 1}: weights are no longer finite; try a lower --lr"
            )
        self._save_best()
        if self.best is not None:
            arrays["best"] = self.best
        self._places.checkpoints.save(Checkpoint(self.progress.to_json(), arrays))
        self._saved_at = time.monotonic()

    def _save_best(self) -> None:
        if self._best_is_new and self.best is not None:
            self._places.save_best(self.best, self.progress)
            self._best_is_new = False


def evaluate(network: Evaluation, examples: Batches, report: Callable[[int], None]) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy of a network that gives logits; `report` as in `outputs`."""
    logits, labels = outputs(network, examples, report), examples.labels[examples.rows]
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float(losses.mean(dtype=np.float64)), float((logits.argmax(axis=1) == labels).mean())


def outputs(network: Evaluation, examples: Batches, report: Callable[[int], None]) -> Array:
    """What a network gives for every example, in their order; `report` hears how many are done."""
    parts = []
    for begin in range(0, len(examples.rows), EVALUATION_BATCH):
        rows = examples.rows[begin : begin + EVALUATION_BATCH]
        # always the same number of images: the tracing of another graph may take seconds
        batch = network(examples.inputs[np.resize(rows, EVALUATION_BATCH)])
        parts.append(batch[: len(rows)])
        report(begin + len(rows))
    return np.concatenate(parts)
