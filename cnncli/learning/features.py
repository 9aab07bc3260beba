"""What the layers of a network answer to one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnncli.errors import ModelError
from cnncli.inference.engine import Pixels
from cnncli.inference.models import ReadyModel
from cnncli.learning import keras
from cnncli.learning.engine import load
from cnncli.learning.graph import FlatNetwork, Step, is_convolution, is_map, spread

_SHOWN_LAYERS = 5  # of a network, if none is named: the first, the last, and some between


@dataclass(frozen=True, slots=True, eq=False)
class LayerMaps:
    """The feature maps of one layer."""

    name: str
    kind: str  # the class of the layer in Keras
    number: int | None  # from 0 among the convolutions; None: it is none
    maps: npt.NDArray[np.float32]  # (height, width, maps)


class FeatureReader:
    """A network whose layers can be looked at."""

    def __init__(self, model: ReadyModel, layers: Sequence[str]) -> None:
        """`layers`: names, numbers of convolutions or `all`; empty: the first, the last and some between.

        Raises ModelError.
        """
        network = FlatNetwork(load(model.path, model.row))
        self._convolutions = network.convolutions
        self._steps = _chosen(network, layers, model.name)
        self._watched = keras.Model(network.input, [step.tensor for step in self._steps], name="features")

    def maps(self, pixels: Pixels) -> tuple[LayerMaps, ...]:
        """What the layers make of an input, uint8 `(height, width, channels)`, each named once."""
        answers = self._watched(pixels[np.newaxis].astype(np.float32), training=False)
        arrays = [np.asarray(answer, np.float32)[0] for answer in keras.tree.flatten(answers)]
        return tuple(
            LayerMaps(step.name, type(step.layer).__name__, self._number(step), array)
            for step, array in zip(self._steps, arrays, strict=True)
        )

    def _number(self, step: Step) -> int | None:
        return self._convolutions.index(step) if is_convolution(step.layer) else None


def _chosen(network: FlatNetwork, layers: Sequence[str], model: str) -> list[Step]:
    found = [step for step in network.convolutions if is_map(step)]
    if not layers and not found:
        raise ModelError(f"{model}: it has no convolution with feature maps; name another --layer")
    if not layers:
        return spread(found, _SHOWN_LAYERS)
    steps = found if "all" in layers else [network.find(name) for name in layers]
    for step in steps:
        if len(step.shape) != 3:
            raise ModelError(f"--layer {step.name}: its output has shape {step.shape}; expected (height, width, maps)")
    return list({id(step): step for step in steps}.values())
