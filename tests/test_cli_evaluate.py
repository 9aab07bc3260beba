"""`cnncli evaluate` as its users meet it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from models_for_tests import CHANNELS, compiled_copy
from photos_for_tests import COLOURS, photo, write_photos
from PIL import Image

from cnncli.datasets import cores
from cnncli.runs import Run, Seen

Cnncli = Callable[..., SimpleNamespace]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat_tflite: Path) -> Path:
    """Four photos of each colour, one of the green ones red in truth; the model is `model.tflite` beside them."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(flat_tflite, "model.tflite")
    folder = write_photos(Path("photos"), each=4)
    photo(0, 99).save(folder / "green" / "3.png")
    return folder


@pytest.fixture
def twin(photos: Path, flat_model: Path) -> Path:
    """The same network in another file."""
    return Path(shutil.copy("model.tflite", "twin.tflite"))


def evaluated(run: SimpleNamespace) -> dict:
    assert run.code in (0, 3), run.err
    return json.loads(run.out)


def table(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def test_evaluate_says_what_was_right(cnncli: Cnncli, photos: Path) -> None:
    found = evaluated(cnncli("evaluate", "model.tflite", photos, "--format", "json"))
    keys = "schema model data split images errors accuracy top_k loss per_class confusion intervals".split()
    assert list(found)[: len(keys)] == keys
    assert (found["images"], found["errors"], found["split"]) == (12, 0, "all")
    assert found["accuracy"] == 11 / 12 and found["top_k"] == {"3": 1.0}
    assert found["confusion"]["counts"] == [[4, 0, 0], [1, 3, 0], [0, 0, 4]]
    assert [(row["label"], row["recall"]) for row in found["per_class"]] == [("red", 1), ("green", 0.75), ("blue", 1)]
    low, high = found["intervals"]["accuracy"]
    assert (low, high) == pytest.approx((0.6461, 0.9851), abs=1e-4)


def test_evaluate_counts_what_predict_answers(cnncli: Cnncli, photos: Path) -> None:
    lines = cnncli("predict", photos, "--model", "model.tflite", "--top", "1", "--format", "jsonl").out.splitlines()
    rows = [json.loads(line) for line in lines]
    right = sum(Path(row["path"]).parent.name == row["predictions"][0]["label"] for row in rows)
    found = evaluated(cnncli("evaluate", "model.tflite", photos, "--format", "json"))
    assert found["accuracy"] == right / len(rows)
    written = Path("answers.jsonl")
    cnncli("evaluate", "model.tflite", photos, "--top", "1", "--predictions", written)
    answers = {row["path"]: row for row in map(json.loads, written.read_text().splitlines())}
    assert {row["path"]: row["predictions"] for row in rows} == {
        path: answer["predictions"] for path, answer in answers.items()
    }
    assert answers["photos/green/3.png"]["truth"]["label"] == "green"
    assert answers["photos/green/3.png"]["truth"]["rank"] > 1


def test_evaluate_shows_a_table_and_says_where_it_was_wrong(cnncli: Cnncli, photos: Path) -> None:
    run = cnncli("evaluate", "model.tflite", photos)
    assert run.code == 0
    assert "green/3.png" in run.out and "accuracy" in run.out


def test_evaluate_csv_has_a_row_for_each_figure(cnncli: Cnncli, photos: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(cnncli("evaluate", "model.tflite", photos, "--format", "csv").out)))
    found = {(row["metric"], row["label"]): row["value"] for row in rows}
    assert float(found["accuracy", ""]) == pytest.approx(11 / 12, abs=1e-6)
    assert float(found["recall", "green"]) == 0.75


def test_evaluate_names_images_that_it_cannot_read_and_counts_them(cnncli: Cnncli, photos: Path) -> None:
    (photos / "blue" / "0.png").write_bytes(b"<html>")
    run = cnncli("evaluate", "model.tflite", photos, "--format", "json", "--predictions", "answers.csv")
    assert run.code == 3 and "photos/blue/0.png: not an image: this is an HTML page" in run.err
    assert (evaluated(run)["images"], evaluated(run)["errors"]) == (11, 1)
    rows = table("answers.csv")
    assert [row["path"] for row in rows if row["error"]] == ["photos/blue/0.png"]
    for picture in photos.rglob("*.png"):
        picture.write_bytes(b"")
    assert cnncli("evaluate", "model.tflite", photos).code == 1


@pytest.mark.parametrize("worth", [2, 2000], ids=["processes", "threads"])
def test_evaluate_on_two_workers_answers_as_on_one(
    cnncli: Cnncli, photos: Path, monkeypatch: pytest.MonkeyPatch, worth: int
) -> None:
    folder = write_photos(Path("more"), each=20)  # each worker gets several images at a time
    (folder / "green" / "3.png").write_bytes(b"<html>")
    monkeypatch.setattr(cores, "WORTH_PROCESSES", worth)
    used = []

    def counted(*args: Any, **more: Any) -> Iterator[Any]:
        used.append(args)
        return cores.on_processes(*args, **more)

    monkeypatch.setattr("cnncli.evaluation.run.on_processes", counted)
    for workers in ("1", "2"):
        arguments = ("--workers", workers, "--predictions", f"{workers}.jsonl", "--format", "json")
        assert evaluated(cnncli("evaluate", "model.tflite", folder, *arguments))["errors"] == 1
    assert Path("1.jsonl").read_text() == Path("2.jsonl").read_text()
    assert len(used) == (worth == 2)


def test_evaluate_exits_with_4_below_a_gate(cnncli: Cnncli, photos: Path) -> None:
    assert cnncli("evaluate", "model.tflite", photos, "--min-accuracy", "0.9", "--min", "top_2=1").code == 0
    run = cnncli("evaluate", "model.tflite", photos, "--min-accuracy", "0.95", "--min", "f1-macro=0.99")
    assert run.code == 4
    assert "accuracy is 0.9167, below 0.95" in run.err and "f1-macro is" in run.err


def test_evaluate_compares_two_models(cnncli: Cnncli, photos: Path, twin: Path) -> None:
    found = evaluated(cnncli("evaluate", "model.tflite", twin, photos, "--format", "json"))
    assert [one["model"] for one in found["models"]] == ["model.tflite", "twin.tflite"]
    (pair,) = found["comparisons"]
    assert (pair["both_right"], pair["only_a"], pair["only_b"], pair["both_wrong"]) == (11, 0, 0, 1)
    assert pair["p_value"] == 1 and pair["better"] is None
    assert "twin.tflite" in cnncli("evaluate", "model.tflite", twin, photos).out


def test_evaluate_refuses_classes_that_do_not_match(cnncli: Cnncli, photos: Path) -> None:
    (photos / "blue").rename(photos / "purple")
    run = cnncli("evaluate", "model.tflite", photos)
    assert run.code == 1 and "only in the data: purple" in run.err and "b (blue)" in run.err
    run = cnncli("evaluate", "model.tflite", photos, "--allow-missing", "--format", "json")
    assert evaluated(run)["images"] == 8 and evaluated(run)["left_out"] == 4
    assert "4 images are left out" in run.err


def test_evaluate_chooses_among_the_classes_of_the_data_if_told(cnncli: Cnncli, photos: Path) -> None:
    shutil.rmtree(photos / "red")
    assert evaluated(cnncli("evaluate", "model.tflite", photos, "--format", "json"))["accuracy"] == 7 / 8
    found = evaluated(cnncli("evaluate", "model.tflite", photos, "--only-present", "--format", "json"))
    assert found["images"] == 8 and {row["label"] for row in found["per_class"]} == {"green", "blue"}


def test_evaluate_warns_of_images_that_the_run_was_trained_on(cnncli: Cnncli, photos: Path, flat_model: Path) -> None:
    from hashlib import sha256

    run = Run(Path("run"))
    run.folder.mkdir()
    shutil.copy(flat_model, run.model)
    rows = [("train", "red/0.png"), ("val", "red/1.png"), ("train", "blue/2.png")]
    run.write_data(
        Seen(split, name.split("/")[0], sha256((photos / name).read_bytes()).hexdigest(), name) for split, name in rows
    )
    done = cnncli("evaluate", "run", photos, "--format", "json")
    assert "warning: run was trained on 2 of these 12 images" in done.err
    assert evaluated(done)["seen_in_training"] == 2
    compiled_copy(flat_model, Path("run", "copy.tflite"))
    assert evaluated(cnncli("evaluate", "run/copy.tflite", photos, "--format", "json"))["seen_in_training"] is None


def test_evaluate_writes_page_matrix_and_answers(cnncli: Cnncli, photos: Path) -> None:
    outputs = ("--report", "page.html", "--confusion", "matrix.png", "--predictions", "answers.csv")
    run = cnncli("evaluate", "model.tflite", photos, *outputs)
    assert run.code == 0 and "page.html: written" in run.err
    assert "91.7" in Path("page.html").read_text()
    with Image.open("matrix.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
    assert len(table("answers.csv")) == 12 * len(COLOURS)
    cnncli("evaluate", "model.tflite", photos, "--confusion", "matrix.csv")
    assert [list(row.values())[1:] for row in table("matrix.csv")] == [
        ["4", "0", "0"],
        ["1", "3", "0"],
        ["0", "0", "4"],
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("photos",), 2, "expected MODEL and DATA, got 'photos' alone: cnncli evaluate MODEL photos"),
        (("mobilenet",), 2, "expected MODEL and DATA, got 'mobilenet' alone: cnncli evaluate mobilenet DATA"),
        (("model.tflite", "model.tflite", "photos"), 2, "model.tflite and model.tflite are one model"),
        (("model.tflite", "twin.tflite", "photos", "--confusion", "m.png"), 2, "--confusion goes with one MODEL"),
        (("model.tflite", "photos", "--report", "page.pdf"), 2, "expected a name that ends in .html or .htm"),
        (("model.tflite", "photos", "--report", "none/page.html"), 2, "there is no folder none"),
        (("model.tflite", "labels.csv", "--predictions", "labels.csv"), 2, "this is the input"),
        (("model.tflite", "photos", "--min", "speed=1"), 2, "no figure is called 'speed'"),
        (("model.tflite", "photos", "--min-accuracy", "90"), 2, "expected a number from 0 to 1"),
        (("model.tflite", "photos", "--split", "val"), 1, "it has no val split, nor any other; leave --split out"),
        (("model.tflite", "fotos"), 1, "fotos"),
        (("photos", "model.tflite"), 2, "model.tflite: this is a model; DATA comes last"),
        (("photos", "mobilenet-0.75"), 2, "mobilenet-0.75: this is a model; DATA comes last"),
        (("model.tflite", "photos", "--confusion", "a.csv", "--predictions", "./a.csv"), 2, "name one file"),
        (("model.tflite", "photos", "--min", "top3=0.5"), 2, "has 3 classes to choose from, so it cannot fail"),
        (("modle.tflite", "photos"), 1, "modle.tflite: no such file"),
    ],
)
def test_evaluate_refuses_what_cannot_be_meant(
    cnncli: Cnncli, photos: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    Path("labels.csv").write_text("path,label\nphotos/red/0.png,red\n")
    run = cnncli("evaluate", *arguments)
    assert run.code == code and said in " ".join(run.err.split())
    assert Path("labels.csv").read_text().startswith("path,label")


def test_evaluate_leaves_no_half_written_file_when_the_network_fails(
    cnncli: Cnncli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnncli.errors import ModelError
    from cnncli.inference.engine import LiteRTEngine

    def fail(self: LiteRTEngine, pixels: object) -> None:
        raise ModelError("model.tflite: out of order")

    monkeypatch.setattr(LiteRTEngine, "__call__", fail)
    Path("answers.csv").write_text("the one before\n")
    run = cnncli("evaluate", "model.tflite", photos, "--predictions", "answers.csv")
    assert run.code == 1 and "out of order" in run.err
    assert Path("answers.csv").read_text() == "the one before\n"
    assert [path.name for path in Path().glob(".*.tmp")] == []


def test_evaluate_scores_a_manifest_of_test_images_alone(cnncli: Cnncli, photos: Path) -> None:
    lines = [f"{path},{path.parent.name},test" for path in sorted(photos.rglob("*.png"))]
    Path("labels.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    found = evaluated(cnncli("evaluate", "model.tflite", "labels.csv", "--format", "json"))
    assert (found["split"], found["images"], found["accuracy"]) == ("test", 12, 11 / 12)
    assert [row["class_id"] for row in found["per_class"]] == [one.id for one in CHANNELS]


def test_evaluate_takes_images_of_one_class_only(cnncli: Cnncli, photos: Path) -> None:
    Path("labels.csv").write_text("path,label,split\nphotos/green/0.png,green,test\nphotos/green/3.png,green,test\n")
    for data in ("labels.csv", photos):
        shutil.rmtree(photos / "red", ignore_errors=True), shutil.rmtree(photos / "blue", ignore_errors=True)
        found = evaluated(cnncli("evaluate", "model.tflite", data, "--format", "json"))
        assert found["accuracy"] == {"labels.csv": 1 / 2, photos: 3 / 4}[data]


def test_evaluate_never_writes_over_an_image_that_it_reads(cnncli: Cnncli, photos: Path) -> None:
    before = (photos / "red" / "0.png").read_bytes()
    run = cnncli("evaluate", "model.tflite", photos, "--confusion", photos / "red" / "0.png")
    assert run.code == 2 and "this is an input" in run.err
    assert (photos / "red" / "0.png").read_bytes() == before


def test_evaluate_checks_all_models_before_it_asks_the_first(cnncli: Cnncli, photos: Path) -> None:
    (photos / "red" / "0.png").write_bytes(b"no picture")
    run = cnncli("evaluate", "model.tflite", "other.tflite", photos)
    assert run.code == 1 and "other.tflite: no such file" in run.err and "red/0.png" not in run.err


def test_evaluate_names_each_bad_image_once_for_all_models(cnncli: Cnncli, photos: Path, twin: Path) -> None:
    (photos / "red" / "0.png").write_bytes(b"no picture")
    run = cnncli("evaluate", "model.tflite", twin, photos)
    assert run.code == 3 and run.err.count("red/0.png") == 1


def test_evaluate_writes_the_reasons_when_nothing_could_be_read(cnncli: Cnncli, photos: Path) -> None:
    for picture in photos.rglob("*.png"):
        picture.write_bytes(b"no picture")
    run = cnncli("evaluate", "model.tflite", photos, "--predictions", "a.jsonl", "--format", "json")
    assert run.code == 1 and json.loads(run.out)["errors"] == 12
    assert all(json.loads(line)["error"] for line in Path("a.jsonl").read_text().splitlines())


def test_evaluate_takes_a_network_by_its_name_whatever_lies_beside_it(
    cnncli: Cnncli, photos: Path, flat_model: Path
) -> None:
    from cnncli.commands.evaluate import _run_of

    for folder in (Path("mobilenet"), Path()):
        folder.mkdir(exist_ok=True)
        shutil.copy(flat_model, folder / "model.keras")
    assert _run_of("mobilenet") is None
    found = _run_of("./mobilenet")
    assert found is not None and found.folder == Path("mobilenet")


def test_evaluate_goes_on_to_the_next_split_when_one_is_empty(cnncli: Cnncli, photos: Path) -> None:
    photos.rename("val")
    Path("data").mkdir()
    Path("val").rename("data/val")
    for name in ("train/red", "test/red"):
        (Path("data") / name).mkdir(parents=True)
    found = evaluated(cnncli("evaluate", "model.tflite", "data", "--format", "json"))
    assert (found["split"], found["images"]) == ("val", 12)
