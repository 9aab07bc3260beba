"""Each row of the table against Keras Applications itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from cnncli.backbones import BACKBONES, NORMALISATIONS, Backbone, find, imagenet_classes
from cnncli.learning import keras
from cnncli.learning.backbones import build


def keras_network(row: Backbone, weights: str | None = "imagenet") -> Any:
    """The network as a user of Keras builds it."""
    width = {} if row.alpha is None else {"alpha": row.alpha}
    shape = (row.input_px, row.input_px, 3)
    return getattr(keras.applications, row.function)(weights=weights, input_shape=shape, **width)


# TensorFlow keeps the memory of a network that is gone for those that come.
LARGEST_FIRST = sorted(BACKBONES.values(), key=lambda row: -row.parameters)


@dataclass(frozen=True)
class Pair:
    """A row with the network that this project builds, the one that Keras builds, and what Keras would download."""

    row: Backbone
    ours: Any
    theirs: Any
    download: Any


def pair(row: Backbone) -> Pair:
    """Builds both networks, with all that Keras adds for weights="imagenet" but no file; those of before are gone."""
    keras.backend.clear_session()
    with (
        mock.patch("keras.src.utils.file_utils.get_file", return_value="nowhere.h5") as download,
        mock.patch("keras.Model.load_weights"),
    ):
        theirs = keras_network(row)
    return Pair(row, build(row), theirs, download.call_args)


@pytest.fixture(scope="module", params=LARGEST_FIRST, ids=lambda row: row.name)
def networks(request: pytest.FixtureRequest) -> Pair:
    """Each row in turn; only one pair of networks is in memory at a time."""
    return pair(request.param)


def test_row_names_the_file_address_and_hash_that_keras_would_download(networks: Pair, monkeypatch) -> None:
    monkeypatch.delenv("CNNCLI_WEIGHTS_MIRROR")
    row, options = networks.row, networks.download.kwargs
    assert (row.weights_file, row.url) == networks.download.args[:2]
    assert options["cache_subdir"] == "models"
    published = options.get("file_hash")
    assert row.digest == (published and f"{'sha256' if len(published) == 64 else 'md5'}:{published}")


def test_row_has_the_size_and_parameters_of_the_network(networks: Pair) -> None:
    row = networks.row
    assert networks.theirs.count_params() == networks.ours.count_params() == row.parameters
    assert networks.ours.input_shape == (None, row.input.height, row.input.width, 3)
    assert networks.ours.output_shape == (None, 1000)
    assert 0 < row.top1 < (row.top5 or 1) <= 1
    assert row.licence and row.paper.startswith("https://arxiv.org/")


# Pixels 0, 128 and 255 of each channel, the other channels at other values.
PIXELS = np.array([[r, g, b] for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 128, 255)], np.float32)


class EnoughError(Exception):
    """Ends a run once the tensor in question was seen."""


def entering_first_convolution(network: Any, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The tensor that enters the first convolution of a network when it is run on an image."""
    seen: list[np.ndarray[Any, Any]] = []
    layer = next(layer for layer in leaves(network) if "Conv" in type(layer).__name__)

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(np.asarray(inputs))
        raise EnoughError

    with mock.patch.object(layer, "call", call), pytest.raises(EnoughError):
        network(image[np.newaxis], training=False)
    return seen[0][0]


def leaves(network: Any) -> Iterator[Any]:
    for layer in network.layers:
        yield from leaves(layer) if isinstance(layer, keras.Model) else [layer]


def normalisation_difference(pair: Pair) -> float:
    """The largest difference between our tensor at the first convolution and that of Keras's own way."""
    image = np.resize(PIXELS, (pair.row.input_px, pair.row.input_px, 3))
    module = importlib.import_module(f"keras.applications.{pair.row.module}")
    theirs = entering_first_convolution(pair.theirs, module.preprocess_input(image.copy()))
    ours = entering_first_convolution(pair.ours, image)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def test_normalisation_is_that_of_the_networks_own_module(networks: Pair) -> None:
    assert normalisation_difference(networks) <= 1e-5


@pytest.mark.parametrize("wrong", NORMALISATIONS)
@pytest.mark.parametrize("name", ["resnet50", "mobilenet-0.25", "densenet121", "mobilenetv3-small"])
def test_normalisation_of_another_row_would_be_noticed(name: str, wrong: str) -> None:
    """Every kind of row with every kind of normalisation: only its own passes the test above."""
    row = BACKBONES[name]
    swapped = pair(replace(row, normalisation=wrong))  # type: ignore[arg-type]
    assert (normalisation_difference(swapped) <= 1e-5) == (wrong == row.normalisation)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("resnet50", "resnet50"),
        ("ResNet50", "resnet50"),
        ("mobilenet_v2", "mobilenetv2"),
        ("MobileNetV3Small", "mobilenetv3-small"),
        ("EfficientNet-B0", "efficientnetb0"),
        ("mobilenet-1.0", "mobilenet"),
        ("mobilenet-0.75", "mobilenet-0.75"),
    ],
)
def test_find_knows_the_spellings_in_use(spelling: str, name: str) -> None:
    assert find(spelling) is BACKBONES[name]


@pytest.mark.parametrize("unknown", ["", "resnet", "mobilenet-0.7", "resnet50v2"])
def test_find_does_not_guess(unknown: str) -> None:
    assert find(unknown) is None


def test_imagenet_classes_are_1000_distinct_ids_in_keras_order() -> None:
    classes = imagenet_classes()
    assert len({c.id for c in classes}) == len(classes) == 1000
    assert classes[0] == ("n01440764", "tench")
    assert classes[281] == ("n02123045", "tabby")
    assert classes[999] == ("n15075141", "toilet_tissue")
    assert [c.id for c in classes] == sorted(c.id for c in classes)  # Keras orders them by WordNet id
    assert {c.label for c in classes if [d.label for d in classes].count(c.label) > 1} == {"crane", "maillot"}


def test_weights_site_can_be_mirrored(monkeypatch) -> None:
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", "http://mirror.test/keras/")
    expected = "http://mirror.test/keras/tensorflow/keras-applications/nasnet/NASNet-mobile.h5"
    assert BACKBONES["nasnetmobile"].url == expected
    assert BACKBONES["nasnetmobile"].weights_path == Path(
        importlib.import_module("os").environ["KERAS_HOME"], "models", "nasnet_mobile.h5"
    )
