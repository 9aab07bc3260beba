"""Networks made of layers of the grammar: cnncli's own arithmetic, numpy and LiteRT are the oracles."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from cnncli.backbones import InputSpec
from cnncli.errors import GrammarError, ShapeError
from cnncli.grammar import GRAMMAR, parse, token
from cnncli.kerasgraph import read_model_file
from cnncli.layers import ACTIVATIONS, Layer
from cnncli.learning import keras
from cnncli.learning.compile import compile_network
from cnncli.learning.models import load_keras
from cnncli.learning.networks import build, float32_twin, with_probabilities
from cnncli.networks import NAMED_NETS, stack
from cnncli.pooling import pool
from cnncli.setting import Pool
from cnncli.tracing import trace

SPEC = InputSpec(20, 18)
# Together they have every layer of the grammar with every suffix.
NETS = {
    "strides": "conv:8:3:s2:relu conv:8:3x5:p2x0+1:s2 bn relu pool:2:s1 gmp",
    "groups": "conv:8:3:p1:nobias conv:8:3:g2:silu avgpool:2:same gap",
    "depthwise": "dwconv:3:s2x1:m2:relu6 dwconv:3:d2:same:nobias dwconv:3:p1+0 gap",
    "dilated": "conv:4:3:d2:gelu conv:4:3x2:d2x3:p3x2 flatten dense:6:elu dropout:0.5",
    "transposed": "conv:4:4:s4 tconv:4:3:s2:p1:relu tconv:4:2:s3:p0+1 tconv:3:4:s2:same tconv:3:1:s2 gap",
    "transposed dilated": "conv:4:4:s4 tconv:4:3:d2:relu tconv:4:2:d3:p1x0+1 tconv:4:3:d2:same:nobias gap",
    "padded pools": "pool:3:s2:p1 avgpool:3:s2:p1 pool:2:p0+1 avgpool:4x2:s3x1:p1x0 flatten",
    "residual": "conv:4:3:relu res:8:s2 res:8 res:6 gap",
    "activations": "conv:14:3:s3:linear " + " ".join(ACTIVATIONS) + " dense:5:softmax gap dense:8:leaky_relu",
}


def network(text: str, spec: InputSpec = SPEC, classes: int = 5, **options: Any) -> Any:
    return build(parse([text, f"dense:{classes}:softmax"]), spec, **options)


def settled(model: Any, seed: int = 0) -> Any:
    """The model with statistics and shifts that are not those it begins with."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([w + 0.1 * np.abs(rng.standard_normal(w.shape)) for w in layer.get_weights()])
    return model


def pictures(spec: InputSpec = SPEC, count: int = 1) -> Any:
    channels = 1 if spec.color == "gray" else 3
    return np.random.default_rng(1).integers(0, 256, (count, spec.height, spec.width, channels)).astype(np.float32)


def compiled_answer(model: Any, spec: InputSpec, pixels: Any) -> Any:
    interpreter = Interpreter(model_content=compile_network(model, spec))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


# --- sizes -----------------------------------------------------------------------------------------------------------


def assert_built_as_traced(layers: list[Layer], spec: InputSpec) -> None:
    """Names, output shapes and parameters of every layer, without drawing weights."""
    found = trace(stack("", (spec.height, spec.width, 1 if spec.color == "gray" else 3), layers))
    with keras.src.backend.StatelessScope(initialize_variables=False):
        model = build(layers, spec)
    assert (model.output_shape[1:], model.count_params()) == (found.output, found.parameters)
    built = {layer.name: layer for layer in model.layers}
    for row in found.layers:
        name = row.node.name
        last = built.get(f"{name}_crop", built[name]) if row.node.layer.kind == "tconv" else built[name]
        assert tuple(last.output.shape[1:]) == row.measure.output, token(row.node.layer)
        assert built[name].count_params() == row.parameters


@pytest.mark.parametrize("name", NAMED_NETS)
def test_named_net_is_built_with_the_sizes_that_shapes_says(name: str) -> None:
    net = NAMED_NETS[name]
    height, width, channels = net.input
    assert_built_as_traced(net.layers(7), InputSpec(height, width, "gray" if channels == 1 else "rgb"))


def test_random_nets_are_built_with_the_sizes_that_shapes_says() -> None:
    rng, built = random.Random(5), 0
    while built < 40:
        spec = InputSpec(rng.randint(5, 40), rng.randint(5, 40), rng.choice(["rgb", "gray"]))
        words = [drawn(rng) for _ in range(rng.randint(1, 6))] + [rng.choice(["gap", "gmp", "flatten"]), "dense:3"]
        try:
            layers = parse(words)
            trace(stack("", (spec.height, spec.width, 1 if spec.color == "gray" else 3), layers))
        except (ShapeError, GrammarError):
            continue
        try:
            assert_built_as_traced(layers, spec)
            built += 1
        except ShapeError as refusal:  # what shapes allows and Keras cannot be brought to compute
            assert "can be padded by" in str(refusal) or "more padding than the window reaches" in str(refusal)


def drawn(rng: random.Random) -> str:
    """A random layer that takes a map."""
    kind = rng.choice(["conv", "conv", "dwconv", "tconv", "pool", "avgpool", "bn", "dropout:0.3", "relu"])
    if kind not in ("conv", "dwconv", "tconv", "pool", "avgpool"):
        return kind
    text = f"{kind}:{rng.randint(1, 4) * 2}" if kind in ("conv", "tconv") else kind
    text += rng.choice([":1", ":2", ":3", ":5", ":3x2"])
    text += rng.choice(["", ":same", ":valid", ":p1", ":p0+1", ":p1x0", ":p0"])
    text += rng.choice(["", ":s2", ":s3x1", ":d2" if "pool" not in kind else ""])
    return text + (rng.choice(["", ":nobias", ":relu"]) if "pool" not in kind else "")


def test_the_nets_of_this_file_have_every_layer_of_the_grammar() -> None:
    assert {layer.kind for text in NETS.values() for layer in parse([text])} == set(GRAMMAR)


# --- values ----------------------------------------------------------------------------------------------------------


def layer_answer(word: str, maps: Any) -> tuple[Any, list[Any]]:
    """What the network makes of `maps`, shape `(height, width, 3)`, before its flatten; and its weights."""
    model = settled(network(f"{word} flatten", InputSpec(*maps.shape[:2]), rescale=False))
    before = next(layer for layer in model.layers if layer.name == "flatten").input
    return keras.Model(model.input, before)(maps[np.newaxis]).numpy()[0], model.get_layer(
        word.split(":")[0]
    ).get_weights()


@pytest.mark.parametrize("text", ["3:s2:p1", "3:s1:p1", "2:s2:p0+1", "5:s3:p2x1", "4:s2:p1+2", "3:s2:p0"])
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("sizes", [(9, 12), (11, 8)])
def test_pool_with_padding_in_numbers_counts_no_padding(kind: str, text: str, sizes: tuple[int, int]) -> None:
    maps = np.random.default_rng(3).normal(-5, 1, (*sizes, 3)).astype(np.float32)  # a zero would be the maximum
    word = ("pool:" if kind == "max" else "avgpool:") + text
    layer = parse([word])[0]
    ends = [end if isinstance(end, tuple) else (end, end) for end in layer.padding] * (3 - len(layer.padding))
    padded = np.pad(maps.astype(np.float64), (*ends, (0, 0)), constant_values=np.nan)
    kernel, stride = layer.kernel[0], layer.stride[0]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (0, 1))[::stride, ::stride]
    expected = (np.nanmax if kind == "max" else np.nanmean)(windows, (3, 4))
    np.testing.assert_allclose(layer_answer(word, maps)[0], expected, atol=1e-5)
    if ends[0] == ends[1] and ends[0][0] == ends[0][1]:
        ours = pool(maps, Pool(kind, kernel, stride, ends[0][0]))  # type: ignore[arg-type]
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    "text", ["3:p1", "3:s2:p1", "2:s4:p0", "2:s4:p0+1", "3:s2:p1x0+1", "3:d2", "3:d2:p1", "2:d3:p1x0+1", "3:d2:same"]
)
def test_tconv_spreads_its_kernel_and_cuts_the_padding_off(text: str) -> None:
    maps = np.random.default_rng(4).normal(size=(5, 4, 3)).astype(np.float32)
    layer = parse([f"tconv:2:{text}"])[0]
    found, (kernel, bias) = layer_answer(f"tconv:2:{text}", maps)
    size, stride, dilation = layer.kernel[0], layer.stride[0], layer.dilation[0]
    if dilation > 1:  # built as a convolution, whose kernel is turned around
        kernel = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    whole = np.zeros((4 * stride + dilation * (size - 1) + 1, 3 * stride + dilation * (size - 1) + 1, 2))
    for y, x, a, b in np.ndindex(5, 4, size, size):
        whole[y * stride + a * dilation, x * stride + b * dilation] += kernel[a, b] @ maps[y, x]
    ends = ((2, 2),) if layer.padding == "same" else ((0, 0),) if layer.padding == "valid" else layer.padding
    (top, bottom), (left, right) = ends * (3 - len(ends))  # type: ignore[misc]
    expected = whole[top : len(whole) - bottom, left : whole.shape[1] - right] + bias
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_conv_with_padding_at_one_end_pads_with_zeros_there() -> None:
    maps = np.random.default_rng(5).normal(size=(6, 7, 3)).astype(np.float32)
    found, (kernel, bias) = layer_answer("conv:2:3:p0+2x1+0", maps)
    padded = np.pad(maps, ((0, 2), (1, 0), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    np.testing.assert_allclose(found, np.einsum("yxcab,abco->yxo", windows, kernel) + bias, atol=1e-5)


def test_padding_in_numbers_that_is_same_needs_no_layer_of_its_own() -> None:
    names = [layer.name for layer in network("conv:4:3:p1 pool:3:s1:p1 conv:4:1:p0 gap").layers]
    assert names == ["pixels", "rescale", "conv1", "pool", "conv2", "gap", "dense"]


def test_rescale_divides_by_255_and_can_be_left_out() -> None:
    scaled, unscaled = network(NETS["strides"]), network(NETS["strides"], rescale=False)
    unscaled.set_weights(scaled.get_weights())
    np.testing.assert_allclose(scaled(pictures()), unscaled(pictures() / 255), atol=1e-5)


def test_the_seed_decides_the_weights() -> None:
    def weights(seed: int) -> list[Any]:
        keras.utils.set_random_seed(seed)
        return network(NETS["dilated"]).get_weights()  # type: ignore[no-any-return]

    first, again, other = weights(3), weights(3), weights(4)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


# --- what is saved ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_saved_and_compiled_network_answers_as_the_trained_one(text: str, precision: Any, tmp_path: Path) -> None:
    model = settled(network(text, precision=precision))
    network_to_save = with_probabilities(model)
    expected = network_to_save(pictures(), training=False).numpy()
    path = tmp_path / "model.keras"
    network_to_save.save(path)
    np.testing.assert_allclose(load_keras(path)(pictures(), training=False), expected, atol=1e-6)
    np.testing.assert_allclose(compiled_answer(network_to_save, SPEC, pictures()), expected, atol=1e-4)
    np.testing.assert_allclose(expected.sum(), 1, atol=1e-5)
    logits = model(pictures(), training=False)
    assert logits.dtype == "float32"
    tolerance = 1e-6 if precision == "float32" else 0.05
    np.testing.assert_allclose(keras.ops.softmax(logits), expected, atol=tolerance)
    layers = parse([text, "dense:5"])
    assert trace(read_model_file(path)).parameters == trace(stack("", (20, 18, 3), layers)).parameters


def network_from_elsewhere(kind: str) -> Any:
    """A network such as `models adopt` takes, with what the grammar has no word for."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((20, 18, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same")
    if kind == "random layers":
        layers = [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2), keras.layers.GaussianNoise(0.5)]
        outputs = keras.Sequential([*layers, convolution])(pixels)
    elif kind == "shared layer":
        once = convolution(pixels)
        outputs = keras.layers.Add()([once, convolution(once)])
    elif kind == "model within a model":
        inner = keras.Input((20, 18, 3))
        outputs = keras.Model(inner, keras.layers.BatchNormalization()(convolution(inner)))(pixels)
    else:
        rows = keras.layers.Reshape((20, 54))(keras.layers.Normalization(mean=[99, 9, 9], variance=[9, 99, 9])(pixels))
        outputs = keras.layers.MultiHeadAttention(2, 4)(rows, rows)
    return keras.Model(pixels, keras.layers.Dense(5, activation="softmax")(keras.layers.Flatten()(outputs)))


@pytest.mark.parametrize("kind", ["random layers", "shared layer", "model within a model", "attention"])
def test_compiled_network_from_elsewhere_answers_as_keras(kind: str) -> None:
    model = network_from_elsewhere(kind)
    model.get_layer(index=-1).kernel.assign(0.001 * model.get_layer(index=-1).kernel)  # no answer is certain
    expected = model(pictures(), training=False).numpy()
    assert expected.min() > 0.0001 and expected.max() - expected.min() > 0.001
    np.testing.assert_allclose(compiled_answer(model, SPEC, pictures()), expected, atol=1e-5)


def test_bfloat16_network_has_a_float32_twin_with_its_weights(tmp_path: Path) -> None:
    model = settled(network(NETS["strides"], precision="bfloat16"))
    twin = float32_twin(model)
    assert model.get_layer("conv1").compute_dtype == "bfloat16" and twin.get_layer("conv1").compute_dtype == "float32"
    for own, copied in zip(model.get_weights(), twin.get_weights(), strict=True):
        assert copied.dtype == np.float32 and (own == copied).all()
    with_probabilities(model).save(tmp_path / "model.keras")
    assert b"bfloat16" not in zipfile.ZipFile(tmp_path / "model.keras").read("config.json")


def test_twin_has_weights_of_its_own_and_a_float32_network_is_saved_with_the_layers_it_is_trained_with() -> None:
    model = network(NETS["strides"])
    twin = float32_twin(model)
    before = twin.get_weights()
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert all((weight == old).all() for weight, old in zip(twin.get_weights(), before, strict=True))
    saved = with_probabilities(model)
    model.get_layer("conv1").set_weights([w + 1 for w in model.get_layer("conv1").get_weights()])
    assert (saved.get_layer("conv1").get_weights()[1] == model.get_layer("conv1").get_weights()[1]).all()
    assert json.loads(saved.to_json())["config"]["layers"][-1]["name"] == "probabilities"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_kind_of_layer_can_be_trained(precision: Any) -> None:
    keras.utils.set_random_seed(0)
    text = "conv:8:3:g1 conv:8:3:g2:d2 bn relu dwconv:3:p1 tconv:4:3:d2 tconv:4:2:s2:p1 pool:3:s2:p1 avgpool:2 gap"
    model = network(text, InputSpec(12, 12), classes=2, precision=precision)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = pictures(InputSpec(12, 12), 8)
    before = [w.copy() for w in model.get_layer("conv2").get_weights()]
    losses = [float(model.train_on_batch(images, np.arange(8) % 2)) for _ in range(3)]
    assert np.isfinite(losses).all() and not (model.get_layer("conv2").get_weights()[0] == before[0]).all()


# --- what cannot be built --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv:4:3 pool:2", "the layers end in a map of 9x8x4, but classes need a vector: put flatten or gap"),
        ("conv:4:3 conv:4:30 gap", "layer 2, conv2 (conv:4:30), of 18x16x4: height: a window of 30 does not fit"),
        ("gap conv:4:3", "layer 2, conv (conv:4:3), of 3: conv needs a map"),
        ("flatten dense:1000000", "layer 2, dense1 (dense:1000000), needs an array of 1,080,000,000 numbers: at most"),
        ("pool:2:p1 gap", "pool (pool:2:p1): a pooling window of 2 can be padded by 0 before and 1 after at most"),
        ("tconv:4:2:d2:p3 gap", "tconv (tconv:4:2:d2:p3): more padding than the window reaches over"),
    ],
)
def test_impossible_net_is_refused_with_the_layer_and_the_way_out(text: str, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        network(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["flatten dense:4:relu", "flatten"])
def test_net_that_does_not_end_in_the_classes_is_refused(text: str) -> None:
    with pytest.raises(ShapeError, match=r"the last layer is .*: expected dense:CLASSES"):
        build(parse([text]), SPEC)
