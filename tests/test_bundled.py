"""The bundled model: whole, known by name everywhere, the same by both engines, and there when nothing else is."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photos_for_tests import column, write_photos
from PIL import Image

from cnncli import bundled
from cnncli.backbones import BUNDLED, InputSpec, imagenet_classes
from cnncli.inference.engine import LiteRTEngine
from cnncli.modelfile import check_content, read_card
from cnncli.networks import find
from cnncli.tracing import trace

PHOTOS = Path(__file__).parents[1] / "sample_images"
MAX_BYTES = 12_000_000  # of the file, so that the wheel stays small


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# The file


def test_file_is_whole_small_and_has_float16_weights_only() -> None:
    check_content(bundled.path(), read_card(bundled.path()))
    network = find(BUNDLED)
    assert network is not None
    found = trace(network)
    assert bundled.path().stat().st_size < MAX_BYTES
    assert bundled.path().stat().st_size < 2.1 * found.parameters  # two bytes each, graph and card


def test_card_says_what_the_model_is_how_it_was_made_and_how_good_it_is() -> None:
    card = read_card(bundled.path())
    known = {c.id: c.label for c in imagenet_classes()}
    assert card.name == "tiny200" and len(card.classes) == 200
    assert all(known[c.id] == c.label for c in card.classes)
    assert card.input == InputSpec(64, 64) and "not commercial" in (card.licence or "")
    assert card.training["command"].startswith("cnncli train tiny-imagenet-200/train ")
    recipe = (Path(__file__).parent / "benchmarks" / "train_tiny200.py").read_text()
    options = " ".join(re.findall(r'^ {4}"(--.+?) ?"$', recipe, re.MULTILINE))
    assert options.startswith("--net tiny200 --epochs") and options in card.training["command"]
    assert {"seed", "images", "time", "log", "temperature"} <= card.training.keys()
    assert card.training["log"].splitlines()[0].startswith("epoch loss accuracy")
    assert not re.search(r"/(tmp|home|work|root)\b", json.dumps(card.to_json()))  # paths of a machine
    assert card.metrics["top1"] >= 0.54 and card.metrics["top3"] >= 0.72 and card.metrics["ece"] < 0.05
    text = " ".join(card.notes)
    assert f"top-1 {card.metrics['top1']:.4f} (95 % interval" in text and "Bad at:" in text


def test_show_prints_the_card_with_its_log(cnncli) -> None:
    text = cnncli("models", "show", "tiny200").out
    for part in ("Tiny ImageNet", "command:", "seed:", "metric top1:", "its mirror image", "goldfish"):
        assert part in text
    found = json.loads(cnncli("models", "show", "tiny200", "--format", "json").out)
    assert found["mirrored"] is True and len(found["notes"]) >= 4


# Both engines


def test_keras_and_litert_give_the_same_probabilities() -> None:
    from cnncli.learning.models import load_carded

    network, card = load_carded(bundled.path())
    images = pixels(0, 4, 64, 64, 3)
    engine = LiteRTEngine(bundled.path(), replace(card, mirrored=False), 1)
    expected = np.stack([engine(image) for image in images])
    assert expected.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert len({int(row.argmax()) for row in expected}) > 1 or np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(network(images.astype(np.float32)).numpy(), expected, atol=1e-4)


def test_both_engines_mean_over_the_image_and_its_mirror_image() -> None:
    from cnncli.learning.engine import KerasEngine

    card, image = read_card(bundled.path()), pixels(1, 64, 64, 3)
    one = LiteRTEngine(bundled.path(), replace(card, mirrored=False), 1)
    expected = (one(image).astype(float) + one(image[:, ::-1])) / 2
    assert np.abs(one(image) - one(image[:, ::-1])).max() > 0.01
    np.testing.assert_allclose(LiteRTEngine(bundled.path(), card, 1)(image), expected, atol=1e-6)
    np.testing.assert_allclose(KerasEngine(bundled.path(), None, mirrored=True)(image), expected, atol=1e-4)


def test_a_photo_and_its_mirror_image_get_the_same_scores(cnncli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(pixels(2, 64, 64, 3))
    photo.save("a.png")
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b.png")
    run = cnncli("predict", "a.png", "b.png", "--model", "tiny200", "--top", "200", "--format", "json")
    one, other = ({p["index"]: p["score"] for p in row["predictions"]} for row in json.loads(run.out))
    assert len(one) == 200 and one == pytest.approx(other, abs=2e-6)


def test_trunk_gives_what_the_network_has_before_its_last_layer() -> None:
    from cnncli.learning import keras
    from cnncli.learning.models import load_carded
    from cnncli.learning.trunks import blocks, trunk

    network, _ = load_carded(bundled.path())
    images = pixels(3, 2, 64, 64, 3).astype(np.float32)
    found = trunk(BUNDLED, bundled.path(), InputSpec(64, 64))
    expected = keras.Model(network.input, network.get_layer("gap").output)(images)
    np.testing.assert_allclose(found(images), expected, atol=1e-4)
    named = [name for block in blocks(found) for name in block]
    assert named == [layer.name for layer in found.layers if layer.weights] and len(blocks(found)) == 5


def test_trunk_sees_grey_as_three_equal_channels_at_any_size() -> None:
    from cnncli.learning.trunks import trunk

    gray = pixels(4, 2, 48, 80, 1).astype(np.float32)
    of_gray = trunk(BUNDLED, bundled.path(), InputSpec(48, 80, "gray"))
    of_rgb = trunk(BUNDLED, bundled.path(), InputSpec(48, 80))
    np.testing.assert_allclose(of_gray(gray), of_rgb(gray.repeat(3, axis=-1)), atol=1e-3)


# Its name


def test_commands_know_it_by_name(cnncli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cnncli("models", "path", "tiny200").out == f"{bundled.path()}\n"
    assert "comes with cnncli" in cnncli("models", "pull", "tiny200").err
    assert cnncli("models", "verify", "tiny200").out.startswith("ok\ttiny200\t")
    listed = json.loads(cnncli("models", "list", "--format", "json").out)["bundled"]
    assert (listed["name"], listed["input_size"], listed["parameters"]) == ("tiny200", [64, 64], 4_286_888)
    Path("tiny200").mkdir()  # a name of the table wins over a path
    answer = cnncli("predict", PHOTOS / "cat.jpg", "--model", "tiny200", "--format", "json", "--top", "1")
    assert json.loads(answer.out)[0]["model"] == "tiny200"


def test_keras_runs_it_too(cnncli) -> None:
    rows = [
        json.loads(cnncli("predict", PHOTOS / "cat.jpg", "--model", "tiny200", "--format", "json", *more).out)[0]
        for more in ((), ("--backend", "tensorflow"))
    ]
    first, second = ([(p["index"], p["score"]) for p in row["predictions"]] for row in rows)
    assert [index for index, _ in first] == [index for index, _ in second]
    assert [score for _, score in first] == pytest.approx([score for _, score in second], abs=1e-4)


def test_export_to_keras_carries_the_card(cnncli, tmp_path) -> None:
    new = tmp_path / "new.keras"
    done = cnncli("models", "export", "tiny200", "--to", "keras", "-o", new)
    assert done.code == 0, done.err
    card = read_card(new)
    assert card.mirrored and card.training["seed"] == "0"


def test_heat_maps_have_the_scores_of_predict(cnncli, tmp_path) -> None:
    said = cnncli("predict", PHOTOS / "cat.jpg", "--model", "tiny200", "--format", "json")
    drawn = cnncli(
        "visualize",
        "gradcam",
        "tiny200",
        PHOTOS / "cat.jpg",
        "--format",
        "json",
        "--no-check",
        "-o",
        tmp_path / "w.png",
    )
    assert drawn.code == 0, drawn.err
    expected = {p["label"]: p["score"] for p in json.loads(said.out)[0]["predictions"]}
    found = {c["label"]: c["score"] for c in json.loads(drawn.out)[0]["classes"]}
    assert found == pytest.approx(expected, abs=1e-4)


def test_evaluate_scores_a_folder_with_the_answers_of_predict(cnncli, tmp_path) -> None:
    for name, photo in (("n02124075", "cat.jpg"), ("n07920052", "coffee.jpg")):
        (tmp_path / name).mkdir()
        (tmp_path / name / photo).write_bytes((PHOTOS / photo).read_bytes())
    run = cnncli("evaluate", "tiny200", tmp_path, "--format", "json", "--predictions", tmp_path / "p.csv")
    assert run.code == 0, run.err
    assert json.loads(run.out)["images"] == 2
    said = json.loads(cnncli("predict", PHOTOS / "cat.jpg", "--model", "tiny200", "--format", "json").out)[0]
    with (tmp_path / "p.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["path"].endswith("cat.jpg") and row["rank"] == "1")
    assert row["label"] == said["predictions"][0]["label"]
    assert float(row["score"]) == pytest.approx(said["predictions"][0]["score"], abs=1e-5)


def test_transfer_learns_on_its_features_without_a_download(cnncli, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("cnncli.inference.models.open_model", lambda *args, **options: None)  # no compiling
    photos, run = write_photos(tmp_path / "photos", px=40), tmp_path / "run"
    options = ("--backbone", "Tiny200", "--epochs", "3", "--fine-tune", "1", "--fine-tune-epochs", "1", "--offline")
    done = cnncli("train", photos, "-o", run, *options)
    assert done.code == 0, done.err
    assert column(run, "accuracy")[2] > 0.6  # three colours
    card = read_card(run / "model.keras")
    assert card.input == InputSpec(64, 64) and "not commercial" in (card.licence or "") and not card.mirrored


def test_a_damaged_file_is_refused_by_name(cnncli, tmp_path, monkeypatch) -> None:
    damaged = tmp_path / "tiny200.tflite"
    content = bytearray(bundled.path().read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(bundled, "path", lambda: damaged)
    for args in (("predict", PHOTOS / "cat.jpg"), ("visualize", "kernels")):
        command = (*args, "--model", "tiny200") if args[0] == "predict" else (*args, "tiny200")
        run = cnncli(*command)
        assert run.code == 1 and "the model is damaged" in run.err and run.out == ""
    assert cnncli("models", "verify", "tiny200").code == 1
    monkeypatch.setenv("CNNCLI_CACHE", "/proc/none")
    run = cnncli("predict", PHOTOS / "cat.jpg", "--model", "tiny200")
    assert run.code == 1 and "the model is damaged" in run.err


def test_it_stays(cnncli) -> None:
    assert "tiny200: a part of cnncli, which stays" in cnncli("models", "remove", "tiny200").err
    assert bundled.path().exists()


# Where nothing else is


def test_predict_falls_back_on_it_and_says_so(cnncli) -> None:
    run = cnncli("predict", PHOTOS / "cat.jpg", "--offline", "--format", "jsonl")
    row = json.loads(run.out)
    assert (run.code, row["model"], row["fallback_from"]) == (0, "tiny200", "resnet50")
    assert "weights of resnet50 are not on this machine" in run.err and "tiny200 answers instead" in run.err
    assert "cnncli models pull resnet50" in run.err
    quiet = cnncli("predict", PHOTOS / "cat.jpg", "--offline", "-q")
    assert quiet.err == "warning: resnet50 is not here; tiny200 answers instead\n"


@pytest.mark.parametrize("variable", ["KERAS_HOME", "CNNCLI_CACHE"])
def test_predict_falls_back_where_no_cache_can_be_written(cnncli, monkeypatch, variable: str) -> None:
    monkeypatch.setenv(variable, "/proc/none")
    run = cnncli("predict", PHOTOS / "cat.jpg", "--format", "jsonl")
    assert run.code == 0 and json.loads(run.out)["model"] == "tiny200", run.err
    assert "/proc/none" in run.err and "models pull" not in run.err


def test_an_explanation_after_a_fallback_is_of_the_model_that_answered(cnncli, tmp_path) -> None:
    run = cnncli("predict", PHOTOS / "cat.jpg", "--offline", "--explain", tmp_path / "why", "--top", "1")
    assert run.code == 0, run.err
    assert run.err.count("answers instead") == 1 and len(list((tmp_path / "why").glob("*.png"))) == 1


def test_rows_of_a_model_that_was_asked_for_say_nothing_of_a_fallback(cnncli) -> None:
    run = cnncli("predict", PHOTOS / "cat.jpg", "--model", "tiny200", "--format", "jsonl")
    assert "fallback_from" not in json.loads(run.out) and run.err == ""


def test_a_model_that_was_asked_for_never_falls_back(cnncli) -> None:
    run = cnncli("predict", PHOTOS / "cat.jpg", "--model", "resnet50", "--offline")
    assert (run.code, run.out) == (1, "") and "cnncli models pull resnet50" in run.err


def test_the_sample_photos_get_sensible_labels(cnncli) -> None:
    run = cnncli("predict", PHOTOS / "cat.jpg", PHOTOS / "coffee.jpg", "--model", "tiny200", "--format", "json")
    cat, coffee = ([p["label"] for p in row["predictions"]] for row in json.loads(run.out))
    assert {"Egyptian_cat", "tabby"} & set(cat)
    assert "espresso" in coffee


def test_a_prediction_with_it_imports_no_tensorflow(own_caches) -> None:
    script = (
        "import sys\nfrom cnncli.cli import main\n"
        f"main(['predict', {str(PHOTOS / 'cat.jpg')!r}, '--offline'])\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'tensorflow', 'keras', 'h5py'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert not list(own_caches.rglob("*.tflite"))  # nothing was compiled


@pytest.mark.realdata
def test_its_accuracy_on_images_that_chose_nothing(cnncli, tmp_path) -> None:
    import tarfile

    archive = Path(os.environ["CNNCLI_TEST_DATA"], "data", "tiny-imagenet-200.tar.xz")
    with tarfile.open(archive, "r|xz") as members:
        wanted = (m for m in members if m.isfile() and "/val/" in m.name and m.name.endswith(("0.JPEG", "5.JPEG")))
        members.extractall(tmp_path, wanted, filter="data")
    run = cnncli("evaluate", "tiny200", tmp_path / "tiny-imagenet-200" / "val", "--format", "json")
    found, card = json.loads(run.out), read_card(bundled.path())
    assert run.code == 0 and found["images"] > 1500
    assert found["accuracy"] == pytest.approx(card.metrics["top1"], abs=0.04)
    assert found["top_k"]["3"] == pytest.approx(card.metrics["top3"], abs=0.04)
    assert found["calibration"]["ece"] < 0.06
