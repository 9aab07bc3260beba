"""An evaluation as machines read it: JSON, CSV, tab-separated text, every prediction, and the matrix as a file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from evaluations_for_tests import evaluation
from PIL import Image
from sklearn.metrics import confusion_matrix

from cnncli.backbones import ImageClass
from cnncli.datasets.dataset import Example
from cnncli.datasets.pixels import Failure
from cnncli.errors import CnncliError
from cnncli.evaluation import formats, matrix
from cnncli.evaluation.comparison import compare
from cnncli.evaluation.evaluation import Answer
from cnncli.evaluation.rows import COLUMNS, answer_csv, answer_json, failure_csv, failure_json
from cnncli.inference.pipeline import Prediction

CLASSES = (ImageClass("n0", "cat"), ImageClass("n1", "dog"))
UNREADABLE = (Failure("photos/cat/bad.png", "not an image"),)


def answer(name: str = "a.png") -> Answer:
    """A dog that was called a cat."""
    predictions = (Prediction(1, 0, CLASSES[0], 0.75), Prediction(2, 1, CLASSES[1], 0.25))
    return Answer(Example(name, 1), truth=1, truth_rank=2, truth_score=0.25, predictions=predictions)


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_json_of_one_model_begins_with_the_keys_of_the_contract_in_order() -> None:
    found = json.loads(formats.as_json([evaluation()], []))
    assert " ".join(list(found)[:12]) == (
        "schema model data split images errors accuracy top_k loss per_class confusion intervals"
    )
    assert (found["schema"], found["model"], found["data"], found["split"]) == (1, "runs/one", "photos", "test")


def test_json_holds_the_figures_as_plain_numbers_from_0_to_1() -> None:
    given = evaluation(failures=UNREADABLE, left_out=4, seen_in_training=2)
    found = json.loads(formats.as_json([given], []))
    truth, predicted = given.columns.truth, given.columns.predicted
    assert (found["images"], found["errors"], found["left_out"], found["seen_in_training"]) == (200, 1, 4, 2)
    assert found["failures"] == [{"path": "photos/cat/bad.png", "error": "not an image"}]
    assert found["accuracy"] == (truth == predicted).sum() / 200  # to the last bit
    assert found["top_k"] == {"3": 1.0}
    assert found["intervals"]["accuracy"][0] < found["accuracy"] < found["intervals"]["accuracy"][1]
    assert found["intervals"]["top_3"] == [pytest.approx(0.981155, abs=1e-5), 1.0]
    assert found["confusion"] == {
        "class_ids": ["n0", "n1", "n2"],
        "counts": confusion_matrix(truth, predicted).tolist(),
    }
    assert found["loss"] == pytest.approx(-np.log(given.columns.truth_score).mean(), abs=1e-6)
    assert sum(each["count"] for each in found["calibration"]["bins"]) == 200
    assert [pair["count"] for pair in found["confused"]] == sorted(
        (count for row, counts in enumerate(found["confusion"]["counts"]) for column, count in enumerate(counts)
         if row != column), reverse=True,
    )  # fmt: skip


def test_json_gives_every_class_that_is_shown_with_what_the_matrix_says_of_it() -> None:
    found = json.loads(formats.as_json([evaluation()], []))
    counts = np.array(found["confusion"]["counts"])
    for index, each in enumerate(found["per_class"]):
        assert (each["index"], each["class_id"], each["label"]) == (index, f"n{index}", ("cat", "dog", "owl")[index])
        assert (each["support"], each["predicted"]) == (counts[index].sum(), counts[:, index].sum())
        assert each["recall"] == pytest.approx(counts[index, index] / counts[index].sum(), abs=1e-6)
        assert each["precision"] == pytest.approx(counts[index, index] / counts[:, index].sum(), abs=1e-6)


def test_json_leaves_out_classes_that_the_data_lacks_and_nobody_predicted() -> None:
    known = evaluation()
    more = (*known.classes, ImageClass("n3", "emu"))
    found = json.loads(formats.as_json([evaluation(classes=more)], []))
    assert [each["class_id"] for each in found["per_class"]] == ["n0", "n1", "n2"]
    assert found["classes"] == 4


def test_json_says_which_class_each_folder_is() -> None:
    from cnncli.evaluation.matching import match

    folders = (ImageClass("dog", "dog"), ImageClass("n0", "n0"), ImageClass("emu", "emu"))
    found = json.loads(formats.as_json([evaluation(matches=match(folders, evaluation().classes))], []))
    assert found["classes_matched"] == [
        {"class_id": "dog", "label": "dog", "model": {"index": 1, "class_id": "n1", "label": "dog"}, "by": "label"},
        {"class_id": "n0", "label": "n0", "model": {"index": 0, "class_id": "n0", "label": "cat"}, "by": "id"},
        {"class_id": "emu", "label": "emu", "model": None, "by": None},
    ]


def test_json_of_two_models_holds_both_and_their_comparison() -> None:
    a, b = evaluation(), evaluation(seed=1, skill=0.5, model="runs/two")
    found = json.loads(formats.as_json([a, b], [compare(a, b)]))
    assert list(found) == ["schema", "models", "comparisons"]
    assert [each["model"] for each in found["models"]] == ["runs/one", "runs/two"]
    (compared,) = found["comparisons"]
    right_a, right_b = a.columns.right, b.columns.right
    assert (compared["a"], compared["b"], compared["images"]) == ("runs/one", "runs/two", 200)
    assert compared["only_a"] == (right_a & ~right_b).sum() and compared["only_b"] == (~right_a & right_b).sum()
    assert compared["better"] == "runs/one" and compared["p_value"] < 1e-4
    assert len(compared["differences"]) == (a.columns.predicted != b.columns.predicted).sum()
    first = compared["differences"][0]
    assert (first["a"]["class_id"] == first["class_id"]) == first["a"]["right"] != first["b"]["right"]


def test_csv_has_a_line_for_each_figure() -> None:
    given = evaluation(failures=UNREADABLE)
    header, *found = rows(formats.as_csv([given, evaluation(model="runs/two")]))
    assert ",".join(header) == "model,metric,class_id,label,value,low,high"
    whole = {row[1]: row[4:] for row in found if row[0] == "runs/one" and not row[2]}
    assert (whole["images"], whole["errors"]) == (["200", "", ""], ["1", "", ""])
    assert float(whole["accuracy"][0]) == given.accuracy
    assert [float(end) for end in whole["accuracy"][1:]] == pytest.approx(given.interval(), abs=1e-6)
    assert float(whole["f1_macro"][0]) == pytest.approx(given.macro.f1, abs=1e-6)
    assert {"top_3", "loss", "ece", "precision_weighted", "recall_macro"} <= set(whole)
    dog = {row[1]: float(row[4]) for row in found if row[0] == "runs/two" and row[2:4] == ["n1", "dog"]}
    assert set(dog) == {"precision", "recall", "f1", "support", "predicted"} and dog["support"] == 67
    assert dog["f1"] == pytest.approx(
        2 * dog["precision"] * dog["recall"] / (dog["precision"] + dog["recall"]), abs=1e-5
    )


def test_tabs_hold_what_the_tables_show_with_nothing_cut() -> None:
    a = evaluation(["cat" * 50, "do\tg", "ow\x1b[0ml", "b\udcff"], failures=UNREADABLE)
    b = evaluation(["cat" * 50, "do\tg", "ow\x1b[0ml", "b\udcff"], seed=3, model="runs/two")
    lines = [line.split("\t") for line in formats.as_tabs([a, b], [compare(a, b)]).splitlines()]
    assert ["runs/one", "accuracy", repr(a.accuracy), *(f"{end:.6f}" for end in a.interval())] in lines
    assert ["runs/one", "errors", "1"] in lines
    classes = [line for line in lines if line[:2] == ["runs/one", "class"]]
    assert [line[3] for line in classes] == ["cat" * 50, "do\\x09g", "ow\\x1b[0ml", "b\udcff"]
    assert len([line for line in lines if line[:2] == ["runs/two", "confused"]]) == len(b.confused(1000))
    assert ["runs/one", "runs/two", "p_value", f"{compare(a, b).p_value:.6g}"] in lines
    assert len([line for line in lines if line[2] == "differ"]) == len(compare(a, b).differences)


def test_prediction_as_csv_has_a_line_for_each_class_and_the_truth_on_all() -> None:
    assert ",".join(COLUMNS) == (
        "path,model,true_class_id,true_label,true_rank,true_score,rank,index,class_id,label,score,error"
    )
    assert answer_csv(answer('a,"b".png'), "m", CLASSES) == (
        '"a,""b"".png",m,n1,dog,2,0.250000,1,0,n0,cat,0.750000,\n"a,""b"".png",m,n1,dog,2,0.250000,2,1,n1,dog,0.250000,\n'
    )
    assert rows(failure_csv(UNREADABLE[0], "m")) == [[UNREADABLE[0].name, "m", *[""] * 9, "not an image"]]


def test_prediction_as_json_is_what_predict_gives_with_the_truth() -> None:
    assert json.loads(answer_json(answer(), "m", CLASSES)) == {
        "schema": 1,
        "path": "a.png",
        "model": "m",
        "predictions": [
            {"rank": 1, "index": 0, "class_id": "n0", "label": "cat", "score": 0.75},
            {"rank": 2, "index": 1, "class_id": "n1", "label": "dog", "score": 0.25},
        ],
        "error": None,
        "truth": {"index": 1, "class_id": "n1", "label": "dog", "rank": 2, "score": 0.25},
    }
    failed = json.loads(failure_json(UNREADABLE[0], "m"))
    assert (failed["predictions"], failed["error"], failed["truth"]) == ([], "not an image", None)


def test_paths_that_are_not_utf_8_survive_in_every_format() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert json.loads(answer_json(answer(name), "m", CLASSES))["path"] == name
    assert answer_json(answer(name), "m", CLASSES).isascii()
    assert b"caf\xe9.png," in answer_csv(answer(name), "m", CLASSES).encode("utf-8", "surrogateescape")
    assert b"caf\xe9.png," in failure_csv(Failure(name, "why"), "m").encode("utf-8", "surrogateescape")


# -- the matrix --------------------------------------------------------------------------------------------------------


def test_matrix_as_csv_has_a_row_for_each_true_class(tmp_path: Path) -> None:
    given = evaluation()
    matrix.write(given, tmp_path / "matrix.CSV")
    header, *found = rows((tmp_path / "matrix.CSV").read_text())
    assert header == ["truth", "n0", "n1", "n2"]
    assert [row[0] for row in found] == ["n0", "n1", "n2"]
    expected = confusion_matrix(given.columns.truth, given.columns.predicted)
    assert [list(map(int, row[1:])) for row in found] == expected.tolist()


DARK = (68, 1, 84)  # the end of viridis


@pytest.mark.parametrize("size", [1, 2, 10, 40])
def test_cells_of_a_model_that_is_always_right_are_dark_on_the_diagonal_and_white_beside_it(size: int) -> None:
    given = evaluation([f"class {number}" for number in range(size)], images=2 * size, skill=90.0)
    middles = np.asarray(matrix._heat(given, 6))[2::6, 2::6]
    assert ((middles == DARK).all(axis=-1) == np.eye(size, dtype=bool)).all()
    assert ((middles == 255).all(axis=-1) == ~np.eye(size, dtype=bool)).all()


@pytest.mark.parametrize(("size", "least", "most"), [(1, 90, 500), (10, 500, 900), (30, 1000, 1500), (300, 1500, 2200)])
def test_picture_has_a_size_for_screens_and_shows_the_whole_diagonal(size: int, least: int, most: int) -> None:
    given = evaluation([f"class {number}" for number in range(size)], images=2 * size, skill=90.0)
    pixels = np.asarray(matrix.as_picture(given))
    assert least < pixels.shape[0] <= most and least < pixels.shape[1] <= most
    assert len(np.flatnonzero((pixels == DARK).all(axis=-1).any(axis=1))) >= min(least, 90 * size) - 30


def test_picture_of_the_matrix_is_the_same_every_time_and_lighter_where_there_is_less() -> None:
    given = evaluation(["a", "b"], skill=1.0)
    assert matrix.as_picture(given).tobytes() == matrix.as_picture(given).tobytes()
    light = matrix._colours(np.linspace(0, 1, 50)).sum(axis=-1)
    assert light[0] == 765 and (np.diff(light.astype(int)) < 0).all()


def test_names_of_any_length_and_script_leave_the_picture_legible_in_size() -> None:
    names = ["a" * 300, "\x1b]0;x\x07", "東京タワー", "[red]", "b\udcff"]
    image = matrix.as_picture(evaluation(names, model="m" * 500))
    assert image.mode == "RGB" and 500 < image.width < 1200 and 500 < image.height < 1200


def test_matrix_is_written_as_png_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "matrix.png"
    path.write_text("old")
    matrix.write(evaluation(), path)
    with Image.open(path) as image:
        assert image.format == "PNG"
    assert [file.name for file in tmp_path.iterdir()] == ["matrix.png"]


@pytest.mark.parametrize("name", ["none/matrix.csv", "none/matrix.png"])
def test_matrix_that_cannot_be_written_is_an_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(CnncliError, match=r"matrix\.(csv|png): cannot be written"):
        matrix.write(evaluation(), tmp_path / name)
