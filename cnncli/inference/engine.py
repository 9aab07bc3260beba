"""Runs a compiled network: LiteRT with its XNNPACK kernels, on the cores it is given."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

import cnncli
from cnncli.backbones import InputSpec
from cnncli.errors import ModelError
from cnncli.modelfile import ModelCard, write_tflite

if TYPE_CHECKING:
    from cnncli.inference.adoption import Adoption

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

MAX_TENSOR_BYTES = 2_000_000_000  # of one tensor that a model file asks for
TRIAL_S = 60  # the largest of the pretrained networks needs two


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
        self._interpreter = _interpreter(path, num_threads)
        _check_card(self._interpreter, path, card)
        _allocate(self._interpreter, path)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, pixels: Pixels) -> Scores:
        """Probabilities of shape `(classes,)` for uint8 pixels of shape `(height, width, channels)`."""
        self._interpreter.set_tensor(self._input, pixels[np.newaxis].astype(np.float32))
        self._interpreter.invoke()
        scores: Scores = self._interpreter.get_tensor(self._output)[0]
        return scores


def _interpreter(path: Path, num_threads: int) -> Any:
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
        raise ModelError(f"{path}: expected one float32 input of shape {expected}, found {_shapes(inputs)}")
    if len(outputs) != 1 or not _is(outputs[0], [1, len(card.classes)]):
        raise ModelError(
            f"{path}: expected one float32 output for {len(card.classes)} classes, found {_shapes(outputs)}"
        )


def _allocate(interpreter: Any, path: Path) -> None:
    """Reserves the memory of a network. Raises ModelError if it asks for more than can be meant."""
    for tensor in interpreter.get_tensor_details():
        size = math.prod(map(int, tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize
        if size > MAX_TENSOR_BYTES:
            raise ModelError(f"{path}: it asks for a tensor of {size / 1e9:.1f} GB; refused")
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as problem:
        raise ModelError(f"{path}: LiteRT cannot run this model ({problem})") from problem


def _is(tensor: dict[str, Any], shape: list[int]) -> bool:
    return list(tensor["shape"]) == shape and tensor["dtype"] is np.float32


def _shapes(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"{np.dtype(t['dtype']).name} {list(map(int, t['shape']))}" for t in tensors) or "none"


def adopt_tflite(adoption: Adoption) -> str:
    """Writes a foreign LiteRT model with a card. Its graph cannot be changed, so it must take pixels 0..255.

    Returns what was found, for the user. Raises ModelError.
    """
    path, classes = adoption.path, adoption.classes
    if adoption.input_range != "0..255":
        raise ModelError(f"{path}: a .tflite file is adopted as it is, for --input-range 0..255 only; adopt the .keras")
    try_out(path)
    height, width, channels, scores = _shapes_of(path)
    if scores != len(classes):
        raise ModelError(
            f"{path}: the model has {scores} classes, --labels names {len(classes)}; "
            "expected one label for each output, in the model's order"
        )
    spec = InputSpec(height, width, "gray" if channels == 1 else "rgb", adoption.resize)
    card = ModelCard(adoption.output.stem, classes, spec, description=f"adopted from {path.name}")
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    answer = LiteRTEngine(path, card, num_threads=1)(pixels)
    if not ((answer >= 0).all() and abs(answer.sum() - 1) <= 1e-3):  # NaN is neither
        raise ModelError(f"{path}: its scores are not probabilities (sum {answer.sum():.3g}); adopt the .keras instead")
    write_tflite(path.read_bytes(), card, adoption.output)
    return "its scores are probabilities"


def _shapes_of(path: Path) -> tuple[int, int, int, int]:
    """Height, width and channels of the input of a LiteRT model, and the length of its output. Raises ModelError."""
    interpreter = _interpreter(path, num_threads=1)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [list(map(int, tensor["shape"])) for tensor in (*inputs, *outputs)]
    if len(inputs) != 1 or len(shapes[0]) != 4 or shapes[0][0] != 1 or shapes[0][3] not in (1, 3):
        raise ModelError(f"{path}: expected one input of shape [1, height, width, 1 or 3], found {_shapes(inputs)}")
    if len(outputs) != 1 or len(shapes[1]) != 2:
        raise ModelError(f"{path}: expected one output of shape [1, classes], found {_shapes(outputs)}")
    return shapes[0][1], shapes[0][2], shapes[0][3], shapes[1][1]


def try_out(path: Path) -> None:
    """Runs a LiteRT model that nobody vouches for once, in a process of its own. Raises ModelError.

    LiteRT checks the structure of a file, but some damaged ones crash it or keep it busy for ever all the same.
    """
    package_folder = str(Path(cnncli.__file__).parent.parent)
    paths = os.pathsep.join([package_folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        trial = subprocess.run(
            [sys.executable, "-P", "-m", "cnncli.inference.engine", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_S,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired as problem:
        raise ModelError(f"{path}: LiteRT ran this model for {TRIAL_S} s without an answer; refused") from problem
    if trial.returncode < 0:
        raise ModelError(f"{path}: this model crashes LiteRT (signal {-trial.returncode}): it is damaged; refused")
    if trial.returncode > 0:
        raise ModelError(trial.stdout.decode(errors="replace").strip() or f"{path}: LiteRT cannot run this model")


def main() -> int:
    """The process of `try_out`: runs the model that the command line names on an input of zeros."""
    try:
        interpreter = _interpreter(Path(sys.argv[1]), num_threads=1)
        _allocate(interpreter, Path(sys.argv[1]))
        for tensor in interpreter.get_input_details():
            interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
        interpreter.invoke()
    except (ModelError, ValueError, RuntimeError) as problem:
        sys.stdout.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
