"""What training would see of an image: the same augmentation of the same network input, by the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.learning import tf
from cnncli.learning.augment import augmentation, mixup, phase_seed, step_seed
from cnncli.sheet import class_sheet, fitted

Pixels = npt.NDArray[np.uint8]

_TILE_PX = 160  # the longer side of an image on the sheet


@dataclass(frozen=True, slots=True)
class Variants:
    """One image as some augmentations change it."""

    names: tuple[str, ...]
    images: Pixels  # (count, height, width, channels)


def variants(batch: Pixels, names: Sequence[str], *, seed: int, count: int) -> tuple[Variants, ...]:
    """The first image of a batch `(n, height, width, channels)` changed by each of `names` alone, then by all.

    The variants of a row are what the first `count` steps of `train --seed SEED` show of the first image of a batch.
    `mixup` mixes it with the last one, so that it needs a batch of two.
    """
    alone = [(name,) for name in names]
    together = [tuple(names)] if len(names) > 1 else []
    return tuple(Variants(some, _changed(batch, some, seed, count)) for some in (*alone, *together))


def _changed(batch: Pixels, names: tuple[str, ...], seed: int, count: int) -> Pixels:
    augment = augmentation([name for name in names if name != "mixup"])
    shown = []
    for step in range(count):
        of_step = step_seed(phase_seed(seed, 0), step)
        images = augment(tf.cast(batch, tf.float32), of_step)
        if "mixup" in names:
            images, _ = mixup(images, tf.eye(len(batch)), of_step)
        shown.append(np.rint(images[0].numpy()).astype(np.uint8))
    return np.stack(shown)


def sheet(original: Pixels, rows: Sequence[Variants]) -> Image.Image:
    """The network input `(height, width, channels)`, then a row for each of its variants, named; mode `RGB`."""
    named = [("original", [_tile(original)])]
    for row in rows:
        named.append((row.names[0] if len(row.names) == 1 else "all together", [_tile(image) for image in row.images]))
    return class_sheet(named, columns=1)


def _tile(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return fitted(image.convert("RGB"), (_TILE_PX, _TILE_PX))
