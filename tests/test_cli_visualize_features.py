"""`cnncli visualize features` as its users meet it."""

from __future__ import annotations

import pytest
from models_for_tests import colour_detector, compiled_copy
from PIL import Image


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return colour_detector(tmp_path_factory.mktemp("models") / "colours.keras")


def test_features_writes_a_sheet_of_the_photo(cnncli, tmp_path, monkeypatch, detector) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), (250, 0, 0)).save("red.png")
    run = cnncli("visualize", "features", detector, "red.png", "--sort", "strength", "--count", "2")
    assert (run.code, run.out) == (0, "") and "red.png -> red-features.png" in run.err
    with Image.open("red-features.png") as picture:
        assert picture.mode == "RGB" and (250, 0, 0) in {colour for _, colour in picture.getcolors(1 << 20) or []}
    (tmp_path / "broken.png").write_text("<html>")
    assert cnncli("visualize", "features", detector, "broken.png").code == 1
    assert cnncli("visualize", "features", detector, "broken.png", "red.png", "-o", "out/").code == 3


def test_features_of_a_compiled_model_are_refused(cnncli, tmp_path, monkeypatch, detector) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), (250, 0, 0)).save("red.png")
    compiled_copy(detector, tmp_path / "colours.tflite")
    run = cnncli("visualize", "features", "colours.tflite", "red.png")
    assert run.code == 1 and "give the .keras model" in run.err and "Traceback" not in run.err
