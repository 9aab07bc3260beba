"""Augmentation: maps are read back from images that hold their own coordinates, pixels compared with SciPy's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cnncli.augmentations import AUGMENTATIONS, auto, parse
from cnncli.errors import ExitCode, GrammarError
from cnncli.learning import tf
from cnncli.learning.augment import augmentation, mixup

Array = np.ndarray[Any, np.dtype[np.float32]]
EACH = [name for name in AUGMENTATIONS if name != "mixup"]
SHAPES = [(28, 28, 1), (32, 32, 3), (31, 47, 1), (31, 47, 3), (56, 72, 3)]


def noise(n: int, *shape: int) -> Array:
    """Images in which no part looks like another."""
    return np.random.default_rng(5).integers(0, 256, (n, *shape)).astype(np.float32)


def changed(images: Array, *names: str, seed: tuple[int, int] = (1, 2)) -> Array:
    return augmentation(names)(tf.constant(images), tf.constant(seed)).numpy()


def with_coordinates(n: int, height: int, width: int) -> Array:
    """Images whose channels are their pixels' x, their y, and noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([np.stack([x, y, picture[..., 0]], axis=-1) for picture in noise(n, height, width, 1)])


def map_of(image: Array) -> Array:
    """The map `(3, 3)` from output to input `(x, y, 1)` that turned coordinates into `image`, by least squares."""
    height, width = image.shape[:2]
    middle = slice(height // 4, -height // 4), slice(width // 4, -width // 4)  # where nothing is reflected
    y, x = (axis[middle].ravel() for axis in np.mgrid[:height, :width].astype(np.float64))
    tx, ty = (image[..., channel][middle].ravel().astype(np.float64) for channel in (0, 1))
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [[x, y, one, zero, zero, zero, -tx * x, -tx * y], [zero, zero, zero, x, y, one, -ty * x, -ty * y]]
    system = np.concatenate([np.stack(row, axis=1) for row in rows])
    solved = np.linalg.lstsq(system, np.concatenate([tx, ty]), rcond=None)[0]
    return np.append(solved, 1.0).reshape(3, 3)


def by_scipy(texture: Array, found: Array) -> Array:
    """`texture` seen through the map `found`: bilinear, reflected at the border."""
    y, x = np.mgrid[: texture.shape[0], : texture.shape[1]]
    there = found @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    return ndimage.map_coordinates(texture, there[1::-1] / there[2], order=1, mode="reflect").reshape(texture.shape)


def about_centre(found: Array, height: int, width: int) -> Array:
    """A map in px from the centre of the image."""
    out = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    whole = np.linalg.inv(out) @ found @ out
    return whole / whole[2, 2]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EACH)
def test_each_keeps_shape_type_and_range_and_changes_images_each_in_its_own_way(
    name: str, shape: tuple[int, int, int]
) -> None:
    images = np.repeat(noise(1, *shape), 12, axis=0)
    result = changed(images, name)
    assert result.shape == images.shape and result.dtype == np.float32
    assert result.min() >= 0 and result.max() <= 255
    assert len(np.unique(result.reshape(12, -1), axis=0)) > (1 if name == "flip" else 5)


@pytest.mark.parametrize("name", sorted(set(EACH) - {"color"}))
@pytest.mark.parametrize("value", [0.0, 77.0, 255.0])
def test_an_even_image_stays_as_it_is(name: str, value: float) -> None:
    images = np.full((20, 31, 47, 3), value, np.float32)
    assert np.abs(changed(images, name) - images).max() <= 1e-4


def test_the_same_seed_gives_the_same_bits_and_another_one_others() -> None:
    images = noise(8, 32, 32, 3)
    first = changed(images, *EACH)
    assert (changed(images, *EACH) == first).all()
    for seed in ((1, 3), (2, 2), (2, 1)):
        assert (changed(images, *EACH, seed=seed) != first).any(axis=(1, 2, 3)).all()


def test_another_process_gives_the_same_bits() -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from cnncli.learning import tf\n"
        "from cnncli.learning.augment import augmentation, mixup\n"
        "images = np.random.default_rng(5).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)\n"
        "seed = tf.constant((1, 2))\n"
        f"images, targets = mixup(augmentation({EACH!r})(tf.constant(images), seed), tf.eye(8), seed)\n"
        "print(hashlib.sha256(images.numpy().tobytes() + targets.numpy().tobytes()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    seed = tf.constant((1, 2))
    images, targets = mixup(augmentation(EACH)(tf.constant(noise(8, 32, 32, 3)), seed), tf.eye(8), seed)
    assert done.stdout.split() == [hashlib.sha256(images.numpy().tobytes() + targets.numpy().tobytes()).hexdigest()]


@pytest.mark.parametrize("name", EACH)
def test_what_happens_to_an_image_does_not_depend_on_the_size_of_its_batch(name: str) -> None:
    images = noise(9, 56, 72, 3)
    assert np.abs(changed(images[:4], name) - changed(images, name)[:4]).max() <= 0.02


@pytest.mark.parametrize("names", [EACH, auto(False, 32), ["rotate"], []], ids=str)
def test_a_graph_takes_batches_of_any_size_and_knows_the_rest_of_the_shape(names: list[str]) -> None:
    spec = [tf.TensorSpec((None, 28, 30, 3)), tf.TensorSpec((2,), tf.int32)]
    graph = tf.function(augmentation(names), input_signature=spec)
    assert graph.get_concrete_function().structured_outputs.shape.as_list() == [None, 28, 30, 3]
    images = noise(7, 28, 30, 3)
    for n in (1, 7):
        expected = changed(images[:n], *names)
        assert (
            np.abs(graph(images[:n], tf.constant((1, 2))).numpy() - expected).max() <= 0.02
        )  # places are rounded to about 1e-5 px


def test_flip_mirrors_about_half_of_the_images_left_to_right_and_leaves_the_others() -> None:
    images = noise(100, 31, 47, 3)
    result = changed(images, "flip")
    kept = (result == images).all(axis=(1, 2, 3))
    assert (result[~kept] == images[~kept][:, :, ::-1]).all()
    assert 35 <= kept.sum() <= 65


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (31, 47)])
def test_crop_moves_small_images_by_up_to_an_eighth_in_whole_pixels_and_reflects_the_border(height, width) -> None:
    down, across = height // 8, width // 8
    images = with_coordinates(400, height, width)
    result = changed(images, "crop")
    shifts = set()
    for before, after in zip(images, result, strict=True):
        middle = after[height // 2, width // 2]
        x, y = int(middle[0]) - width // 2, int(middle[1]) - height // 2
        padded = np.pad(before, ((down, down), (across, across), (0, 0)), mode="symmetric")
        assert (after == padded[down + y :][:height, across + x :][:, :width]).all()
        shifts.add((x, y))
    assert {x for x, _ in shifts} == set(range(-across, across + 1))
    assert {y for _, y in shifts} == set(range(-down, down + 1))


def test_crop_and_flip_together_stay_exact() -> None:
    images = noise(50, 32, 32, 3)
    flipped, moved = changed(images, "flip"), changed(images, "flip", "crop")
    for before, after in zip(flipped, moved, strict=True):
        padded = np.pad(before, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, before.shape).reshape(-1, *before.shape)
        assert (windows == after).all(axis=(1, 2, 3)).sum() == 1


def test_crop_of_a_photo_shows_60_to_100_percent_of_it_at_its_own_size() -> None:
    height, width = 60, 80
    images = with_coordinates(150, height, width)
    areas, aspects = [], []
    for before, after in zip(images, changed(images, "crop"), strict=True):
        found = map_of(after)
        assert np.abs(found - np.diag(found.diagonal()) - found * [[0, 0, 1], [0, 0, 1], [0, 0, 0]]).max() < 1e-4
        (left, top), (right, bottom) = ((found @ (*corner, 1))[:2] for corner in ((-0.5, -0.5), (79.5, 59.5)))
        assert left > -0.51 and top > -0.51 and right < width - 0.49 and bottom < height - 0.49
        areas.append(found[0, 0] * found[1, 1])
        aspects.append(found[0, 0] / found[1, 1])
        assert np.abs(after[..., 2] - by_scipy(before[..., 2], found)).max() < 0.1
    assert 0.599 < min(areas) < 0.63 and 0.97 < max(areas) < 1.001
    assert 0.749 < min(aspects) < 0.8 and 1.25 < max(aspects) < 1.334


def test_rotate_turns_about_the_centre_by_up_to_15_degrees_either_way() -> None:
    height, width = 40, 52
    images = with_coordinates(200, height, width)
    angles = []
    for before, after in zip(images, changed(images, "rotate"), strict=True):
        found = map_of(after)
        turn = about_centre(found, height, width)
        assert np.abs(turn @ turn.T - np.eye(3)).max() < 1e-3 and np.linalg.det(turn) > 0
        angles.append(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
        assert np.abs(after[..., 2] - by_scipy(before[..., 2], found)).max() < 0.2
    assert -15.01 < min(angles) < -14 and 14 < max(angles) < 15.01 and abs(np.mean(angles)) < 2


def test_distort_shears_and_tilts_mildly_and_keeps_the_centre() -> None:
    height, width = 40, 52
    images = with_coordinates(100, height, width)
    found = np.stack([map_of(after) for after in changed(images, "distort")])
    centred = np.stack([about_centre(one, height, width) for one in found])
    assert np.abs(centred[:, :2, 2]).max() < 1e-2
    assert np.abs(centred[:, :2, :2] - [[1, 0], [0, 1]])[:, [0, 1, 1], [0, 0, 1]].max() < 1e-3
    assert 0.09 < np.abs(centred[:, 0, 1]).max() < 0.101
    assert 0.11 < np.abs(centred[:, 2, 0] * width / 2).max() < 0.121
    assert 0.11 < np.abs(centred[:, 2, 1] * height / 2).max() < 0.121


@pytest.mark.parametrize(("height", "width"), [(40, 44), (60, 80)])
def test_all_that_move_pixels_do_so_in_one_bilinear_resampling(height: int, width: int) -> None:
    images = with_coordinates(30, height, width)
    for before, after in zip(images, changed(images, "flip", "distort", "rotate", "crop"), strict=True):
        assert np.abs(after[..., 2] - by_scipy(before[..., 2], map_of(after))).max() < 0.3


def test_blur_is_a_gaussian_on_half_of_the_images_and_none_on_the_others() -> None:
    images = np.zeros((120, 33, 41, 1), np.float32)
    images[:, 16, 20] = 255
    deviations = []
    for before, after in zip(images, changed(images, "blur"), strict=True):
        if (after == before).all():
            continue
        assert after.sum() == pytest.approx(255, rel=1e-4)
        deviations.append((2 * np.log(after[16, 20, 0] / after[16, 21, 0])) ** -0.5)
        expected = ndimage.gaussian_filter(before[..., 0], deviations[-1], truncate=9)
        assert np.abs(after[..., 0] - expected).max() < 0.05
    assert 40 < len(deviations) < 80 and 0.75 < max(deviations) <= 0.5 + 41 / 128 + 1e-3


def test_color_keeps_grey_grey_and_treats_one_channel_like_three_equal_ones() -> None:
    gray = noise(40, 32, 32, 1)
    as_rgb = changed(np.repeat(gray, 3, axis=-1), "color")
    assert np.ptp(as_rgb, axis=-1).max() < 1e-3
    assert np.abs(changed(gray, "color") - as_rgb[..., :1]).max() < 1e-3


def test_color_changes_brightness_and_contrast_within_their_ranges() -> None:
    images = 100 + noise(200, 16, 16, 1) / 8  # nothing to clip
    result = changed(images, "color")
    brightness = result.mean(axis=(1, 2, 3)) / images.mean(axis=(1, 2, 3))
    contrast = result.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3)) / brightness
    assert 0.799 < brightness.min() < 0.82 and 1.18 < brightness.max() < 1.201
    assert 0.749 < contrast.min() < 0.78 and 1.22 < contrast.max() < 1.251


def test_color_changes_saturation_and_turns_hues_by_up_to_10_degrees() -> None:
    images = np.broadcast_to(np.float32([140, 110, 80]), (300, 8, 8, 3)).copy()
    result = changed(images, "color")[:, 0, 0].astype(np.float64)
    wheel = np.exp(2j * np.pi * np.arange(3) / 3)  # red, green and blue, 120 degrees apart
    before, after = images[0, 0, 0] @ wheel, result @ wheel
    hue = np.degrees(np.angle(after / before))
    assert -10.01 < hue.min() < -9 and 9 < hue.max() < 10.01
    colourfulness = abs(after / before) / (result.mean(axis=1) / 110)  # contrast and saturation together
    assert 0.75 * 0.7 - 1e-3 < colourfulness.min() < 0.65 and 1.4 < colourfulness.max() < 1.25 * 1.3 + 1e-3


@pytest.mark.parametrize(("shape", "side"), [((32, 32, 3), 12), ((28, 28, 1), 10), ((31, 47, 3), 12)])
def test_cutout_fills_one_square_around_any_pixel_with_the_mean_of_the_image(shape, side) -> None:
    images = noise(300, *shape)
    whole, centres = 0, []
    for before, after in zip(images, changed(images, "cutout"), strict=True):
        hole = (after != before).any(axis=-1)
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert hole.sum() == height * width and side // 2 <= min(height, width) and max(height, width) <= side
        assert np.abs(after[hole] - before.mean(axis=(0, 1))).max() < 0.01
        whole += (height, width) == (side, side)
        centres.append((rows[0], columns[0]))
    assert whole > 50 and {0} < {top for top, _ in centres} and {0} < {left for _, left in centres}


def test_mixup_mixes_images_and_targets_by_the_same_parts() -> None:
    images = noise(64, 8, 8, 1)
    mixed, targets = (part.numpy() for part in mixup(tf.constant(images), tf.eye(64), tf.constant((3, 4))))
    assert np.abs(targets.sum(axis=1) - 1).max() < 1e-6 and targets.min() >= 0
    assert ((targets > 0).sum(axis=1) <= 2).all()
    assert np.abs(mixed.reshape(64, -1) - targets @ images.reshape(64, -1)).max() < 1e-3
    assert 0 < np.diagonal(targets).min() < 0.1 and len(np.unique(np.diagonal(targets))) > 30


def test_mixup_draws_its_parts_from_beta_with_alpha_0_2() -> None:
    _, targets = mixup(tf.zeros((8000, 1, 1, 1)), tf.constant([[1.0], [0.0]] * 4000), tf.constant((3, 4)))
    parts = np.abs(targets.numpy()[::2, 0])
    assert np.isfinite(parts).all()
    assert parts.mean() == pytest.approx(0.5, abs=0.02)
    assert parts.var() == pytest.approx(0.2**2 / (0.4**2 * 1.4), abs=0.01)  # ab / ((a+b)^2 (a+b+1))


@pytest.mark.parametrize(
    ("gray", "height", "names"),
    [
        (True, 28, ("crop", "rotate", "distort")),
        (True, 300, ("crop", "rotate", "distort")),
        (False, 32, ("crop", "flip", "cutout")),
        (False, 64, ("crop", "flip", "color", "cutout")),
    ],
)
def test_auto_mirrors_nothing_grey_and_recolours_photos(gray: bool, height: int, names: tuple[str, ...]) -> None:
    assert auto(gray, height) == parse("auto", gray, height) == names


def test_parse_puts_names_in_one_order_and_drops_repeated_ones() -> None:
    assert parse("flip, crop,flip", False, 32) == ("crop", "flip")
    assert parse("mixup,auto", False, 32) == ("crop", "flip", "cutout", "mixup")
    assert parse("none", False, 32) == ()


@pytest.mark.parametrize("text", ["", "crop,", "zoom", "crop flip", "none,crop", "CROP"])
def test_parse_refuses_what_it_does_not_know_and_names_what_it_does(text: str) -> None:
    with pytest.raises(GrammarError, match="expected auto, none, or some of crop, rotate, blur") as caught:
        parse(text, False, 32)
    assert caught.value.exit_code == ExitCode.USAGE
