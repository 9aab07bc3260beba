"""The sheet of augmentations shows exactly what training sees."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.augmentations import AUGMENTATIONS
from cnncli.learning import tf
from cnncli.learning.augment import augmentation, mixup
from cnncli.learning.steps import Objective, Steps
from cnncli.learning.variants import Variants, sheet, variants


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (3, 24, 32, 3), np.uint8)


def seen_in_training(batch: np.ndarray, names: tuple[str, ...], seed: int, step: int) -> np.ndarray:
    """The first image of the batch as a step of `cnncli train --seed SEED` shows it to the network."""
    steps = object.__new__(Steps)  # without a network
    steps._objective = Objective(
        augment=augmentation([name for name in names if name != "mixup"]),
        mix=mixup if "mixup" in names else None,
        seed=2 * seed,
    )
    images, _ = steps._shown(tf.cast(batch, tf.float32), tf.eye(len(batch)), tf.constant(step, tf.int64))
    return images[0].numpy()


@pytest.mark.parametrize("names", [(name,) for name in AUGMENTATIONS] + [tuple(AUGMENTATIONS)], ids="+".join)
def test_variants_are_what_the_first_steps_of_training_show(batch, names: tuple[str, ...]) -> None:
    found = variants(batch, names, seed=5, count=3)[-1]
    assert found.names == names and found.images.shape == (3, 24, 32, 3)
    for step, image in enumerate(found.images):
        assert np.abs(image - seen_in_training(batch, names, 5, step)).max() <= 0.5 + 1e-3


def test_each_augmentation_has_a_row_and_all_of_them_one_more(batch) -> None:
    assert [row.names for row in variants(batch, ("crop", "flip"), seed=0, count=1)] == [
        ("crop",), ("flip",), ("crop", "flip")
    ]  # fmt: skip
    assert [row.names for row in variants(batch, ("blur",), seed=0, count=1)] == [("blur",)]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_image_is_changed_alike_in_a_batch_of_any_size(batch, name: str) -> None:
    alone = batch[[0, -1]] if name == "mixup" else batch[:1]
    (whole,), (small,) = (variants(some, (name,), seed=3, count=2) for some in (batch, alone))
    assert (whole.images == small.images).all()


def test_seed_decides(batch) -> None:
    one, same, other = (variants(batch, ("cutout",), seed=seed, count=4)[0].images for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


def test_sheet_has_the_original_above_its_variants() -> None:
    original = np.full((8, 8, 3), (200, 10, 30), np.uint8)
    changed = np.stack([np.full((8, 8, 3), (10, value, 30), np.uint8) for value in (100, 150)])
    pixels = np.asarray(sheet(original, [Variants(("color",), changed)]))
    places = [np.argwhere((pixels == colour).all(axis=-1)) for colour in ((200, 10, 30), (10, 100, 30), (10, 150, 30))]
    assert [len(place) for place in places] == [160 * 160] * 3
    (top, left), (below, beside), (level, right) = (place.min(axis=0) for place in places)
    assert top < below == level and left == beside < right


def test_sheet_of_grey_images_is_grey() -> None:
    pixels = np.asarray(sheet(np.full((8, 8, 1), 99, np.uint8), []))
    assert (pixels == pixels[:, :, :1]).all() and ((pixels[:, :, 0] == 99).sum(axis=1) >= 160).sum() == 160
