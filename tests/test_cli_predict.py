"""`cnncli predict` as its users meet it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a red, a green and a broken picture."""
    Image.new("RGB", (60, 40), (250, 10, 10)).save(tmp_path / "red.png")
    Image.new("RGB", (60, 40), (10, 250, 10)).save(tmp_path / "green.jpg")
    (tmp_path / "broken.jpg").write_text("<!DOCTYPE html><p>404")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_predict_names_what_is_in_each_picture(cnncli, folder, flat_tflite) -> None:
    run = cnncli("predict", "red.png", "green.jpg", "--model", flat_tflite, "--top", "1")
    assert [line.split("\t")[3] for line in run.out.splitlines()] == ["red", "green"]
    assert run.code == 0


def test_predict_json_has_one_row_for_each_file_in_order_and_names_the_bad_one(cnncli, folder, flat_tflite) -> None:
    run = cnncli("predict", "red.png", "broken.jpg", "green.jpg", "--model", flat_tflite, "--format", "json")
    rows = json.loads(run.out)
    assert [row["path"] for row in rows] == ["red.png", "broken.jpg", "green.jpg"]
    assert [len(row["predictions"]) for row in rows] == [3, 0, 3]
    assert rows[0]["error"] is None and "HTML" in rows[1]["error"]
    assert rows[0]["predictions"][0]["label"] == "red"
    assert set(rows[0]) == {"schema", "path", "model", "predictions", "error"}
    assert sum(p["score"] for p in rows[0]["predictions"]) == pytest.approx(1, abs=1e-5)
    assert run.code == 3
    assert "error: broken.jpg: not an image: this is an HTML page" in run.err


def test_predict_jsonl_and_csv_say_the_same(cnncli, folder, flat_tflite) -> None:
    lines = cnncli("predict", ".", "--model", flat_tflite, "--format", "jsonl").out.splitlines()
    table = list(csv.DictReader(io.StringIO(cnncli("predict", ".", "--model", flat_tflite, "--format", "csv").out)))
    assert [json.loads(line)["path"] for line in lines] == ["broken.jpg", "green.jpg", "red.png"]
    assert list(table[0]) == "path model rank index class_id label score error".split()
    assert [(row["path"], row["rank"], row["label"]) for row in table[:2]] == [
        ("broken.jpg", "", ""),
        ("green.jpg", "1", "green"),
    ]
    assert float(table[1]["score"]) == json.loads(lines[1])["predictions"][0]["score"]


def test_predict_fails_with_1_when_nothing_could_be_read(cnncli, folder, flat_tflite) -> None:
    run = cnncli("predict", "broken.jpg", "missing.jpg", "--model", flat_tflite, "--format", "json")
    assert run.code == 1
    assert [row["error"] for row in json.loads(run.out)][1] == "no such file or folder"


def test_predict_min_confidence_leaves_out_weak_answers_without_an_error(cnncli, folder, flat_tflite) -> None:
    run = cnncli("predict", "red.png", "--model", flat_tflite, "--min-confidence", "0.999", "--format", "json")
    assert json.loads(run.out)[0]["predictions"] == [] and json.loads(run.out)[0]["error"] is None
    assert run.code == 0


def test_predict_top_above_the_number_of_classes_gives_all(cnncli, folder, flat_tflite) -> None:
    run = cnncli("predict", "red.png", "--model", flat_tflite, "--top", "50", "--format", "json")
    assert [p["rank"] for p in json.loads(run.out)[0]["predictions"]] == [1, 2, 3]


def test_predict_gives_the_same_scores_with_keras_and_with_litert(cnncli, folder, flat_model) -> None:
    scores = []
    for backend in ("litert", "tensorflow"):
        run = cnncli("predict", "red.png", "--model", flat_model, "--backend", backend, "--format", "json")
        scores.append([p["score"] for p in json.loads(run.out)[0]["predictions"]])
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_predict_annotate_writes_labelled_copies_and_never_over_an_input(cnncli, folder, flat_tflite) -> None:
    (folder / "sub").mkdir()
    Image.new("RGB", (30, 30), (0, 0, 250)).save(folder / "sub" / "red.png")
    Image.new("RGB", (30, 30), (0, 0, 250)).save(folder / "red-labels.png")
    before = (folder / "red-labels.png").read_bytes()
    run = cnncli("predict", "red-labels.png", "red.png", "sub/red.png", "--model", flat_tflite, "--annotate", ".")
    assert run.code == 0
    assert (folder / "red-labels.png").read_bytes() == before
    written = sorted(path.name for path in folder.glob("*-labels*.png"))
    assert written == ["red-labels-2.png", "red-labels-3.png", "red-labels-labels.png", "red-labels.png"]
    again = cnncli("predict", "red.png", "--model", flat_tflite, "--annotate", "out")
    assert cnncli("predict", "red.png", "--model", flat_tflite, "--annotate", "out").err == again.err  # replaced
    with Image.open(folder / "red-labels-2.png") as image:
        assert image.getpixel((image.width // 2, 20)) == (250, 10, 10)  # the photo is there, unhidden
        assert image.width >= 60 and image.height > 40 + 3 * 16


def test_predict_goes_on_when_a_labelled_copy_cannot_be_written(cnncli, folder, flat_tflite) -> None:
    (folder / "out" / "red-labels.png").mkdir(parents=True)  # a folder where the copy belongs
    run = cnncli("predict", "red.png", "green.jpg", "--model", flat_tflite, "--annotate", "out")
    assert run.code == 3 and len(run.out.splitlines()) == 6
    assert f"error: red.png: no labelled copy: {Path('out', 'red-labels.png')}: cannot be written" in run.err
    assert (folder / "out" / "green-labels.jpg").exists()


def test_predict_annotate_does_not_change_a_score(cnncli, folder, flat_tflite, photo) -> None:
    photo.resize((2000, 1250)).save("photo.jpg")
    plain = cnncli("predict", "photo.jpg", "--model", flat_tflite, "--format", "csv").out
    assert cnncli("predict", "photo.jpg", "--model", flat_tflite, "--format", "csv", "--annotate", "out").out == plain


def test_predict_does_not_read_the_copies_that_it_writes(cnncli, folder, flat_tflite) -> None:
    for number in range(40):
        Image.new("RGB", (30, 20), (250, 0, 0)).save(folder / f"{number}.png")
    run = cnncli("predict", ".", "--model", flat_tflite, "--top", "1", "--annotate", "out")
    assert len(run.out.splitlines()) == 43 and "out/" not in run.out
    assert len(list((folder / "out").iterdir())) == 42
    again = cnncli("predict", ".", "--model", flat_tflite, "--top", "1", "--annotate", "out")
    assert len(again.out.splitlines()) == 43 and len(list((folder / "out").iterdir())) == 42  # replaced


@pytest.mark.parametrize("pattern", ["*", "**/*", "*/*-labels.jpg"])
def test_predict_patterns_do_not_match_the_copies(cnncli, folder, flat_tflite, pattern: str) -> None:
    first = cnncli("predict", "red.png", "green.jpg", "--model", flat_tflite, "--annotate", "out")
    assert first.code == 0 and list(Path("out").iterdir())
    again = cnncli("predict", pattern, "--model", flat_tflite, "--annotate", "out", "--format", "csv")
    assert "-labels" not in again.out.replace("*/*-labels.jpg", "")
    assert not list(Path("out").glob("*-labels-labels.*"))


def test_predict_refuses_to_put_copies_among_the_photos(cnncli, folder, flat_tflite) -> None:
    run = cnncli("predict", ".", "--model", flat_tflite, "--annotate", folder)
    assert run.code == 2 and "its photos are the input; give the results a folder of their own" in run.err
    assert not list(folder.glob("*-labels.*"))


@pytest.mark.parametrize("value", ["nan", "1.5", "50%"])
def test_predict_refuses_a_confidence_that_is_none(cnncli, folder, flat_tflite, value: str) -> None:
    run = cnncli("predict", "red.png", "--model", flat_tflite, "--min-confidence", value)
    assert run.code == 2 and f"{value!r}: expected a number from 0 to 1" in run.err


def test_predict_names_the_models_that_are_here_when_the_default_is_not(cnncli, folder, own_caches) -> None:
    weights = own_caches / "keras" / "models" / "mobilenet_7_5_224_tf.h5"
    weights.parent.mkdir(parents=True)
    weights.touch()
    run = cnncli("predict", "red.png")
    assert run.code == 0 and "or --model mobilenet-0.75, which is here" in run.err


def test_predict_refuses_an_empty_model_name(cnncli, folder) -> None:
    run = cnncli("predict", "red.png", "--model", "")
    assert run.code == 1 and "the model's name is empty" in run.err


def test_predict_says_where_to_put_weights_that_cannot_be_had(cnncli, folder) -> None:
    run = cnncli("predict", "red.png", "--model", "resnet50", "--offline")
    assert run.code == 1 and run.out == ""
    assert "resnet50_weights_tf_dim_ordering_tf_kernels.h5" in run.err
    assert "cnncli models pull resnet50" in run.err


def test_predict_lists_the_networks_for_an_unknown_model(cnncli, folder) -> None:
    run = cnncli("predict", "red.png", "--model", "mobilnet")
    assert run.code == 1
    assert "mobilnet: neither a pretrained network nor a model file" in run.err
    assert "Did you mean mobilenet?" in run.err


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_predict_fetches_no_network_where_no_image_is_there(cnncli, folder, monkeypatch, form: str) -> None:
    monkeypatch.setattr("cnncli.inference.models.open_model", lambda *args, **options: pytest.fail("was opened"))
    Path("empty").mkdir()
    run = cnncli("predict", "nosuch.jpg", "none*.jpg", "empty", "--format", form)
    assert run.code == 1 and "nosuch.jpg: no such file or folder" in run.err and "none*.jpg: no file matches" in run.err
    if form == "json":
        assert [(row["model"], row["predictions"]) for row in json.loads(run.out)] == [("resnet50", [])] * 3


def test_predict_says_that_a_named_net_has_no_weights(cnncli, folder) -> None:
    run = cnncli("predict", "red.png", "--model", "lenet")
    assert run.code == 1 and "lenet: this network comes without weights; 'cnncli train DATA --net lenet'" in run.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Missing argument 'IMAGE...'"),
        (("red.png", "--top", "0"), "Invalid value for '--top'"),
        (("red.png", "--topp", "3"), "No such option '--topp'"),
        (("red.png", "--format", "xml"), "Invalid value for '--format'"),
        (("red.png", "--min-confidence", "1.5"), "Invalid value for '--min-confidence'"),
    ],
)
def test_predict_refuses_a_wrong_command_line_with_2(cnncli, folder, arguments, expected) -> None:
    run = cnncli("predict", *arguments)
    assert run.code == 2 and run.out == ""
    assert expected in run.err


def test_an_image_instead_of_a_command_gets_the_right_hint(cnncli, folder) -> None:
    run = cnncli("red.png")
    assert run.code == 2
    assert "Did you mean 'cnncli predict red.png'?" in run.err


def test_predict_explain_draws_the_classes_of_each_photo_and_changes_no_score(cnncli, folder, flat_tflite) -> None:
    plain = cnncli("predict", "red.png", "green.jpg", "--model", flat_tflite, "--format", "csv")
    run = cnncli("predict", "red.png", "green.jpg", "--model", flat_tflite, "--format", "csv", "--explain", "why")
    assert run.code == 0 and run.out == plain.out and "covering parts of the photo" in run.err
    assert sorted(path.name for path in Path("why").iterdir()) == ["green-occlusion.png", "red-occlusion.png"]
    few = cnncli("predict", "red.png", "--model", flat_tflite, "--min-confidence", "1", "--explain", "none")
    assert few.code == 0 and list(Path("none").iterdir()) == []  # no class, nothing to explain


def test_predict_explain_looks_into_a_network_that_keras_loads(cnncli, folder, tmp_path_factory) -> None:
    from models_for_tests import colour_detector

    model = colour_detector(tmp_path_factory.mktemp("models") / "colours.keras")
    run = cnncli("predict", "red.png", "broken.jpg", "--model", model, "--top", "1", "--explain", "why")
    assert run.code == 3 and [path.name for path in Path("why").iterdir()] == ["red-gradcam.png"]
    with Image.open("why/red-gradcam.png") as picture:
        assert 2 * 420 < picture.width < 3 * 420  # the photo and one class


def test_predict_explains_five_classes_of_a_photo_at_most(folder, monkeypatch) -> None:
    from models_for_tests import CHANNELS, ChannelExplainer

    from cnncli.commands import predict
    from cnncli.inference import saliency
    from cnncli.inference.pipeline import Prediction, Result
    from cnncli.inference.request import ModelRequest
    from cnncli.outputs import Names
    from cnncli.sources import Source

    asked: list[list[int]] = []

    class Asked(ChannelExplainer):
        def maps(self, pixels, indices, progress):
            asked.append(indices)
            return super().maps(pixels, indices, progress)

    monkeypatch.setattr(saliency, "open_explainer", lambda *args, **options: Asked())
    draw = predict._explaining(Names(folder, []), ModelRequest("any"), 10**6)
    answers = tuple(Prediction(rank, index, CHANNELS[index], 0.1) for rank, index in enumerate((2, 0, 1) * 2, 1))
    assert draw(Result(Source("red.png", path=folder / "red.png"), "any", answers))
    assert asked == [[2, 0, 1, 2, 0]] and (folder / "red-occlusion.png").exists()


def test_predict_explain_and_annotate_share_one_folder(cnncli, folder, flat_tflite) -> None:
    args = ("predict", "red.png", "--model", flat_tflite, "--annotate", "out", "--explain")
    assert cnncli(*args, "out").code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["red-labels.png", "red-occlusion.png"]
    assert cnncli(*args, "elsewhere").code == 2
    assert cnncli("predict", ".", "--model", flat_tflite, "--explain", ".").code == 2  # its photos are the input
