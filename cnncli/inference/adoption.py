"""Gives a card to a model that somebody else made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cnncli.backbones import ImageClass, InputSpec, Resize
from cnncli.errors import ModelError
from cnncli.modelcard import ModelCard
from cnncli.modelfile import has_card, labels_from_file, require_model_format, write_tflite

INPUT_RANGES = ("0..255", "0..1", "-1..1", "caffe", "torch")


@dataclass(frozen=True, slots=True)
class Adoption:
    """A foreign model file and what its file does not say."""

    path: Path
    classes: tuple[ImageClass, ...]
    input_range: str  # one of INPUT_RANGES: what pixel values are to be when they enter the network
    resize: Resize
    output: Path


def adopt(path: Path, *, labels: Path, input_range: str, resize: Resize, output: Path, force: bool) -> str:
    """Writes `output`: the model at `path` with a card, taking pixels 0..255 and giving probabilities.

    Returns one sentence on what was done to it. Raises ModelError if the model or the labels do not fit, or if
    `output` exists and `force` is not given.
    """
    require_model_format(path)
    if has_card(path):  # to normalise its pixels a second time would make every answer wrong
        raise ModelError(f"{path}: this model has a card already and can be used as it is; adopt the original instead")
    check_output(output, path.suffix, f"like that of {path}", source=path, force=force)
    adoption = Adoption(path, labels_from_file(labels), input_range, resize, output)
    if path.suffix == ".keras":
        from cnncli.learning.models import adopt_keras

        return adopt_keras(adoption)
    return _adopt_tflite(adoption)


def check_output(output: Path, suffix: str, why: str, *, source: Path | None, force: bool) -> None:
    """Raises ModelError unless `output` can be written: found out before the work, not after it.

    `why` it is to end in `suffix` goes into the message; `source` is the model that it is made from.
    """
    if output.suffix != suffix:
        raise ModelError(f"{output}: expected a name that ends in {suffix}, {why}")
    if output.is_dir():
        raise ModelError(f"{output}: is a folder; expected the name of a file to write")
    if source is not None and output.exists() and source.exists() and output.samefile(source):
        raise ModelError(f"{output}: is the model itself; choose another name")
    if output.exists() and not force:
        raise ModelError(f"{output}: exists; choose another name or add --force")
    if not output.parent.is_dir():
        raise ModelError(f"{output.parent}: no such folder")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise ModelError(f"{output.parent}: this folder cannot be written; choose another")


def _adopt_tflite(adoption: Adoption) -> str:
    """Writes a foreign LiteRT model with a card. Its graph cannot be changed, so it must take pixels 0..255.

    Returns what was found, for the user. Raises ModelError.
    """
    import numpy as np

    from cnncli.inference.engine import LiteRTEngine
    from cnncli.inference.trial import try_out

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
    from cnncli.inference.engine import open_interpreter, shapes

    interpreter = open_interpreter(path, num_threads=1)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    sizes = [list(map(int, tensor["shape"])) for tensor in (*inputs, *outputs)]
    if len(inputs) != 1 or len(sizes[0]) != 4 or sizes[0][0] != 1 or sizes[0][3] not in (1, 3):
        raise ModelError(f"{path}: expected one input of shape [1, height, width, 1 or 3], found {shapes(inputs)}")
    if len(outputs) != 1 or len(sizes[1]) != 2:
        raise ModelError(f"{path}: expected one output of shape [1, classes], found {shapes(outputs)}")
    return sizes[0][1], sizes[0][2], sizes[0][3], sizes[1][1]
