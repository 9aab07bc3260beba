"""`cnncli models export`: the file that is written answers as the model does, or is not written."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from official_weights import official_weights
from photos_for_tests import write_photos
from PIL import Image

from cnncli.backbones import BACKBONES, ImageClass, InputSpec
from cnncli.errors import ModelError
from cnncli.inference import compiled, samples
from cnncli.inference.compiled import Job
from cnncli.inference.models import ReadyModel
from cnncli.inference.parity import compare
from cnncli.learning import compile as compiling
from cnncli.learning import keras
from cnncli.learning.models import load_keras, save_carded
from cnncli.modelcard import ModelCard
from cnncli.modelfile import check_content, read_card
from cnncli.runs import Run, Seen
from cnncli.sources import Source

PX = 24
CLASSES = (ImageClass("r", "red"), ImageClass("g", "green"), ImageClass("b", "blue"), ImageClass("w", "white"))
CARD = ModelCard(
    "colours", CLASSES, InputSpec(PX, PX, "rgb", "squash"), "CC0", "made for a test", "f00d", {"val_accuracy": 0.75},
    {"cnncli": "0.0.1", "made-with": "patience"},
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.keras` file with a full card and a network of 0.3 MB, which is unsure of its answers."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((PX, PX, 3)), layers.Rescaling(1 / 64, -2.0),
            layers.Conv2D(32, 3, strides=2, activation="relu"), layers.Conv2D(64, 3, strides=2, activation="relu"),
            layers.BatchNormalization(), layers.Flatten(),
            layers.Dense(32, activation="relu"), layers.Dense(4, activation="softmax"),
        ]
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "colours.keras"
    save_carded(network, CARD, path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos of the size that the network takes in `photos`."""
    write_photos(tmp_path / "photos", each=4, px=PX)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that makes files, without its process: that spares the seconds of importing TensorFlow again."""

    def run(job: Job, output: Path, beat: Callable[[], None]) -> str | None:
        values = {"kind": job.kind, "name": job.name, "path": str(job.path), "form": job.form, "output": str(output)}
        try:
            compiling.make(values)
        except ModelError as problem:
            return str(problem)
        return None

    monkeypatch.setattr(compiled, "_run_compiler", run)


def pixels(here: Path) -> np.ndarray:
    """All photos as a network's input, `(12, height, width, 3)`."""
    paths = sorted((here.parent / "photos").rglob("*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths]).astype(np.float32)


def answers(file: Path, images: np.ndarray) -> np.ndarray:
    """What a program without cnncli makes of an exported file."""
    if file.suffix == ".keras":
        return np.asarray(keras.saving.load_model(file, compile=False).predict(images, verbose=0))
    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["dtype"], target["dtype"]) == (np.float32, np.float32)
    rows = []
    for image in images:
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target["index"])[0])
    return np.stack(rows)


def figures(out: str) -> dict[str, str]:
    """The printed agreement, by what is said on the left."""
    return dict(re.split(" {2,}", line, maxsplit=1) for line in out.splitlines())


FORMS = (("--to", "litert"), ("--to", "keras"), ("--to", "litert", "--dtype", "float16"))


@pytest.mark.parametrize(
    ("form", "name", "tolerance"),
    [
        (FORMS[0], "colours.tflite", 1e-4),
        (FORMS[1], "colours.keras", 1e-4),
        (FORMS[2], "colours-float16.tflite", 5e-3),
    ],
)
def test_exported_file_answers_as_the_model_and_carries_its_card(cnncli, here, model, form, name, tolerance) -> None:
    run = cnncli("models", "export", model, *form, "--images", here.parent / "photos")
    assert run.code == 0, run.err
    expected = np.asarray(load_keras(model)(pixels(here), training=False))
    assert 0.3 < np.median(expected.max(axis=1)) < 0.98  # a damaged network would show
    assert np.abs(answers(here / name, pixels(here)) - expected).max() <= tolerance
    card = read_card(here / name)
    check_content(here / name, card)
    assert replace(card, versions={}, sha256=None) == replace(CARD, versions={})
    assert card.versions == {**CARD.versions, **compiling.versions()}
    assert [path.name for path in here.iterdir()] == [name]
    assert figures(run.out)["compared on"] == "12 images given"
    assert figures(run.out)["same best class"] == figures(run.out)["same top 3"] == "12 of 12"
    assert f"{name}: written, " in run.err and f"--model {name}" in run.err


def test_float16_takes_half_the_space(cnncli, here, model) -> None:
    for form in (FORMS[0], FORMS[2]):
        assert cnncli("models", "export", model, *form).code == 0
    whole, half = (here / name for name in ("colours.tflite", "colours-float16.tflite"))
    assert 0.45 < half.stat().st_size / whole.stat().st_size < 0.55


def test_litert_in_float32_is_the_network_that_predict_runs(cnncli, here, model) -> None:
    assert cnncli("models", "export", model, "--to", "litert", "-o", "mine.tflite").code == 0
    (entry,) = compiled.entries()
    assert Path("mine.tflite").read_bytes() == entry.path.read_bytes()


def test_exported_file_is_a_model_like_any_other(cnncli, here, model) -> None:
    photo = here.parent / "photos" / "red" / "0.png"
    before = cnncli("predict", photo, "--model", model, "--top", "4").out
    for form, name in zip(FORMS[:2], ("colours.tflite", "again.keras"), strict=True):
        assert cnncli("models", "export", model, *form, "-o", name).code == 0
        assert cnncli("predict", photo, "--model", name, "--top", "4").out == before


def test_largest_difference_is_that_of_the_probabilities(cnncli, here, model) -> None:
    run = cnncli("models", "export", model, *FORMS[2], "--images", here.parent / "photos")
    expected = np.asarray(load_keras(model)(pixels(here), training=False))
    largest = np.abs(answers(here / "colours-float16.tflite", pixels(here)) - expected).max()
    said, rest = figures(run.out)["largest difference"].split(" ", 1)
    assert 0 < float(said) == pytest.approx(largest, rel=0.06) and rest == "of a probability (0.05 is allowed)"


# -- the images -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run_folder(here: Path, model: Path) -> Path:
    """What a training run leaves, as far as an export reads it: red trained, green validated, blue tested."""
    folder = here.parent / "runs" / "holiday"
    folder.mkdir(parents=True)
    shutil.copy(model, folder / "model.keras")
    splits = {"red": "train", "green": "val", "blue": "test"}
    paths = sorted((here.parent / "photos").rglob("*.png"))
    Run(folder).write_data(Seen(splits[path.parent.name], path.parent.name, "0", str(path)) for path in paths)
    return folder


@pytest.mark.parametrize(("gone", "split"), [((), "test"), (("blue",), "val"), (("blue", "green"), "train")])
def test_run_is_checked_on_its_own_images_that_are_still_there(cnncli, here, run_folder, gone, split) -> None:
    for name in gone:
        shutil.rmtree(here.parent / "photos" / name)
    run = cnncli("models", "export", run_folder, "--to", "litert")
    assert (run.code, figures(run.out)["compared on"]) == (0, f"4 {split} images of the run")
    assert [path.name for path in here.iterdir()] == ["holiday.tflite"]


def test_photos_that_come_along_serve_where_no_others_are(cnncli, here, run_folder) -> None:
    shutil.rmtree(here.parent / "photos")
    run = cnncli("models", "export", run_folder / "model.keras", "--to", "litert")
    assert (run.code, figures(run.out)["compared on"]) == (0, "3 photos that come with cnncli")
    assert "--images names others" in run.err and Path("holiday.tflite").is_file()


def test_of_many_images_a_hundred_are_taken_evenly(tmp_path) -> None:
    paths = [tmp_path / f"{number:04}.png" for number in range(250)]
    for path in paths:
        path.touch()
    sample = samples.given([str(tmp_path)], offline=True, notify=lambda text: None)
    numbers = [int(source.path.stem) for source in sample.sources if source.path]
    assert len(numbers) == 100 and sample.origin == "of 250 images given"
    assert numbers[0] == 0 and set(np.diff(numbers)) == {2, 3} and numbers[-1] == 247


def test_images_that_are_not_there_end_it_before_anything_slow(cnncli, here, model, monkeypatch) -> None:
    monkeypatch.setattr("cnncli.inference.export.open_model", None)
    run = cnncli("models", "export", model, "--to", "litert", "--images", "nowhere.jpg")
    assert (run.code, run.err) == (1, "error: --images nowhere.jpg: no such file or folder\n")


def test_image_that_cannot_be_read_is_named_and_the_file_written(cnncli, here, model) -> None:
    (here.parent / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run = cnncli("models", "export", model, "--to", "litert", "--images", here.parent / "photos")
    assert (run.code, figures(run.out)["same best class"]) == (3, "12 of 12")
    assert "broken.png: " in run.err and Path("colours.tflite").is_file()


def test_without_one_readable_image_nothing_is_written(cnncli, here, model) -> None:
    (here.parent / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run = cnncli("models", "export", model, "--to", "litert", "--images", here.parent / "broken.png")
    assert run.code == 1 and "colours.tflite: not written: no image could be read to check it on" in run.err
    assert list(here.iterdir()) == []


# -- a file that answers otherwise ------------------------------------------------------------------------------------


def damage_conversion(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """From now on networks are exported with other weights in their last layer."""
    honest = compiling.network

    def network(job: dict[str, str]) -> tuple[Any, ModelCard]:
        changed, card = honest(job)
        changed.layers[-1].kernel.assign(factor * changed.layers[-1].kernel)
        return changed, card

    monkeypatch.setattr(compiling, "network", network)


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_file_that_disagrees_is_not_written_and_the_code_is_4(cnncli, here, model, monkeypatch, form) -> None:
    name, photos = f"new{'.keras' if 'keras' in form else '.tflite'}", here.parent / "photos"
    Path(name).write_text("earlier")
    if "keras" in form:
        compiled.obtain(Job("keras", "", model), notify=lambda text: None)  # what the new file is compared with
    damage_conversion(monkeypatch, -1)
    run = cnncli("models", "export", model, *form, "-o", name, "--force", "--images", photos)
    assert (run.code, run.out) == (4, "")
    allowed = "0.05" if "float16" in form else "0.0001"
    assert f"{name}: not written: its probabilities differ from the original's by up to 0." in run.err
    assert f"({allowed} is allowed). On 12 images the best class is the same on " in run.err
    assert ("--dtype float32" in run.err) == ("float16" in form)
    assert Path(name).read_text() == "earlier" and [path.name for path in here.iterdir()] == [name]


def test_weights_too_large_for_float16_are_found_out(cnncli, here, model) -> None:
    network, card = compiling.network({"kind": "keras", "path": str(model)})
    for layer, factor in zip(network.layers[-2:], (1e8, 1e-8), strict=True):  # float16 ends at 65,504
        layer.kernel.assign(factor * layer.kernel)
    save_carded(network, card, here / "large.keras")
    run = cnncli("models", "export", "large.keras", *FORMS[2], "--images", here.parent / "photos")
    assert (run.code, [path.name for path in here.iterdir()]) == (4, ["large.keras"])
    assert "large-float16.tflite: not written: its probabilities differ" in run.err


class Fixed:
    """A model whose answer to every image is the same."""

    card = CARD

    def __init__(self, *scores: float) -> None:
        self._scores = np.array(scores, np.float32)

    def engine(self, num_threads: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda pixels: self._scores


@pytest.mark.parametrize(
    ("exported", "same_first", "same_top", "difference"),
    [
        ((0.4, 0.3, 0.2, 0.1), 1, 1, 0),
        ((0.4, 0.3, 0.1, 0.2), 1, 0, 0.1),  # another third class
        ((0.4, 0.2, 0.3, 0.1), 1, 0, 0.1),  # the same three in another order
        ((0.1, 0.3, 0.2, 0.4), 0, 0, 0.3),
        ((0.4, 0.3, 0.2, np.nan), 1, 1, np.nan),
    ],
)
def test_agreement_is_counted(here, exported, same_first, same_top, difference) -> None:
    heard: list[tuple[int, int | None]] = []
    sources = [Source("gone", path=Path("gone.png")), Source("0", path=here.parent / "photos" / "red" / "0.png")]
    original, new = Fixed(0.4, 0.3, 0.2, 0.1), Fixed(*exported)
    parity = compare(
        cast(ReadyModel, original), cast(ReadyModel, new), sources, progress=lambda *done: heard.append(done)
    )
    assert (parity.images, parity.top, parity.same_first, parity.same_top) == (1, 3, same_first, same_top)
    assert parity.difference == pytest.approx(difference, abs=1e-6, nan_ok=True)
    assert [name for name, reason in parity.failures] == ["gone"] and heard == [(1, 2), (2, 2)]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (("{model}", "--to", "keras", "--dtype", "float16"), 2, "--dtype float16 goes with --to litert"),
        (("{model}", "--to", "onnx"), 2, "'onnx' is not one of 'litert', 'keras'"),
        (("{model}", "--to", "litert", "-o", "new.keras"), 1, "new.keras: expected a name that ends in .tflite"),
        (("{model}", "--to", "keras", "-o", "new"), 1, "new: expected a name that ends in .keras, which --to"),
        (("{model}", "--to", "keras", "-o", "no/new.keras"), 1, "no: no such folder"),
        (("nonet", "--to", "keras"), 1, "nonet: neither a pretrained network nor a model file or run folder"),
        (("", "--to", "keras"), 1, "the model's name is empty"),
        (("no/such.keras", "--to", "litert"), 1, "no/such.keras: no such file"),
        (("plain.keras", "--to", "litert"), 1, "cnncli models adopt plain.keras --labels LABELS.txt"),
        (("resnet50", "--to", "litert", "--offline"), 1, "resnet50"),
        (("{model}", "--to", "litert", "--weights", "w.h5"), 1, "--weights w.h5: {model} has its own"),
        (("x.tflite", "--to", "keras"), 1, "x.tflite: a LiteRT network cannot be given a Keras model; export"),
        (("x.tflite", "--to", "litert"), 1, "x.tflite: this is a LiteRT network already; copy the file"),
        (("x.tflite", "--to", "litert", "--dtype", "float16"), 1, "cannot be given float16 weights; export the .keras"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_leaves_nothing(
    cnncli, here, model, monkeypatch, args, code, expected
) -> None:
    keras.Sequential([keras.Input((PX, PX, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]).save("plain.keras")
    Path("x.tflite").write_bytes(b"x")
    monkeypatch.setattr(compiled, "_run_compiler", None)
    run = cnncli("models", "export", *(arg.format(model=model) for arg in args))
    assert (run.code, run.out) == (code, "") and expected.format(model=model) in run.err
    assert sorted(path.name for path in here.iterdir()) == ["plain.keras", "x.tflite"]


def test_file_that_exists_is_replaced_with_force_only(cnncli, here, model) -> None:
    Path("colours.tflite").write_text("mine")
    run = cnncli("models", "export", model, "--to", "litert")
    assert (run.code, run.err) == (1, "error: colours.tflite: exists; choose another name or add --force\n")
    assert Path("colours.tflite").read_text() == "mine"
    assert cnncli("models", "export", model, "--to", "litert", "--force").code == 0
    assert read_card(Path("colours.tflite")).name == "colours"


def test_model_is_never_written_over_itself(cnncli, here, model) -> None:
    shutil.copy(model, "colours.keras")
    before = Path("colours.keras").read_bytes()
    Path("link.keras").symlink_to("colours.keras")
    for options in ((), ("-o", "link.keras")):
        run = cnncli("models", "export", "colours.keras", "--to", "keras", "--force", *options)
        assert run.code == 1 and "is the model itself; choose another name" in run.err
    assert Path("colours.keras").read_bytes() == before and Path("link.keras").is_symlink()


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("failing", ["tempfile.mkdtemp", "pathlib.Path.replace", "cnncli.files.os.fsync"])
def test_full_disk_is_said_and_leaves_what_was_there(cnncli, here, model, monkeypatch, form, failing) -> None:
    name = f"new{'.keras' if 'keras' in form else '.tflite'}"
    Path(name).write_text("earlier")
    compiled.obtain(Job("keras", "", model), notify=lambda text: None)

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(failing, full)
    run = cnncli("models", "export", model, *form, "-o", name, "--force")
    assert run.code == 1 and "error: .: No space left on device; free some space, or choose another folder" in run.err
    assert Path(name).read_text() == "earlier" and [path.name for path in here.iterdir()] == [name]


# -- as a process -----------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """The children of a process that already run the compiler."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in found if b"cnncli.learning.compile" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc, which is Linux's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_stopped_export_leaves_nothing(here, model, number, code) -> None:
    command = [sys.executable, "-m", "cnncli", "models", "export", str(model), *FORMS[2]]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (found := children(run.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    run.send_signal(number)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out, err.splitlines()[-1]) == (code, "", "stopped")
    assert found and not any(Path(f"/proc/{child}").exists() for child in found)
    assert list(here.iterdir()) == []


def test_full_disk_in_the_other_process_is_said_in_one_line() -> None:
    script = """
import errno, os, sys
from cnncli.learning import compile

def full(job):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

compile.make = full
sys.exit(compile.main())
"""
    job = json.dumps({"form": "litert-float16", "output": "here/new.tflite"})
    stdin, alive = os.pipe()
    done = subprocess.run([sys.executable, "-c", script, job], stdin=stdin, capture_output=True, timeout=60)
    os.close(stdin)
    os.close(alive)
    error = "here: No space left on device; free some space, or choose another folder"
    assert (done.returncode, json.loads(done.stdout)) == (1, {"error": error})


def test_pretrained_network_is_exported_with_its_classes_and_licence(cnncli, here) -> None:
    row = BACKBONES["mobilenet-0.25"]
    weights = official_weights(row.name, here / "w.h5")
    run = cnncli("models", "export", row.name, "--to", "keras", "--weights", weights)
    assert (run.code, figures(run.out)["compared on"]) == (0, "3 photos that come with cnncli"), run.err
    card = read_card(here / "mobilenet-0.25.keras")
    assert (card.name, len(card.classes), card.licence, card.input) == (row.name, 1000, row.licence, row.input)


@pytest.mark.realdata
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_mobilenet_knows_a_cat_before_and_after(process, here, own_caches, form) -> None:
    models = own_caches / "keras" / "models"
    models.mkdir(parents=True)
    shutil.copy(Path(os.environ["CNNCLI_TEST_DATA"], "weights", "mobilenet_7_5_224_tf.h5"), models)
    run = process("models", "export", "mobilenet-0.75", *form, "--offline")
    assert (run.code, figures(run.out)["same best class"]) == (0, "3 of 3"), run.err
    (file,) = here.iterdir()
    cat = Path(__file__).parent.parent / "sample_images" / "cat.jpg"
    rank, score, label, class_id = process("predict", cat, "--model", file, "--top", "1").out.split("\t")[1:]
    assert (rank, label, class_id) == ("1", "Egyptian_cat", "n02124075\n")
    assert float(score) == pytest.approx(0.5935, abs=0.02 if "float16" in form else 1e-4)
