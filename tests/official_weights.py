"""Weights in the layout of Keras Applications' published files, made up: random, but of a network that works.

Keras 3 itself only saves its own `.weights.h5`, which is another layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnncli.backbones import BACKBONES

_HEADER_BYTES = 64_512  # the most that HDF5 takes as one attribute; Keras cuts longer lists into several


def official_weights(name: str, path: Path, seed: int = 0) -> Path:
    """Writes a weights file for the pretrained network `name` that gives different photos different answers."""
    from cnncli.learning import keras

    row = BACKBONES[name]
    width = {} if row.alpha is None else {"alpha": row.alpha}
    network = getattr(keras.applications, row.function)
    model = network(weights=None, input_shape=(row.input_px, row.input_px, 3), **width)
    inputs = getattr(keras.applications, row.module).preprocess_input(pictures(row.input_px, seed))
    if row.module == "efficientnet":  # its published weights expect a second division by the standard deviation
        inputs = inputs / np.sqrt([0.229, 0.224, 0.225], dtype=np.float32)
    randomise(model, seed, inputs)
    return write_official_weights(model, path)


def write_official_weights(model: Any, path: Path) -> Path:
    """Writes the weights of a Keras model as `Model.save_weights("x.h5")` of Keras 2 did."""
    with h5py.File(path, "w") as root:
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.15.0"
        _store_names(root, "layer_names", [layer.name for layer in model.layers])
        for layer in model.layers:
            group = root.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            _store_names(group, "weight_names", [f"{layer.name}/{weight.name}:0" for weight in weights])
            for weight in weights:
                group[f"{layer.name}/{weight.name}:0"] = weight.numpy()
    return path


def _store_names(group: h5py.Group, attribute: str, names: list[str]) -> None:
    encoded = np.array([name.encode() for name in names], dtype="S" if names else "S1")
    if encoded.nbytes <= _HEADER_BYTES:
        group.attrs[attribute] = encoded
        return
    for number, chunk in enumerate(np.array_split(encoded, -(-encoded.nbytes // _HEADER_BYTES))):
        group.attrs[f"{attribute}{number}"] = chunk


def randomise(model: Any, seed: int, inputs: np.ndarray | None = None) -> None:
    """Gives a network random weights under which it behaves like a trained one.

    Kernels are He-normal; batch normalisation has the statistics of `inputs`, an array `(images, height, width,
    channels)` of what the network takes (default: random pictures in -1..1); the classes are equally likely over
    `inputs` and the best one typically has a probability of about a quarter.
    """
    if inputs is None:
        inputs = pictures(model.input_shape[1], seed) / 127.5 - 1
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(_random_values(weight, rng))
        if _ends_residual_branch(layer):
            layer.gamma.assign(0.1 * layer.gamma)
    _settle_batch_normalisation(model, inputs)
    _settle_answers(model, inputs, seed)


def _ends_residual_branch(layer: Any) -> bool:
    """Whether a layer is the batch normalisation before a sum: kept weak, as in trained networks.

    At full strength the rounding errors of a hundred random layers grow until they show in the answers.
    """
    consumers = [type(node.operation).__name__ for node in layer._outbound_nodes]
    return type(layer).__name__ == "BatchNormalization" and "Add" in consumers


def _random_values(weight: Any, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(weight.shape)
    if "kernel" in weight.name:
        depthwise = "depthwise" in weight.path or "conv_dw" in weight.path
        fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
        return rng.standard_normal(shape, np.float32) * np.sqrt(2 / fan_in)
    if weight.name == "gamma":
        return rng.uniform(0.8, 1.2, shape)
    if weight.name in ("beta", "bias"):
        return rng.normal(0, 0.1, shape)
    return weight.numpy()  # statistics, and EfficientNet's normalisation, which is part of the network


def _settle_batch_normalisation(model: Any, inputs: np.ndarray) -> None:
    """One forward pass in training form, with a momentum of 0 and no dropout, leaves its own statistics behind."""
    settings = {"BatchNormalization": "momentum", "Dropout": "rate"}
    kept = [(layer, settings[type(layer).__name__]) for layer in model.layers if type(layer).__name__ in settings]
    values = [getattr(layer, name) for layer, name in kept]
    for layer, name in kept:
        setattr(layer, name, 0.0)
    model(inputs, training=True)
    for (layer, name), value in zip(kept, values, strict=True):
        setattr(layer, name, value)


def _settle_answers(model: Any, inputs: np.ndarray, seed: int) -> None:
    """Makes each of `inputs` the ideal picture of one class, as training does, and takes the mean answer off.

    Random directions would need a large scale to tell the pictures apart, which blows rounding errors up.
    """
    from cnncli.learning import keras

    last = next(layer for layer in reversed(model.layers) if layer.weights)
    kernel, bias = last.weights
    features = keras.Model(model.inputs, last.input).predict_on_batch(inputs).reshape(len(inputs), -1)
    centred = features - features.mean(axis=0)
    matrix = kernel.numpy().reshape(features.shape[1], -1)
    matrix /= np.linalg.norm(matrix, axis=0)
    classes = np.random.default_rng(seed).permutation(matrix.shape[1])[: len(inputs)]
    matrix[:, classes] = (centred[: len(classes)] / np.linalg.norm(centred[: len(classes)], axis=1, keepdims=True)).T
    scale = _scale_for(centred @ matrix, typical=0.25)
    kernel.assign((scale * matrix).reshape(kernel.shape))
    bias.assign(-scale * (features.mean(axis=0) @ matrix))


def _scale_for(logits: np.ndarray, typical: float) -> float:
    """The factor of `logits` at which the median of the best probabilities is `typical`."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        best = np.median(1 / np.exp(middle * (logits - logits.max(axis=1, keepdims=True))).sum(axis=1))
        low, high = (middle, high) if best < typical else (low, middle)
    return low


def pictures(side: int, seed: int, count: int = 12) -> np.ndarray:
    """Pixels 0..255 of `count` pictures, shape `(count, side, side, 3)`: coloured waves with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    pictures = np.empty((count, side, side, 3), np.float32)
    for picture in pictures:
        for channel in range(3):
            a, b, phase = rng.uniform(-15, 15), rng.uniform(-15, 15), rng.uniform(0, 6.28)
            waves = rng.uniform(40, 215) + rng.uniform(30, 80) * np.sin(a * x + b * y + phase)
            picture[..., channel] = waves + rng.normal(0, 8, x.shape)
    return pictures.clip(0, 255).round()
