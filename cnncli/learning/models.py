"""Opens `.keras` files that nobody vouches for, and gives foreign ones a card."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cnncli import bundled
from cnncli.backbones import InputSpec, Normalisation
from cnncli.errors import ModelError
from cnncli.inference.adoption import Adoption
from cnncli.learning import keras, tf
from cnncli.learning.backbones import normalise
from cnncli.learning.bundled import load as load_bundled
from cnncli.modelcard import MAX_INPUT_PX, ModelCard
from cnncli.modelfile import MAX_ARRAY_ELEMENTS, check_content, read_card, write_keras
from cnncli.modelsafety import KerasContent, check_keras_file

_SMALLEST_WEIGHT_BYTES = 2  # float16


def load_keras(path: Path) -> Any:
    """The network in a `.keras` file, in inference form: one tensor in, one tensor out, float32.

    Raises ModelError for anything odd in the file.
    """
    content = check_keras_file(path)
    try:
        with _weights_limit(len(content.weights), path):
            model = _load(content)
        _check_network(model, path)
        model = keras.Model(model.inputs[0], model.outputs[0], name="network")
        _check_arrays(model, path)
    except ModelError:
        raise
    except Exception as problem:  # Keras raises whatever the file makes it raise
        first_line = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot load this model, "
            f"which Keras {str(content.metadata.get('keras_version', '?'))[:20]} saved ({first_line[:200]})"
        ) from problem
    return model


def load_carded(path: Path) -> tuple[Any, ModelCard]:
    """The network in a `.keras` file with a card, or the bundled one, and the card.

    Raises ModelError, also if they do not fit.
    """
    if path == bundled.path():
        return load_bundled()
    card = read_card(path)
    check_content(path, card)
    model = load_keras(path)
    channels = 1 if card.input.color == "gray" else 3
    expected = (card.input.height, card.input.width, channels), len(card.classes)
    found = tuple(model.inputs[0].shape[1:]), model.outputs[0].shape[1]
    if expected != found:
        raise ModelError(
            f"{path}: its card says input {expected[0]} and {expected[1]} classes, "
            f"the network has input {found[0]} and {found[1]} outputs"
        )
    return model, card


def _load(content: KerasContent) -> Any:
    """Hands Keras what was checked, not the file, which may have been replaced since."""
    with tempfile.TemporaryDirectory() as folder:
        checked = Path(folder) / "checked.keras"
        with zipfile.ZipFile(checked, "w") as archive:
            archive.writestr("metadata.json", json.dumps(content.metadata))
            archive.writestr("config.json", json.dumps(content.config))
            archive.writestr("model.weights.h5", content.weights)
        return keras.saving.load_model(checked, compile=False, safe_mode=True)


@contextlib.contextmanager
def _weights_limit(stored_bytes: int, path: Path) -> Iterator[None]:
    """While it lasts, Keras makes no layer whose weights, with those before it, are more than the file stores.

    A config of a few bytes can ask for any number of weights, and only building the network shows how many.
    """
    left = stored_bytes // _SMALLEST_WEIGHT_BYTES
    add_weight, build = keras.layers.Layer.add_weight, keras.layers.Normalization.build

    def spend(layer: Any, shape: Iterable[int]) -> None:
        nonlocal left
        left -= math.prod(shape)
        if left < 0:
            raise ModelError(f"{path}: its layer {layer.name!r} needs more weights than the file holds; refused")

    def checked_add_weight(layer: Any, *args: Any, **kwargs: Any) -> Any:
        spend(layer, kwargs.get("shape") or (args[0] if args else ()))
        return add_weight(layer, *args, **kwargs)

    def checked_build(layer: Any, input_shape: Any) -> None:  # repeats a mean in the config along these axes
        spend(layer, [input_shape[axis] or 1 for axis in layer.axis])
        build(layer, input_shape)

    keras.layers.Layer.add_weight, keras.layers.Normalization.build = checked_add_weight, checked_build
    try:
        yield
    finally:
        keras.layers.Layer.add_weight, keras.layers.Normalization.build = add_weight, build


def _check_network(model: Any, path: Path) -> None:
    """Raises ModelError unless one image goes in and one vector of scores comes out."""
    if not isinstance(model, keras.Model):
        raise ModelError(f"{path}: expected a model, found a single {type(model).__name__}")
    if not model.built:
        raise ModelError(f"{path}: the size of its input is not known; call the model on an image before saving it")
    if len(model.inputs or ()) != 1 or len(model.outputs or ()) != 1:
        raise ModelError(f"{path}: expected one input and one output, found {_count(model)}")
    shape, scores = model.inputs[0].shape, model.outputs[0].shape
    if len(shape) != 4 or shape[3] not in (1, 3) or None in shape[1:] or max(shape[1:]) > MAX_INPUT_PX:
        raise ModelError(
            f"{path}: its input has shape {shape}; expected (batch, height, width, 1 or 3) "
            f"with height and width up to {MAX_INPUT_PX}"
        )
    if len(scores) != 2 or not scores[1] or scores[1] < 2:
        raise ModelError(f"{path}: its output has shape {scores}; expected (batch, classes) with two classes or more")


def _check_arrays(model: Any, path: Path) -> None:
    """Raises ModelError if an array that one image needs on its way is larger than any network for photos has."""
    one_image = tf.TensorSpec((1, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    traced = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(one_image)
    for operation in traced.graph.get_operations():
        for array in operation.outputs:
            if (array.shape.num_elements() or 0) > MAX_ARRAY_ELEMENTS:
                raise ModelError(f"{path}: {operation.name} makes an array of shape {tuple(array.shape)}; refused")


def _count(model: Any) -> str:
    return f"{len(model.inputs or ())} inputs and {len(model.outputs or ())} outputs"


def save_carded(model: Any, card: ModelCard, path: Path) -> None:
    """Writes a network with its card, atomically. Raises OSError."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.keras"
        model.save(temporary)
        write_keras(temporary, card, path)


def adopt_keras(adoption: Adoption) -> str:
    """Writes the foreign network with its normalisation inside, and a softmax where it ends in logits.

    Returns what was done to it, for the user. Raises ModelError.
    """
    model = load_keras(adoption.path)
    if getattr(_last_layer(model), "activation", None) is keras.activations.sigmoid:
        raise ModelError(f"{adoption.path}: it ends in a sigmoid for each class; expected a softmax, or logits")
    height, width, channels = model.inputs[0].shape[1:]
    if len(adoption.classes) != model.outputs[0].shape[1]:
        raise ModelError(
            f"{adoption.path}: the model has {model.outputs[0].shape[1]} classes, --labels names "
            f"{len(adoption.classes)}; expected one label for each output, in the model's order"
        )
    if channels == 1 and adoption.input_range in ("caffe", "torch"):
        raise ModelError(f"{adoption.path}: --input-range {adoption.input_range} is for colour; this model takes grey")
    pixels = keras.Input((height, width, channels), name="pixels")
    scores = model(_to_range(pixels, adoption.input_range))
    probabilities = _gives_probabilities(keras.Model(pixels, scores), adoption.path)
    if not probabilities:
        scores = keras.layers.Softmax(name="probabilities")(scores)
    spec = InputSpec(height, width, "gray" if channels == 1 else "rgb", adoption.resize)
    made_from = f"adopted from {adoption.path.name}"
    card = ModelCard(adoption.output.stem, adoption.classes, spec, description=made_from, versions=versions())
    save_carded(keras.Model(pixels, scores, name="adopted"), card, adoption.output)
    return "its scores are probabilities" if probabilities else "its scores were logits; a softmax was appended"


def _to_range(pixels: Any, input_range: str) -> Any:
    if input_range == "0..1":
        return keras.layers.Rescaling(1 / 255)(pixels)
    names: dict[str, Normalisation] = {"0..255": "none", "-1..1": "tf", "caffe": "caffe", "torch": "torch"}
    return normalise(pixels, names[input_range])


def _last_layer(model: Any) -> Any:
    layer = model.layers[-1]
    return _last_layer(layer) if isinstance(layer, keras.Model) else layer


def _gives_probabilities(model: Any, path: Path) -> bool:
    """Whether the scores of random pixels 0..255 are never negative and add up to one. Raises ModelError for NaN."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, *model.inputs[0].shape[1:]))
    scores = model(pixels.astype(np.float32), training=False).numpy()
    if not np.isfinite(scores).all():
        raise ModelError(f"{path}: its output is not finite: the model is damaged or was trained to NaN")
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def versions() -> dict[str, str]:
    """The software that makes a model."""
    from cnncli import __version__

    return {"cnncli": __version__, "keras": keras.__version__, "tensorflow": tf.__version__}
