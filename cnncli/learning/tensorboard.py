"""What TensorBoard shows of a run: figures, weights, the graph, and pictures of what the first layers have learned."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.errors import TrainingError
from cnncli.history import EpochRow
from cnncli.learning import keras, tf
from cnncli.learning.events import EventFile, Summary
from cnncli.mosaics import feature_mosaic, kernel_mosaic
from cnncli.text import printable

MAX_IMAGES = 4  # whose feature maps are shown
_MAX_LAYERS = 3  # convolution layers whose feature maps are shown, from the first on
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
_KERNELS = "Kernels, one a tile, on one scale for all: mid-grey is zero. Those that see colour are shown in colour."
_MAPS = "A row for each example, which stands first; then its feature maps, one a tile, from black (lowest) to white."


class Board:
    """Writes the runs `train` and `validation` in a folder, so that the curves of both share a chart.

    A run that is resumed opens new files beside the old ones; steps, which are epochs, may come again. Every method
    raises TrainingError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise TrainingError("TensorBoard is not installed: run 'pip install tensorboard'")
        self._folder = folder
        self._files: dict[str, EventFile] = {}
        self._frozen_written = False  # what never changes is written once
        self._features: Any = None

    def begin(self, model: Any, settings: Mapping[str, object]) -> None:
        """Writes the graph of the network's forward pass and a table of the settings."""
        pixels = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
        # `call` rather than the model itself, so that the layers are not folded into one box that bears its name
        forward = tf.function(lambda pixels: model.call(pixels, training=False)).get_concrete_function(pixels)
        self._file("train").add_graph(forward.graph)
        summary = Summary()
        summary.text("settings", _table(settings))
        self._file("train").add(0, summary)

    def epoch(self, row: EpochRow, model: Any, images: npt.NDArray[np.uint8]) -> None:
        """Writes the figures and weights after an epoch, kernels, and feature maps of `(n, height, width, channels)`
        example images, of which the first four count. The model is the same in every epoch.
        """
        summary = Summary()
        for tag in ("loss", "accuracy", "learning_rate", "seconds"):
            summary.scalar(tag, getattr(row, tag))
        self._add_weights(summary, model)
        self._add_pictures(summary, model, images[:MAX_IMAGES])
        self._frozen_written = True
        self._file("train").add(row.epoch, summary)
        if row.val_loss is not None and row.val_accuracy is not None:
            validation = Summary()
            validation.scalar("loss", row.val_loss)
            validation.scalar("accuracy", row.val_accuracy)
            self._file("validation").add(row.epoch, validation)

    def close(self) -> None:
        """Closes the files."""
        while self._files:
            self._files.popitem()[1].close()

    def _file(self, run: str) -> EventFile:
        if run not in self._files:
            self._files[run] = EventFile(self._folder / run)
        return self._files[run]

    def _add_weights(self, summary: Summary, model: Any) -> None:
        """A histogram of each weight."""
        for layer in model.layers:
            if layer.trainable or not self._frozen_written:
                for weight in layer.weights:
                    name = weight.path.rpartition(f"{layer.name}/")[2]
                    summary.histogram(f"{layer.name}/{name}", weight.numpy())

    def _add_pictures(self, summary: Summary, model: Any, images: npt.NDArray[np.uint8]) -> None:
        """Kernels of the first convolution, and feature maps of the first three."""
        layers = [layer for layer in model.layers if isinstance(layer, _CONVOLUTIONS)][:_MAX_LAYERS]
        if self._frozen_written and not any(layer.trainable for layer in layers):
            return
        if not layers:
            return
        summary.image(f"kernels/{layers[0].name}", kernel_mosaic(layers[0].weights[0].numpy()), _KERNELS)
        if not len(images):
            return
        if self._features is None:
            outputs = {layer.name: layer.output for layer in layers}
            self._features = keras.Model(model.inputs[0], outputs, name="features")  # a name, so that none is used up
        for name, maps in self._features(images.astype(np.float32), training=False).items():
            mosaic = feature_mosaic(images, tf.cast(maps, tf.float32).numpy())
            summary.image(f"feature maps/{name}", mosaic, _MAPS)


def _table(settings: Mapping[str, object]) -> str:
    """The settings as a Markdown table."""
    rows = (f"| {name} | {_literally(str(value))} |" for name, value in settings.items())
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _literally(text: str) -> str:
    """A text that Markdown shows as it is: every sign that could mean something is escaped."""
    return re.sub(r"([^\w\s])", r"\\\1", printable(text), flags=re.ASCII)
