"""Heat maps of an evaluation's mistakes, and how its report shows them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations_for_tests import evaluation
from models_for_tests import CHANNELS, ChannelExplainer, colour_detector
from PIL import Image

from cnncli.datasets.dataset import Example
from cnncli.errors import ModelError
from cnncli.evaluation import run as run_of_evaluation
from cnncli.evaluation.evaluation import Answer
from cnncli.evaluation.mistake_maps import mistake_maps
from cnncli.inference import saliency
from cnncli.inference.pipeline import Prediction


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos of one red square each, of which one is labelled green."""
    for name in ("red/1", "red/2", "green/wrong"):
        pixels = np.full((60, 60, 3), 120, np.uint8)
        pixels[4:20, 4:20] = (255, 0, 0)
        Path(tmp_path, "photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return colour_detector(tmp_path / "colours.keras")


def pictures(page: str) -> list[tuple[str, Image.Image]]:
    """The heat maps in a page, with their descriptions."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="(what speaks for [^"]+)"', page)
    return [(alt, Image.open(io.BytesIO(base64.b64decode(content)))) for content, alt in found]


def test_the_report_shows_where_the_model_looked_for_its_answer_and_for_the_truth(cnncli, data) -> None:
    run = cnncli("evaluate", data, "photos", "--report", "page.html", "--explain")
    assert run.code == 0
    page = Path("page.html").read_text()
    shown = pictures(page)
    assert [alt for alt, _ in shown] == ["what speaks for red", "what speaks for green"]
    answered = np.asarray(shown[0][1]).astype(int)
    assert answered.shape == (224, 224, 3)
    hot, cold = answered[20:70, 20:70], answered[120:, 120:]
    assert hot.mean() > cold.mean() + 30  # where the red square is
    assert "Bright places speak for the class" in page


def test_without_explain_the_report_has_no_heat_maps(cnncli, data) -> None:
    assert cnncli("evaluate", data, "photos", "--report", "page.html").code == 0
    page = Path("page.html").read_text()
    assert pictures(page) == [] and "Bright places" not in page


def test_a_map_that_cannot_be_made_costs_only_the_map(tmp_path: Path) -> None:
    red, black, gone = (Example(f"{name}.png", 1, tmp_path / f"{name}.png") for name in ("red", "black", "gone"))
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "black.png")
    best = Prediction(1, 0, CHANNELS[0], 0.9)
    mistakes = tuple(Answer(example, 1, 2, 0.1, (best,)) for example in (gone, black, red))
    told: list[str] = []
    explainer: Any = ChannelExplainer()
    maps = mistake_maps(evaluation(mistakes=mistakes), explainer, notify=told.append, progress=lambda *done: None)
    assert {name: [one.image_class.label for one in found] for name, found in maps.items()} == {
        "red.png": ["red", "green"]
    }
    assert told[0].startswith("gone.png: no heat map: ") and told[1:] == ["black.png: no heat map: there is no light"]


def test_what_cannot_be_explained_is_refused_before_any_image_is_read(cnncli, data, monkeypatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ModelError("it cannot be looked into")

    monkeypatch.setattr(saliency, "open_explainer", refuse)
    monkeypatch.setattr(run_of_evaluation, "evaluate", pytest.fail)
    run = cnncli("evaluate", data, "photos", "--report", "page.html", "--explain")
    assert run.code == 1 and "it cannot be looked into" in run.err and run.out == ""


def test_explain_needs_a_report(cnncli, data) -> None:
    run = cnncli("evaluate", data, "photos", "--explain")
    assert run.code == 2 and "give --report FILE.html" in run.err
