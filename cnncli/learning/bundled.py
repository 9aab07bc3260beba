"""The bundled model as a Keras network, its weights read out of the LiteRT file that it ships as."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnncli import bundled
from cnncli.backbones import BUNDLED, InputSpec
from cnncli.learning import keras, tf
from cnncli.learning.networks import Precision, build, with_probabilities
from cnncli.modelcard import ModelCard
from cnncli.modelfile import check_content, read_card
from cnncli.networks import NAMED_NETS

_LAYER = re.compile(r"/(conv\d+|dense)(?:_\d+)?/")  # in the names that the converter gives to constants
_Part = Literal["kernel", "bias"]
_Weights = dict[tuple[str, _Part], npt.NDArray[np.float32]]


def load() -> tuple[Any, ModelCard]:
    """The network, pixels 0..255 of shape `(batch, 64, 64, 3)` to probabilities, and its card. Raises ModelError."""
    card = read_card(bundled.path())
    return with_probabilities(_logits(card.input, len(card.classes), "float32", _stored_weights())), card


def trunk(spec: InputSpec, *, precision: Precision) -> Any:
    """The network without its classes for images of any size, also in grey: pixels to features `(batch, 320)`.

    Raises ModelError if its file is damaged.
    """
    logits = _logits(spec, 1, precision, _stored_weights())
    return keras.Model(logits.input, logits.layers[-1].input, name=BUNDLED)


def _logits(spec: InputSpec, classes: int, precision: Precision, weights: _Weights) -> Any:
    """The named net with the stored weights.

    The converter has multiplied what batch normalisation and rescaling multiply by into the kernels: what is left of
    batch normalisation is its shift, and of rescaling nothing.
    """
    network = build(NAMED_NETS[BUNDLED].layers(classes), spec, rescale=False, precision=precision)
    for layer in network.layers:
        if layer.name.startswith("conv"):
            kernel = weights[layer.name, "kernel"].transpose(1, 2, 3, 0)  # (height, width, inputs, filters)
            gray = kernel.shape[2] != layer.kernel.shape[2]  # as if its one channel stood there three times
            layer.set_weights([kernel.sum(axis=2, keepdims=True) if gray else kernel])
        elif layer.name.startswith("bn"):
            shift = weights["conv" + layer.name.removeprefix("bn"), "bias"]  # that of the convolution before it
            one, zero = np.ones_like(shift), np.zeros_like(shift)
            layer.set_weights([one, shift, zero, one - layer.epsilon])  # scale, shift, mean, variance
        elif layer.name == "dense" and weights["dense", "kernel"].shape[0] == classes:
            layer.set_weights([weights["dense", "kernel"].T, weights["dense", "bias"]])
    return network


def _stored_weights() -> _Weights:
    """The constants of the LiteRT file by layer: kernels `(filters, height, width, inputs)`, biases `(filters,)`.

    Raises ModelError if the file is damaged.
    """
    check_content(bundled.path(), read_card(bundled.path()))
    interpreter = _interpreter()(model_path=str(bundled.path()))
    interpreter.allocate_tensors()
    weights: _Weights = {}
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] is np.float16:
            found = _LAYER.search(tensor["name"])
            layer = "dense" if found is None else found[1]  # the name of the last bias says nothing
            part: _Part = "bias" if len(tensor["shape"]) == 1 else "kernel"
            weights[layer, part] = interpreter.get_tensor(tensor["index"]).astype(np.float32)
    return weights


def _interpreter() -> Any:
    """The class that reads LiteRT files: TensorFlow has one too, for machines that LiteRT's package is not made for."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return tf.lite.Interpreter
    return Interpreter
