"""Runs a network with Keras itself: slower to start than LiteRT, the same answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnncli.backbones import Backbone
from cnncli.inference.engine import Pixels, Scores, mean, views
from cnncli.learning.backbones import build
from cnncli.learning.models import load_carded


def load(path: Path, row: Backbone | None) -> Any:
    """The network in a `.keras` file, or with `row` the one whose weights `path` holds. Raises ModelError."""
    return load_carded(path)[0] if row is None else build(row, path)


class KerasEngine:
    """A `.keras` file, or weights of a pretrained network, run by Keras on all cores."""

    def __init__(self, path: Path, row: Backbone | None, *, mirrored: bool) -> None:
        self._mirrored = mirrored
        self._model = load(path, row)

    def __call__(self, pixels: Pixels) -> Scores:
        """Probabilities of shape `(classes,)` for uint8 pixels of shape `(height, width, channels)`."""
        return mean(self._model.predict_on_batch(views(pixels, mirrored=self._mirrored)))
