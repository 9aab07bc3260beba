"""Networks whose layers are called one by one: the same answers, and names that tell all layers apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import CHANNELS

from cnncli.backbones import InputSpec
from cnncli.errors import ModelError
from cnncli.inference.request import ModelRequest
from cnncli.inference.saliency import open_explainer
from cnncli.learning import keras
from cnncli.learning.graph import FlatNetwork, HiddenLayersError
from cnncli.learning.models import save_carded
from cnncli.modelcard import ModelCard

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)


def inner(name: str, channels: int, *, outputs: int = 1) -> Any:
    """A model to be put into another one, whose convolution is called `conv`."""
    inputs = keras.Input((16, 16, channels))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    return keras.Model(inputs, [x] + [keras.layers.ReLU()(x)] * (outputs - 1) if outputs > 1 else x, name=name)


def classifier(inputs: Any, x: Any) -> Any:
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))


def saved(model: Any, path: Path) -> Path:
    save_carded(model, ModelCard("nested", CHANNELS, InputSpec(16, 16)), path)
    return path


def repeated() -> Any:
    """A model with two inside it that have a layer of the same name, one of them in a third model."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255, name="pixels")(inputs)  # called as what comes in is elsewhere
    x = keras.layers.Conv2D(4, 1, name="conv")(inner("base", 3)(x))
    nested = keras.Sequential([keras.Input((16, 16, 4)), inner("core", 4)], name="head")
    return classifier(inputs, nested(x))


def test_layers_of_inner_models_are_called_after_these_as_shapes_calls_them() -> None:
    from cnncli import kerasgraph

    model = repeated()

    named = [node.name for node in kerasgraph.network(json.loads(model.to_json()), "all").nodes]
    expected = model(PIXELS).numpy()
    network = FlatNetwork(model)
    assert [step.name for step in network.steps] == named[1:]
    assert named[1:] == ["pixels", "base/conv", "conv", "head/core/conv", "mean", "scores"]
    flat = keras.Model(network.input, [step.tensor for step in network.steps])
    np.testing.assert_allclose(flat(PIXELS)[-1], expected, atol=1e-6)


def test_layers_are_found_by_what_tells_them_apart() -> None:
    network = FlatNetwork(repeated())
    names = ("conv", "base/conv", "core/conv", "head/core/conv", "scores", "0", "-1")
    found = ["conv", "base/conv", "head/core/conv", "head/core/conv", "scores", "base/conv", "head/core/conv"]
    assert [network.find(name).name for name in names] == found
    inputs = keras.Input((16, 16, 3))
    both = FlatNetwork(classifier(inputs, inner("b", 4)(inner("a", 3)(inputs))))
    with pytest.raises(ModelError, match="several layers are called so; give one of a/conv, b/conv"):
        both.find("conv")
    with pytest.raises(ModelError, match="did you mean a/conv"):
        both.find("a/con")


def test_a_model_called_twice_shares_its_layers() -> None:
    inputs, shared = keras.Input((16, 16, 3)), inner("base", 3)
    model = classifier(inputs, keras.layers.Add(name="sum")([shared(inputs), shared(keras.layers.ReLU()(inputs))]))
    expected = model(-PIXELS).numpy()
    network = FlatNetwork(model)
    assert [step.name for step in network.steps].count("base/conv") == 2
    np.testing.assert_allclose(keras.Model(network.input, network.output)(-PIXELS), expected, atol=1e-6)


def test_layers_and_models_may_be_called_by_keyword() -> None:
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255, name="scale")(inputs=inputs)
    model = classifier(inputs, inner("base", 3)(inputs=x))
    expected = model(PIXELS).numpy()
    network = FlatNetwork(model)
    assert network.steps[0].input is network.input
    np.testing.assert_allclose(keras.Model(network.input, network.output)(PIXELS), expected, atol=1e-6)


def test_gradcam_looks_into_models_with_repeated_names(tmp_path: Path) -> None:
    request = ModelRequest(str(saved(repeated(), tmp_path / "nested.keras")))
    found: Any = open_explainer(request, None, "core/conv", notify=pytest.fail, progress=lambda *done: None)
    assert found.method == "gradcam" and found.step.name == "head/core/conv"
    assert found.grid.first == (0.5, 0.5) and found.grid.step == (1, 1)
    assert np.isfinite(found.maps(PIXELS[0].astype(np.uint8), (0, 1, 2), lambda *done: None)).all()


def test_a_model_whose_layers_stay_hidden_is_explained_by_occlusion(tmp_path: Path) -> None:
    inputs = keras.Input((16, 16, 3))
    model = classifier(inputs, keras.layers.Add()(inner("two", 3, outputs=2)(inputs)))
    with pytest.raises(HiddenLayersError, match="the inner model two has 2 outputs"):
        FlatNetwork(model)
    request, notes = ModelRequest(str(saved(model, tmp_path / "two.keras"))), []
    found = open_explainer(request, None, None, notify=notes.append, progress=lambda *done: None)
    assert found.method == "occlusion" and "covering parts of the photo" in notes[0]
    with pytest.raises(HiddenLayersError):
        open_explainer(request, "gradcam", None, notify=notes.append, progress=lambda *done: None)
