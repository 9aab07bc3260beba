"""Models that somebody else made: ordinary ones are adopted and answer as they did before."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import plain_model

from cnncli.backbones import InputSpec
from cnncli.errors import ModelError
from cnncli.inference.adoption import INPUT_RANGES, adopt
from cnncli.learning import keras
from cnncli.learning.models import load_keras
from cnncli.modelfile import check_content, read_card
from cnncli.modelsafety import check_config

layers, ops = keras.layers, keras.ops
SHAPE = (16, 16, 3)
PROBABILITIES = "its scores are probabilities"
LOGITS = "its scores were logits; a softmax was appended"


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of three classes."""
    (tmp_path / "labels.txt").write_text("r\tred\ng\tgreen\nb\tblue\n")
    return tmp_path / "labels.txt"


def adopted(path: Path, labels: Path, input_range: str = "0..255", **options: Any) -> tuple[Path, str]:
    """`path` with a card, in a new file beside it, and what was said about it."""
    output = path.with_name(f"{path.stem}-adopted.keras")
    settings = {"resize": "crop", "output": output, "force": False, **options}
    return settings["output"], adopt(path, labels=labels, input_range=input_range, **settings)


def pictures(side: int = 16) -> np.ndarray:
    """Two pictures of random pixels 0..255."""
    return np.random.default_rng(1).integers(0, 256, (2, side, side, 3)).astype(np.float32)


def head(x: Any) -> Any:
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def functional(make: Callable[[Any], Any]) -> Any:
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, make(layers.Rescaling(1 / 255)(pixels)))


def sequential(*inner: Any) -> Any:
    return keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), *inner])


def trained() -> Any:
    regular = {
        "kernel_regularizer": keras.regularizers.L1L2(1e-4, 1e-4),
        "kernel_constraint": keras.constraints.NonNeg(),
    }
    model = sequential(layers.Conv2D(4, 3, **regular), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, metrics=["accuracy"], run_eagerly=True)
    model.fit(pictures(), np.array([0, 1]), verbose=0)
    return model


def own_loss() -> Any:
    def my_loss(truth: Any, answer: Any) -> Any:
        return ops.mean((truth - answer) ** 2)

    model = sequential(layers.Flatten(), layers.Dense(3, activation="softmax"))
    model.compile("sgd", my_loss)
    return model


def wrapped() -> Any:  # as TensorFlow's tutorials add the softmax
    return keras.Sequential([trained(), layers.Softmax()])


def late_built() -> Any:
    model = keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    model(pictures())
    return model


def branches(x: Any) -> Any:
    left, right = layers.Conv2D(4, 3, padding="same")(x), layers.DepthwiseConv2D(3, padding="same")(x)
    joined = layers.Concatenate()([left, layers.Add()([right, x])])
    return head(layers.SeparableConv2D(4, 3, activation="relu")(joined))


def operators(x: Any) -> Any:
    y = abs(ops.tanh((x + x[..., ::-1]) * 2 - 1) / 3) ** 2
    return head(ops.clip(-y + ops.mean(x, axis=(1, 2), keepdims=True), -1, 1))


def used_twice(x: Any) -> Any:
    convolution = layers.Conv2D(3, 3, padding="same", activation=layers.LeakyReLU())
    return head(convolution(convolution(x)))


def attention(x: Any) -> Any:
    tokens = layers.LayerNormalization()(layers.Reshape((64, 12))(x))
    tokens = layers.MultiHeadAttention(2, 4)(tokens, tokens)
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(tokens))


def augmented() -> Any:
    return sequential(
        layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.RandomContrast(0.1),
        layers.RandomTranslation(0.1, 0.1), layers.RandomBrightness(0.1), layers.GaussianNoise(0.1),
        layers.Conv2D(4, 3), layers.Dropout(0.5), layers.Flatten(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


def dictionaries() -> Any:
    pixels = keras.Input(SHAPE, name="photo")
    return keras.Model({"photo": pixels}, {"scores": head(layers.Rescaling(1 / 255)(pixels))})


def policy(name: str) -> Any:
    with_policy = {"dtype": name}
    return sequential(
        layers.Conv2D(4, 3, **with_policy), layers.BatchNormalization(**with_policy),
        layers.GlobalAveragePooling2D(**with_policy), layers.Dense(3, activation="softmax", **with_policy),
    )  # fmt: skip


def of_whole_numbers() -> Any:
    pixels = keras.Input(SHAPE, dtype="uint8")
    return keras.Model(pixels, head(layers.Rescaling(1 / 255)(pixels)))


def normalised(x: Any) -> Any:
    mean_and_variance = {"mean": [0.5, 0.4, 0.3], "variance": [0.2, 0.2, 0.2]}
    return head(layers.GroupNormalization(3)(layers.Normalization(**mean_and_variance)(x)))


ORDINARY: dict[str, tuple[Callable[[], Any], str]] = {
    "trained, with optimizer and loss": (trained, LOGITS),
    "a loss of its owner's": (own_loss, PROBABILITIES),
    "a trained model inside": (wrapped, PROBABILITIES),
    "built late": (late_built, LOGITS),
    "branches": (lambda: functional(branches), PROBABILITIES),
    "operators": (lambda: functional(operators), PROBABILITIES),
    "a layer used twice": (lambda: functional(used_twice), PROBABILITIES),
    "attention": (lambda: functional(attention), PROBABILITIES),
    "augmentation": (augmented, PROBABILITIES),
    "dictionaries": (dictionaries, PROBABILITIES),
    "whole numbers": (of_whole_numbers, PROBABILITIES),
    "normalisation": (lambda: functional(normalised), PROBABILITIES),
    "a batch of 2": (lambda: _with_batch(2), PROBABILITIES),
    "the name of a layer of ours": (lambda: _with_name("pixels"), PROBABILITIES),
}


def _with_batch(size: int) -> Any:
    pixels = keras.Input(batch_shape=(size, *SHAPE))
    return keras.Model(pixels, head(layers.Rescaling(1 / 255)(pixels)))


def _with_name(name: str) -> Any:
    model = functional(head)
    return keras.Model(model.input, model.output, name=name)


@pytest.mark.parametrize(("make", "said"), ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_model_is_adopted_and_answers_as_before(
    tmp_path: Path, labels: Path, make: Callable[[], Any], said: str
) -> None:
    model = make()
    model.save(tmp_path / "theirs.keras")
    pixels = pictures()
    expected = model({"photo": pixels} if make is dictionaries else pixels, training=False)
    expected = expected["scores"] if make is dictionaries else expected
    expected = ops.softmax(expected) if said == LOGITS else expected
    new, message = adopted(tmp_path / "theirs.keras", labels)
    assert message == said
    assert np.array_equal(load_keras(new)(pixels, training=False), expected)
    check_content(new, read_card(new))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2), ("float16", 2e-3), ("bfloat16", 2e-2), ("float64", 1e-6)],
)
def test_a_model_of_another_precision_becomes_float32(
    tmp_path: Path, labels: Path, name: str, tolerance: float
) -> None:
    model = policy(name)
    model.save(tmp_path / "theirs.keras")
    new = load_keras(adopted(tmp_path / "theirs.keras", labels)[0])
    assert {weight.dtype for weight in new.weights} == {"float32"}
    answer = new(pictures(), training=False)
    assert answer.dtype == "float32"
    expected = np.asarray(ops.cast(model(pictures(), training=False), "float32"))
    assert 0.01 < expected.max() < 0.99  # not a sure answer, which every precision gives
    assert np.asarray(answer) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", ["EfficientNetB0", "ConvNeXtTiny", "NASNetMobile", "MobileNetV3Small"])
def test_the_networks_of_keras_applications_hold_allowed_classes_only(name: str) -> None:
    network = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=3)
    check_config(keras.saving.serialize_keras_object(network), Path("network.keras"))


def test_a_network_of_keras_applications_answers_as_before(tmp_path: Path) -> None:
    network = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(32, 32, 3), classes=3)
    network.save(tmp_path / "network.keras")
    again = load_keras(tmp_path / "network.keras")
    assert np.array_equal(again(pictures(32), training=False), network(pictures(32), training=False))


@pytest.mark.parametrize("input_range", INPUT_RANGES)
def test_pixels_enter_the_network_in_the_range_that_was_named(tmp_path: Path, labels: Path, input_range: str) -> None:
    path = plain_model(tmp_path / "means.keras", layers.Rescaling(1 / 50), layers.GlobalAveragePooling2D())
    pixels = pictures() * np.array([1, 0.5, 0.25], np.float32)
    prepare: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "0..255": lambda x: x,
        "0..1": lambda x: x / 255,
        "-1..1": keras.applications.mobilenet.preprocess_input,
        "caffe": keras.applications.resnet.preprocess_input,
        "torch": keras.applications.densenet.preprocess_input,
    }
    means = prepare[input_range](pixels.copy()).mean(axis=(1, 2)) / 50
    new, message = adopted(path, labels, input_range)
    assert message == LOGITS
    assert np.asarray(load_keras(new)(pixels)) == pytest.approx(np.asarray(ops.softmax(means)), abs=1e-5)


@pytest.mark.parametrize("input_range", ["0..1", "-1..1", "0..255"])
def test_a_grey_model_is_adopted_as_one(tmp_path: Path, labels: Path, input_range: str) -> None:
    path = plain_model(tmp_path / "grey.keras", layers.Flatten(), layers.Dense(3), side=8, channels=1)
    new, _ = adopted(path, labels, input_range, resize="pad")
    assert read_card(new).input == InputSpec(8, 8, "gray", "pad")


@pytest.mark.parametrize("input_range", ["caffe", "torch"])
def test_a_range_for_colour_is_refused_for_a_grey_model(tmp_path: Path, labels: Path, input_range: str) -> None:
    path = plain_model(tmp_path / "grey.keras", layers.Flatten(), layers.Dense(3), side=8, channels=1)
    with pytest.raises(ModelError, match=rf"--input-range {input_range} is for colour; this model takes grey"):
        adopted(path, labels, input_range)


def test_the_card_of_an_adopted_model_says_where_it_comes_from(tmp_path: Path, labels: Path) -> None:
    path = plain_model(tmp_path / "theirs.keras", layers.Flatten(), layers.Dense(3))
    card = read_card(adopted(path, labels, resize="squash")[0])
    assert (card.name, card.description) == ("theirs-adopted", "adopted from theirs.keras")
    assert card.classes == (("r", "red"), ("g", "green"), ("b", "blue"))
    assert card.input == InputSpec(16, 16, "rgb", "squash")
    assert card.versions["keras"] == keras.__version__


def test_labels_that_do_not_fit_are_refused_with_both_counts(tmp_path: Path, labels: Path) -> None:
    path = plain_model(tmp_path / "theirs.keras", layers.Flatten(), layers.Dense(4))
    with pytest.raises(
        ModelError, match=r"the model has 4 classes, --labels names 3; expected one label for each outp"
    ):
        adopted(path, labels)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (lambda: layers.Dense(3, activation="sigmoid"), "it ends in a sigmoid for each class; expected a softmax"),
        (lambda: layers.Dense(3, kernel_initializer=keras.initializers.Constant(1e38)), "its output is not finite"),
    ],
)
def test_scores_that_are_neither_probabilities_nor_logits_are_refused(
    tmp_path: Path, labels: Path, last: Callable[[], Any], expected: str
) -> None:
    path = plain_model(tmp_path / "theirs.keras", layers.Flatten(), last())
    with pytest.raises(ModelError, match=expected):
        adopted(path, labels)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three classes without a card."""
    path = tmp_path_factory.mktemp("theirs") / "theirs.keras"
    return plain_model(path, layers.Flatten(), layers.Dense(3, activation="softmax"))


def test_an_output_that_exists_is_replaced_with_force_only(theirs: Path, tmp_path: Path, labels: Path) -> None:
    output = tmp_path / "new.keras"
    output.write_text("mine")
    with pytest.raises(ModelError, match=r"new\.keras: exists; choose another name or add --force"):
        adopted(theirs, labels, output=output)
    assert output.read_text() == "mine"
    adopted(theirs, labels, output=output, force=True)
    assert read_card(output).name == "new"


@pytest.mark.parametrize("force", [True, False])
def test_the_model_itself_is_never_the_output(theirs: Path, tmp_path: Path, labels: Path, force: bool) -> None:
    before = theirs.read_bytes()
    link = tmp_path / "link.keras"
    link.symlink_to(theirs)
    for output in (theirs, link):
        with pytest.raises(ModelError, match=r"is the model itself; choose another name"):
            adopted(theirs, labels, output=output, force=force)
    assert theirs.read_bytes() == before and link.is_symlink()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("new.tflite", "new.tflite: expected a name that ends in .keras, like that of "),
        ("new", "new: expected a name that ends in .keras, like that of "),
        ("no/folder/new.keras", "no/folder: no such folder"),
        ("folder.keras", "folder.keras: is a folder; expected the name of a file to write"),
    ],
)
def test_an_output_that_cannot_be_meant_is_refused_before_the_work(
    theirs: Path, tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch, output: str, expected: str
) -> None:
    (tmp_path / "folder.keras").mkdir()
    monkeypatch.setattr("cnncli.learning.models.adopt_keras", None)
    with pytest.raises(ModelError) as caught:
        adopted(theirs, labels, output=tmp_path / output)
    assert str(caught.value).startswith(f"{tmp_path}/{expected}")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    theirs: Path, tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnncli.learning.models.adopt_keras", None)
    monkeypatch.setattr("cnncli.inference.adoption.os.access", lambda path, mode: mode & os.W_OK == 0)  # root may all
    with pytest.raises(ModelError, match=r": this folder cannot be written; choose another"):
        adopted(theirs, labels, output=tmp_path / "new.keras")


def test_a_disk_that_fills_up_leaves_nothing_behind(
    theirs: Path, tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cnncli.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        adopted(theirs, labels, output=tmp_path / "new.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


@pytest.mark.parametrize("name", ["net.h5", "net.onnx", "net.pt", "missing.keras"])
def test_a_model_of_another_format_is_refused_first(tmp_path: Path, labels: Path, name: str) -> None:
    path = tmp_path / name
    if name != "missing.keras":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" if name == "net.h5" else b"\x08\x07")
    with pytest.raises(ModelError) as caught:
        adopt(path, labels=labels, input_range="0..1", resize="crop", output=tmp_path / "new.keras", force=False)
    assert str(caught.value).startswith(f"{path}: ") and "expected a name" not in str(caught.value)
