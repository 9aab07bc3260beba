"""Opens `.keras` files that nobody vouches for, and gives foreign ones a card."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.backbones import InputSpec, Normalisation
from cnncli.errors import ModelError
from cnncli.inference.adoption import Adoption
from cnncli.learning import keras, tf
from cnncli.learning.backbones import normalise
from cnncli.modelfile import ModelCard, write_keras
from cnncli.modelsafety import MAX_ACTIVATION_ELEMENTS, check_keras_file


def load_keras(path: Path) -> Any:
    """The network in a `.keras` file, in inference form. Raises ModelError for anything odd in the file."""
    metadata = check_keras_file(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as problem:  # Keras raises whatever the file makes it raise
        first_line = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot load this model, "
            f"which Keras {metadata.get('keras_version', '?')} saved ({first_line[:200]})"
        ) from problem
    _check_network(model, path)
    return model


def _check_network(model: Any, path: Path) -> None:
    """Raises ModelError unless one image goes in, one vector of scores comes out, and both have a size."""
    if len(model.inputs or ()) != 1 or len(model.outputs or ()) != 1:
        raise ModelError(f"{path}: expected one input and one output, found {_count(model)}")
    shape, scores = model.inputs[0].shape, model.outputs[0].shape
    if len(shape) != 4 or shape[3] not in (1, 3) or None in shape[1:]:
        raise ModelError(f"{path}: its input has shape {shape}; expected (batch, height, width, 1 or 3)")
    if len(scores) != 2 or not scores[1] or scores[1] < 2:
        raise ModelError(f"{path}: its output has shape {scores}; expected (batch, classes) with two classes or more")
    for layer in model.layers:
        for tensor in keras.tree.flatten(layer.output):
            if math.prod(side or 1 for side in tensor.shape) > MAX_ACTIVATION_ELEMENTS:
                raise ModelError(f"{path}: the layer {layer.name!r} has outputs of shape {tensor.shape}; refused")


def _count(model: Any) -> str:
    return f"{len(model.inputs or ())} inputs and {len(model.outputs or ())} outputs"


def adopt_keras(adoption: Adoption) -> str:
    """Writes the foreign network with its normalisation inside, and a softmax where it ends in logits.

    Returns what was done to it, for the user. Raises ModelError.
    """
    model = load_keras(adoption.path)
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
    probabilities = _gives_probabilities(model)
    if not probabilities:
        scores = keras.layers.Softmax(name="probabilities")(scores)
    spec = InputSpec(height, width, "gray" if channels == 1 else "rgb", adoption.resize)
    made_from = f"adopted from {adoption.path.name}"
    card = ModelCard(adoption.output.stem, adoption.classes, spec, description=made_from, versions=versions())
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.keras"
        keras.Model(pixels, scores, name="adopted").save(temporary)
        write_keras(temporary, card, adoption.output)
    return "its scores are probabilities" if probabilities else "its scores were logits; a softmax was appended"


def _to_range(pixels: Any, input_range: str) -> Any:
    if input_range == "0..1":
        return keras.layers.Rescaling(1 / 255)(pixels)
    names: dict[str, Normalisation] = {"0..255": "none", "-1..1": "tf", "caffe": "caffe", "torch": "torch"}
    return normalise(pixels, names[input_range])


def _gives_probabilities(model: Any) -> bool:
    """Whether the scores of random inputs are never negative and add up to one."""
    shape = (4, *model.inputs[0].shape[1:])
    scores = model(np.random.default_rng(0).normal(size=shape).astype(np.float32), training=False).numpy()
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def versions() -> dict[str, str]:
    """The software that makes a model."""
    from cnncli import __version__

    return {"cnncli": __version__, "keras": keras.__version__, "tensorflow": tf.__version__}
