"""The kernels of a network's convolutions, as training left them and as it found them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.backbones import InputSpec
from cnncli.errors import ModelError, TrainingError
from cnncli.inference.models import ReadyModel
from cnncli.learning import keras
from cnncli.learning.engine import load
from cnncli.learning.graph import FlatNetwork, Step, convolution_names, is_convolution, spread
from cnncli.learning.phases import untrained, with_net
from cnncli.runs import Run
from cnncli.settings import from_json

_SHOWN_LAYERS = 3  # of a network, if none is named


@dataclass(frozen=True, slots=True, eq=False)
class LayerKernels:
    """The kernels of one convolution."""

    name: str
    kind: str  # the class of the layer in Keras
    number: int  # from 0 among the convolutions
    weights: npt.NDArray[np.float32]  # (height, width, inputs, filters); a depthwise one has 1 input


def kernels(model: ReadyModel, layers: Sequence[str]) -> tuple[LayerKernels, ...]:
    """Those of `layers`: names, numbers of convolutions or `all`; empty: the first, the last and one between of those
    that are larger than one place. Raises ModelError.
    """
    return _kernels(FlatNetwork(load(model.path, model.row)), layers, model.name)


def kernels_before(run: Run, names: Sequence[str]) -> tuple[LayerKernels, ...]:
    """The same layers before the training of a run, whose seed draws the same weights again.

    Raises TrainingError for a run that began with published weights, and if `run.json` does not say enough.
    """
    record = run.read_record()
    try:
        spec, settings = InputSpec(**record["input"]), from_json(record["settings"])
        classes = len(record["classes"])
    except (KeyError, TypeError) as problem:
        raise TrainingError(f"{run.record}: it does not say how the run began ({problem})") from problem
    settings = with_net(settings, spec)
    if settings.start_from is not None:
        raise TrainingError(f"{run.folder}: it began with the weights of {settings.start_from}")
    if settings.backbone is not None and not settings.from_scratch:
        raise TrainingError(f"{run.folder}: it began with the published weights of {settings.backbone}")
    return _kernels(FlatNetwork(untrained(settings, spec, classes)), names, str(run.folder))


def _kernels(network: FlatNetwork, layers: Sequence[str], model: str) -> tuple[LayerKernels, ...]:
    found = network.convolutions
    if not found:
        raise ModelError(f"{model}: it has no convolution, so there are no kernels")
    wide = [step for step in found if max(_weights(step).shape[:2]) > 1]
    if layers:
        chosen = found if "all" in layers else [_convolution(network, name) for name in layers]
    else:
        chosen = spread(wide or found, _SHOWN_LAYERS)
    unique = {step.name: step for step in chosen}.values()
    return tuple(LayerKernels(s.name, type(s.layer).__name__, found.index(s), _weights(s)) for s in unique)


def _convolution(network: FlatNetwork, name: str) -> Step:
    step = network.find(name)
    if not is_convolution(step.layer):
        names = convolution_names([other.name for other in network.convolutions])
        raise ModelError(f"--layer {name}: this is a {type(step.layer).__name__}, which has no kernels; {names}")
    return step


def _weights(step: Step) -> npt.NDArray[np.float32]:
    layer: Any = step.layer
    weights: npt.NDArray[np.float32] = np.asarray(layer.weights[0].numpy(), np.float32)
    if isinstance(layer, keras.layers.Conv2DTranspose):  # (height, width, filters, inputs)
        return weights.transpose(0, 1, 3, 2)
    if isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)):  # each has one input
        return weights.reshape(*weights.shape[:2], 1, -1)
    return weights
