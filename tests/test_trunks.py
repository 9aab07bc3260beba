"""Trunks and heads for transfer: Keras Applications is the oracle."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from official_weights import official_weights, pictures

from cnncli.backbones import BACKBONES, Backbone, InputSpec
from cnncli.errors import ModelError, TrainingError
from cnncli.learning import keras
from cnncli.learning.compile import compile_network
from cnncli.learning.models import load_keras
from cnncli.learning.networks import float32_twin, with_probabilities
from cnncli.learning.trunks import blocks, classifier, join, trunk, unfreeze

# CNNCLI_TEST_DATA, as in CI, asks for those that take longer.
QUICK = ("mobilenet-0.25", "mobilenetv3-small")
NAMES = (*QUICK, "efficientnetb0", "resnet50", "convnext-tiny") if "CNNCLI_TEST_DATA" in os.environ else QUICK
SMALL = InputSpec(64, 48)


def without_values() -> Any:
    """While it lasts, Keras builds layers without drawing their weights."""
    return keras.src.backend.StatelessScope(initialize_variables=False)


# --- features --------------------------------------------------------------------------------------------------------


def made_up_weights(name: str, path: Path) -> Path:
    """A weights file in which EfficientNet's normalisation, too, has other values than it begins with."""
    official_weights(name, path)
    with h5py.File(path, "r+") as file:
        for layer in file:
            if layer.startswith("normalization"):
                file[f"{layer}/{layer}/mean:0"][...] = [0.5, 0.4, 0.3]
                file[f"{layer}/{layer}/variance:0"][...] = [0.2, 0.3, 0.4]
    return path


def keras_features(row: Backbone, weights: Path, images: Any) -> Any:
    """What the last global pooling of a plain Keras application gives for images that its own module normalises."""
    width = {} if row.alpha is None else {"alpha": row.alpha}
    with mock.patch("keras.src.utils.file_utils.get_file", return_value=str(weights)):
        whole = getattr(keras.applications, row.function)(weights="imagenet", input_shape=(224, 224, 3), **width)
    pooled = [layer for layer in whole.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1].output
    prepare = importlib.import_module(f"keras.applications.{row.module}").preprocess_input
    return keras.Model(whole.input, pooled).predict_on_batch(prepare(images.copy())).reshape(len(images), -1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "convnext-tiny"])  # it goes on after its pooling
def test_trunk_gives_the_features_of_keras_for_the_weights_of_the_whole_network(name: str, tmp_path: Path) -> None:
    row = BACKBONES[name]
    weights = made_up_weights(name, tmp_path / row.weights_file)
    images = pictures(224, seed=0, count=2)
    expected = keras_features(row, weights, images)
    features = trunk(name, weights, row.input)
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * np.abs(expected).max()  # they tell the pictures apart
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(features.predict_on_batch(images), expected, atol=tolerance)
    in_bfloat16 = trunk(name, weights, row.input, precision="bfloat16")
    assert {layer.compute_dtype for layer in in_bfloat16.layers if "conv" in layer.name} == {"bfloat16"}
    np.testing.assert_allclose(float32_twin(in_bfloat16).predict_on_batch(images), expected, atol=tolerance)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.realdata
@pytest.mark.parametrize("side", [224, 97])
def test_trunk_with_published_weights_is_keras_without_its_top(side: int) -> None:
    path = Path(os.environ["CNNCLI_TEST_DATA"], "weights", "mobilenet_7_5_224_tf.h5")
    theirs = keras.applications.MobileNet(
        weights=None, include_top=False, pooling="avg", alpha=0.75, input_shape=(side, side, 3)
    )
    theirs.load_weights(path, by_name=True)
    images = pictures(side, seed=1, count=4)
    features = trunk("mobilenet-0.75", path, InputSpec(side, side)).predict_on_batch(images)
    expected = theirs.predict_on_batch(keras.applications.mobilenet.preprocess_input(images.copy()))
    assert expected.std() > 0.1
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_trunk_refuses_weights_of_another_network(tmp_path: Path) -> None:
    weights = official_weights("mobilenet-0.25", tmp_path / "w.h5")
    with pytest.raises(ModelError, match=r"not the weights of mobilenet-0\.5"):
        trunk("mobilenet-0.5", weights, SMALL)


def test_gray_pixels_count_as_three_equal_channels() -> None:
    name = "mobilenet-0.25"
    rgb, gray = trunk(name, None, SMALL), trunk(name, None, InputSpec(64, 48, "gray"))
    assert gray.input_shape == (None, 64, 48, 1) and gray.count_params() == rgb.count_params()
    gray.set_weights(rgb.get_weights())
    image = pictures(64, 2, 1)[:, :, :48, :1]
    np.testing.assert_allclose(gray.predict_on_batch(image), rgb.predict_on_batch(image.repeat(3, -1)), atol=1e-6)


@pytest.mark.parametrize(("name", "smallest"), [("resnet50", 32), ("xception", 71), ("inceptionv3", 75)])
def test_input_that_is_too_small_is_refused_and_the_smallest_is_not(name: str, smallest: int) -> None:
    with pytest.raises(TrainingError, match=f"{name} needs images of {smallest}x{smallest} pixels or more, and gets"):
        trunk(name, None, InputSpec(300, smallest - 1))
    with without_values():
        assert trunk(name, None, InputSpec(smallest, smallest)).output_shape == (None, 2048)


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        ("resnet50", 16, ("conv5_block3_1_conv", "conv5_block3_3_bn")),
        ("resnet101", 33, ("conv5_block3_1_conv", "conv5_block3_3_bn")),
        ("resnet152", 50, ("conv5_block3_1_conv", "conv5_block3_3_bn")),
        ("vgg16", 5, ("block5_conv1", "block5_conv3")),
        ("vgg19", 5, ("block5_conv1", "block5_conv4")),
        ("mobilenet-0.25", 13, ("conv_dw_13", "conv_pw_13_bn")),
        ("mobilenet-0.5", 13, ("conv_dw_13", "conv_pw_13_bn")),
        ("mobilenet-0.75", 13, ("conv_dw_13", "conv_pw_13_bn")),
        ("mobilenet", 13, ("conv_dw_13", "conv_pw_13_bn")),
        ("mobilenetv2", 17, ("block_16_expand", "Conv_1_bn")),
        ("mobilenetv3-small", 11, ("expanded_conv_10_expand", "conv_1_bn")),
        ("mobilenetv3-large", 15, ("expanded_conv_14_expand", "conv_1_bn")),
        ("inceptionv3", 10, None),  # its layers have no names of their own
        ("xception", 14, ("block14_sepconv1", "block14_sepconv2_bn")),
        ("efficientnetb0", 16, ("block7a_expand_conv", "top_bn")),
        ("densenet121", 4, ("conv5_block1_0_bn", "bn")),
        ("convnext-tiny", 18, None),
        ("nasnetmobile", 16, ("adjust_conv_projection_12", "separable_conv_2_bn_normal_left5_12")),
    ],
)
def test_blocks_hold_every_weight_once_in_the_order_of_computation(name: str, count: int, last: Any) -> None:
    with without_values():
        network = trunk(name, None, InputSpec(96, 96))
    found = blocks(network)
    assert len(found) == count and last in (None, (found[-1][0], found[-1][-1]))
    names = [name for block in found for name in block]
    places = {layer.name: place for place, layer in enumerate(network.layers) if layer.weights}
    assert sorted(names) == sorted(places)
    ends = [max(places[name] for name in block) for block in found]
    assert ends == sorted(ends)


def test_unfreeze_leaves_the_last_blocks_to_training_but_never_batch_normalisation() -> None:
    network = trunk("mobilenet-0.25", None, SMALL)
    learning = unfreeze(network, 2)
    assert [layer.name for layer in learning] == ["conv_dw_12", "conv_pw_12", "conv_dw_13", "conv_pw_13"]
    assert [id(w) for w in network.trainable_weights] == [id(w) for layer in learning for w in layer.trainable_weights]
    assert unfreeze(network, 0) == [] and network.trainable_weights == []
    assert len(unfreeze(network, 13)) == 27  # a first convolution and two in each block


def test_frozen_batch_normalisation_keeps_its_statistics_and_uses_them_while_training() -> None:
    network = trunk("mobilenet-0.25", None, SMALL)
    unfreeze(network, 3)
    before = network.get_layer("conv_pw_13_bn").get_weights()
    images = pictures(64, 0, 4)[:, :, :48]
    np.testing.assert_allclose(network(images, training=True), network(images, training=False), atol=1e-6)
    assert all((a == b).all() for a, b in zip(before, network.get_layer("conv_pw_13_bn").get_weights(), strict=True))


def test_unfreeze_says_how_many_blocks_there_are() -> None:
    with without_values():
        network = trunk("vgg16", None, SMALL)
    with pytest.raises(TrainingError, match=r"--fine-tune 6: vgg16 has 5 blocks; give a number from 0 to 5"):
        unfreeze(network, 6)


# --- trunk and head --------------------------------------------------------------------------------------------------


def test_join_gives_what_the_head_gives_for_the_features_and_trains_the_same_layers() -> None:
    network = trunk("mobilenet-0.25", None, SMALL)
    unfreeze(network, 1)
    head = classifier(network.output_shape[1], 3, dropout=0.2)
    whole = join(network, head)
    images = pictures(64, 0, 2)[:, :, :48]
    expected = head(network(images, training=False), training=False)
    np.testing.assert_allclose(whole(images, training=False), expected, atol=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in whole.layers)
    assert len(whole.trainable_weights) == 2 + 2  # two convolutions without bias, and the classes
    assert whole.get_layer("logits") is head.get_layer("logits")


@pytest.mark.parametrize(
    ("name", "precision"), [("mobilenet-0.25", "bfloat16"), *((name, "float32") for name in NAMES)]
)
def test_joined_network_is_saved_read_and_compiled(name: str, precision: Any, tmp_path: Path) -> None:
    spec = InputSpec(64, 48, "gray" if name == "mobilenet-0.25" else "rgb")
    network = trunk(name, None, spec, precision=precision)
    whole = with_probabilities(join(network, classifier(network.output_shape[1], 3, dropout=0.2)))
    whole.save(tmp_path / "model.keras")
    image = pictures(64, 0, 1)[:, :, :48, : whole.input_shape[-1]]
    expected = whole(image, training=False).numpy()
    np.testing.assert_allclose(load_keras(tmp_path / "model.keras")(image, training=False), expected, atol=1e-5)
    interpreter = Interpreter(model_content=compile_network(whole, spec))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, expected, atol=1e-4)
