"""What TensorBoard finds in the event files of a run, read with TensorBoard's own reader."""

from __future__ import annotations

import io
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.errors import TrainingError
from cnncli.history import EpochRow
from cnncli.learning import keras
from cnncli.learning.events import histogram
from cnncli.learning.tensorboard import Board
from cnncli.mosaics import feature_mosaic, kernel_mosaic

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)


def row(epoch: int, loss: float = 0.5) -> EpochRow:
    return EpochRow(epoch, loss, 0.75, loss + 1, 0.5, 0.01, 2.5)


@pytest.fixture
def network() -> Any:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((12, 12, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv1")(x)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    x = keras.layers.Conv2D(4, 3, name="conv2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(pixels, keras.layers.Dense(5, name="dense1")(x), name="network")


@pytest.fixture
def folder(network, tmp_path) -> Path:
    """The files of a run of two epochs, in which the weights of the first convolution were doubled."""
    board = Board(tmp_path / "tensorboard")
    board.begin(network, {"net": "lenet", "augment": "a|b `<b>`"})
    board.epoch(row(1, 0.5), network, IMAGES)
    network.get_layer("conv1").set_weights([2 * w for w in network.get_layer("conv1").get_weights()])
    board.epoch(row(2, 0.25), network, IMAGES)
    board.close()
    return tmp_path / "tensorboard"


def events(folder: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for file in sorted(folder.glob("events.out.tfevents.*")):
        yield from EventFileLoader(str(file)).Load()


def values(folder: Path, tag: str) -> list[tuple[int, np.ndarray]]:
    """The values under a tag with their steps, in the order of the files."""
    from tensorboard.util.tensor_util import make_ndarray

    return [
        (event.step, make_ndarray(value.tensor))
        for event in events(folder)
        for value in event.summary.value
        if value.tag == tag
    ]


def picture(content: np.ndarray) -> np.ndarray:
    width, height, png = content
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert pixels.shape[:2] == (int(height), int(width))
    return pixels


def plugins(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name:
                found.setdefault(value.metadata.plugin_data.plugin_name, set()).add(value.tag)
    return found


def test_scalars_of_training_and_validation_share_their_names_in_two_runs(folder) -> None:
    expected = {"loss": [0.5, 0.25], "accuracy": [0.75] * 2, "learning_rate": [0.01] * 2, "seconds": [2.5] * 2}
    for tag, figures in expected.items():
        steps, found = zip(*values(folder / "train", tag), strict=True)
        assert steps == (1, 2) and np.allclose(found, figures)
    assert [float(value) for _, value in values(folder / "validation", "loss")] == [1.5, 1.25]
    assert [float(value) for _, value in values(folder / "validation", "accuracy")] == [0.5, 0.5]
    assert plugins(folder / "train")["scalars"] == set(expected)
    assert plugins(folder / "validation") == {"scalars": {"loss", "accuracy"}}


def test_histograms_count_each_weight_of_each_layer_once_an_epoch(folder, network) -> None:
    tags = {f"conv{n}/{what}" for n in (1, 2) for what in ("kernel", "bias")} | {"dense1/kernel", "dense1/bias"}
    tags |= {f"bn1/{what}" for what in ("gamma", "beta", "moving_mean", "moving_variance")}
    assert plugins(folder / "train")["histograms"] == tags
    (first, before), (second, after) = values(folder / "train", "conv1/kernel")
    kernel = network.get_layer("conv1").get_weights()[0]
    assert (first, second) == (1, 2) and before.shape == after.shape == (30, 3)
    assert after[:, 2].sum() == kernel.size == 216
    assert after[0, 0] == kernel.min() and after[-1, 1] == kernel.max()
    middle = after[14, 1]
    assert after[:15, 2].sum() == (kernel < middle).sum()
    assert np.allclose(before[:, :2] * 2, after[:, :2]) and (before[:, 2] == after[:, 2]).all()


def test_graph_is_the_forward_pass_layer_by_layer(folder) -> None:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graphs = [GraphDef.FromString(event.graph_def) for event in events(folder / "train") if event.graph_def]
    assert len(graphs) == 1
    scopes = {node.name.split("/")[0] for node in graphs[0].node}
    for layer in ("rescale", "conv1", "bn1", "conv2", "flatten", "dense1"):
        assert any(scope == layer or scope.startswith(f"{layer}_") for scope in scopes)
    kinds = [node.op for node in graphs[0].node]
    assert kinds.count("Conv2D") == 2 and kinds.count("MatMul") == 1


def test_images_are_the_kernels_and_the_feature_maps_of_the_first_four_examples(folder, network) -> None:
    assert plugins(folder / "train")["images"] == {"kernels/conv1", "feature maps/conv1", "feature maps/conv2"}
    kernel, bias = network.get_layer("conv1").get_weights()
    step, kernels = values(folder / "train", "kernels/conv1")[-1]
    assert step == 2 and (picture(kernels) == kernel_mosaic(kernel)).all()
    pixels = IMAGES[:4].astype(np.float32) / 255
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(1, 2))  # (n, 10, 10, 3, 3, 3)
    maps = np.maximum(np.einsum("nhwcij,ijcf->nhwf", windows, kernel) + bias, 0)
    shown = picture(values(folder / "train", "feature maps/conv1")[-1][1]).astype(int)
    assert np.abs(shown - feature_mosaic(IMAGES[:4], maps.astype(np.float32))).max() <= 1


def test_settings_are_a_table_in_which_nothing_is_markup(folder) -> None:
    [(_, text)] = values(folder / "train", "settings")
    assert (
        str(text.item().decode())
        == "| setting | value |\n|---|---|\n| net | lenet |\n| augment | a\\|b \\`\\<b\\>\\` |"
    )


def test_resumed_run_opens_new_files_and_steps_may_come_again(folder, network) -> None:
    board = Board(folder)
    board.begin(network, {})
    board.epoch(row(2, 0.125), network, IMAGES)
    board.close()
    assert len(list((folder / "train").iterdir())) == 2
    assert [(step, float(loss)) for step, loss in values(folder / "train", "loss")] == [(1, 0.5), (2, 0.25), (2, 0.125)]


def test_what_was_reported_can_be_read_while_the_run_goes_on(network, tmp_path) -> None:
    board = Board(tmp_path)
    board.epoch(row(1), network, IMAGES)
    assert len(values(tmp_path / "train", "loss")) == 1
    board.close()


def test_run_without_validation_or_examples_or_convolutions_is_written(tmp_path) -> None:
    features = keras.Input((7,))
    head = keras.Model(features, keras.layers.Dense(3, name="dense1")(features))
    board = Board(tmp_path)
    board.begin(head, {})
    board.epoch(EpochRow(1, 0.5, 0.5, None, None, 0.1, 1.0), head, IMAGES[:0])
    board.close()
    assert plugins(tmp_path / "train").keys() == {"scalars", "histograms", "text", "graphs"}
    assert not (tmp_path / "validation").exists()


def test_network_with_one_convolution_of_grey_images_has_its_feature_maps(tmp_path) -> None:
    pixels = keras.Input((12, 12, 1))
    network = keras.Model(pixels, keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="dwconv1")(pixels))
    board = Board(tmp_path)
    board.epoch(row(1), network, IMAGES[:2, :, :, :1])
    board.close()
    [(_, maps)] = values(tmp_path / "train", "feature maps/dwconv1")
    assert picture(maps).shape == (2 + 2 * 66, 2 + 3 * 66, 3)


def test_weights_of_frozen_layers_are_written_once(network, tmp_path) -> None:
    network.get_layer("conv1").trainable = False
    board = Board(tmp_path)
    for epoch in (1, 2):
        board.epoch(row(epoch), network, IMAGES)
    board.close()
    assert len(values(tmp_path / "train", "conv1/kernel")) == 1 and len(values(tmp_path / "train", "conv2/kernel")) == 2


def test_random_numbers_and_names_of_layers_are_as_without_tensorboard(network, tmp_path) -> None:
    def next_names() -> tuple[str, str, float]:
        pixels = keras.Input((3,))
        model = keras.Model(pixels, keras.layers.Dense(2)(pixels))
        return model.name, model.layers[-1].name, float(model.get_weights()[0].sum())

    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    expected = next_names()
    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    board = Board(tmp_path)
    board.begin(network, {})
    board.epoch(row(1), network, IMAGES)
    board.close()
    assert next_names() == expected


def test_histogram_of_equal_missing_or_infinite_values() -> None:
    assert histogram(np.full(7, 2.5, np.float32))[-1].tolist() == [2.5, 2.5, 7]
    assert histogram(np.array([np.nan], np.float32)).tolist() == [[0, 0, 0]] * 30
    near = histogram(np.array([1, np.nextafter(np.float32(1), np.float32(2))], np.float32))  # float32 has none between
    assert near[0, 2] == near[29, 2] == 1 and (np.diff(near[:, 0]) > 0).all()
    counts = histogram(np.array([0.0, 30.0, np.inf, np.nan, 29.5], np.float32))
    assert counts[0].tolist() == [0, 1, 1] and counts[29].tolist() == [29, 30, 2] and counts[:, 2].sum() == 3


def test_folder_that_cannot_be_written_is_named(network, tmp_path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    board = Board(tmp_path / "tensorboard")
    with pytest.raises(
        TrainingError, match=r"train: what TensorBoard shows cannot be written there \(Not a directory\)"
    ):
        board.begin(network, {})


def test_disk_that_is_full_is_an_error_that_names_the_folder(network, tmp_path) -> None:
    board = Board(tmp_path / "tensorboard")
    board.begin(network, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN  # Python's own choice: the write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(
            TrainingError, match=r"train: what TensorBoard shows cannot be written there \(File too large\)"
        ):
            for epoch in range(1, 9):
                board.epoch(row(epoch), network, IMAGES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        board.close()


def test_missing_tensorboard_is_said_only_when_it_is_asked_for(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        Board(tmp_path)
