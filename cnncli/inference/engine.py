"""Runs a compiled network: LiteRT with its XNNPACK kernels, on the cores it is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from cnncli.backbones import InputSpec
from cnncli.errors import ModelError
from cnncli.modelfile import ModelCard, require_model_format, write_tflite

if TYPE_CHECKING:
    from cnncli.inference.adoption import Adoption

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

MAX_TENSOR_BYTES = 2_000_000_000  # of one tensor that a model file asks for


class Engine(Protocol):
    """A network ready to run. One engine serves one thread at a time."""

    def __call__(self, pixels: Pixels) -> Scores:
        """Probabilities of shape `(classes,)` for uint8 pixels of shape `(height, width, channels)`."""


def litert_available() -> bool:
    """Whether the LiteRT package can be imported on this machine."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return False
    return True


class LiteRTEngine:
    """A compiled network. The file is mapped, not read."""

    def __init__(self, path: Path, card: ModelCard, num_threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._path = path
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
            self._check(card)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as problem:
            raise ModelError(f"{path}: LiteRT cannot run this model ({problem})") from problem
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def _check(self, card: ModelCard) -> None:
        """Raises ModelError unless the tensors are those of the card, at sizes that can be meant."""
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        channels = 1 if card.input.color == "gray" else 3
        expected = [1, card.input.height, card.input.width, channels]
        if len(inputs) != 1 or not _is(inputs[0], expected):
            raise ModelError(f"{self._path}: expected one float32 input of shape {expected}, found {_shapes(inputs)}")
        if len(outputs) != 1 or not _is(outputs[0], [1, len(card.classes)]):
            raise ModelError(
                f"{self._path}: expected one float32 output for {len(card.classes)} classes, found {_shapes(outputs)}"
            )
        for tensor in self._interpreter.get_tensor_details():
            size = int(np.prod(tensor["shape"], dtype=object)) * np.dtype(tensor["dtype"]).itemsize
            if size > MAX_TENSOR_BYTES:
                raise ModelError(f"{self._path}: it asks for a tensor of {size / 1e9:.1f} GB; refused")

    def __call__(self, pixels: Pixels) -> Scores:
        """Probabilities of shape `(classes,)` for uint8 pixels of shape `(height, width, channels)`."""
        self._interpreter.set_tensor(self._input, pixels[np.newaxis].astype(np.float32))
        self._interpreter.invoke()
        scores: Scores = self._interpreter.get_tensor(self._output)[0]
        return scores


def _is(tensor: dict[str, Any], shape: list[int]) -> bool:
    return list(tensor["shape"]) == shape and tensor["dtype"] is np.float32


def _shapes(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"{np.dtype(t['dtype']).name} {list(map(int, t['shape']))}" for t in tensors) or "none"


def adopt_tflite(adoption: Adoption) -> str:
    """Writes a foreign LiteRT model with a card. Its graph cannot be changed, so it must take pixels 0..255.

    Returns what was found, for the user. Raises ModelError.
    """
    path = adoption.path
    require_model_format(path)
    if adoption.input_range != "0..255":
        raise ModelError(f"{path}: a .tflite file is adopted as it is, for --input-range 0..255 only; adopt the .keras")
    from ai_edge_litert.interpreter import Interpreter

    flatbuffer = path.read_bytes()
    try:
        shape = [int(side) for side in Interpreter(model_content=flatbuffer).get_input_details()[0]["shape"]]
    except (ValueError, RuntimeError, IndexError) as problem:
        raise ModelError(f"{path}: LiteRT cannot run this model ({problem})") from problem
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ModelError(f"{path}: its input has shape {shape}; expected [1, height, width, 1 or 3]")
    spec = InputSpec(shape[1], shape[2], "gray" if shape[3] == 1 else "rgb", adoption.resize)
    card = ModelCard(adoption.output.stem, adoption.classes, spec, description=f"adopted from {path.name}")
    pixels = np.random.default_rng(0).integers(0, 256, (*shape[1:],), dtype=np.uint8)
    scores = LiteRTEngine(path, card, num_threads=1)(pixels)
    if (scores < 0).any() or abs(scores.sum() - 1) > 1e-3:
        raise ModelError(f"{path}: its scores are not probabilities (sum {scores.sum():.3g}); adopt the .keras instead")
    write_tflite(flatbuffer, card, adoption.output)
    return "its scores are probabilities"
