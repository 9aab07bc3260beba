"""A compiled network answers as Keras does: every row, from the weights file to the probabilities."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from official_weights import official_weights, pictures

from cnncli.backbones import BACKBONES, Backbone
from cnncli.inference.compiled import Job, build
from cnncli.inference.engine import LiteRTEngine
from cnncli.learning import keras
from cnncli.modelfile import read_card

# Small ones of every kind of normalisation and layer; CNNCLI_TEST_DATA, as in CI, asks for all of them.
QUICK = ("mobilenet-0.25", "mobilenetv3-small", "efficientnetb0", "resnet50", "densenet121")
# The largest first: TensorFlow keeps the memory of a network that is gone for those that come.
ALL = sorted(BACKBONES, key=lambda name: -BACKBONES[name].parameters)
NAMES = ALL if "CNNCLI_TEST_DATA" in os.environ else QUICK


def keras_answers(row: Backbone, weights: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What a plain Keras script says: the application with its published weights and its preprocess_input."""
    width = {} if row.alpha is None else {"alpha": row.alpha}
    shape = (row.input_px, row.input_px, 3)
    with mock.patch("keras.src.utils.file_utils.get_file", return_value=str(weights)):
        network = getattr(keras.applications, row.function)(weights="imagenet", input_shape=shape, **width)
    prepare = importlib.import_module(f"keras.applications.{row.module}").preprocess_input
    return network.predict_on_batch(prepare(images.astype(np.float32)))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_network_gives_the_probabilities_of_keras(name: str, tmp_path: Path) -> None:
    row = BACKBONES[name]
    weights, compiled = official_weights(name, tmp_path / row.weights_file), tmp_path / "compiled.tflite"
    build(Job("backbone", name, weights), compiled)
    images = pictures(row.input_px, seed=0).astype(np.uint8)  # those that the weights tell apart
    expected = keras_answers(row, weights, images)
    engine = LiteRTEngine(compiled, read_card(compiled), num_threads=2)
    answers = np.stack([engine(image) for image in images])
    keras.backend.clear_session()
    weights.unlink()  # up to 575 MB
    best = expected.max(axis=1)
    assert len(set(expected.argmax(axis=1))) >= 6 and 0.05 < np.median(best) < 0.99  # an error would show
    assert np.abs(answers - expected).max() <= 1e-4
    assert (np.argsort(-answers)[:, :3] == np.argsort(-expected)[:, :3]).all()
