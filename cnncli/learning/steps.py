"""The graphs that training runs: many steps a call, and each batch in parts that are worked on side by side.

Keras's own `fit` leaves its graph after every step and gives every operation all cores, which small networks cannot
use. Here a call runs a whole stretch of steps, and a batch is cut into as many parts as there are cores; the gradient
of the batch is the sum of theirs. The result is that of one step on the whole batch, up to rounding.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.learning import tf
from cnncli.learning.augment import step_seed
from cnncli.learning.networks import as_trained

MIN_PART = 8  # images: smaller parts cost more in overhead than a core gains

Array = npt.NDArray[Any]
Augment = Callable[[Any, Any], Any]  # images and a seed of shape (2,) -> images
Mix = Callable[[Any, Any, Any], tuple[Any, Any]]  # the same with targets `(batch, classes)`


@dataclass(frozen=True, slots=True)
class Objective:
    """What a step minimises, and what it does to images before."""

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    augment: Augment | None = None
    mix: Mix | None = None
    size: tuple[int, int] | None = None  # height and width that images are brought to; None leaves them
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Threads:
    """How a step is spread over cores: `parts` of a batch at a time, each operation on `each` threads."""

    parts: int
    each: int

    def apply(self) -> None:
        """Tells TensorFlow, which listens only before its first computation; after it, nothing changes.

        As many operations run at a time as there are parts. So a batch that is not cut is computed in an order that
        is always the same, which decides the last digits where TensorFlow adds what happens to be there first.
        """
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(self.each)
            tf.config.threading.set_inter_op_parallelism_threads(self.parts)


def threads(cores: int, batch_size: int, *, whole_batches: bool) -> Threads:
    """How to spread batches of `batch_size` over `cores`; with `whole_batches` none is cut."""
    parts = 1 if whole_batches else max(1, min(cores, batch_size // MIN_PART))
    return Threads(parts, max(1, cores // parts))


class Steps:
    """Trains one network, a stretch of steps at a time."""

    def __init__(self, model: Any, optimizer: Any, objective: Objective, *, parts: int, average: float | None) -> None:
        """`model` maps `(batch, ...)` to logits. `average` is the decay of the weights' moving average, if any.

        In the first steps the decay is less: `(1 + step) / (10 + step)`.
        """
        self._model = as_trained(model, objective.size)
        self._optimizer, self._objective, self._parts = optimizer, objective, parts
        self._decay = average
        self._variables = model.trainable_variables
        self._weights = [variable.value for variable in model.trainable_variables]
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self.averages = [] if average is None else [tf.Variable(weight) for weight in self._weights]
        self._classes = model.outputs[0].shape[-1]
        self._stretches: dict[tuple[int, ...], Any] = {}

    def train(self, inputs: Array, labels: Array, first_step: int, rates: Sequence[float]) -> Array:
        """Trains on `inputs` of shape `(steps, batch, ...)`; returns `(steps, 2)`: mean loss, number right."""
        stretch = self._stretch(inputs)
        rows: Array = stretch(
            tf.constant(inputs),
            tf.constant(labels, tf.int32),
            tf.constant(first_step, tf.int64),
            tf.constant(rates, tf.float32),
        ).numpy()
        return rows

    def _stretch(self, inputs: Array) -> Any:
        """The graph for batches of this shape and any number of steps."""
        shape = inputs.shape[1:]
        if shape not in self._stretches:
            self._stretches[shape] = tf.function(self._train_stretch).get_concrete_function(
                tf.TensorSpec((None, *shape), tf.as_dtype(inputs.dtype)),
                tf.TensorSpec((None, shape[0]), tf.int32),
                tf.TensorSpec((), tf.int64),
                tf.TensorSpec((None,), tf.float32),
            )
        return self._stretches[shape]

    def _train_stretch(self, inputs: Any, labels: Any, first_step: Any, rates: Any) -> Any:
        count = tf.shape(rates)[0]
        rows = tf.TensorArray(tf.float32, size=count, element_shape=(2,))
        for index in tf.range(count):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            self._optimizer.learning_rate.assign(rates[index])
            row = self._step(inputs[index], labels[index], first_step + tf.cast(index, tf.int64))
            rows = rows.write(index, row)
        return rows.stack()

    def _step(self, inputs: Any, labels: Any, step: Any) -> Any:
        """One step on one batch; returns its mean loss and the number right."""
        images, targets = self._shown(tf.cast(inputs, tf.float32), tf.one_hot(labels, self._classes), step)
        losses, rights, gradients = [], [], []
        for part, part_targets in zip(_cut(images, self._parts), _cut(targets, self._parts), strict=True):
            with tf.GradientTape() as tape:
                logits = self._model(part, training=True)
                loss = tf.reduce_sum(self._losses(part_targets, logits)) / images.shape[0]
            gradients.append(tape.gradient(loss, self._weights))
            losses.append(loss)
            rights.append(_number_right(part_targets, logits))
        total = [_sum(parts) for parts in zip(*gradients, strict=True)]
        self._optimizer.apply(total, self._variables)
        if self._decay is not None:
            # Rising from 0.1, as in TensorFlow's ExponentialMovingAverage: the first weights are soon forgotten.
            done = tf.cast(step, tf.float32)
            decay = tf.minimum(self._decay, (1 + done) / (10 + done))
            for mean, weight in zip(self.averages, self._weights, strict=True):
                mean.assign_add((1 - decay) * (weight - mean))
        return tf.stack([_sum(losses), tf.cast(_sum(rights), tf.float32)])

    def _shown(self, images: Any, targets: Any, step: Any) -> tuple[Any, Any]:
        """What the network is shown of a batch: augmented by a seed that is the step's own."""
        objective = self._objective
        seed = step_seed(objective.seed, step)
        if objective.augment is not None:
            images = objective.augment(images, seed)
        if objective.mix is not None:
            images, targets = objective.mix(images, targets, seed)
        if objective.size is not None:
            images = tf.image.resize(images, objective.size, antialias=True)
        return images, targets

    def _losses(self, targets: Any, logits: Any) -> Any:
        """Cross-entropy of each image, in nats, weighted by its class."""
        smoothing, weights = self._objective.label_smoothing, self._objective.class_weights
        smoothed = targets * (1 - smoothing) + smoothing / self._classes if smoothing else targets
        losses = tf.nn.softmax_cross_entropy_with_logits(smoothed, logits)
        return losses if weights is None else losses * tf.linalg.matvec(targets, tf.constant(weights, tf.float32))


class Evaluation:
    """Runs one network without training it."""

    def __init__(self, model: Any, *, parts: int) -> None:
        self._model, self._parts = model, parts
        self._run = tf.function(self._outputs)

    def __call__(self, inputs: Array) -> Array:
        """What the network gives for `inputs` of shape `(batch, ...)`."""
        outputs: Array = self._run(tf.constant(inputs)).numpy()
        return outputs

    def _outputs(self, inputs: Any) -> Any:
        parts = _cut(inputs, self._parts)
        return tf.concat([self._model(tf.cast(part, tf.float32), training=False) for part in parts], axis=0)


def _cut(batch: Any, parts: int) -> list[Any]:
    """The batch in parts along its first axis."""
    count = batch.shape[0]
    edges = np.linspace(0, count, min(parts, count) + 1).astype(int)
    return [batch[begin:end] for begin, end in itertools.pairwise(edges)]


def _sum(parts: Sequence[Any]) -> Any:
    """The sum, always the same: AddN adds two alike in either order, but more as their buffers become free."""
    return tf.add_n(parts) if len(parts) <= 2 else tf.reduce_sum(tf.stack(parts), axis=0)


def _number_right(targets: Any, logits: Any) -> Any:
    right = tf.equal(tf.argmax(targets, axis=-1), tf.argmax(logits, axis=-1))
    return tf.reduce_sum(tf.cast(right, tf.int32))
