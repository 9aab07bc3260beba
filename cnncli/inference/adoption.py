"""Gives a card to a model that somebody else made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cnncli.backbones import ImageClass, Resize
from cnncli.errors import ModelError
from cnncli.modelfile import labels_from_file, require_model_format

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
    _check_output(output, path, force)
    adoption = Adoption(path, labels_from_file(labels), input_range, resize, output)
    if path.suffix == ".keras":
        from cnncli.learning.models import adopt_keras

        return adopt_keras(adoption)
    from cnncli.inference.engine import adopt_tflite

    return adopt_tflite(adoption)


def _check_output(output: Path, path: Path, force: bool) -> None:
    """Raises ModelError unless `output` can be written: found out before the work, not after it."""
    if output.suffix != path.suffix:
        raise ModelError(f"{output}: expected a name that ends in {path.suffix}, like that of {path}")
    if output.is_dir():
        raise ModelError(f"{output}: is a folder; expected the name of a file to write")
    if output.exists() and output.samefile(path):
        raise ModelError(f"{output}: is the model itself; choose another name")
    if output.exists() and not force:
        raise ModelError(f"{output}: exists; choose another name or add --force")
    if not output.parent.is_dir():
        raise ModelError(f"{output.parent}: no such folder")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise ModelError(f"{output.parent}: this folder cannot be written; choose another")
