"""Builds the pretrained networks of `cnncli.backbones`, taking pixels 0..255 as their image files give them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cnncli import hdf5
from cnncli.backbones import BACKBONES, Backbone, Normalisation
from cnncli.errors import ModelError
from cnncli.learning import keras

# ImageNet statistics as in keras.applications.imagenet_utils.preprocess_input
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_MEAN_RGB = (0.485, 0.456, 0.406)
_STD_RGB = (0.229, 0.224, 0.225)

_AUTOMATIC_NAME = re.compile(
    r"(conv2d|batch_normalization|separable_conv2d|depthwise_conv2d|dense|normalization)(_\d+)?"
)


def build(row: Backbone, weights: Path | None = None) -> Any:
    """The network of `row` with its official `weights` (random without): pixels 0..255 in, probabilities out.

    The model maps `(batch, height, width, 3)` to `(batch, 1000)`. Raises ModelError if the weights are of another
    network or damaged.
    """
    core = application(row, input_shape=(row.input_px, row.input_px, 3))
    if weights is not None:
        load_official_weights(core, weights, row)
    pixels = keras.Input((row.input_px, row.input_px, 3), name="pixels")
    return keras.Model(pixels, core(normalise(pixels, row.normalisation)), name=row.name)


def application(row: Backbone, **settings: Any) -> Any:
    """The network as Keras Applications builds it, for pixels that are normalised, without weights."""
    width = {} if row.alpha is None else {"alpha": row.alpha}
    network = getattr(keras.applications, row.function)(weights=None, **width, **settings)
    return _divided_again(network) if row.module == "efficientnet" else network


def normalise(pixels: Any, normalisation: Normalisation) -> Any:
    """The layers that do to pixels 0..255 what the network's `preprocess_input` does."""
    if normalisation == "caffe":
        bgr = keras.ops.flip(pixels, axis=-1)
        return keras.layers.Rescaling(1.0, [-mean for mean in _CAFFE_MEAN_BGR])(bgr)
    if normalisation == "tf":
        return keras.layers.Rescaling(1 / 127.5, -1.0)(pixels)
    if normalisation == "torch":
        scale = [1 / (255 * std) for std in _STD_RGB]
        offset = [-mean / std for mean, std in zip(_MEAN_RGB, _STD_RGB, strict=True)]
        return keras.layers.Rescaling(scale, offset)(pixels)
    return pixels


def _divided_again(efficientnet: Any) -> Any:
    """EfficientNet with the second division that Keras adds only for `weights="imagenet"`.

    Its authors divide by the standard deviation twice over (https://github.com/tensorflow/tensorflow/issues/49930),
    and the published weights expect it.
    """
    divide = keras.layers.Rescaling([1 / std**0.5 for std in _STD_RGB])

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        return divide(output) if isinstance(layer, keras.layers.Normalization) else output

    return keras.models.clone_model(efficientnet, clone_function=lambda layer: layer, call_function=call)


def load_official_weights(core: Any, path: Path, row: Backbone) -> None:
    """Loads weights in the layout of Keras Applications, after comparing layer names and shapes.

    Keras itself compares only the number of layers and their shapes. Raises ModelError.
    """
    hdf5.check(path, path.stat().st_size, str(path))
    stored = hdf5.stored_layers(path)
    expected = [
        (layer.name, [tuple(w.shape) for w in (*layer.trainable_weights, *layer.non_trainable_weights)])
        for layer in core.layers
        if layer.weights
    ]
    for number, (own, theirs) in enumerate(zip(expected, stored, strict=False), 1):
        named = own[0] == theirs[0] or _AUTOMATIC_NAME.fullmatch(own[0])
        if not named or own[1] != theirs[1]:
            raise ModelError(
                f"{path}: these are not the weights of {row.name}: layer {number} should be {_layer(own)}, "
                f"the file has {_layer(theirs)}{_likely_network(path, row)}"
            )
    if len(expected) != len(stored):
        raise ModelError(
            f"{path}: these are not the weights of {row.name}: expected {len(expected)} layers with weights, "
            f"the file has {len(stored)}{_likely_network(path, row)}"
        )
    core.load_weights(path)


def _layer(layer: tuple[str, list[tuple[int, ...]]]) -> str:
    return f"{layer[0]!r} of shapes {', '.join('x'.join(map(str, shape)) for shape in layer[1])}"


def _likely_network(path: Path, row: Backbone) -> str:
    match = next((b.name for b in BACKBONES.values() if b.weights_file == path.name and b is not row), None)
    return f". By its name the file is for --model {match}" if match else ". Name its network with --model"
