"""Small models that tests make for themselves."""

from __future__ import annotations

import tempfile
from pathlib import Path

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
