"""Whether two files of one network give the same answers on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnncli import images
from cnncli.errors import ImageError
from cnncli.inference.engine import Scores
from cnncli.inference.models import ReadyModel
from cnncli.inference.pipeline import best
from cnncli.inference.request import usable_cores
from cnncli.sources import Source

Progress = Callable[[int, int | None], None]  # images so far, images in all

_TOP = 3


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two models agree."""

    images: int
    top: int  # 3, or the number of classes if there are fewer
    same_first: int  # images on which the best class is the same
    same_top: int  # images on which the `top` best classes are the same, in the same order
    difference: float  # the largest between two probabilities; NaN if one of them is no number
    failures: tuple[tuple[str, str], ...] = ()  # images that could not be read: name and reason


def compare(original: ReadyModel, exported: ReadyModel, sources: Sequence[Source], *, progress: Progress) -> Parity:
    """Runs both models on the pixels that `predict` makes of each image. Raises ModelError if one cannot be run."""
    spec, classes = original.card.input, original.card.classes
    engines = [model.engine(usable_cores()) for model in (original, exported)]
    pairs: list[tuple[Scores, Scores]] = []
    failures = []
    for number, source in enumerate(sources, 1):
        try:
            picture = images.read(source, shorter_side_px=max(spec.height, spec.width))
        except ImageError as problem:
            failures.append((source.name, str(problem)))
        else:
            pixels = images.network_input(picture, spec)
            pairs.append((engines[0](pixels), engines[1](pixels)))
        progress(number, len(sources))
    top = min(_TOP, len(classes))
    orders = [[[answer.index for answer in best(scores, classes, top)] for scores in pair] for pair in pairs]
    return Parity(
        images=len(pairs),
        top=top,
        same_first=sum(one[0] == other[0] for one, other in orders),
        same_top=sum(one == other for one, other in orders),
        difference=float(np.max([np.abs(one - other).max() for one, other in pairs], initial=0)),
        failures=tuple(failures),
    )
