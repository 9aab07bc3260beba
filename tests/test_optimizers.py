"""Adam in one operation moves weights as Keras's does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncli.learning import keras, tf
from cnncli.learning.checkpoints import values_of
from cnncli.learning.optimizers import OPTIMIZERS


def run(optimizer: Any, start: np.ndarray, gradients: np.ndarray) -> list[np.ndarray]:
    """The variable and the optimizer's state after a step for each gradient, at falling rates."""
    variable = keras.Variable(start)
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]))
    for number, gradient in enumerate(gradients):
        optimizer.learning_rate.assign(0.1 / (number + 1))
        step(tf.constant(gradient))
    return values_of([variable, *optimizer.variables])


@pytest.mark.parametrize(("name", "options"), [("adam", {}), ("adam", {"weight_decay": 0.01}), ("adamw", {})])
def test_adam_moves_weights_as_keras_does(name: str, options: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    start, gradients = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (20, 4, 3)))
    reference = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name]
    ours, theirs = (
        run(make(learning_rate=0.1, global_clipnorm=2.0, **options), start, gradients)
        for make in (OPTIMIZERS[name], reference)
    )
    for mine, keras_own in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, keras_own, rtol=1e-5, atol=1e-6)
    assert np.abs(ours[0] - start).max() > 0.1
