"""Begins a training with the weights of a model that was trained before."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from cnncli.errors import TrainingError
from cnncli.learning.models import load_carded
from cnncli.runs import Run


def start_from(path: Path, network: Any) -> None:
    """Gives `network`, pixels to logits, the weights of the model of a run or in a `.keras` file.

    The model must have the same layers; only its last one may be for another number of classes, and is then left
    as it is. Raises TrainingError, and ModelError for a file that is no model.
    """
    file = Run(path).model if path.is_dir() else path
    if not file.is_file():
        raise TrainingError(f"--start-from {path}: no such run or model file; expected one that 'cnncli train' wrote")
    trained, _ = load_carded(file)
    pairs = list(itertools.zip_longest(_layers(network), _layers(trained)))
    for number, (own, theirs) in enumerate(pairs, 1):
        same = own is not None and theirs is not None and own.name == theirs.name
        if not same or (_shapes(own) != _shapes(theirs) and number < len(pairs)):
            raise TrainingError(
                f"--start-from {path}: a model of another network: its layer {number} is {_told(theirs)}, that of the "
                f"network to train is {_told(own)}; expected the same --net, --color and image size"
            )
    for own, theirs in pairs:
        if _shapes(own) == _shapes(theirs):
            own.set_weights(theirs.get_weights())


def _layers(network: Any) -> list[Any]:
    return [layer for layer in network.layers if layer.weights or layer.name == "rescale"]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _told(layer: Any) -> str:
    if layer is None:
        return "missing"
    return f"{layer.name!r} of shapes {', '.join('x'.join(map(str, shape)) for shape in _shapes(layer)) or 'none'}"
