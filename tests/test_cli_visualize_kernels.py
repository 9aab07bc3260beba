"""`cnncli visualize kernels`: what convolutions have learned, and what they began with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import CHANNELS, colour_detector, compiled_copy
from photos_for_tests import write_photos
from PIL import Image

from cnncli.errors import ModelError, TrainingError
from cnncli.inference.models import open_layers
from cnncli.inference.request import ModelRequest
from cnncli.kernel_sheet import kernel_sheet
from cnncli.runs import Run

NET = "conv:4:3:relu dwconv:3 tconv:2:3:s2 conv:5:1 gap"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on small photos."""
    from cnncli.cli import main

    folder = tmp_path_factory.mktemp("runs")
    write_photos(folder / "photos", each=4)
    args = ["train", str(folder / "photos"), "--net", NET, "--epochs", "1", "--seed", "7", "--lr", "0.01"]
    assert main([*args, "-o", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def learned(model: Path, *layers: str) -> tuple[Any, ...]:
    from cnncli.learning.kernels import kernels

    ready = open_layers(ModelRequest(str(model)), notify=lambda text: None, progress=lambda *done: None)
    return kernels(ready, layers)


def test_kernels_are_the_weights_of_the_layers_with_their_inputs_and_filters(run: Path) -> None:
    from cnncli.learning.models import load_carded

    model, _ = load_carded(run / "model.keras")
    found = learned(run, "all")
    assert [layer.weights.shape for layer in found] == [(3, 3, 3, 4), (3, 3, 1, 4), (3, 3, 4, 2), (1, 1, 2, 5)]
    assert [layer.number for layer in found] == [0, 1, 2, 3]
    stored = [model.get_layer(layer.name).weights[0].numpy() for layer in found]
    assert (found[0].weights == stored[0]).all() and (found[1].weights[:, :, 0] == stored[1][..., 0]).all()
    assert (found[2].weights[:, :, 1, 0] == stored[2][:, :, 0, 1]).all()  # Keras has the filters first there


def test_by_default_kernels_of_one_place_are_left_out(run: Path) -> None:
    assert [layer.number for layer in learned(run)] == [0, 1, 2]
    assert [layer.number for layer in learned(run, "-1")] == [3]


def test_the_seed_of_a_run_draws_the_kernels_that_it_began_with(run: Path, tmp_path: Path) -> None:
    from cnncli.backbones import InputSpec
    from cnncli.learning import keras
    from cnncli.learning.kernels import kernels_before
    from cnncli.learning.networks import build
    from cnncli.learning.phases import layers_of

    after, before = learned(run, "all"), kernels_before(Run(run), [layer.name for layer in learned(run, "all")])
    keras.utils.set_random_seed(7)
    network = build(layers_of(NET, 3, 0.0), InputSpec(14, 14))
    assert (before[0].weights == network.get_layer(before[0].name).weights[0].numpy()).all()
    for old, new in zip(before, after, strict=True):
        assert (old.name, old.weights.shape) == (new.name, new.weights.shape)
        # one epoch of two steps with a rate of 0.01 moves each weight by 0.02 at most
        assert 0 < np.abs(old.weights - new.weights).max() < 0.03


def test_what_a_run_from_published_weights_began_with_is_not_drawn_again(run: Path, tmp_path: Path) -> None:
    from cnncli.learning.kernels import kernels_before

    record = json.loads((run / "run.json").read_text())
    record["settings"] |= {"net": None, "backbone": "mobilenet"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(TrainingError, match="published weights of mobilenet"):
        kernels_before(Run(tmp_path), [])
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "settings": {}}))
    with pytest.raises(TrainingError, match="does not say how the run began"):
        kernels_before(Run(tmp_path), [])


def test_kernels_are_drawn_alone_where_the_run_began_with_other_layers(cnncli, run, tmp_path, monkeypatch) -> None:
    shutil.copytree(run, tmp_path / "copy")
    record = json.loads((run / "run.json").read_text())
    record["settings"]["net"] = "gap"
    (tmp_path / "copy" / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    done = cnncli("visualize", "kernels", "copy", "--layer", "0", "-o", "alone.png")
    assert done.code == 0 and "it has no convolution" in done.err and "only the kernels after training" in done.err
    with Image.open("alone.png") as picture:
        picture.load()


def test_before_and_after_are_on_one_scale() -> None:
    from cnncli.learning.kernels import LayerKernels

    old, new = (LayerKernels("conv", "Conv2D", 0, np.full((1, 1, 1, 1), value, np.float32)) for value in (-0.5, 1.0))
    sheet = np.asarray(kernel_sheet("m", [new], [old]))
    tiles = [
        int(grey)
        for grey in (64, 255)
        if (sheet == grey).all(axis=-1).sum() > 1000  # -0.5 is half way to black, 1 is white
    ]
    assert tiles == [64, 255] and sheet.shape[1] > 2 * 480


def test_layers_without_kernels_and_compiled_models_are_refused(tmp_path: Path, flat_model: Path) -> None:
    model = colour_detector(tmp_path / "colours.keras")
    with pytest.raises(ModelError, match="a Dense, which has no kernels; its convolutions are finds_colours"):
        learned(model, "weighs_colours")
    with pytest.raises(ModelError, match="no convolution"):
        learned(flat_model)
    compiled_copy(model, tmp_path / "colours.tflite")
    with pytest.raises(ModelError, match=r"give the \.keras model"):
        learned(tmp_path / "colours.tflite")
    assert len(CHANNELS) == learned(model)[0].weights.shape[3]


def test_kernels_of_a_run_are_drawn_before_and_after(cnncli, run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = cnncli("visualize", "kernels", run, "--layer", "0")
    assert done.code == 0 and "drawn again from the run's seed" in done.err
    alone = cnncli("visualize", "kernels", run, "--layer", "0", "--no-before", "-o", "alone.png")
    assert alone.code == 0 and "seed" not in alone.err
    with Image.open("run-kernels.png") as both, Image.open("alone.png") as one:
        assert both.width > 1.8 * one.width
