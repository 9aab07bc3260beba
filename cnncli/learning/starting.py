"""Begins a training with the weights of a model that was trained before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnncli.backbones import ImageClass
from cnncli.errors import TrainingError
from cnncli.learning.models import load_carded
from cnncli.modelcard import ModelCard
from cnncli.modelfile import read_card
from cnncli.runs import Run


def model_file(path: Path) -> Path:
    """The model that `--start-from` names: that of a run, or a `.keras` file. Raises TrainingError and ModelError."""
    file = Run(path).model if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        what = "no such run or model file" if not file.is_file() else "this is no .keras file"
        raise TrainingError(f"--start-from {path}: {what}; expected a run of 'cnncli train', or its model.keras")
    read_card(file)
    return file


def is_for(card: ModelCard, classes: Sequence[ImageClass]) -> bool:
    """Whether the model of `card` answers with just these classes, so that its last layer is of use too."""
    return [c.id for c in card.classes] == [c.id for c in classes]


def start_from(path: Path, network: Any, classes: Sequence[ImageClass]) -> None:
    """Gives `network`, pixels to logits of `classes`, the weights of the model that `path` names.

    The model must have the same layers. Only its last one may be for other classes; that of `network` then keeps the
    weights that it has. Raises TrainingError, and ModelError for a file that is no model.
    """
    trained, card = load_carded(model_file(path))
    pairs = list(itertools.zip_longest(_layers(network), _layers(trained)))
    for number, (own, theirs) in enumerate(pairs, 1):
        if own is None or theirs is None or _kind(own, number == len(pairs)) != _kind(theirs, number == len(pairs)):
            raise TrainingError(
                f"--start-from {path}: a model of another network: its layer {number} is {_told(theirs)}, that of the "
                f"network to train is {_told(own)}; expected the same --net, --dropout, --no-rescale and --color, "
                "and where layers look at whole maps the same --image-size"
            )
    for own, theirs in pairs if is_for(card, classes) else pairs[:-1]:
        own.set_weights(theirs.get_weights())


def _layers(network: Any) -> list[Any]:
    """Those that compute something: without the input, and the softmax that a saved model ends in."""
    return [layer for layer in network.layers if layer.name not in ("pixels", "probabilities")]


def _kind(layer: Any, is_last: bool) -> tuple[Any, ...]:
    """What has to agree: the layer's settings and the shapes of its weights; of the last one not the classes."""
    others = {"name", "dtype", "trainable", *(["units"] if is_last else [])}
    settings = {key: value for key, value in layer.get_config().items() if key not in others}
    return type(layer), settings, [shape[:-1] if is_last else shape for shape in _shapes(layer)]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _told(layer: Any) -> str:
    if layer is None:
        return "missing"
    shapes = ", ".join("x".join(map(str, shape)) for shape in _shapes(layer))
    return f"{layer.name!r} ({type(layer).__name__}{f' of shapes {shapes}' if shapes else ''})"
