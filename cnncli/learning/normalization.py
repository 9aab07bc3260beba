"""Batch normalisation as steps of training compute it: in one operation.

Keras composes it of some ten operations. A step then takes an eighth to a fifth longer (`benchmarks/train_step.py`),
and the gradient is a sum of three terms, which TensorFlow's AddN adds in the order in which their buffers happen to
become free: the same step twice gives weights that differ in the last digits.
"""

from __future__ import annotations

from typing import Any

from cnncli.learning import keras, tf


class FusedNormalization(keras.layers.Layer):  # type: ignore[misc]
    """A Keras BatchNormalization over the last axis (Ioffe and Szegedy 2015, algorithm 1), with that layer's weights.

    Results and moving statistics are the layer's up to rounding.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self._layer = layer

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """`inputs` is of shape `(batch, ..., channels)`; so is the result."""
        layer = self._layer
        if mask is not None or not (training and layer.trainable):
            return layer(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        rows = tf.reshape(inputs, (-1, 1, 1, channels)) if len(inputs.shape) != 4 else inputs
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=rows,
            scale=layer.gamma.value if layer.scale else tf.ones(channels),
            offset=layer.beta.value if layer.center else tf.zeros(channels),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=layer.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(rows, tf.int64) // channels, tf.float32)
        variance *= (count - 1) / count  # it is that of a sample, and Keras keeps that of the batch
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
        return tf.reshape(outputs, tf.shape(inputs))
