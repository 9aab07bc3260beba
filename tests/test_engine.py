"""LiteRT models that nobody vouches for, and the engine that runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import CHANNELS
from PIL import Image

from cnncli.backbones import ImageClass, InputSpec
from cnncli.errors import ModelError
from cnncli.inference import child, engine, trial
from cnncli.inference.adoption import adopt
from cnncli.inference.engine import LiteRTEngine
from cnncli.inference.trial import try_out
from cnncli.modelcard import ModelCard
from cnncli.modelfile import check_content, flatbuffer_bytes, read_card, write_tflite


@pytest.fixture(scope="session")
def flatbuffer(flat_tflite: Path) -> bytes:
    """The LiteRT model of `flat_tflite` without its card."""
    return flat_tflite.read_bytes()[: flatbuffer_bytes(flat_tflite)]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of three classes."""
    (tmp_path / "labels.txt").write_text("r\tred\ng\tgreen\nb\tblue\n")
    return tmp_path / "labels.txt"


def adopted(path: Path, labels: Path, **options: Any) -> Path:
    """`path` with a card, in a new file beside it."""
    output = path.with_name("adopted.tflite")
    settings = {"input_range": "0..255", "resize": "crop", "force": False, **options}
    assert adopt(path, labels=labels, output=output, **settings) == "its scores are probabilities"
    return output


def test_the_engine_gives_probabilities_of_the_pixels(flat_tflite: Path) -> None:
    run = LiteRTEngine(flat_tflite, read_card(flat_tflite), num_threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    powers = np.exp(pixels.mean(axis=(0, 1)) / 64)
    assert run(pixels) == pytest.approx(powers / powers.sum(), abs=1e-5)


def one_answer(network: str, path: Path) -> Path:
    """Writes a compiled network of 8x8 pixels and three classes that answers for one image, whatever it is given."""
    from cnncli.learning import keras
    from cnncli.learning.compile import compile_network

    pixels = keras.Input((8, 8, 3))
    if network == "flatten":
        x = keras.layers.Flatten()(pixels)
    else:
        x = keras.layers.Lambda(lambda batch: keras.ops.mean(batch, axis=(0, 1, 2))[None])(pixels)
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(x))
    card = ModelCard("one", CHANNELS, InputSpec(8, 8), mirrored=True)
    write_tflite(compile_network(model, card.input), card, path)
    return path


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("flatten", "LiteRT cannot run this model"),
        ("mean", "this model cannot be shown a photo and its mirror image at once"),
    ],
)
def test_a_network_that_cannot_be_shown_two_images_is_refused(tmp_path: Path, network: str, expected: str) -> None:
    path = one_answer(network, tmp_path / "one.tflite")
    card = read_card(path)
    with pytest.raises(ModelError, match=expected):
        LiteRTEngine(path, card, num_threads=1)(np.zeros((8, 8, 3), np.uint8))
    if network == "flatten":
        with pytest.raises(ModelError, match=expected):
            try_out(path, at_once=2)
    try_out(path)
    assert LiteRTEngine(path, replace(card, mirrored=False), num_threads=1)(np.zeros((8, 8, 3), np.uint8)).size == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"input": InputSpec(24, 32)}, "expected one float32 input of shape [1, 24, 32, 3], found float32 [1, 32, 32"),
        (
            {"input": InputSpec(32, 32, "gray")},
            "expected one float32 input of shape [1, 32, 32, 1], found float32 [1, 32",
        ),
        ({"classes": (ImageClass("a", "a"),) * 2}, "expected one float32 output for 2 classes, found float32 [1, 3]"),
    ],
)
def test_a_card_that_does_not_fit_the_network_is_refused(
    flat_tflite: Path, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ModelError) as caught:
        LiteRTEngine(flat_tflite, replace(read_card(flat_tflite), **change), num_threads=1)
    assert str(caught.value).startswith(f"{flat_tflite}: ") and expected in str(caught.value)


def test_a_network_that_asks_for_a_huge_array_is_refused_before_it_gets_it(
    flat_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_TENSOR_BYTES", 32 * 32 * 3 * 4 - 1)
    with pytest.raises(ModelError, match=r"it asks for a tensor of 0\.0 GB; refused"):
        LiteRTEngine(flat_tflite, read_card(flat_tflite), num_threads=1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda b: b[:8] + bytes(len(b) - 8), id="zeros after the identifier"),
        pytest.param(lambda b: b[:8] + b"\xff" * (len(b) - 8), id="ones after the identifier"),
        pytest.param(lambda b: b[:8] + np.random.default_rng(0).bytes(len(b) - 8), id="noise"),
        pytest.param(lambda b: b[: len(b) // 2], id="half"),
        pytest.param(lambda b: b[:8], id="identifier only"),
    ],
)
def test_garbage_that_begins_like_a_model_is_refused(
    flatbuffer: bytes, tmp_path: Path, labels: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "garbage.tflite"
    path.write_bytes(damage(flatbuffer))
    with pytest.raises(ModelError, match=r"garbage\.tflite: (this model crashes LiteRT|LiteRT cannot run this model)"):
        adopted(path, labels)
    assert not (tmp_path / "adopted.tflite").exists()


def test_a_damaged_network_that_crashes_litert_ends_in_a_message(flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tflite"
    refused = 0
    for position in (8, 12, 16, 20):  # inside the table of the model's fields
        path.write_bytes(flatbuffer[:position] + bytes([8]) + flatbuffer[position + 1 :])
        try:
            try_out(path)
        except ModelError as problem:
            assert str(problem).startswith(f"{path}: ")
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("kill -SEGV $$", "this model crashes LiteRT (signal 11): it is damaged; refused"),
        ("exec sleep 20", "LiteRT ran this model for 0.2 s without an answer; refused"),
        ("echo 'm.tflite: LiteRT says no'; exit 1", "LiteRT says no"),
        ("exit 1", "LiteRT cannot run this model"),
    ],
)
def test_whatever_becomes_of_the_trial_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(child.sys, "executable", str(python))
    monkeypatch.setattr(trial, "TRIAL_S", 0.2 if "sleep" in script else 30)
    with pytest.raises(ModelError) as caught:
        try_out(Path("m.tflite"))
    assert str(caught.value) == f"m.tflite: {expected}"


def test_a_foreign_model_is_tried_out_elsewhere_before_it_is_run_here(
    flatbuffer: bytes, tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(flatbuffer)
    monkeypatch.setattr(child.sys, "executable", "false")
    monkeypatch.setattr(engine, "open_interpreter", None)  # calling it would end in another error
    with pytest.raises(ModelError, match=r"foreign\.tflite: LiteRT cannot run this model"):
        adopted(path, labels)


def test_a_sound_model_stands_its_trial(flat_tflite: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a name; with 'odd' signs.tflite"
    shutil.copy(flat_tflite, odd)
    try_out(odd)


def test_a_foreign_litert_model_is_adopted_as_it_is(flatbuffer: bytes, tmp_path: Path, labels: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(flatbuffer)
    new = adopted(path, labels, resize="pad")
    card = read_card(new)
    assert (card.name, card.input) == ("adopted", InputSpec(32, 32, "rgb", "pad"))
    assert [c.label for c in card.classes] == ["red", "green", "blue"]
    assert new.read_bytes().startswith(flatbuffer)
    pixels = np.full((32, 32, 3), (9, 200, 9), np.uint8)
    assert LiteRTEngine(new, card, num_threads=1)(pixels).argmax() == 1


def test_a_litert_model_of_another_number_of_classes_is_refused(
    flatbuffer: bytes, tmp_path: Path, labels: Path
) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(flatbuffer)
    labels.write_text("a\nb\nc\nd\n")
    with pytest.raises(ModelError, match=r"the model has 3 classes, --labels names 4; expected one label for each out"):
        adopted(path, labels)


def test_a_litert_model_takes_no_other_range_of_pixels(flatbuffer: bytes, tmp_path: Path, labels: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(flatbuffer)
    with pytest.raises(ModelError, match=r"for --input-range 0\.\.255 only; adopt the \.keras"):
        adopted(path, labels, input_range="0..1")


def converted(path: Path, make: Callable[[Any], Any], quantised: str | None = None) -> Path:
    """Writes a LiteRT model of `make(pixels)`, its tensors of the type `quantised`."""
    from cnncli.learning import keras, tf

    pixels = keras.Input((8, 8, 3), batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, make(pixels)))
    if quantised is not None:
        rng = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.uniform(0, 255, (1, 8, 8, 3)).astype("f")] for _ in range(4))
        converter.inference_input_type = converter.inference_output_type = getattr(tf, quantised)
    path.write_bytes(converter.convert())
    return path


def scores(pixels: Any, activation: str | None = "softmax") -> Any:
    from cnncli.learning import keras

    x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(0))(pixels)
    dense = keras.layers.Dense(3, activation=activation, kernel_initializer=keras.initializers.HeNormal(1))
    return dense(keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_a_quantised_model_is_refused_by_the_type_of_its_input(tmp_path: Path, labels: Path, kind: str) -> None:
    path = converted(tmp_path / "small.tflite", scores, kind)
    with pytest.raises(
        ModelError, match=rf"expected one float32 input of shape \[1, 8, 8, 3\], found {kind} \[1, 8, 8"
    ):
        adopted(path, labels)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: scores(x, None), r"its scores are not probabilities \(sum .*\); adopt the \.keras instead"),
        (lambda x: [scores(x), scores(x)], r"expected one output of shape \[1, classes\], found float32 \[1, 3\], flo"),
        (lambda x: x * 2, r"expected one output of shape \[1, classes\], found float32 \[1, 8, 8, 3\]"),
    ],
)
def test_a_litert_model_that_names_no_classes_is_refused(
    tmp_path: Path, labels: Path, make: Callable[[Any], Any], expected: str
) -> None:
    path = converted(tmp_path / "small.tflite", make)
    with pytest.raises(ModelError, match=expected):
        adopted(path, labels)


def test_a_network_whose_bytes_are_not_those_of_its_card_never_reaches_litert(
    cnncli: Callable[..., Any], flatbuffer: bytes, flat_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "swapped.tflite"
    card = flat_tflite.read_bytes()[len(flatbuffer) :]
    path.write_bytes(flatbuffer[:16] + bytes([0]) + flatbuffer[17:] + card)
    monkeypatch.setattr(engine, "open_interpreter", None)  # calling it would end in another error
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("photo.jpg")
    run = cnncli("predict", "photo.jpg", "--model", path)
    assert run.code == 1
    assert f"error: {path}: the model is damaged: its sha256 is" in run.err


def test_every_changed_byte_of_a_network_is_noticed(flat_tflite: Path, tmp_path: Path) -> None:
    whole = flat_tflite.read_bytes()
    path = tmp_path / "changed.tflite"
    for position in range(8, flatbuffer_bytes(flat_tflite), 50):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ModelError, match=r"the model is damaged: its sha256 is"):
            check_content(path, read_card(path))
