"""The optimisers of `train`: Keras's own, Adam with an update that is one operation for each variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnncli.learning import keras, tf


class _OneOperation:
    """Adam's update (Kingma and Ba 2015, section 2, last paragraph) in one pass over memory instead of Keras's ten.

    A twentieth of a LeNet's step, more for large dense layers. Results are Keras's up to rounding.
    """

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        step = tf.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


class Adam(_OneOperation, keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam, faster."""


class AdamW(_OneOperation, keras.optimizers.AdamW):  # type: ignore[misc]
    """Keras's AdamW, faster."""


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    # Nesterov's momentum, as in Sutskever et al. 2013
    "sgd": lambda **options: keras.optimizers.SGD(momentum=0.9, nesterov=True, **options),
}
