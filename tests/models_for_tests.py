"""Small models that tests make for themselves."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cnncli.backbones import ImageClass, InputSpec
from cnncli.errors import CnncliError, ModelError
from cnncli.inference.models import ReadyModel
from cnncli.mapgrid import even_grid
from cnncli.modelcard import ModelCard
from cnncli.modelfile import write_keras

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


class ChannelExplainer:
    """Explains without a network: a class scores the mean of its channel, and its map is the channel. Refuses black."""

    model = ReadyModel("channels", ModelCard("channels", CHANNELS, InputSpec(8, 8)), Path("channels.tflite"), "litert")
    method = "occlusion"
    told = "how bright a channel is"
    grid = even_grid(8, 8, (8, 8))

    def __init__(self, refusal: type[CnncliError] = ModelError) -> None:
        self._refusal = refusal

    def scores(self, inputs: Iterable[Any]) -> Iterator[Any]:
        for pixels in inputs:
            yield pixels.mean(axis=(0, 1)) / 255

    def maps(self, pixels: Any, indices: Sequence[int], progress: Any) -> Any:
        if pixels.max() == 0:
            raise self._refusal("there is no light")
        return pixels.transpose(2, 0, 1)[list(indices)].astype("float32")


COLOUR_CELLS = 8  # the feature maps of `colour_detector` have 8 x 8 cells


def colour_detector(path: Path, *, side: int = 32, resize: str = "crop", end: str = "dense") -> Path:
    """Writes a model that finds saturated red, green and blue: one strided convolution, its mean, and a softmax.

    `end` says where the softmax is: in the dense layer, in an Activation, in a Softmax; or `nested`: in a model inside.
    """
    import numpy as np

    from cnncli.learning import keras

    step = side // COLOUR_CELLS
    kernel = np.broadcast_to(3 * np.eye(3) - 1, (step, step, 3, 3)) / (2 * 255 * step * step)  # red minus the others
    core = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(3, step, step, activation="relu", name="finds_colours")(core)
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(3, activation="softmax" if end in ("dense", "nested") else None, name="weighs_colours")
    x = dense(x)
    if end == "activation":
        x = keras.layers.Activation("softmax")(x)
    if end == "softmax":
        x = keras.layers.Softmax()(x)
    model = keras.Model(core, x, name="core")
    model.get_layer("finds_colours").set_weights([kernel.astype(np.float32), np.zeros(3, np.float32)])
    dense.set_weights([20 * np.eye(3, dtype=np.float32) - 5, np.array([0.0, 0.1, 0.2], np.float32)])
    if end == "nested":
        pixels = keras.Input((side, side, 3))
        model = keras.Model(pixels, model(keras.layers.Rescaling(1.0)(pixels)))
    card = ModelCard("colours", CHANNELS, InputSpec(side, side, "rgb", resize))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.keras"
        model.save(plain)
        write_keras(plain, card, path)
    return path
