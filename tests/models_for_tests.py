"""Small models that tests make for themselves."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnncli.backbones import ImageClass, InputSpec
from cnncli.modelfile import ModelCard, write_keras

CHANNELS = (ImageClass("r", "red"), ImageClass("g", "green"), ImageClass("b", "blue"))


def brightest_channel_model(path: Path, side: int = 32, resize: str = "crop") -> Path:
    """Writes a model whose answer is the mean of each channel of the picture, through a softmax."""
    from cnncli.learning import keras

    pixels = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 64)(pixels)
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(3, activation="softmax", kernel_initializer="identity")
    model = keras.Model(pixels, dense(x))
    card = ModelCard("brightest", CHANNELS, InputSpec(side, side, "rgb", resize))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.keras"
        model.save(plain)
        write_keras(plain, card, path)
    return path


def compiled_copy(model: Path, target: Path) -> Path:
    """Writes the `.keras` file `model`, compiled, as a `.tflite` file with a card."""
    from cnncli.learning.compile import compile_job

    compile_job({"kind": "keras", "name": "", "path": str(model), "output": str(target)})
    return target


def plain_model(path: Path, *layers: Any, side: int = 16, channels: int = 3) -> Path:
    """Writes a `.keras` file without a card: `layers` after an input, as their owner would save them."""
    from cnncli.learning import keras

    keras.Sequential([keras.Input((side, side, channels)), *layers]).save(path)
    return path


def changed_config(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Writes a copy of a `.keras` file whose config `change` has edited."""
    config = json.loads(zipfile.ZipFile(source).read("config.json"))
    change(config)
    return changed_members(source, target, {"config.json": json.dumps(config).encode()})


def changed_members(source: Path, target: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """Writes a copy of a zip archive with other or more members."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", method) as copy:
        for name, content in ({name: archive.read(name) for name in archive.namelist()} | members).items():
            copy.writestr(name, content)
    return target
