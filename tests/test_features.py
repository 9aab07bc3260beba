"""Feature maps: whose they are, what is in them, and how they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import COLOUR_CELLS, colour_detector, compiled_copy

from cnncli.colormaps import diverging, sequential
from cnncli.errors import ModelError
from cnncli.feature_sheet import feature_sheet, numbered, strongest
from cnncli.inference.models import open_layers
from cnncli.inference.request import ModelRequest


def reader(model: Path, *layers: str) -> Any:
    ready = open_layers(ModelRequest(str(model)), notify=lambda text: None, progress=lambda *done: None)
    from cnncli.learning.features import FeatureReader

    return FeatureReader(ready, layers)


@pytest.fixture(scope="module", params=["dense", "nested"])
def detector(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_detector(tmp_path_factory.mktemp("models") / "colours.keras", end=request.param)


def test_maps_of_a_convolution_are_what_its_kernels_make_of_the_input(detector: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    (layer,) = reader(detector).maps(pixels)
    assert (layer.name.removeprefix("core/"), layer.kind, layer.number) == ("finds_colours", "Conv2D", 0)
    cells = pixels.astype(float).reshape(COLOUR_CELLS, 4, COLOUR_CELLS, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(layer.maps, np.maximum(cells @ (3 * np.eye(3) - 1) / 510, 0), atol=1e-5)


def test_layers_are_chosen_by_name_by_number_and_spread_by_default(tmp_path: Path) -> None:
    from models_for_tests import CHANNELS

    from cnncli.backbones import InputSpec
    from cnncli.learning.models import save_carded
    from cnncli.learning.networks import build, with_probabilities
    from cnncli.learning.phases import layers_of
    from cnncli.modelcard import ModelCard

    spec = InputSpec(16, 16)
    net = build(layers_of(" ".join(["conv:2:3:same"] * 9) + " gap", 3, 0), spec)
    path = tmp_path / "deep.keras"
    save_carded(with_probabilities(net), ModelCard("deep", CHANNELS, spec), path)
    pixels = np.zeros((16, 16, 3), np.uint8)
    numbers = lambda *layers: [layer.number for layer in reader(path, *layers).maps(pixels)]  # noqa: E731
    assert numbers() == [0, 2, 4, 6, 8] and numbers("all") == list(range(9))
    assert numbers("-1", "3", "-1") == [8, 3] and numbers("rescale") == [None]


def test_layers_without_maps_and_compiled_models_are_refused(detector: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected \\(height, width, maps\\)"):
        reader(detector, "weighs_colours")
    with pytest.raises(ModelError, match=r"its convolutions are (core/)?finds_colours, or by number 0 to 0"):
        reader(detector, "1")
    compiled_copy(detector, tmp_path / "a.tflite")
    with pytest.raises(ModelError, match=r"fused and cannot be looked into; give the \.keras"):
        reader(tmp_path / "a.tflite")


def layer_of(maps: np.ndarray[Any, Any]) -> Any:
    from cnncli.learning.features import LayerMaps

    return LayerMaps("conv", "Conv2D", 0, maps.astype(np.float32))


def test_tiles_stand_in_rows_of_eight_by_number_or_the_strongest_first() -> None:
    maps = np.zeros((2, 2, 10))
    maps[..., 9], maps[..., 3] = 8.0, 4.0
    pixels = np.zeros((8, 8, 3), np.uint8)
    for sort, places in (("index", {8: (1, 1), 4: (0, 3)}), ("strength", {8: (0, 0), 4: (0, 1)})):
        sheet = np.asarray(feature_sheet("m", "p", pixels, [layer_of(maps)], count=10, sort=sort))  # type: ignore[arg-type]
        found = {}
        for value in (8, 4):
            hot = (sheet == sequential(np.array(value / 8))).all(axis=-1)
            rows, columns = np.nonzero(
                hot & (np.roll(hot, 30, 0) | np.roll(hot, -30, 0))
            )  # not the scale, which is low
            found[value] = (rows.min(), columns.min())
        step = np.subtract(found[8], found[4])
        expected = np.subtract(places[8], places[4]) * (72 + 20 + 2, 72 + 2)
        assert step.tolist() == expected.tolist()


def test_maps_below_zero_are_on_a_scale_with_zero_in_the_middle() -> None:
    maps = np.zeros((2, 2, 2))
    maps[..., 0], maps[..., 1] = -3.0, 1.5
    sheet = np.asarray(feature_sheet("m", "p", np.zeros((8, 8, 1), np.uint8), [layer_of(maps)], count=2, sort="index"))
    colours, counts = np.unique(sheet.reshape(-1, 3), axis=0, return_counts=True)
    tiles = [tuple(colour) for colour, number in zip(colours.tolist(), counts, strict=True) if number >= 72 * 72]
    assert tuple(diverging(np.array(-1.0)).tolist()) in tiles and tuple(diverging(np.array(0.5)).tolist()) in tiles


def test_one_peak_does_not_make_the_rest_dark_and_zeros_stay_zero() -> None:
    values = np.ones((40, 40), np.float32)
    values[0, 0] = 1000
    assert strongest(values) == 1 and strongest(np.zeros((3, 3), np.float32)) == 0
    values[:] = 0
    values[0, 0] = 5
    assert strongest(values) == 5


def test_numbers_stand_below_their_tiles() -> None:
    tiles = np.full((9, 10, 12, 3), 200, np.uint8)
    drawn = np.asarray(numbered(tiles, range(9)))
    assert drawn.shape == (2 + 2 * 32, 2 + 8 * 14, 3)
    assert (drawn[2:12, 2:14] == 200).all() and drawn[12:32, 2:14].min() < 100  # ink
    assert (drawn[34:44, 2:14] == 200).all() and (drawn[34:, 16:] == 255).all()
