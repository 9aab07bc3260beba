"""Runs a compiled network: LiteRT with its XNNPACK kernels, on the cores it is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cnncli.errors import ModelError
from cnncli.modelcard import ModelCard

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
        self._path = path
        self._mirrored = card.mirrored
        self._interpreter = open_interpreter(path, num_threads)
        _check_card(self._interpreter, path, card)
        allocate(self._interpreter, path, card.views)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, pixels: Pixels) -> Scores:
        """Probabilities of shape `(classes,)` for uint8 pixels of shape `(height, width, channels)`."""
        shown = views(pixels, mirrored=self._mirrored)
        self._interpreter.set_tensor(self._input, shown)
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as problem:
            raise ModelError(f"{self._path}: LiteRT cannot run this model ({problem})") from problem
        answers = self._interpreter.get_tensor(self._output)
        if len(answers) != len(shown):
            raise ModelError(f"{self._path}: this model cannot be shown a photo and its mirror image at once")
        return mean(answers)


def views(pixels: Pixels, *, mirrored: bool) -> npt.NDArray[np.float32]:
    """What a network is shown of an image, `(1, height, width, channels)`, or `(2, ...)` with its mirror image.

    The mean of its answers counts.
    """
    shown = np.stack([pixels, pixels[:, ::-1]]) if mirrored else pixels[np.newaxis]
    return shown.astype(np.float32)


def mean(answers: npt.NDArray[np.float32]) -> Scores:
    """The probabilities `(classes,)` that follow from those of each view, `(views, classes)`."""
    scores: Scores = answers[0] if len(answers) == 1 else answers.mean(axis=0)
    return scores


def open_interpreter(path: Path, num_threads: int) -> Any:
    """LiteRT's interpreter of a model file, without memory yet. Raises ModelError."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_path=str(path), num_threads=num_threads)
    except (ValueError, RuntimeError) as problem:
        raise ModelError(f"{path}: LiteRT cannot run this model ({problem})") from problem


def _check_card(interpreter: Any, path: Path, card: ModelCard) -> None:
    """Raises ModelError unless input and output are those of the card."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    expected = [1, card.input.height, card.input.width, 1 if card.input.color == "gray" else 3]
    if len(inputs) != 1 or not _is(inputs[0], expected):
        raise ModelError(f"{path}: expected one float32 input of shape {expected}, found {shapes(inputs)}")
    if len(outputs) != 1 or not _is(outputs[0], [1, len(card.classes)]):
        raise ModelError(
            f"{path}: expected one float32 output for {len(card.classes)} classes, found {shapes(outputs)}"
        )


def allocate(interpreter: Any, path: Path, at_once: int) -> None:
    """Reserves the memory of a network that is given `at_once` images.

    Raises ModelError if it asks for more than can be meant, or cannot take that many.
    """
    for tensor in interpreter.get_tensor_details():
        size = math.prod(map(int, tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize
        if size > MAX_TENSOR_BYTES:
            raise ModelError(f"{path}: it asks for a tensor of {size / 1e9:.1f} GB; refused")
    try:
        if at_once > 1:
            for tensor in interpreter.get_input_details():
                interpreter.resize_tensor_input(tensor["index"], [at_once, *map(int, tensor["shape"][1:])])
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as problem:
        raise ModelError(f"{path}: LiteRT cannot run this model ({problem})") from problem


def _is(tensor: dict[str, Any], shape: list[int]) -> bool:
    return list(tensor["shape"]) == shape and tensor["dtype"] is np.float32


def shapes(tensors: list[dict[str, Any]]) -> str:
    """Types and shapes of tensors, for messages: `float32 [1, 224, 224, 3]`."""
    return ", ".join(f"{np.dtype(t['dtype']).name} {list(map(int, t['shape']))}" for t in tensors) or "none"
