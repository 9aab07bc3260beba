"""`cnncli visualize gradcam` as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from models_for_tests import ChannelExplainer, colour_detector, compiled_copy
from PIL import Image
from test_saliency import PLACES, SIZE, photo_with_blobs

from cnncli.commands.visualize.gradcam import METHODS
from cnncli.errors import OutputError
from cnncli.inference import saliency


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_detector(tmp_path_factory.mktemp("models") / "colours.keras")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photo that is stored lying on its side."""
    photo_with_blobs(tmp_path / "blobs.jpg", 6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_gradcam_writes_a_picture_beside_and_prints_a_line_for_each_class(cnncli, folder, detector) -> None:
    run = cnncli("visualize", "gradcam", detector, "blobs.jpg", "--top", "2")
    assert run.code == 0 and "blobs.jpg -> blobs-gradcam.png" in run.err
    rows = [line.split("\t") for line in run.out.splitlines()]
    assert [row[0] for row in rows] == ["blobs.jpg"] * 2 and [row[1] for row in rows] == ["1", "2"]
    assert {len(row) for row in rows} == {11}
    with Image.open("blobs-gradcam.png") as picture:
        assert picture.mode == "RGB" and picture.width > 3 * 420  # the photo and two classes, side by side


def test_gradcam_json_says_where_the_map_is_hottest_in_pixels_of_the_photo(cnncli, folder, detector) -> None:
    run = cnncli("visualize", "gradcam", detector, "blobs.jpg", "--class", "blue", "--class", "r", "--format", "json")
    (found,) = json.loads(run.out)
    assert (found["width"], found["height"]) == SIZE and found["seen"] == [50, 0, 250, 200]
    assert (found["schema"], found["method"], found["path"]) == (1, "gradcam", "blobs.jpg")
    assert [(one["label"], one["class_id"], one["index"]) for one in found["classes"]] == [
        ("blue", "b", 2),
        ("red", "r", 0),
    ]
    for one in found["classes"]:
        place = one["maximum"]["x"], one["maximum"]["y"]
        assert np.abs(np.subtract(place, PLACES[one["label"]])).max() <= 25  # a cell of the map
        assert 0 < one["deletion"] < one["random_deletion"] < 1 and 0 < one["insertion"] < 1


def test_gradcam_without_the_check_has_no_figures_of_it(cnncli, folder, detector) -> None:
    run = cnncli("visualize", "gradcam", detector, "blobs.jpg", "--no-check", "--top", "1", "--format", "json")
    (one,) = json.loads(run.out)[0]["classes"]
    assert one["deletion"] is one["insertion"] is one["random_deletion"] is None and one["score"] > 0


def test_gradcam_of_a_compiled_model_is_made_by_occlusion_and_says_so(cnncli, folder, detector) -> None:
    compiled_copy(detector, folder / "colours.tflite")
    run = cnncli("visualize", "gradcam", "colours.tflite", "blobs.jpg", "--class", "red", "--format", "json")
    assert run.code == 0 and "covering parts of the photo" in run.err
    assert Path("blobs-occlusion.png").exists()
    assert json.loads(run.out)[0]["method"] == "occlusion"


def test_gradcam_goes_on_after_a_photo_that_cannot_be_read(cnncli, folder, detector) -> None:
    (folder / "broken.png").write_text("<html>")
    run = cnncli("visualize", "gradcam", detector, "broken.png", "blobs.jpg", "-o", "out/", "--no-check")
    assert run.code == 3 and "broken.png: not an image" in run.err
    assert [path.name for path in Path("out").iterdir()] == ["blobs-gradcam.png"]
    assert cnncli("visualize", "gradcam", detector, "broken.png").code == 1


@pytest.fixture
def three_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A photo that can be explained between one that cannot be read and one that no network answers to."""
    Path(tmp_path, "broken.png").write_text("<html>")
    for name, colour in (("red.png", (255, 0, 0)), ("black.png", (0, 0, 0))):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return ["broken.png", "red.png", "black.png"]


def test_gradcam_json_has_a_row_for_each_photo_in_order_also_for_those_that_failed(
    cnncli, three_photos, monkeypatch
) -> None:
    monkeypatch.setattr(saliency, "open_explainer", lambda *args, **options: ChannelExplainer())
    run = cnncli("visualize", "gradcam", "mobilenet", *three_photos, "--format", "json", "--no-check", "-o", "out/")
    found = json.loads(run.out)
    assert run.code == 3 and "black.png: there is no light" in run.err
    assert len({tuple(row) for row in found}) == 1  # every row has the same keys
    assert [(row["path"], row["model"], row["width"], len(row["classes"])) for row in found] == [
        ("broken.png", "channels", None, 0),
        ("red.png", "channels", 40, 3),
        ("black.png", "channels", None, 0),
    ]
    errors = [row["error"] for row in found]
    assert errors[0].startswith("not an image") and errors[1:] == [None, "there is no light"]


def test_gradcam_json_is_whole_when_the_run_ends_early(cnncli, three_photos, monkeypatch) -> None:
    monkeypatch.setattr(saliency, "open_explainer", lambda *args, **options: ChannelExplainer(OutputError))
    run = cnncli("visualize", "gradcam", "mobilenet", *three_photos, "--format", "json", "--no-check", "-o", "out/")
    assert run.code == OutputError.exit_code and "there is no light" in run.err
    assert [row["path"] for row in json.loads(run.out)] == ["broken.png", "red.png"]


def test_methods_that_the_option_offers_are_those_of_the_library() -> None:
    assert METHODS == saliency.METHODS


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--class", "violet"], 1, "no such class; it has: red, green, blue"),
        (["--layer", "nothing"], 1, "no layer is called so"),
        (["--backend", "litert", "--method", "gradcam"], 1, "--backend litert gives no gradients"),
        (["-o", "-", "--format", "json"], 2, "standard output"),
        (["-o", "where.txt"], 2, "expected a name that ends in"),
    ],
)
def test_gradcam_refuses_what_cannot_be(cnncli, folder, detector, args: list[str], code: int, said: str) -> None:
    run = cnncli("visualize", "gradcam", detector, "blobs.jpg", *args)
    assert run.code == code and said in run.err and run.out == ""


def test_gradcam_writes_the_picture_alone_to_standard_output(process, folder, detector) -> None:
    target = folder / "piped.png"
    with target.open("wb") as file:
        import subprocess
        import sys

        args = ["visualize", "gradcam", str(detector), "blobs.jpg", "--no-check", "--top", "1", "-o", "-"]
        done = subprocess.run([sys.executable, "-m", "cnncli", *args], stdout=file, timeout=120)
    assert done.returncode == 0
    with Image.open(target) as picture:
        picture.load()


def test_the_same_photo_gives_the_same_picture(cnncli, folder, detector) -> None:
    for name in ("one.png", "two.png"):
        assert cnncli("visualize", "gradcam", detector, "blobs.jpg", "-o", name).code == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()
