"""Heat maps: where they lie on the photo, what they are made of, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import CHANNELS, COLOUR_CELLS, colour_detector, compiled_copy
from PIL import Image

from cnncli.errors import ModelError
from cnncli.explained import faithful_words
from cnncli.inference.faithfulness import Faithfulness, faithfulness
from cnncli.inference.occlusion import GRID, occlusion_maps
from cnncli.inference.request import ModelRequest
from cnncli.inference.saliency import Explanation, Question, explain, open_explainer
from cnncli.mapgrid import MapGrid, even_grid
from cnncli.sources import Source

SIZE, BLOB = (300, 200), 24  # of the upright photo; side of its coloured squares
PLACES = {"red": (100, 50), "blue": (215, 150)}  # middles, both inside the centre crop


def photo_with_blobs(path: Path, orientation: int = 1) -> Source:
    """A grey photo with a red and a blue square, stored so that the EXIF orientation turns it upright."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    for name, channel in (("red", 0), ("blue", 2)):
        x, y = PLACES[name]
        square = pixels[y - BLOB // 2 : y + BLOB // 2, x - BLOB // 2 : x + BLOB // 2]
        square[:] = 0
        square[..., channel] = 255
    image, exif = Image.fromarray(pixels), Image.Exif()
    undone = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = undone[orientation]
    exif[0x0112] = orientation
    (image if turn is None else image.transpose(turn)).save(path, exif=exif)
    return Source(path.name, path=path)


def ask(model: Path, source: Source, method: Any = None, layer: str | None = None, **question: Any) -> Explanation:
    request = ModelRequest(str(model), question.pop("weights", None), question.pop("resize", None))
    explainer = open_explainer(request, method, layer, notify=lambda text: None, progress=lambda *done: None)
    return explain(explainer, source, Question(**question), lambda *done: None)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_detector(tmp_path_factory.mktemp("models") / "colours.keras")


@pytest.fixture(scope="module")
def compiled(detector: Path) -> Path:
    return compiled_copy(detector, detector.with_suffix(".tflite"))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_gradcam_is_hottest_where_the_colour_is_in_the_upright_photo(
    detector: Path, tmp_path: Path, resize: str, orientation: int, suffix: str
) -> None:
    source = photo_with_blobs(tmp_path / f"blobs{suffix}", orientation)
    found = ask(detector, source, "gradcam", classes=(0, 2), check=False, resize=resize)
    assert found.picture.image.size == SIZE == found.view.photo
    assert_within_a_cell(found, COLOUR_CELLS)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_occlusion_of_a_compiled_model_is_hottest_there_too(
    compiled: Path, tmp_path: Path, resize: str, orientation: int
) -> None:
    source = photo_with_blobs(tmp_path / "blobs.png", orientation)
    found = ask(compiled, source, classes=(0, 2), check=False, resize=resize)
    assert found.method == "occlusion"
    assert_within_a_cell(found, GRID)


def assert_within_a_cell(found: Explanation, cells: int) -> None:
    """The hottest place of each class is no farther from the middle of its colour than a cell of the map is wide."""
    scale_x, scale_y = ((b - a) / (d - c) for a, b, c, d in zip(
        found.view.seen[:2], found.view.seen[2:], found.view.filled[:2], found.view.filled[2:], strict=True
    ))  # fmt: skip
    cell = scale_x * found.view.input[0] / cells, scale_y * found.view.input[1] / cells
    for heat_map in found.heat_maps:
        assert heat_map.peak is not None
        x, y = PLACES[heat_map.prediction.image_class.label]
        # a patch of occlusion that covers the square is as good anywhere within its own reach
        assert abs(heat_map.peak[0] - x) <= cell[0] and abs(heat_map.peak[1] - y) <= cell[1]


@pytest.mark.parametrize("end", ["dense", "activation", "softmax", "nested"])
def test_gradcam_weighs_maps_by_the_gradient_of_the_logit_wherever_the_softmax_is(tmp_path: Path, end: str) -> None:
    model = colour_detector(tmp_path / "colours.keras", end=end)
    source = photo_with_blobs(tmp_path / "blobs.png")
    found = ask(model, source, "gradcam", classes=(0, 1, 2), check=False)
    assert "logit" in found.told and "8x8" in found.told and "finds_colours" in found.told
    maps = answers_of_convolution(source)  # (rows, columns, filters)
    # after a global mean, the gradient of a logit by a map is its weight in the dense layer, spread over all places
    weights = (20 * np.eye(3) - 5) / COLOUR_CELLS**2
    for heat_map, column in zip(found.heat_maps, weights.T, strict=True):
        np.testing.assert_allclose(heat_map.values, maps @ column, atol=1e-6)


def answers_of_convolution(source: Source) -> Any:
    from cnncli.backbones import InputSpec
    from cnncli.images import network_input, read

    pixels = network_input(read(source), InputSpec(32, 32)).astype(np.float64)
    cells = pixels.reshape(COLOUR_CELLS, 4, COLOUR_CELLS, 4, 3).mean(axis=(1, 3))
    return np.maximum(cells @ (3 * np.eye(3) - 1) / (2 * 255), 0)


def explainer(model: Path) -> Any:
    request = ModelRequest(str(model))
    return open_explainer(request, "gradcam", None, notify=lambda text: None, progress=lambda *done: None)


def test_cells_lie_in_the_middle_of_what_they_see(tmp_path: Path) -> None:
    from cnncli.backbones import InputSpec
    from cnncli.learning import keras
    from cnncli.learning.models import save_carded
    from cnncli.modelcard import ModelCard

    def grid(*layers: Any, side: int = 32) -> MapGrid:
        pixels = x = keras.Input((side, side, 3))
        for layer in layers:
            x = layer(x)
        scores = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
        path = tmp_path / "some.keras"
        save_carded(keras.Model(pixels, scores), ModelCard("some", CHANNELS, InputSpec(side, side)), path)
        found: MapGrid = explainer(path).grid
        return found

    conv, pool, pad = keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.ZeroPadding2D
    same = conv(2, 3, padding="same")
    # LeNet: windows of 16 px, 4 px apart, the first at the edge
    assert grid(conv(2, 5), pool(), conv(2, 5), pool()) == MapGrid((8, 8), (4, 4))
    # MobileNet pads below and to the right alone: each step of 2 moves the middles by half a cell more
    shrinking = [layer for _ in range(3) for layer in (pad(((0, 1), (0, 1))), conv(2, 3, 2))]
    assert grid(*shrinking) == MapGrid((1.5 + 2 + 4, 1.5 + 2 + 4), (8, 8))
    assert grid(same) == MapGrid((0.5, 0.5), (1, 1))
    # neighbours that see the same, or steps that are not all equal: even between the first cell and the last
    assert grid(same, pool(), keras.layers.Conv2DTranspose(2, 2, 2)) == MapGrid((1, 1), (30 / 31, 30 / 31))
    assert grid(same, keras.layers.Resizing(24, 24)) == MapGrid((1, 1), (30 / 23, 30 / 23))
    assert grid(conv(2, 4, 4, name="seen"), keras.layers.Dropout(0.5)) == MapGrid((2, 2), (4, 4))
    assert explainer(tmp_path / "some.keras").step.name == "seen"  # dropout does nothing to what is asked


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_mirror_image_does_not_move_the_heat(tmp_path: Path, mirrored: bool) -> None:
    from cnncli.backbones import InputSpec
    from cnncli.learning import keras
    from cnncli.learning.models import save_carded
    from cnncli.modelcard import ModelCard

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.ZeroPadding2D(((0, 0), (0, 4)))(inputs)  # cells at 2, 6, ... 34; those of the mirror image at -2
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(1, 4, 4, kernel_initializer="ones")(x))
    scores = keras.layers.Dense(3, activation="softmax", kernel_initializer="ones")(x)
    path = tmp_path / "leaning.keras"
    card = ModelCard("leaning", CHANNELS, InputSpec(32, 32), mirrored=mirrored)
    save_carded(keras.Model(inputs, scores), card, path)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:12, 8:12] = 255  # its middle at 10
    found = explainer(path)
    (heat,) = found.maps(pixels, [1], lambda *done: None)
    whole = 16 * 3 * 255 / (8 * 9)  # the sum of a window, and the mean of 8 x 9 cells
    assert found.grid == MapGrid((0 if mirrored else 2, 2), (4, 4))
    np.testing.assert_allclose(heat[2, 2:4], [whole / 2] * 2 if mirrored else [whole, 0], rtol=1e-6)
    assert np.count_nonzero(heat) == 1 + mirrored
    middles = [found.grid.middle(2, column)[0] for column in range(9)]
    assert np.average(middles, weights=heat[2]) == pytest.approx(10)


def test_a_thousand_classes_take_one_pass_of_one_image(detector: Path) -> None:
    one, batches = explainer(detector), []
    watched = one._watched

    def count(batch: Any, training: bool) -> Any:
        batches.append(batch.shape[0])
        return watched(batch, training=training)

    one._watched = count
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    maps = one.maps(pixels, [0, 1, 2] * 5, lambda *done: None)
    assert batches == [1] and maps.shape == (15, 8, 8) and maps.dtype == np.float32
    np.testing.assert_array_equal(maps[:3], maps[12:])
    assert np.abs(maps[0] - maps[1]).max() > 0.001


def test_a_network_that_tensorflow_cannot_run_is_said_in_a_line(detector: Path) -> None:
    from cnncli.learning import tf

    def fail(batch: Any, training: bool) -> Any:
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    one = explainer(detector)
    one._watched = fail
    with pytest.raises(ModelError, match=r"colours.*: TensorFlow cannot run it \(out of memory\)"):
        one.maps(np.zeros((32, 32, 3), np.uint8), [0], lambda *done: None)


def test_a_network_that_ends_in_another_way_is_explained_by_the_logarithm_of_its_score(tmp_path: Path) -> None:
    from cnncli.backbones import InputSpec
    from cnncli.learning import keras
    from cnncli.learning.models import save_carded
    from cnncli.modelcard import ModelCard

    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(2, 4, 4, kernel_initializer="ones", name="sums")(keras.layers.Rescaling(1 / 255)(pixels))
    x = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(x))
    card = ModelCard("shaped", CHANNELS[:2], InputSpec(32, 32))
    save_carded(keras.Model(pixels, keras.layers.Reshape((2,))(x)), card, tmp_path / "shaped.keras")
    found = ask(tmp_path / "shaped.keras", photo_with_blobs(tmp_path / "a.png"), "gradcam", top=1, check=False)
    assert "logarithm" in found.told and np.isfinite(found.heat_maps[0].values).all()


def test_gradcam_scores_are_those_of_predict(detector: Path, compiled: Path, tmp_path: Path) -> None:
    source = photo_with_blobs(tmp_path / "blobs.jpg")
    one, other = ask(detector, source, check=False), ask(compiled, source, check=False)
    assert [a.prediction.image_class for a in one.heat_maps] == [a.prediction.image_class for a in other.heat_maps]
    for a, b in zip(one.heat_maps, other.heat_maps, strict=True):
        assert a.prediction.score == pytest.approx(b.prediction.score, abs=1e-4)


def test_maps_of_the_right_colour_are_better_than_chance(detector: Path, tmp_path: Path) -> None:
    found = ask(detector, photo_with_blobs(tmp_path / "blobs.png"), classes=(0,))
    checked = found.heat_maps[0].faithfulness
    assert checked is not None and min(checked.gains) > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "nothing"}, "its convolutions are finds_colours"),
        ({"layer": "find_colours"}, "did you mean finds_colours"),
        ({"layer": "weighs_colours"}, "Grad-CAM needs maps"),
        ({"layer": "99"}, "no layer is called so"),
        ({"method": "occlusion", "layer": "finds_colours"}, "does not look into layers"),
    ],
)
def test_layers_that_cannot_be_weighed_are_refused(detector, tmp_path, options: dict[str, str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ask(detector, photo_with_blobs(tmp_path / "a.png"), **{"method": "gradcam", **options})


def test_gradients_of_a_compiled_model_are_refused(compiled: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gives no gradients; give the \.keras"):
        ask(compiled, photo_with_blobs(tmp_path / "a.png"), "gradcam")


def test_a_network_without_convolutions_is_refused(flat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no convolution"):
        ask(flat_model, photo_with_blobs(tmp_path / "a.png"), "gradcam")


def test_occlusion_falls_where_a_patch_of_three_cells_covers_what_counts() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 50, (28, 28, 3), np.uint8)  # cells of 2 px; never the grey of the patch

    def score(inputs: Iterable[Any]) -> Iterator[Any]:
        for image in inputs:  # the pixel in row 9, column 20 makes the first class
            whole = float((image[9, 20] == pixels[9, 20]).all())
            yield np.array([0.2 + 0.6 * whole, 0.8 - 0.6 * whole], np.float32)

    maps = occlusion_maps(pixels, (0, 1), score, lambda *done: None)
    expected = np.zeros((14, 14))
    expected[3:6, 9:12] = 0.6  # cell (4, 10) and its neighbours
    np.testing.assert_allclose(maps, [expected, -expected], atol=1e-6)


def test_deletion_and_insertion_of_a_perfect_map_are_known() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (20, 20, 1), np.uint8)
    important = np.zeros((20, 20), np.float32)
    important[:4, :10] = 1 + rng.random((4, 10))  # a tenth of all pixels, each in its own order

    def score(inputs: Iterable[Any]) -> Iterator[Any]:
        for image in inputs:  # the part of the important pixels that is as it was
            part = float((image == pixels)[..., 0][important > 0].mean())
            yield np.array([part, 1 - part], np.float32)

    good, bad = faithfulness(
        pixels, np.stack([important, -important]), even_grid(20, 20, (20, 20)), (0, 0), score, lambda *done: None
    )
    # the score falls evenly to zero in the first tenth, and comes back evenly in it
    assert good.deletion == pytest.approx(0.05) and good.insertion == pytest.approx(0.95, abs=0.02)
    assert bad.deletion == pytest.approx(0.95) and bad.insertion == pytest.approx(0.05, abs=0.1)
    assert good.random_deletion == bad.random_deletion == pytest.approx(0.5, abs=0.15)
    assert min(good.gains) > 0.3 > -0.3 > max(bad.gains)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (Faithfulness(0.1, 0.7, 0.3, 0.4), "The map is better than chance at both."),
        (Faithfulness(0.1, 0.404, 0.3, 0.4), "The map is better than chance at one of two."),
        (Faithfulness(0.3275, 0.3192, 0.3295, 0.3191), "The map is no better than chance."),
        (Faithfulness(0.4, 0.3, 0.3, 0.4), "The map is worse than chance at both."),
    ],
)
def test_verdict_of_a_map_heeds_no_difference_that_chance_makes(found: Faithfulness, verdict: str) -> None:
    assert faithful_words(found)[-1] == verdict


def test_gains_are_positive_where_the_map_is_better_than_chance() -> None:
    assert Faithfulness(0.1, 0.7, 0.3, 0.4).gains == pytest.approx((0.2, 0.3))
