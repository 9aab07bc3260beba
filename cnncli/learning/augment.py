"""Varies training images: whole batches inside a graph, with random numbers that a seed alone decides.

Nothing here keeps a state, and each kind of change folds a number of its own into the seed: the same seed gives the
same bits in any process, with or without the other changes, and an image's luck does not depend on the batch's size.

Crop, rotate, flip and distort are one map from output to input pixels, so that an image is resampled once. Maps are
`(n, 3, 3)` and take homogeneous `(x, y, 1)` in px from the image's centre. Beyond the border the image is reflected.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from cnncli.augmentations import AUGMENTATIONS, is_small
from cnncli.learning import tf

Tensor = Any  # tf.Tensor, which has no types of its own

_NUMBERS = {name: number for number, name in enumerate(AUGMENTATIONS)}

_SHIFT_DIVISOR = 8  # a side of 32 px is moved by up to 4, as He et al. pad CIFAR-10 (arXiv 1512.03385)
_AREA = (0.6, 1.0)  # of a photo that a crop keeps; Szegedy et al. (arXiv 1409.4842) go down to 0.08
_ASPECT = (3 / 4, 4 / 3)  # width to height of a crop, against the image's own; theirs
_TURN = math.radians(15)
_SHEAR = 0.1  # px sideways for each px up or down
_PERSPECTIVE = 0.12  # how much nearer or farther the middle of an edge is than the centre
# Found by looking at photos: colours change plainly, and a red apple does not turn into a green one.
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.25, 0.3  # parts more or less
_HUE = math.radians(10)
_HOLE = 3 / 8  # of the shorter side: 12 px of 32, where DeVries & Taylor use 16 for 10 classes and 8 for 100
_MIXUP_ALPHA = 0.2  # of the Beta distribution; Zhang et al. use 0.1 to 0.4 for ImageNet


def augmentation(names: Sequence[str]) -> Callable[[Tensor, Tensor], Tensor]:
    """A function that changes a batch by all of `names` (keys of AUGMENTATIONS), each image in its own way.

    It maps float32 `(n, height, width, channels)` in 0..255, 1 or 3 channels, only `n` unknown to the graph, and an
    int32 seed `(2,)` to images of the same shape and range. `mixup` is passed over: it changes labels too, and is a
    function of its own.
    """

    def augment(images: Tensor, seed: Tensor) -> Tensor:
        seeds = {name: _seed(seed, name) for name in names}
        images = _moved(images, seeds)
        for name, change in _CHANGES.items():
            if name in seeds:
                images = change(images, seeds[name])
        return tf.clip_by_value(images, 0.0, 255.0)  # weights that sum to 1 may round to a little more

    return augment


def mixup(images: Tensor, targets: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Mixes each image, and its targets `(n, classes)`, with its neighbour's in the batch, which is in random order.

    Parts are `part` and `1 - part`, drawn for each image from Beta(0.2, 0.2): mixup, Zhang et al., arXiv 1710.09412.
    """
    draws = tf.random.stateless_gamma((tf.shape(images)[0], 2), _seed(seed, "mixup"), _MIXUP_ALPHA)
    part = draws[:, 0] / tf.reduce_sum(draws, axis=1)  # two gamma draws make one of Beta

    def mixed(values: Tensor, part: Tensor) -> Tensor:
        return part * values + (1 - part) * tf.roll(values, 1, axis=0)

    return mixed(images, part[:, None, None, None]), mixed(targets, part[:, None])


def phase_seed(seed: int, phase: int) -> int:
    """The seed of one of the (at most two) phases of a run, of which `seed` is the user's."""
    return 2 * seed + phase


def step_seed(seed: int, step: Tensor | int) -> Tensor:
    """The seed of a step, int32 `(2,)`; `seed` is that of the phase, in which steps count from 0."""
    return tf.cast(tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)]), tf.int32)


def _seed(seed: Tensor, name: str) -> Tensor:
    return tf.random.fold_in(seed, _NUMBERS[name], alg="philox")


def _uniform(seed: Tensor, images: Tensor, *ranges: tuple[float, float]) -> list[Tensor]:
    """For each range a tensor `(n,)` of numbers in it, upper end excluded."""
    draws = tf.random.stateless_uniform((tf.shape(images)[0], len(ranges)), seed, alg="philox")
    return [low + (high - low) * draws[:, index] for index, (low, high) in enumerate(ranges)]


def _map(*entries: Tensor | float) -> Tensor:
    """A map `(n, 3, 3)` from its nine entries, row by row, at least one of them `(n,)`."""
    n = next(tf.shape(entry) for entry in entries if not isinstance(entry, float))
    return tf.reshape(tf.stack([tf.broadcast_to(entry, n) for entry in entries], axis=1), (-1, 3, 3))


def _turn(images: Tensor, seed: Tensor) -> Tensor:
    (angle,) = _uniform(seed, images, (-_TURN, _TURN))
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return _map(cosine, -sine, 0.0, sine, cosine, 0.0, 0.0, 0.0, 1.0)


def _distortion(images: Tensor, seed: Tensor) -> Tensor:
    height, width = images.shape[1:3]
    slope, *tilts = _uniform(seed, images, (-_SHEAR, _SHEAR), *[(-_PERSPECTIVE, _PERSPECTIVE)] * 2)
    return _map(1.0, slope, 0.0, 0.0, 1.0, 0.0, tilts[0] / (width / 2), tilts[1] / (height / 2), 1.0)


def _mirror(images: Tensor, seed: Tensor) -> Tensor:
    (draw,) = _uniform(seed, images, (-1, 1))
    return _map(tf.where(draw < 0, -1.0, 1.0), 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def _crop(images: Tensor, seed: Tensor) -> Tensor:
    """A shift by whole px for small images, else a part of the image at the image's size."""
    height, width = images.shape[1:3]
    if is_small(height, width):
        most = (width // _SHIFT_DIVISOR, height // _SHIFT_DIVISOR)
        x, y = (tf.floor(draw) for draw in _uniform(seed, images, *((-far, far + 1) for far in most)))
        return _map(1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0, 1.0)
    ranges = _AREA, (math.log(_ASPECT[0]), math.log(_ASPECT[1])), (-1, 1), (-1, 1)
    area, aspect, x, y = _uniform(seed, images, *ranges)
    across = tf.minimum(tf.sqrt(area * tf.exp(aspect)), 1.0)
    down = tf.minimum(tf.sqrt(area / tf.exp(aspect)), 1.0)
    left, top = x * (1 - across) * (width / 2), y * (1 - down) * (height / 2)
    return _map(across, 0.0, left, 0.0, down, top, 0.0, 0.0, 1.0)


# In the order in which an image goes through them.
_MAPS = {"rotate": _turn, "distort": _distortion, "flip": _mirror, "crop": _crop}


def _moved(images: Tensor, seeds: dict[str, Tensor]) -> Tensor:
    """The images after all maps that have a seed, resampled once with bilinear weights."""
    maps = [draw(images, seeds[name]) for name, draw in _MAPS.items() if name in seeds]
    if not maps:
        return images
    whole = functools.reduce(tf.matmul, maps)
    if seeds.keys() & {"rotate", "distort"}:
        return _projected(images, whole)
    # Rows and columns are apart, and two products with sparse matrices are three times as fast.
    height, width = images.shape[1:3]
    rows = _bilinear(whole[:, 1, 1], whole[:, 1, 2], height)
    return _separable(images, rows, _bilinear(whole[:, 0, 0], whole[:, 0, 2], width))


def _projected(images: Tensor, whole: Tensor) -> Tensor:
    """The images seen through maps of any kind."""
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    whole = [[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]] @ whole @ [[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]]
    entries = tf.reshape(whole, (-1, 9))
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=entries[:, :8] / entries[:, 8:],
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def _bilinear(scale: Tensor, shift: Tensor, size: int) -> Tensor:
    """The weight of each pixel of an axis in each resampled one, `(n, size, size)`; whole px keep their exact value."""
    places = tf.range(size, dtype=tf.float32)
    centre = (size - 1) / 2
    source = scale[:, None] * (places - centre) + shift[:, None] + centre  # (n, size)
    source = size - tf.abs(size - tf.abs(source + 0.5)) - 0.5  # reflected at the outer edges of the border pixels
    source = tf.clip_by_value(source, 0.0, size - 1.0)
    return tf.nn.relu(1 - tf.abs(source[:, :, None] - places))


def _separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images with `rows` `(n, height, height)` and `columns` `(n, width, width)` as weights of the old pixels."""
    planes = tf.transpose(images, (0, 3, 1, 2))
    planes = tf.matmul(rows[:, None] @ planes, columns[:, None], transpose_b=True)
    return tf.transpose(planes, (0, 2, 3, 1))


def _blurred(images: Tensor, seed: Tensor) -> Tensor:
    """Half of the images blurred with a Gaussian; at the border its weights are those of the pixels that are there."""
    height, width = images.shape[1:3]
    most = 0.5 + max(height, width) / 128  # px: a standard deviation that shows, and leaves what matters
    (deviation,) = _uniform(seed, images, (-most, most))
    deviation = tf.maximum(deviation, 1e-3)[:, None, None]  # the lower half: too little for any change

    def weights(size: int) -> Tensor:
        places = tf.range(size, dtype=tf.float32)
        bells = tf.exp(-(((places[:, None] - places) / deviation) ** 2) / 2)
        return bells / tf.reduce_sum(bells, axis=2, keepdims=True)

    return _separable(images, weights(height), weights(width))


def _recoloured(images: Tensor, seed: Tensor) -> Tensor:
    """Images with other brightness, contrast, saturation and hue. What is grey stays grey."""
    height, width, channels = images.shape[1:]
    ranges = (-_BRIGHTNESS, _BRIGHTNESS), (-_CONTRAST, _CONTRAST), (-_SATURATION, _SATURATION), (-_HUE, _HUE)
    brightness, contrast, saturation, hue = (draw[:, None, None] for draw in _uniform(seed, images, *ranges))
    gain = (1 + brightness) * (1 + contrast)
    colours = gain  # (n, channels, channels)
    if channels == 3:
        colours = gain * _about_grey((1 + saturation) * tf.cos(hue), (1 + saturation) * tf.sin(hue))
    mean = tf.reduce_mean(images, axis=(1, 2, 3))[:, None, None]
    pixels = tf.reshape(images, (-1, height * width, channels)) @ colours - (1 + brightness) * contrast * mean
    return tf.reshape(tf.clip_by_value(pixels, 0.0, 255.0), (-1, height, width, channels))


def _about_grey(cosine: Tensor, sine: Tensor) -> Tensor:
    """Matrices that turn colours about the grey axis (Rodrigues' rotation), their distance to it scaled."""
    grey = tf.fill((3, 3), 1 / 3)
    across = tf.constant([[0.0, 1, -1], [-1, 0, 1], [1, -1, 0]]) / math.sqrt(3)
    return grey + cosine * (tf.eye(3) - grey) + sine * across


def _cut(images: Tensor, seed: Tensor) -> Tensor:
    """Images with a square hole around a random pixel, partly outside at the border (cutout, arXiv 1708.04552).

    It holds the image's mean colour, where the paper has that of all images.
    """
    height, width, channels = images.shape[1:]
    side = max(1, round(min(height, width) * _HOLE))

    def inside(centre: Tensor, size: int) -> Tensor:  # (n, size)
        offset = tf.range(size, dtype=tf.float32) - tf.floor(centre)[:, None] + side // 2
        return (offset >= 0) & (offset < side)

    y, x = _uniform(seed, images, (0, height), (0, width))
    rows = tf.reshape(images, (-1, height, width * channels))  # one axis less to broadcast: half the time
    hole = inside(y, height)[:, :, None] & tf.repeat(inside(x, width), channels, axis=1)[:, None]
    mean = tf.reduce_mean(tf.reshape(tf.reduce_mean(rows, axis=1), (-1, width, channels)), axis=1)
    filled = tf.where(hole, tf.broadcast_to(tf.tile(mean, (1, width))[:, None], tf.shape(rows)), rows)
    return tf.reshape(filled, (-1, height, width, channels))


_CHANGES = {"blur": _blurred, "color": _recoloured, "cutout": _cut}
