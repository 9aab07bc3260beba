"""How far a heat map tells the truth: hide or show first what it calls important, and watch the network's answer.

Deletion and insertion as in RISE (Petsiuk, Das & Saenko, arXiv:1806.07421, section 4.1), against maps of chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from cnncli.inference.engine import Pixels, Scores
from cnncli.inference.occlusion import Maps, Progress, Scorer, neutral
from cnncli.mapgrid import MapGrid

_STEPS = 20  # in which the photo disappears, or comes back
_RANDOM_MAPS = 3
_BLUR = 5 / 224  # standard deviation of the blur as a part of the input's side: RISE's 5 px at 224
_SEED = 0

Order = npt.NDArray[np.intp]  # places of the input's pixels, the most important first


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Areas under the curves of a class's probability, each 0..1: its mean while the photo changes step by step."""

    deletion: float  # the most important pixels made grey first: low is good
    insertion: float  # the most important pixels of a blurred photo made sharp first: high is good
    random_deletion: float  # the same for maps of the same size that chance made
    random_insertion: float

    @property
    def gains(self) -> tuple[float, float]:
        """How much better than chance the map is at deletion and at insertion; negative: worse."""
        return self.random_deletion - self.deletion, self.insertion - self.random_insertion


def faithfulness(
    pixels: Pixels, maps: Maps, grid: MapGrid, indices: Sequence[int], score: Scorer, progress: Progress
) -> tuple[Faithfulness, ...]:
    """Measures the map of each class in `indices`; `maps` are `(classes, rows, columns)`, with cells where `grid` says.

    The maps of chance have the same rows and columns, so that they hide patches of the same size.
    """
    chance = np.random.default_rng(_SEED).random((_RANDOM_MAPS, *maps.shape[1:]), np.float32)
    orders = [_order(map_, grid, pixels) for map_ in (*maps, *chance)]
    blurred = _blurred(pixels)
    flat = np.empty_like(pixels)
    flat[:] = neutral(pixels)
    series = [(order, begin, end) for order in orders for begin, end in ((pixels, flat), (blurred, pixels))]
    images = (image for order, begin, end in series for image in _replaced(order, begin, end))
    curves = _areas(score(images), len(series), progress)  # (orders * 2, classes of the network)
    by_order = curves.reshape(len(orders), 2, -1)
    by_chance = by_order[len(maps) :].mean(axis=0)
    return tuple(
        Faithfulness(*by_order[place, :, index].tolist(), *by_chance[:, index].tolist())
        for place, index in enumerate(indices)
    )


def _order(map_: npt.NDArray[np.float32], grid: MapGrid, pixels: Pixels) -> Order:
    height, width = pixels.shape[:2]
    smooth = grid.sampled(map_, (0, 0, width, height), (width, height))
    return np.argsort(-smooth, axis=None, kind="stable")


def _blurred(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(_BLUR * max(image.size))))
    return blurred.reshape(pixels.shape)


def _replaced(order: Order, begin: Pixels, end: Pixels) -> Iterator[Pixels]:
    """`begin` turning into `end`, in `_STEPS` equal steps and both ends."""
    for step in range(_STEPS + 1):
        places = order[: len(order) * step // _STEPS]
        image = begin.copy()
        image.reshape(-1, image.shape[2])[places] = end.reshape(-1, end.shape[2])[places]
        yield image


def _areas(scores: Iterator[Scores], num_series: int, progress: Progress) -> npt.NDArray[np.float64]:
    """The area under each series of probabilities, by the trapezoidal rule over 0..1."""
    areas = []
    for number in range(num_series):
        points = []
        for step in range(_STEPS + 1):
            points.append(next(scores))
            progress(number * (_STEPS + 1) + step + 1, num_series * (_STEPS + 1))
        curve = np.stack(points).astype(np.float64)
        areas.append((curve[1:] + curve[:-1]).mean(axis=0) / 2)
    return np.stack(areas)
