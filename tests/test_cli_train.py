"""`cnncli train` as its users meet it."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from official_weights import official_weights
from photos_for_tests import COLOURS, TINY, column, history, photo, weights, write_photos
from PIL import Image

from cnncli import bundled
from cnncli.cli import main
from cnncli.modelfile import read_card
from cnncli.runs import Run

Cnncli = Callable[..., SimpleNamespace]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of 12 photos; the current directory is the one above."""
    monkeypatch.chdir(tmp_path)
    return write_photos(Path("photos"))


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends training before the compilation, which takes longer than all epochs."""
    monkeypatch.setattr("cnncli.inference.models.open_model", lambda *args, **options: None)


@pytest.fixture
def train(cnncli: Cnncli, photos: Path, uncompiled: None) -> Callable[..., SimpleNamespace]:
    """Trains a tiny net for two epochs, or as the options say, without compiling; the run is in `out`."""

    def run(*options: str | Path, data: str | Path = photos, out: str = "run", net: bool = True) -> SimpleNamespace:
        done = cnncli("train", data, "-o", out, "--epochs", "2", *(TINY if net else ()), *options)
        assert done.code in (0, 3), done.err
        return done

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A run on photos with a test split, compiled; `photos`, `run` and `cache` are its places. Read only."""
    base = tmp_path_factory.mktemp("whole")
    write_photos(base / "photos" / "train")
    write_photos(base / "photos" / "test", each=4, first=50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(base / "cache"))
        patch.setenv("KERAS_HOME", str(base / "keras"))
        args = [
            "train",
            base / "photos",
            "-o",
            base / "run",
            "--epochs",
            "12",
            "--seed",
            "3",
            "--schedule",
            "constant",
            *TINY,
        ]
        code = main([str(arg) for arg in (*args, "--checkpoint-every", "0")])
    yield SimpleNamespace(photos=base / "photos", run=base / "run", cache=base / "cache", code=code)


def record(run: str | Path) -> dict:
    return json.loads(Path(run, "run.json").read_text())


def digests(folder: Path) -> dict[str, str]:
    """The content of every file."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


# The run folder


def test_run_folder_has_the_members_of_a_run_and_nothing_else(whole) -> None:
    assert whole.code == 0
    names = {path.name for path in whole.run.iterdir()}
    assert names == {"model.keras", "history.csv", "run.json", "data.csv", "curves.png", "tensorboard", "state"}
    assert len(list((whole.run / "state").glob("checkpoint-*.npz"))) == 2
    assert {path.name for path in (whole.run / "tensorboard").iterdir()} == {"train", "validation"}
    assert all(path.stat().st_size > 100 for path in (whole.run / "tensorboard").glob("*/events.out.tfevents.*"))
    with Image.open(whole.run / "curves.png") as picture:
        picture.load()
        assert picture.width == 1440


def test_record_says_what_was_asked_for_and_what_came_of_it(whole) -> None:
    values = record(whole.run)
    assert values["settings"]["net"] == "conv:4:3:relu gap" and values["settings"]["seed"] == 3
    assert values["settings"]["epochs"] == 12 and values["settings"]["optimizer"] == "adam"
    assert values["data"]["path"] == str(whole.photos) and len(values["data"]["fingerprint"]) == 64
    assert values["classes"] == ["blue", "green", "red"]
    assert values["input"] == {"height": 14, "width": 14, "color": "rgb", "resize": "crop"}
    assert sum(values["images"].values()) == 36 + 12 and values["images"]["test"] == 12
    assert set(values["versions"]) >= {"cnncli", "keras", "tensorflow"}
    assert values["status"] == "done" and values["seconds"] > 0 and values["started"].endswith("Z")
    best = history(whole.run)[values["results"]["best_epoch"] - 1]
    assert values["results"]["val_accuracy"] == float(best["val_accuracy"])
    assert values["results"]["epochs"] == 12


def test_data_of_a_run_lists_every_image_with_its_hash(whole) -> None:
    with (whole.run / "data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert {row["path"] for row in rows} == {str(path) for path in whole.photos.rglob("*.png")}
    for row in rows:
        assert row["label"] == Path(row["path"]).parent.name
        assert row["sha256"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
        assert (row["split"] == "test") == ("test" in Path(row["path"]).parts)
    assert {row["label"] for row in rows if row["split"] == "val"} == set(COLOURS)


def test_history_has_a_line_for_each_epoch_and_the_best_is_kept(whole) -> None:
    rows = history(whole.run)
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, 13)]
    assert column(whole.run, "loss")[-1] < column(whole.run, "loss")[0]
    ranks = [(float(row["val_accuracy"]), -float(row["val_loss"])) for row in rows]
    assert record(whole.run)["results"]["best_epoch"] == 1 + ranks.index(max(ranks))


def test_model_card_says_classes_input_data_and_metrics(whole) -> None:
    card = read_card(whole.run / "model.keras")
    assert [(c.id, c.label) for c in card.classes] == [("blue", "blue"), ("green", "green"), ("red", "red")]
    assert (card.input.height, card.input.width, card.input.color, card.input.resize) == (14, 14, "rgb", "crop")
    assert card.data_fingerprint == record(whole.run)["data"]["fingerprint"]
    results = record(whole.run)["results"]
    assert card.metrics == {name: results[name] for name in ("val_accuracy", "test_accuracy", "test_loss")}


def test_scores_in_the_record_are_those_that_predict_gives(whole, cnncli, monkeypatch) -> None:
    monkeypatch.setenv("CNNCLI_CACHE", str(whole.cache))
    files = sorted((whole.photos / "test").rglob("*.png"))
    rows = json.loads(cnncli("predict", *files, "--model", whole.run, "--format", "json").out)
    right = [row["predictions"][0]["label"] == Path(row["path"]).parent.name for row in rows]
    scores = [p["score"] for row in rows for p in row["predictions"] if p["label"] == Path(row["path"]).parent.name]
    results = record(whole.run)["results"]
    assert results["test_accuracy"] == np.mean(right)
    assert results["test_loss"] == pytest.approx(-np.log(scores).mean(), abs=1e-4)


def test_first_prediction_is_instant_right_and_that_of_keras(whole, cnncli, monkeypatch) -> None:
    monkeypatch.setenv("CNNCLI_CACHE", str(whole.cache))
    files = [whole.photos / "train" / name / f"{n}.png" for name in COLOURS for n in range(12)]
    compiled = cnncli("predict", *files, "--model", whole.run, "--format", "json")
    assert (compiled.code, compiled.err) == (0, "")  # nothing is compiled
    rows = json.loads(compiled.out)
    labels = [row["predictions"][0]["label"] for row in rows]
    assert np.mean([label == path.parent.name for label, path in zip(labels, files, strict=True)]) > 0.9
    again = cnncli("predict", *files, "--model", whole.run, "--format", "json", "--backend", "tensorflow")
    for ours, theirs in zip(rows, json.loads(again.out), strict=True):
        mine = {p["label"]: p["score"] for p in ours["predictions"]}
        assert mine == pytest.approx({p["label"]: p["score"] for p in theirs["predictions"]}, abs=1e-4)


def test_train_says_the_results_and_what_to_type_next(train) -> None:
    write_photos(Path("split/train"))
    write_photos(Path("split/test"), each=2, first=90)
    done = train(data="split")
    epoch = record("run")["results"]["best_epoch"]
    assert done.out.splitlines()[0] == f"run: epoch {epoch} of 2 is kept"
    assert done.out.splitlines()[2].startswith("test accuracy ") and done.out.endswith(" of 6 images\n")
    assert "Network: conv:4:3:relu gap dense:3:softmax\n" in done.err
    images = record("run")["images"]
    assert f"Images: {images['train']} train, {images['val']} val, 6 test\n" in done.err
    assert "Classes: 3: blue, green, red\n" in done.err
    assert done.err.endswith("Next: cnncli predict --model run PHOTO\n")
    assert [line.split()[0] for line in done.err.splitlines() if line.strip().startswith(("1/", "2/"))] == [
        "1/2",
        "2/2",
    ]


def test_without_output_runs_are_numbered_below_runs(cnncli, photos, uncompiled) -> None:
    for name in ("photos", "photos-2"):
        assert cnncli("train", photos, "--epochs", "1", *TINY).out.startswith(f"runs/{name}: ")
        assert Path("runs", name, "model.keras").exists()


# Input


def test_gray_photos_make_a_network_of_one_channel(train, photos) -> None:
    train(data=write_photos(Path("gray"), gray=True))
    assert read_card(Path("run/model.keras")).input.color == "gray"
    from cnncli.learning.models import load_carded

    assert load_carded(Path("run/model.keras"))[0].input_shape == (None, 14, 14, 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--color", "gray"], (14, 14, "gray", "crop")),
        (["--image-size", "20x16", "--resize", "pad"], (20, 16, "rgb", "pad")),
        (["--image-size", "16", "--resize", "squash"], (16, 16, "rgb", "squash")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_input_is_what_was_asked_for(train, options: list[str], expected: tuple) -> None:
    train(*options)
    spec = read_card(Path("run/model.keras")).input
    assert (spec.height, spec.width, spec.color, spec.resize) == expected


def test_named_net_brings_its_size_and_photos_of_many_sizes_128(train, photos) -> None:
    train("--net", "course-cifar", "--epochs", "1")
    assert read_card(Path("run/model.keras")).input.height == 32
    photo(0, 99, 20).save(photos / "red" / "larger.png")
    done = train(out="other")
    assert read_card(Path("other/model.keras")).input.height == 128
    assert "The images differ in size: the network will see 128x128 (--image-size)" in done.err


def test_folders_val_and_test_are_used_as_such(train) -> None:
    for split, first in (("train", 0), ("valid", 30), ("test", 60)):
        write_photos(Path("split", split), each=4, first=first)
    train(data="split")
    assert record("run")["images"] == {"train": 12, "val": 12, "test": 12}


def test_manifest_is_data(train, photos) -> None:
    lines = [f"photos/{name}/{n}.png,{name},{'val' if n < 2 else 'train'}" for name in COLOURS for n in range(8)]
    Path("list.csv").write_text("\n".join(["path,label,split", *lines, "photos/red/9.png,red,test\n"]))
    Path("list.csv").write_text("\n".join(["path,label,split", *lines]))
    train(data="list.csv")
    assert record("run")["images"] == {"train": 18, "val": 6}


def test_data_of_a_run_is_a_manifest_that_trains_to_the_same_weights(train, photos) -> None:
    train(out="first")
    train(data="first/data.csv", out="second")
    assert weights(Path("first")) == weights(Path("second"))


def test_test_split_is_scored_once(train, monkeypatch) -> None:
    from cnncli.learning import train as module

    scored = []

    def evaluate(network, examples, report):
        scored.append(len(examples.rows))
        return evaluate_once(network, examples, report)

    evaluate_once = module.evaluate
    monkeypatch.setattr(module, "evaluate", evaluate)
    write_photos(Path("split/train"))
    write_photos(Path("split/test"), each=3, first=70)
    train(data="split")
    assert scored == [9]


# What settings do


def test_equal_seeds_give_equal_weights_and_others_do_not(train) -> None:
    for out, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        train("--seed", seed, "--augment", "flip,crop", "--dropout", "0.2", out=out)
    assert weights(Path("a")) == weights(Path("b")) and history(Path("a")) == history(Path("b"))
    assert weights(Path("a")) != weights(Path("c"))


def test_checkpoints_change_nothing(train, monkeypatch) -> None:
    from cnncli.learning import training

    ticks = iter(range(10**9))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    for out, seconds in (("never", "1e9"), ("rarely", "17"), ("always", "0")):
        train("--checkpoint-every", seconds, "--epochs", "6", "--lr", "0.02", out=out)
    assert history(Path("never")) == history(Path("rarely")) == history(Path("always"))
    assert weights(Path("never")) == weights(Path("rarely")) == weights(Path("always"))


def test_average_of_the_weights_is_kept_but_not_trained(train) -> None:
    train("--epochs", "3", out="plain")
    train("--epochs", "3", "--ema", "0.9", out="averaged")
    assert column(Path("averaged"), "loss") == column(Path("plain"), "loss")
    assert column(Path("averaged"), "val_loss") != column(Path("plain"), "val_loss")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without options, to compare with."""
    base = tmp_path_factory.mktemp("plain")
    write_photos(base / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnncli.inference.models.open_model", lambda *args, **options: None)
        assert main(["train", str(base / "photos"), "-o", str(base / "run"), "--epochs", "2", *TINY]) == 0
    return base / "run"


@pytest.mark.parametrize(
    "options",
    [
        ["--optimizer", "sgd"],
        ["--optimizer", "rmsprop"],
        ["--optimizer", "adamw", "--weight-decay", "0.5"],
        ["--weight-decay", "0.5"],
        ["--label-smoothing", "0.2"],
        ["--clip-norm", "0.001", "--optimizer", "sgd"],
        ["--dropout", "0.4"],
        ["--augment", "crop,rotate,blur,flip,color,distort,cutout,mixup"],
        ["--class-weights", "red=3,green=0.5"],
        ["--no-rescale"],
        ["--precision", "bfloat16"],
        ["--progressive", "--image-size", "24"],
    ],
    ids=" ".join,
)
def test_option_changes_what_is_learned(train, plain: Path, options: list[str]) -> None:
    train(*options)
    losses = column(Path("run"), "loss")
    assert all(map(math.isfinite, losses))
    assert losses[1] != column(plain, "loss")[1]
    field = options[0].removeprefix("--").removeprefix("no-").replace("-", "_")
    assert record("run")["settings"][field] != record(plain)["settings"][field]


RATES = {  # of 2 epochs of 4 steps at 0.05: at the end of each epoch
    "constant": (0.05, 0.05),
    "cosine": (0.05 * (1 + math.cos(math.pi * 3 / 8)) / 2, 0.05 * (1 + math.cos(math.pi * 7 / 8)) / 2),
    "step": (0.05, 0.0005),
    "plateau": (0.05, 0.05),
}


@pytest.mark.parametrize("schedule", RATES)
def test_schedule_sets_the_rate(train, schedule: str) -> None:
    train("--schedule", schedule)
    assert record("run")["images"]["train"] in range(25, 33)  # so 4 steps
    assert column(Path("run"), "learning_rate") == pytest.approx(RATES[schedule])


def test_one_cycle_rises_and_falls_and_warm_up_rises(train) -> None:
    train("--schedule", "one-cycle", "--epochs", "4", out="cycle")
    rates = column(Path("cycle"), "learning_rate")
    assert max(rates) > rates[0] * 0.99 and rates[-1] < 0.01 * max(rates) + 0.002
    train("--warmup", "2", "--epochs", "3", "--schedule", "constant", out="warm")
    assert column(Path("warm"), "learning_rate") == pytest.approx([0.025, 0.05, 0.05])


def test_auto_class_weights_are_printed_and_balance(train, photos) -> None:
    for number in range(3, 12):
        (photos / "red" / f"{number}.png").unlink()
    done = train("--class-weights", "auto")
    with Path("run/data.csv").open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file) if row["split"] == "train"]
    expected = {name: len(labels) / (3 * labels.count(name)) for name in COLOURS}
    line = next(line for line in done.err.splitlines() if line.startswith("Class weights: "))
    told = dict(entry.split("=") for entry in line.removeprefix("Class weights: ").split(","))
    assert {name: float(value) for name, value in told.items()} == pytest.approx(expected, rel=1e-3)


def test_early_stopping_ends_a_run_that_does_not_improve(train) -> None:
    done = train("--epochs", "40", "--patience", "2", "--lr", "1e-12", "--optimizer", "sgd")
    rows = history(Path("run"))
    assert len(rows) < 40
    assert record("run")["results"]["best_epoch"] == len(rows) - 2
    assert f"epoch {len(rows) - 2} of {len(rows)} is kept" in done.out


def test_preset_sets_options_and_those_given_beside_it_win(train) -> None:
    train("--preset", "best", "--net", "conv:4:3 bn relu gap", "--label-smoothing", "0.1", net=False)
    settings = record("run")["settings"]
    assert (settings["optimizer"], settings["schedule"], settings["ema"]) == ("adamw", "one-cycle", 0.99)
    assert (settings["label_smoothing"], settings["epochs"]) == (0.1, 2)


def test_bfloat16_run_is_saved_in_float32_and_predicts_through_litert(cnncli, photos) -> None:
    done = cnncli("train", photos, "-o", "run", "--epochs", "4", "--precision", "bfloat16", *TINY)
    assert done.code == 0
    from cnncli.learning.models import load_carded

    network = load_carded(Path("run/model.keras"))[0]
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    scores = []
    for backend in ("litert", "tensorflow"):
        rows = json.loads(cnncli("predict", photos, "--model", "run", "--backend", backend, "--format", "json").out)
        scores.append([p["score"] for row in rows for p in sorted(row["predictions"], key=lambda p: p["label"])])
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_unscaled_pixels_reach_the_network(train) -> None:
    train("--no-rescale")
    from cnncli.learning.models import load_carded

    assert "Rescaling" not in {type(layer).__name__ for layer in load_carded(Path("run/model.keras"))[0].layers}


def test_plan_prints_figures_and_writes_nothing(cnncli, photos) -> None:
    before = digests(Path())
    done = cnncli("train", photos, "--plan", "--epochs", "7", *TINY)
    assert done.code == 0
    words = done.out.split()
    assert "14x14x3" in words and words[words.index("parameters") + 1] == "127,"  # 3*3*3*4 + 4 + 4*3 + 3
    assert "4 an epoch, 7 epochs" in done.out and " GB at its peak" in done.out
    assert digests(Path()) == before and not Path("runs").exists()


def test_plan_takes_what_a_run_takes(cnncli, photos) -> None:
    for options in (["--patience", "3"], ["--schedule", "plateau"], ["--class-weights", "auto", "--batch-size", "1"]):
        assert cnncli("train", photos, "--plan", *TINY, *options).code == 0
    done = cnncli("train", photos, "--plan", "--patience", "3", "--val-split", "0", *TINY)
    assert done.code == 1 and "--patience needs validation" in done.err


def test_plan_counts_epochs_of_smaller_images_as_such(cnncli, photos, monkeypatch) -> None:
    from cnncli.learning import plan

    sides = []
    monkeypatch.setattr(plan, "_step_seconds", lambda phase, objective, *rest: sides.append(objective.size) or 60.0)
    done = cnncli("train", photos, "--plan", *TINY, "--image-size", "64", "--progressive", "--epochs", "10")
    assert sides == [(32, 32), (48, 48), None]  # each measured once
    assert "about 40 min on this machine" in done.out  # 4 steps in each of 10 epochs


# Backbones

# one shape of batches, small enough not to be cut: such networks take long to trace
SMALL = ("--backbone", "mobilenet-0.25", "--image-size", "32", "--batch-size", "12", "--val-split", "0")


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_weights("mobilenet-0.25", tmp_path_factory.mktemp("weights") / "mobilenet.h5")


@pytest.fixture(scope="module")
def frozen(mobilenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose head learned from the features of a frozen backbone."""
    base = tmp_path_factory.mktemp("frozen")
    write_photos(base / "photos")
    args = ["train", base / "photos", "-o", base / "run", "--epochs", "8", "--lr", "0.02", "--weights", mobilenet]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnncli.inference.models.open_model", lambda *args, **options: None)
        assert main([str(arg) for arg in (*args, *SMALL)]) == 0
    return base / "run"


def layer_weights(run: str | Path) -> dict[str, list[np.ndarray]]:
    """The weights of each layer in a run's model."""
    from cnncli.learning.models import load_carded

    network = load_carded(Path(run, "model.keras"))[0]
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_backbone_is_frozen_and_its_head_learns_from_features(frozen, mobilenet) -> None:
    assert column(frozen, "loss")[-1] < 0.7 * column(frozen, "loss")[0]
    from cnncli.backbones import InputSpec
    from cnncli.learning.trunks import trunk

    pretrained = trunk("mobilenet-0.25", mobilenet, InputSpec(32, 32, "rgb"))
    found = layer_weights(frozen)
    for layer in pretrained.layers:
        if layer.weights:
            assert same(found.pop(layer.name), layer.get_weights())
    assert list(found) == ["logits"]


def test_fine_tuning_moves_the_last_block_but_no_batch_normalisation(train, frozen, mobilenet) -> None:
    tuning = ("--fine-tune", "1", "--fine-tune-epochs", "2", "--lr", "0.01", "--schedule", "constant")
    train(*SMALL, "--weights", mobilenet, "--epochs", "1", *tuning, net=False)
    before, after = layer_weights(frozen), layer_weights("run")
    assert {name for name in before if not same(before[name], after[name])} == {"conv_dw_13", "conv_pw_13", "logits"}
    assert column(Path("run"), "learning_rate") == pytest.approx([0.01, 0.0001, 0.0001])


def test_features_of_augmented_images_are_recomputed(train, frozen, mobilenet) -> None:
    train(*SMALL, "--weights", mobilenet, "--augment", "flip,cutout", "--lr", "0.02", net=False)
    assert len({row["loss"] for row in history(Path("run"))} | {history(frozen)[0]["loss"]}) == 3
    before = layer_weights(frozen)
    assert {name for name, own in layer_weights("run").items() if not same(own, before[name])} == {"logits"}


def test_backbone_from_scratch_trains_every_layer_in_the_precision_asked_for(train, monkeypatch) -> None:
    from cnncli.learning import trunks

    made = []
    trunk = trunks.trunk
    monkeypatch.setattr(trunks, "trunk", lambda *args, **options: made.append(trunk(*args, **options)) or made[-1])
    train(*SMALL, "--from-scratch", "--precision", "bfloat16", "--epochs", "1", net=False)
    assert made[0].get_layer("conv1").compute_dtype == "bfloat16"
    assert math.isfinite(column(Path("run"), "loss")[0])
    found = layer_weights("run")
    assert found["conv1_bn"][2].any() and {str(w.dtype) for own in found.values() for w in own} == {"float32"}


# Starting from a trained model


def test_start_from_begins_with_the_weights_of_a_run_of_the_same_net(train, plain: Path) -> None:
    train("--start-from", plain, "--lr", "1e-9", "--schedule", "constant", "--epochs", "1")
    assert column(Path("run"), "val_loss")[0] == pytest.approx(column(plain, "val_loss")[-1], abs=1e-5)
    assert column(Path("run"), "val_loss")[0] < column(plain, "val_loss")[0]
    assert record("run")["settings"]["start_from"] == str(plain)
    train("--start-from", plain / "model.keras", "--lr", "1e-9", "--epochs", "1", out="from-file")
    assert column(Path("from-file"), "loss")[0] == pytest.approx(column(Path("run"), "loss")[0], abs=1e-5)


def test_start_from_leaves_the_last_layer_new_where_the_classes_are_others(train, plain: Path, tmp_path) -> None:
    two = write_photos(tmp_path / "two")
    shutil.rmtree(two / "blue")
    train("--start-from", plain, "--lr", "1e-9", "--epochs", "1", data=two)
    found, before = layer_weights("run"), layer_weights(plain)
    np.testing.assert_allclose(found["conv"][0], before["conv"][0], atol=1e-6)
    assert found["dense"][0].shape[1] == 2


def test_start_from_another_network_is_refused_and_leaves_nothing(cnncli, photos, uncompiled, plain: Path) -> None:
    done = cnncli("train", photos, "-o", "run", "--net", "conv:5:3:relu gap", "--start-from", plain)
    assert done.code == 1 and not Path("run").exists()
    assert "a model of another network: its layer 2 is 'conv' (Conv2D of shapes 3x3x3x4, 4), that of the" in done.err
    done = cnncli("train", photos, "-o", "run", "--net", "conv:4:3:s2:relu gap", "--start-from", plain)
    assert done.code == 1 and "a model of another network: its layer 2 is 'conv'" in done.err  # another stride
    done = cnncli("train", photos, "-o", "run", *TINY, "--no-rescale", "--start-from", plain)
    assert done.code == 1 and "its layer 1 is 'rescale'" in done.err


def test_start_from_keeps_what_the_weights_were_learned_from_and_their_licence(
    train, cnncli, plain: Path, tmp_path
) -> None:
    from cnncli.learning.models import load_carded, save_carded

    first = shutil.copytree(plain, tmp_path / "first")
    network, card = load_carded(first / "model.keras")
    save_carded(network, replace(card, licence="for teaching"), first / "model.keras")
    told = train("--start-from", first, "--val-split", "0.5", "--epochs", "1").err
    assert f"Weights: those of {first / 'model.keras'}\n" in told
    shutil.rmtree(first)
    earlier = {row.sha256 for row in Run(plain).read_data() if row.split == "train"}
    again = [row for row in Run(Path("run")).read_data() if row.split == "val" and row.sha256 in earlier]
    assert again and f"{len(again)} images to validate or test with are among those that these weights know" in told
    own = {bytes.fromhex(row.sha256) for row in Run(Path("run")).read_data() if row.split == "train"}
    assert own < Run(Path("run")).trained_on() == Run(plain).trained_on()
    assert cnncli("train", "--resume", "-o", "run").code == 0
    assert load_carded(Path("run", "model.keras"))[1].licence == "for teaching"


def test_start_from_is_not_needed_to_go_on(train, cnncli, plain: Path, tmp_path) -> None:
    shutil.copytree(plain, tmp_path / "first")
    train("--start-from", tmp_path / "first")
    shutil.rmtree(tmp_path / "first")
    assert cnncli("train", "--resume", "-o", "run").code == 0


def test_run_that_was_stopped_before_its_first_checkpoint_has_neither_model_nor_history(
    train, cnncli, monkeypatch
) -> None:
    train()
    shutil.rmtree("run/state")
    Path("run/state").mkdir()
    Path("run/model.keras").unlink()
    done = cnncli("models", "show", "run")
    assert done.code == 1 and "run: this run has no model yet. If it was stopped: cnncli train --resume" in done.err

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cnncli.learning.train._Session._train", stopped)
    assert cnncli("train", "--resume", "-o", "run").code == 130
    assert not Path("run/history.csv").exists()  # of epochs that are lost


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--net", "lenett"], "Did you mean lenet?"),
        (["--net", "conv:4"], "'--net': layer 1, 'conv:4'"),
        (["--net", " "], "'--net': it is empty"),
        (["--net", "resnet50"], "expected --backbone resnet50"),
        (["--backbone", "mobilnet"], "'--backbone': 'mobilnet' is no pretrained network. Did you mean mobilenet?"),
        (["--net", "lenet", "--backbone", "mobilenet"], "--net and --backbone exclude each other"),
        (["--backbone", "mobilenet", "--from-scratch", "--fine-tune", "1"], "--from-scratch and --fine-tune exclude"),
        (["--fine-tune", "1"], "--fine-tune goes with --backbone"),
        (["--weights", "w.h5"], "--weights goes with --backbone"),
        (["--from-scratch"], "--from-scratch goes with --backbone"),
        (["--progressive", "--patience", "2"], "--progressive and --patience exclude each other"),
        (["--progressive", "--schedule", "plateau"], "--progressive and --schedule plateau exclude each other"),
        (["--start-from", "tiny200"], "to learn on from it, --backbone tiny200 --fine-tune N"),
        (["--start-from", ""], "--start-from: the name is empty"),
        (["--start-from", "run", "--backbone", "mobilenet"], "--start-from and --backbone exclude each other"),
        (["--backbone", "tiny200", "--from-scratch"], "--from-scratch: tiny200 comes with its weights"),
        (["--backbone", "tiny200", "--weights", "w.h5"], "--weights: tiny200 comes with its weights"),
        (["--backbone", "mobilenet", "--no-rescale"], "--no-rescale goes with --net"),
        (["--backbone", "mobilenet", "--progressive"], "--progressive with --backbone needs --from-scratch"),
        (["--augment", "flip,zoom"], "--augment flip,zoom: 'zoom' is not known"),
        (["--image-size", "big"], "--image-size 'big': expected a whole number"),
        (["--class-weights", "lots"], "--class-weights 'lots': expected auto"),
        (["--class-weights", "mauve=2"], "no class is called 'mauve'; the data has blue, green, red"),
        (["--epochs", "0"], "'--epochs'"),
        (["--lr", "nan"], "'--lr': 'nan': expected a number above 0"),
        (["--val-split", "1"], "'--val-split': '1': expected a number from 0 on and below 1"),
        (["--dropout", "1"], "'--dropout'"),
        (["--ema", "1"], "'--ema'"),
        (["--precision", "float16"], "'--precision'"),
        (["--optimizer", "lion"], "'--optimizer'"),
        (["--seed", "-1"], "'--seed'"),
        (["--resume"], "--resume needs --output RUN"),
        (["--resume", "--force", "-o", "run"], "--resume and --force exclude each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_2_names_the_option_and_leaves_nothing(cnncli, photos, options, message: str) -> None:
    done = cnncli("train", photos, *options)
    assert done.code == 2
    assert message in done.err
    assert not list(Path("runs").glob("*")) and not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--net", "conv:4:99 gap"], "a window of 99 does not fit into 14"),
        (["--net", "conv:4:3"], "classes need a vector: put flatten or gap"),
        (["--net", "lenet", "--progressive"], "--progressive needs one that ends in gap or gmp"),
        (["--warmup", "9", "--epochs", "3"], "a warm-up of 36 steps does not fit into a run of 12"),
        (["--patience", "2", "--val-split", "0"], "--patience needs validation"),
        (["--backbone", "mobilenet", "--weights", "nowhere.h5"], "nowhere.h5: no such file"),
        (["--start-from", "nowhere"], "nowhere: no such run or model file"),
        (["--start-from", str(bundled.path())], "this is no .keras file; expected a run"),
        (["--backbone", "mobilenet", "--offline"], "mobilenet"),
        (["--backbone", "mobilenet-0.25", "--image-size", "16", "--from-scratch"], "needs images of 32x32"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_run_exits_1_and_leaves_nothing(cnncli, photos, options: list[str], message: str) -> None:
    done = cnncli("train", photos, "--batch-size", "8", *options)
    assert (done.code, message in done.err) == (1, True), done.err
    assert not list(Path("runs").glob("*"))


def test_layers_are_checked_before_any_image_is_decoded(cnncli, photos, monkeypatch) -> None:
    monkeypatch.setattr("cnncli.learning.prepared.load", lambda *args, **options: pytest.fail("decoded"))
    assert cnncli("train", photos, "--net", "conv:4:99 gap").code == 1


def test_failed_run_by_force_leaves_the_run_that_was_there(train, cnncli, photos) -> None:
    train()
    before = digests(Path("run"))
    assert cnncli("train", photos, "-o", "run", "--force", "--net", "conv:4:99 gap").code == 1
    assert digests(Path("run")).items() >= before.items()


def test_run_that_exists_is_refused_and_replaced_by_force(train, cnncli, photos) -> None:
    train()
    before = digests(Path("run"))
    done = cnncli("train", photos, "-o", "run", *TINY)
    assert done.code == 1 and "there is a run already; go on with it by --resume, replace it by --force" in done.err
    assert digests(Path("run")) == before
    train("--force", "--epochs", "1")
    assert len(history(Path("run"))) == 1 and record("run")["settings"]["epochs"] == 1


# Data that is not as it should be


def test_corrupt_images_are_all_named_left_out_and_not_touched(cnncli, photos, uncompiled) -> None:
    good = (photos / "red" / "0.png").read_bytes()
    for name, content in (("red/x.png", good[:60]), ("green/y.jpg", b"<html>404"), ("blue/z.png", b"")):
        (photos / name).write_bytes(content)
    before = digests(photos)
    done = cnncli("train", photos, "-o", "run", "--epochs", "2", *TINY)
    assert done.code == 3
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert all(any(name in line for line in errors) for name in ("red/x.png", "green/y.jpg", "blue/z.png"))
    assert "3 images could not be read and were left out" in done.err
    assert digests(photos) == before
    assert Path("run/model.keras").exists() and len(history(Path("run"))) == 2


def test_strict_refuses_to_start_with_a_corrupt_image(cnncli, photos) -> None:
    (photos / "red" / "x.png").write_bytes(b"nothing")
    done = cnncli("train", photos, "-o", "run", "--strict", *TINY)
    assert done.code == 1
    assert "photos/red/x.png: " in done.err
    assert done.err.endswith("error: 1 images cannot be read, and --strict was given\n")
    assert not Path("run").exists()


def test_empty_class_one_class_and_images_in_no_class_are_refused_with_the_layout(cnncli, photos) -> None:
    Path("photos/empty").mkdir()
    assert "no image in class empty" in (done := cnncli("train", photos, *TINY)).err and done.code == 1
    assert "cat/   1.jpg" in done.err
    write_photos(Path("one"))
    for name in ("red", "green"):
        shutil.rmtree(Path("one", name))
    assert "one class only (blue)" in cnncli("train", "one", *TINY).err
    Path("flat").mkdir()
    photo(0, 0).save("flat/a.png")
    assert "images in no class, such as a.png" in cnncli("train", "flat", *TINY).err
    assert not list(Path("runs").glob("*"))


def test_junk_folders_and_files_are_no_classes(train, photos) -> None:
    for name in ("__MACOSX", ".cache"):
        Path(photos, name).mkdir()
        photo(0, 0).save(photos / name / "a.png")
    (photos / "red" / "Thumbs.db").write_bytes(b"x")
    (photos / "red" / "notes.txt").write_text("x")
    done = train()
    assert record("run")["classes"] == ["blue", "green", "red"]
    assert "passed over 1 .txt file in red" in done.err or "txt" in done.err


def test_class_too_small_to_be_split_is_named(cnncli, photos) -> None:
    for number in range(1, 12):
        (photos / "red" / f"{number}.png").unlink()
    done = cnncli("train", photos, "--val-split", "0.2", *TINY)
    assert done.code == 1 and "class red has 1 image, too few for 2 parts" in done.err


def test_without_validation_the_last_epoch_is_kept(train) -> None:
    done = train("--val-split", "0", "--epochs", "3")
    assert "epoch 3 of 3 is kept" in done.out and "validation" not in done.out
    assert history(Path("run"))[0]["val_loss"] == ""


def test_same_picture_in_two_splits_is_said(train, photos) -> None:
    write_photos(Path("split/train"))
    write_photos(Path("split/test"), each=2)
    assert "6 images are in more than one split" in train(data="split").err


def test_class_order_is_natural_whatever_the_locale(process, train, photos) -> None:
    for old, new in (("red", "class10"), ("green", "class9"), ("blue", "Zebra")):
        Path(photos, old).rename(photos / new)
    env = os.environ | {"LC_ALL": "tr_TR.UTF-8", "PYTHONUTF8": "1"}
    assert process("train", photos, "-o", "turkish", "--epochs", "1", *TINY, env=env).code == 0
    train("--epochs", "1")
    orders = [[c.id for c in read_card(Path(run, "model.keras")).classes] for run in ("turkish", "run")]
    assert orders[0] == orders[1]
    assert orders[0].index("class9") < orders[0].index("class10")


@pytest.mark.parametrize(
    "name", ["[red]", "a b\nc", "\N{CAT}", "-o", "\udcff", "x" * 200], ids=lambda name: repr(name)[:12]
)
def test_odd_names_of_classes_and_files_survive(train, cnncli, photos, name: str) -> None:
    (photos / "red").rename(photos / name)
    (photos / name / "0.png").rename(photos / name / f"{name}.png")
    (photos / name / "broken.png").write_bytes(b"")
    try:
        done = train("--epochs", "1")
    finally:
        shutil.rmtree(photos / name)
    assert done.code == 3
    assert name in [c.id for c in read_card(Path("run/model.keras")).classes]
    with Path("run/data.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert str(Path(photos, name, f"{name}.png").absolute()) in {row["path"] for row in csv.DictReader(file)}


def test_folder_that_leads_back_to_itself_ends(train, photos) -> None:
    (photos / "red" / "loop").symlink_to(photos.absolute())
    train("--epochs", "1")
    assert sum(record("run")["images"].values()) == 36


def test_files_that_go_while_training_do_not_matter_and_are_named_on_resume(train, cnncli, photos, monkeypatch) -> None:
    from cnncli.learning import training

    before = training.Training._epoch

    def epoch(self):
        (photos / "red" / "3.png").unlink(missing_ok=True)
        before(self)

    monkeypatch.setattr(training.Training, "_epoch", epoch)
    train()
    done = cnncli("train", "--resume", "-o", "run")
    assert done.code == 1
    assert "missing or changed: " in done.err and "photos/red/3.png" in done.err
    assert Path("run/model.keras").exists()


@pytest.mark.parametrize(
    ("split", "broken", "message"),
    [
        ("train", ["train/red"], "not one training image of class red can be read (photos/train/red/0.png: "),
        ("val", ["val/red", "val/green", "val/blue"], "not one validation image can be read ("),
        ("test", ["test/red", "test/green", "test/blue"], "not one test image can be read ("),
    ],
)
def test_splits_and_classes_without_a_readable_image_are_named_before_training(
    cnncli, tmp_path, monkeypatch, split: str, broken: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("train", "val", "test")):
        write_photos(Path("photos", name), each=3, first=10 * number)
    for folder in broken:
        for path in Path("photos", folder).iterdir():
            path.write_bytes(path.read_bytes()[:40])
    done = cnncli("train", "photos", "-o", "run", *TINY)
    assert done.code == 1 and message.replace("/0.png: ", "/") in done.err and not Path("run").exists()


def test_mistake_with_force_leaves_the_earlier_run_as_it_is(train, cnncli, photos) -> None:
    train()
    shutil.rmtree("run/state")
    Path("run/state").mkdir()
    Path("run/state/lock").touch()
    before = digests(Path("run"))
    assert cnncli("train", "fotos", "-o", "run", "--force").code == 1
    assert cnncli("train", photos, "-o", "run", "--force", "--net", "conv:4:50").code == 1
    assert digests(Path("run")) == before


def test_model_that_an_earlier_run_left_is_not_taken_for_the_new_ones(train, cnncli, photos, monkeypatch) -> None:
    from cnncli.runs import Run

    train()
    assert Run(Path("run")).trained_on()
    photo(0, 900).save(photos / "red" / "more.png")

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cnncli.learning.train._Session._train", stopped)
    assert cnncli("train", photos, "-o", "run", "--force", *TINY).code == 130
    assert Run(Path("run")).model.exists() and Run(Path("run")).trained_on() is None


def test_start_from_the_run_that_is_to_be_replaced_is_refused(train, cnncli, photos) -> None:
    train()
    before = digests(Path("run"))
    done = cnncli("train", photos, "-o", "run", "--force", "--start-from", "run", *TINY)
    assert done.code == 1 and "give another --output" in done.err and digests(Path("run")) == before


def test_disk_that_cannot_hold_the_run_is_said_before_training(cnncli, photos, monkeypatch) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9 - 1000, free=1000)
    monkeypatch.setattr("cnncli.learning.train.shutil.disk_usage", lambda path: usage)
    done = cnncli("train", photos, "-o", "run", *TINY)
    assert done.code == 1 and "run: the disk has 0.0 MB free, and this run needs 0.0 MB" in done.err
    assert not Path("run").exists()


def test_tensorboard_that_cannot_be_written_stops_no_training(train, monkeypatch) -> None:
    from cnncli.errors import TrainingError
    from cnncli.learning.tensorboard import Board

    def full(*args: object) -> None:
        raise TrainingError("run/tensorboard/train: what TensorBoard shows cannot be written there (No space left)")

    monkeypatch.setattr(Board, "epoch", full)
    done = train("--epochs", "3")
    assert done.err.count("(No space left); training goes on without it") == 1
    assert len(history(Path("run"))) == 3


# Resuming


def test_resume_of_a_finished_run_changes_nothing(train, cnncli, photos) -> None:
    train()
    before, rows = weights(Path("run")), history(Path("run"))
    assert cnncli("train", "--resume", "-o", "run").code == 0
    assert (weights(Path("run")), history(Path("run"))) == (before, rows)
    assert record("run")["status"] == "done"


def test_resume_with_other_options_lists_them(train, cnncli, photos) -> None:
    train("--dropout", "0.1")
    assert cnncli("train", "--resume", "-o", "run", "--dropout", "0.1", "--epochs", "2").code == 0
    done = cnncli("train", "--resume", "-o", "run", "--batch-size", "4", "--epochs", "9")
    assert done.code == 1
    assert "--batch-size: the run has 8, given is 4" in done.err and "--epochs: the run has 2, given is 9" in done.err


def test_resume_with_other_data_says_what_differs(train, cnncli, photos) -> None:
    train()
    photo(0, 500).save(photos / "red" / "new.png")
    photo(1, 501).save(photos / "green" / "5.png")
    done = cnncli("train", "--resume", "-o", "run")
    assert done.code == 1
    new = "new or changed: {0}/green/5.png, {0}/red/new.png".format(photos.absolute())
    assert new in done.err and f"missing or changed: {photos.absolute()}/green/5.png" in done.err


def stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Lets the next run be stopped by Ctrl-C after some epochs."""
    from cnncli.learning.training import Training

    before = Training._epoch

    def epoch(self):
        before(self)
        if self.progress.epoch == epochs:
            self._save()
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_epoch", epoch)


def test_images_that_were_renamed_and_moved_meanwhile_end_in_the_same_bits(train, cnncli, photos) -> None:
    shutil.copy(photos / "red" / "0.png", photos / "red" / "copy.png")
    train("--epochs", "5", out="whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        assert cnncli("train", photos, "-o", "run", *TINY, "--epochs", "5").code == 130
    shutil.move(photos, "elsewhere")
    for number, path in enumerate(sorted(Path("elsewhere", "red").iterdir(), reverse=True)):
        path.rename(path.with_name(f"new-{number}.png"))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        assert cnncli("train", "elsewhere", "--resume", "-o", "run").code == 130
    assert cnncli("train", "--resume", "-o", "run").code == 0  # it knows where they are now
    assert weights(Path("run")) == weights(Path("whole")) and history(Path("run")) == history(Path("whole"))


def test_duplicates_that_went_meanwhile_are_missed(train, cnncli, photos) -> None:
    shutil.copy(photos / "red" / "0.png", photos / "red" / "copy.png")
    train()
    (photos / "red" / "copy.png").unlink()
    done = cnncli("train", "--resume", "-o", "run")
    assert done.code == 1 and "missing or changed: " in done.err


def test_odd_names_do_not_keep_a_run_from_going_on(train, cnncli, photos) -> None:
    (photos / "red" / "0.png").rename(photos / "red" / 'a\rb "c",\n.png')
    train()
    assert cnncli("train", "--resume", "-o", "run").code == 0
    assert cnncli("data", "check", "run/data.csv").code == 0


def test_resume_of_nothing_says_so(cnncli, tmp_path) -> None:
    done = cnncli("train", "--resume", "-o", tmp_path / "nowhere")
    assert done.code == 1 and "nowhere: no run is here (run.json is missing)" in done.err
    (tmp_path / "run.json").write_text('{"schema": 1}')
    done = cnncli("train", "--resume", "-o", tmp_path)
    assert done.code == 1 and "not the record of a run" in done.err


# Where training fails


def test_training_that_diverges_exits_1_and_leaves_no_model_of_nan(cnncli, photos) -> None:
    net = "conv:8:3 conv:8:3 conv:8:3 flatten"
    done = cnncli("train", photos, "-o", "run", "--net", net, "--lr", "1e9", "--optimizer", "sgd", "--epochs", "3")
    assert done.code == 1
    assert "epoch " in done.err and "is not a finite number: training diverged" in done.err and "--lr below" in done.err
    if Path("run/model.keras").exists():
        from cnncli.learning.models import load_carded

        network = load_carded(Path("run/model.keras"))[0]
        assert all(np.isfinite(weight).all() for weight in network.get_weights())


def test_training_that_diverges_later_keeps_the_best_model(cnncli, photos, uncompiled, monkeypatch) -> None:
    from cnncli.learning.training import Training

    rate = Training._rate
    monkeypatch.setattr(Training, "_rate", lambda self, step: 1e30 if self.progress.epoch == 2 else rate(self, step))
    net = "conv:8:3 conv:8:3 conv:8:3 flatten"
    options = ("--net", net, "--optimizer", "sgd", "--epochs", "5", "--checkpoint-every", "0")
    done = cnncli("train", photos, "-o", "run", *options)
    assert done.code == 1
    assert "epoch 3: " in done.err or "epoch 4: " in done.err
    assert "The best model so far is kept" in done.err
    assert record("run")["status"] == "failed"
    from cnncli.learning.models import load_carded

    assert all(np.isfinite(w).all() for w in load_carded(Path("run/model.keras"))[0].get_weights())


def test_curves_that_cannot_be_written_exit_1_and_the_model_stays(cnncli, photos, uncompiled, monkeypatch) -> None:
    from cnncli import history as module

    write = module.write

    def block(rows, path):
        path.with_name("curves.png").mkdir(exist_ok=True)
        write(rows, path)

    monkeypatch.setattr(module, "write", block)
    done = cnncli("train", photos, "-o", "run", "--epochs", "2", *TINY)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("error: run/curves.png: cannot be written")
    assert read_card(Path("run/model.keras")).metrics["val_accuracy"] >= 0
    assert len(history(Path("run"))) == 2
