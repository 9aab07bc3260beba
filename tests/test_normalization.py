"""Batch normalisation in one operation, with Keras's own layer as the oracle, and that a step is always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras.src.applications.convnext import StochasticDepth

from cnncli.backbones import InputSpec
from cnncli.grammar import parse
from cnncli.learning import keras, tf
from cnncli.learning.networks import as_trained, build, policy
from cnncli.learning.normalization import FusedNormalization
from cnncli.learning.optimizers import OPTIMIZERS
from cnncli.learning.phases import needs_whole_batches
from cnncli.learning.steps import Objective, Steps
from cnncli.networks import NAMED_NETS
from cnncli.settings import Settings

SHAPES = {"maps": (6, 5, 4, 3), "vectors": (9, 7), "one image": (1, 5, 4, 3), "volumes": (4, 3, 2, 2, 3)}


def normalisation(shape: tuple[int, ...], dtype: Any = "float32", **options: Any) -> Any:
    """A Keras layer whose weights are not those it begins with; the same ones at every call."""
    layer = keras.layers.BatchNormalization(momentum=0.7, dtype=dtype, **options)
    layer.build(shape)
    rng = np.random.default_rng(1)
    layer.set_weights([weight + 0.5 * rng.random(weight.shape) for weight in layer.get_weights()])
    return layer


def trained(layer: Any, inputs: np.ndarray, weights: Any) -> list[np.ndarray]:
    """Outputs, the gradients of a loss by inputs and weights, and the statistics after the step."""
    pixels = tf.constant(inputs, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        outputs = layer(pixels, training=True)
        target = tf.reshape(tf.cos(tf.range(inputs.size, dtype=tf.float32)), inputs.shape)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * target)
    gradients = tape.gradient(loss, [pixels, *(weight.value for weight in weights.trainable_variables)])
    statistics = [weights.moving_mean, weights.moving_variance]
    return [np.asarray(tf.cast(value, tf.float32)) for value in (outputs, *gradients, *statistics)]


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}], ids=["whole", "no-scale", "no-centre"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_step_is_that_of_keras(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    inputs = (3 + 2 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    theirs, ours = normalisation(shape, **options), normalisation(shape, **options)
    for expected, found in zip(
        trained(theirs, inputs, theirs), trained(FusedNormalization(ours), inputs, ours), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_step_in_bfloat16_is_that_of_keras_up_to_its_digits() -> None:
    shape = (6, 5, 4, 3)
    inputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    theirs, ours = normalisation(shape, policy("bfloat16")), normalisation(shape, policy("bfloat16"))
    for expected, found in zip(
        trained(theirs, inputs, theirs), trained(FusedNormalization(ours), inputs, ours), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("change", [{"training": False}, {"frozen": True}], ids=["not training", "frozen"])
def test_statistics_are_used_and_kept_where_the_layer_does_not_learn(change: dict[str, bool]) -> None:
    layer = normalisation((6, 5, 4, 3))
    inputs = np.random.default_rng(0).standard_normal((6, 5, 4, 3)).astype(np.float32)
    expected, before = layer(inputs, training=False), layer.get_weights()
    layer.trainable = not change.get("frozen", False)
    found = FusedNormalization(layer)(inputs, training=change.get("training", True))
    np.testing.assert_array_equal(found, expected)
    for ours, theirs in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("layer", [keras.layers.Dropout(0.5), StochasticDepth(0.5)], ids=["dropout", "depth"])
def test_frozen_layers_drop_nothing_and_others_do(layer: Any) -> None:
    inputs = keras.Input((200,))
    model = keras.Model(inputs, layer(inputs))
    ones = np.ones((4, 200), np.float32)
    assert not np.array_equal(as_trained(model)(ones, training=True), ones)
    model.trainable = False
    np.testing.assert_array_equal(as_trained(model)(ones, training=True), ones)


@pytest.mark.parametrize("size", [None, (48, 40)])
def test_network_as_trained_shares_all_weights(size: tuple[int, int] | None) -> None:
    model = build(NAMED_NETS["tiny200"].layers(3), InputSpec(64, 64))
    other = as_trained(model, size)
    assert other.inputs[0].shape == (None, *(size or (64, 64)), 3)
    kinds = [type(layer) for layer in other.layers]
    assert FusedNormalization in kinds and keras.layers.BatchNormalization not in kinds
    pixels = np.random.default_rng(0).integers(0, 256, (2, *(size or (64, 64)), 3)).astype(np.float32)
    before = model.get_weights()
    expected = np.asarray(as_trained(model, size)(pixels, training=False))
    np.testing.assert_array_equal(other(pixels, training=False), expected)
    other(pixels, training=True)
    moved = [not np.array_equal(now, then) for now, then in zip(model.get_weights(), before, strict=True)]
    assert sum(moved) == 2 * kinds.count(FusedNormalization)  # the statistics, in the network itself


def sums(model: Any, parts: int) -> list[int]:
    """How many terms each AddN has in the graph that trains a network."""
    steps = Steps(model, OPTIMIZERS["sgd"](), Objective(), parts=parts, average=0.9)
    spec = model.inputs[0].shape[1:]
    graph = steps._stretch(np.zeros((2, 8, *spec), np.uint8)).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert any(node.op == "Conv2DBackpropFilter" for node in nodes)  # gradients are there
    return [sum(not name.startswith("^") for name in node.input) for node in nodes if node.op == "AddN"]


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("name", ["digits", "compact", "lenet", "deep", "tiny200"])
def test_nothing_is_added_in_an_order_that_changes(name: str, parts: int) -> None:
    """AddN adds two numbers alike in either order, and three or more in the order in which buffers become free."""
    net = NAMED_NETS[name]
    spec = InputSpec(*net.input[:2], "gray" if net.input[2] == 1 else "rgb")
    assert max(sums(build(net.layers(5), spec), parts), default=0) <= 2


def test_layer_of_keras_is_added_in_an_order_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test before this one looks for is there without the fused layer."""
    monkeypatch.setattr("cnncli.learning.networks._stand_in", lambda layer: layer)
    model = build(parse(["conv:4:3 bn relu gap dense:3"]), InputSpec(12, 12))
    assert max(sums(model, 1)) == 3


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({"net": "lenet"}, False),
        ({"net": "conv:4:3 bn gap"}, True),
        ({"net": "res:4 gap"}, True),
        ({"backbone": "nasnetmobile"}, False),
        ({"backbone": "nasnetmobile", "fine_tune": 1}, True),
        ({"backbone": "mobilenet", "fine_tune": 1}, False),
        ({"backbone": "mobilenet", "from_scratch": True}, True),
    ],
)
def test_batches_are_cut_where_their_parts_do_not_depend_on_each_other(options: dict[str, Any], whole: bool) -> None:
    assert needs_whole_batches(Settings(**options), 3) is whole
