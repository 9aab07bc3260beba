"""What layers make of their inputs: Keras is the oracle, over a grid of settings drawn once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cnncli.errors import ShapeError
from cnncli.grammar import GRAMMAR, parse, token
from cnncli.layers import Layer, Measure, Shape, measure
from cnncli.learning import keras

SETTINGS = 2400


@pytest.fixture(scope="module", autouse=True)
def without_values() -> Iterator[None]:
    """Keras builds layers without drawing their weights: sizes and counts are the same, at a tenth of the time."""
    with keras.src.backend.StatelessScope(initialize_variables=False):
        yield


def drawn(rng: random.Random) -> tuple[str, Layer, Shape]:
    """A kind of layer of Keras, the same layer as cnncli has it, and an input; some fit together and some do not."""
    name = rng.choice(["conv", "conv", "grouped", "dwconv", "tconv", "pool", "avgpool"])
    kind = "conv" if name == "grouped" else name
    kernel = tuple(rng.randint(1, 11) for _ in range(2)) if rng.random() < 0.5 else (rng.randint(1, 11),)
    stride = (rng.randint(1, 4),)
    dilation = (1,) if name.endswith("pool") or (stride != (1,) and rng.random() < 0.8) else (rng.randint(1, 3),)
    channels = rng.randint(1, 6)
    layer = Layer(
        kind,
        units=1 if name in ("dwconv", "pool", "avgpool") else rng.randint(1, 8),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=rng.choice(["same", "valid"]),
        groups=rng.randint(1, 3) if name == "grouped" else 1,
        multiplier=rng.randint(1, 3) if name == "dwconv" else 1,
        bias=name.endswith("pool") or rng.random() < 0.5,
    )
    return name, layer, (rng.randint(1, 64), rng.randint(1, 64), channels)


def keras_layer(layer: Layer) -> Any:
    """`layer` as Keras has it. Raises ValueError if Keras refuses it."""
    layers = keras.layers
    pair = {"strides": layer.stride * (3 - len(layer.stride)), "padding": layer.padding}
    kernel = layer.kernel * (3 - len(layer.kernel))
    if layer.kind in ("pool", "avgpool"):
        return (layers.MaxPooling2D if layer.kind == "pool" else layers.AveragePooling2D)(kernel, **pair)
    more = {**pair, "dilation_rate": layer.dilation * (3 - len(layer.dilation)), "use_bias": layer.bias}
    if layer.kind == "dwconv":
        return layers.DepthwiseConv2D(kernel, depth_multiplier=layer.multiplier, **more)
    if layer.kind == "tconv":
        return layers.Conv2DTranspose(layer.units, kernel, **more)
    return layers.Conv2D(layer.units, kernel, groups=layer.groups, **more)


def by_keras(layer: Layer, shape: Shape) -> tuple[Shape, int] | None:
    """Output shape and parameters of a layer that Keras builds, or None if it refuses."""
    try:
        built = keras_layer(layer)
        output = built(keras.KerasTensor((None, *shape)))
    except ValueError:
        return None
    return tuple(output.shape[1:]), built.count_params()


def by_cnncli(layer: Layer, shape: Shape) -> tuple[Shape, int] | None:
    try:
        found = measure(layer, shape)
    except ShapeError:
        return None
    return found.output, found.parameters


def test_measure_agrees_with_keras_on_sizes_parameters_and_refusals() -> None:
    rng = random.Random(20)
    answers: Counter[tuple[str, bool]] = Counter()
    for _ in range(SETTINGS):
        name, layer, shape = drawn(rng)
        expected = by_keras(layer, shape)
        assert by_cnncli(layer, shape) == expected, (layer, shape)
        answers[name, expected is None] += 1
    for name in ("conv", "grouped", "dwconv", "tconv", "pool", "avgpool"):
        assert answers[name, False] > 100
    assert all(answers[name, True] > 20 for name in ("conv", "grouped", "dwconv", "tconv", "pool", "avgpool"))


@pytest.mark.parametrize(("dims", "name"), [(1, "Conv1D"), (3, "Conv3D")])
def test_measure_agrees_with_keras_in_one_and_three_dimensions(dims: int, name: str) -> None:
    rng = random.Random(dims)
    for _ in range(60):
        layer = Layer("conv", 4, (rng.randint(1, 5),), (rng.randint(1, 3),), padding=rng.choice(["same", "valid"]))
        shape = (*(rng.randint(1, 20) for _ in range(dims)), 3)
        try:
            built = getattr(keras.layers, name)(
                4, layer.kernel * dims, strides=layer.stride * dims, padding=layer.padding
            )
            expected = tuple(built(keras.KerasTensor((None, *shape))).shape[1:]), built.count_params()
        except ValueError:
            expected = None
        assert by_cnncli(layer, shape) == expected


def test_measure_same_with_stride_2_pads_the_end_more_as_keras_computes() -> None:
    layer = Layer("conv", 1, (3,), (2,), padding="same")
    found = measure(layer, (8, 7, 1))
    assert [(axis.before, axis.after) for axis in found.axes] == [(0, 1), (1, 1)]  # type: ignore[union-attr]
    image = np.random.default_rng(0).normal(size=(1, 8, 7, 1)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(3, 3, 1, 1)).astype("float32")
    expected = keras.ops.convert_to_numpy(keras.ops.conv(image, kernel, strides=2, padding="same"))
    padded = np.pad(image, ((0, 0), (0, 1), (1, 1), (0, 0)))
    ours = keras.ops.convert_to_numpy(keras.ops.conv(padded, kernel, strides=2, padding="valid"))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("word", "shape", "expected"),
    [
        ("conv:5:3:p1", (7, 7, 1), Measure((7, 7, 5), 45, 5, macs=2205)),
        ("conv:256:5:p2:g2", (27, 27, 96), Measure((27, 27, 256), 307_200, 256, macs=223_948_800)),
        ("dense:32:nobias", (100,), Measure((32,), 3200, macs=3200)),
        ("bn", (4, 4, 6), Measure((4, 4, 6), 6, 6, 12)),
        ("gap", (7, 7, 2048), Measure((2048,))),
        ("flatten", (28, 28, 3), Measure((2352,))),
        ("tconv:3:2:s2", (5, 5, 4), Measure((10, 10, 3), 48, 3, macs=1200)),
    ],
)
def test_measure_gives_the_figures_worked_by_hand(word: str, shape: Shape, expected: Measure) -> None:
    found = measure(parse([word])[0], shape)
    assert (found.output, found.weights, found.biases, found.statistics, found.macs) == (
        expected.output,
        expected.weights,
        expected.biases,
        expected.statistics,
        expected.macs,
    )


@pytest.mark.parametrize(
    ("word", "shape", "message"),
    [
        ("conv:8:9", (7, 7, 1), "a window of 9 does not fit into 7"),
        ("conv:8:9", (7, 7, 1), "Use a kernel of at most 7 or padding 1 or 'same'"),
        ("conv:8:9x3", (7, 7, 1), "height: "),
        ("conv:8:3:d4", (7, 7, 1), "Use a kernel of at most 2 or padding 1 or 'same'"),
        ("conv:8:3:g3", (7, 7, 4), "3 groups: expected a number that divides both the 4 channels"),
        ("conv:8:3", (784,), "conv needs a map, like 28x28x1; its input is a vector of 784"),
        ("conv:8:3x3x3", (7, 7, 1), "kernel has 3 sizes, its input has 2"),
        ("conv:8:3:s2:d2", (9, 9, 1), "stride 2 and dilation 2: Keras computes no convolution with both above 1"),
        ("tconv:8:3:p9", (2, 2, 1), "leaves nothing of 4"),
        ("pool:2", (1, 1, 3), "padding 1 or 'same'"),
    ],
)
def test_measure_says_what_does_not_fit_and_what_to_do(word: str, shape: Shape, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        measure(parse([word])[0], shape)
    assert message in str(caught.value)


def test_measure_refuses_an_output_whose_digits_would_fill_the_screen() -> None:
    shape: Shape = (10**18, 10**18, 1)
    with pytest.raises(ShapeError, match="10\\^100"):
        for _ in range(3):
            shape = measure(parse(["tconv:1:1:s1000000000000000000"])[0], shape).output


def test_every_layer_of_the_grammar_is_measured_and_written_back() -> None:
    examples = {
        "conv": "conv:4:3",
        "dwconv": "dwconv:3",
        "tconv": "tconv:4:3",
        "pool": "pool:2",
        "avgpool": "avgpool:2",
    }
    examples |= {"dropout": "dropout:0.5", "dense": "dense:10", "res": "res:4:s2"}
    for name in GRAMMAR:
        layer = parse([examples.get(name, name)])[0]
        assert name == "res" or measure(layer, (8, 8, 3)).output  # which is several layers
        assert parse([token(layer)]) == [layer]
