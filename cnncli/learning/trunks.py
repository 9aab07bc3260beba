"""Trunks: pretrained networks without their classes, for transfer; and heads that classify what they see."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnncli.backbones import BACKBONES, BUNDLED, InputSpec
from cnncli.errors import TrainingError
from cnncli.learning import bundled, keras
from cnncli.learning.backbones import application, load_official_weights, normalise
from cnncli.learning.networks import Precision, copy_weights, pixels_of, policy

# The smallest side of an input in pixels; below, Keras refuses to build the network
_SMALLEST_PX = {"inception_v3": 75, "xception": 71}
_SMALLEST_PX_OF_OTHERS = 32

# How the layers of a block are called, by the network's module in keras.applications: each name the pattern finds, or
# what it finds in parentheses, is a block. Layers without such a name belong to the block before them.
_BLOCKS = {
    "resnet": r"^conv\d_block\d+",
    "vgg16": r"^block\d",
    "vgg19": r"^block\d",
    "mobilenet": r"^conv_(?:pad|dw|pw)_(\d+)",
    "mobilenet_v2": r"^(?:expanded_conv|block_\d+)",
    "mobilenet_v3": r"^expanded_conv(?:_\d+)?(?=_[a-z])",
    "inception_v3": r"^mixed\d+$",  # what joins a block's branches, so that the next block follows
    "xception": r"^block\d+",
    "efficientnet": r"^block\d[a-z]",
    "densenet": r"^conv\d(?=_block)",
    "convnext": r"stage_\d_block_\d+",
    BUNDLED: r"^add\d$",  # likewise; so the stem and two blocks are the first
    "nasnet": r"^(?:adjust|normal|reduction|separable)_.*?_(stem_\d|reduce_\d+|\d+)$",
}


def trunk(name: str, weights: Path | None, spec: InputSpec, *, precision: Precision = "float32") -> Any:
    """The pretrained network `name` without its classes, its normalisation included: pixels to features.

    It maps pixels 0..255 of shape `(batch, height, width, channels)` to `(batch, features)`: the mean of each of its
    last feature maps, as `include_top=False, pooling="avg"` in Keras Applications. `weights` is the official file of
    the whole network; without one they are random, but for the bundled model, which has its own. Grey pixels become
    three equal channels. Raises TrainingError if the input is too small, ModelError if the weights are damaged or
    another network's.
    """
    module = _module(name)
    smallest = _SMALLEST_PX.get(module, _SMALLEST_PX_OF_OTHERS)
    if min(spec.height, spec.width) < smallest:
        raise TrainingError(
            f"{name} needs images of {smallest}x{smallest} pixels or more, and gets {spec.height}x{spec.width}; "
            "give a larger --image-size"
        )
    if name == BUNDLED:
        return bundled.trunk(spec, precision=precision)
    row = BACKBONES[name]
    pixels = pixels_of(spec)
    rgb = keras.layers.Concatenate(name="gray_to_rgb")([pixels] * 3) if spec.color == "gray" else pixels
    x = normalise(rgb, row.normalisation)
    shape = (spec.height, spec.width, 3)
    with computing_in(precision):
        built = application(row, include_top=False, pooling="avg", input_shape=shape, input_tensor=x)
    if weights is not None:
        whole = application(row, input_shape=(row.input_px, row.input_px, 3))
        load_official_weights(whole, weights, row)
        sources = [layer for layer in whole.layers if layer.weights]
        copy_weights(sources[: sum(bool(layer.weights) for layer in built.layers)], built.layers)
    return keras.Model(built.inputs[0], built.outputs[0], name=row.name)


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """While it lasts, Keras gives new layers the policy of `precision`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy(precision))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _module(name: str) -> str:
    """The module of keras.applications that a network is from, or the name of the bundled one."""
    return name if name == BUNDLED else BACKBONES[name].module


def blocks(network: Any) -> list[tuple[str, ...]]:
    """The blocks of a trunk from its input on, each as the names of its layers that have weights.

    What comes before the first block belongs to it, and what comes after a block to that block.
    """
    pattern = re.compile(_BLOCKS[_module(network.name)])
    found: dict[str, list[str]] = {}
    current, early = "", list[str]()
    for layer in network.layers:
        if match := pattern.search(layer.name):
            current = match[match.lastindex or 0]
            found.setdefault(current, [])
        if layer.weights:
            (found[current] if found else early).append(layer.name)
    named = [names for names in found.values() if names]
    return [(*early, *named[0]), *map(tuple, named[1:])]


def unfreeze(network: Any, num_blocks: int) -> list[Any]:
    """Leaves only the last `num_blocks` blocks of a trunk to training; returns their layers that learn.

    Batch normalisation learns in none of them and goes on with the statistics it has: a few images would spoil them
    (Keras's guide to transfer learning). Raises TrainingError if there are fewer blocks.
    """
    every = blocks(network)
    if num_blocks > len(every):
        raise TrainingError(
            f"--fine-tune {num_blocks}: {network.name} has {len(every)} blocks; give a number from 0 to {len(every)}"
        )
    names = {name for block in every[len(every) - num_blocks :] for name in block}
    for layer in network.layers:
        layer.trainable = layer.name in names and not isinstance(layer, keras.layers.BatchNormalization)
    return [layer for layer in network.layers if layer.trainable and layer.weights]


def classifier(features: int, classes: int, *, dropout: float) -> Any:
    """A head: features `(batch, features)` to logits `(batch, classes)`, both float32."""
    inputs = keras.Input((features,), name="features")
    x = keras.layers.Dropout(dropout, name="head_dropout")(inputs)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name="classifier")


def join(network: Any, head: Any) -> Any:
    """A trunk and a head as one network without others inside, pixels to logits; the layers are shared with both."""
    x = network.output
    for layer in head.layers[1:]:  # all but its input
        x = layer(x)
    return keras.Model(network.input, x, name=network.name)
