"""`cnncli data` as its users meet it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import TEST, TRAIN, as_published, digits, npz, put
from test_terminal import COMMAND, on_screen

from cnncli.datasets.published import PUBLISHED

Cnncli = Callable[..., object]
MNIST = npz(digits())


def picture(seed: int, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    """Noise that no other seed gives."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(rng.integers(0, 256, shape, np.uint8))


def write(path: Path, seed: int, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, **options).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 20 photos each, `photos/cat/0.png`; the current directory is the one above."""
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate(("cat", "dog")):
        for number in range(20):
            write(tmp_path / "photos" / name / f"{number}.png", 100 * label + number)
    return Path("photos")


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST as if it were small, in Keras's cache."""
    put(as_published(monkeypatch, "mnist", MNIST), MNIST)


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of all files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


# -- list and pull --------------------------------------------------------------------------------------------------


def test_list_says_what_is_on_this_machine(cnncli, mnist) -> None:
    lines = [line.split("\t") for line in cnncli("data", "list").out.splitlines()]
    assert lines[0] == ["name", "shows", "images", "classes", "size", "MB", "here"]
    here = {name: where for name, *_, where in lines[1:]}
    assert here == {
        "mnist": "yes", "fashion-mnist": "-", "cifar10": "-", "cifar100": "-", "malaria": "by hand",
        "concrete": "by hand",
    }  # fmt: skip


def test_list_as_json_has_paths_addresses_and_hashes(cnncli) -> None:
    rows = json.loads(cnncli("data", "list", "--format", "json").out)["data"]
    assert [row["name"] for row in rows] == list(PUBLISHED)
    assert (rows[2]["train"], rows[2]["test"], rows[2]["classes"]) == (50_000, 10_000, 10)
    assert rows[2]["files"] == [
        {
            "path": str(PUBLISHED["cifar10"].files[0].path),
            "url": PUBLISHED["cifar10"].files[0].url,
            "digest": PUBLISHED["cifar10"].files[0].digest,
        }
    ]


def test_pull_goes_on_after_a_name_that_fails(cnncli, mnist) -> None:
    run = cnncli("data", "pull", "nonsense", "malaria", "cifar10", "mnist", "--offline")
    assert run.code == 3 and run.out == ""
    assert "error: nonsense: no published data set has this name" in run.err
    assert "error: malaria: this name stands for data that cannot be fetched" in run.err
    assert "error: the images of cifar10 are not on this machine" in run.err
    assert run.err.endswith("mnist: ready\n")


# -- show -----------------------------------------------------------------------------------------------------------


def test_show_counts_images_by_class_and_writes_a_contact_sheet(cnncli, photos) -> None:
    write(photos / "dog" / "20.png", 999, size=(64, 50))
    run = cnncli("data", "show", photos)
    facts = dict(line.split("\t", 1) for line in run.out.splitlines())
    assert run.code == 0
    assert facts["data"] == "photos: 41 images of 2 classes"
    assert facts["size"] == "48x40 to 64x50 pixels, 2 sizes"
    assert (facts["colour"], facts["cat"], facts["dog"], facts["all classes"]) == ("rgb", "20", "21", "41")
    assert "photos-sheet.png: written" in run.err
    with Image.open("photos-sheet.png") as sheet:
        assert sheet.width > 10 * 2 * 48  # ten in a row, enlarged


def test_sheet_shows_the_pictures_of_each_class_in_its_row(cnncli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    colours = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for name, colour in colours.items():
        (tmp_path / "c" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (96, 96), colour).save(tmp_path / "c" / name / f"{number}.png")
    assert cnncli("data", "show", "c").code == 0
    with Image.open("c-sheet.png") as picture:
        sheet = np.asarray(picture)
    found = [next(name for name, colour in colours.items() if (row == colour).all(-1).any()) for row in sheet[60::100]]
    assert found == ["blue", "green", "red"]
    assert [(sheet == colour).all(-1).sum() for colour in colours.values()] == [3 * 96 * 96] * 3


def test_show_of_a_split_has_a_column_for_each_split(cnncli, mnist, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = json.loads(cnncli("data", "show", "mnist", "--format", "json").out)
    assert shown["images"] == TRAIN + TEST and shown["gray"] == TRAIN + TEST
    assert shown["smallest"] == shown["largest"] == [28, 28]
    assert shown["classes"] == [{"label": str(digit), "train": 3, "test": 2} for digit in range(10)]
    assert Path("mnist-sheet.png").is_file()


def test_fingerprint_depends_on_content_and_class_and_not_on_names(cnncli, photos) -> None:
    def fingerprint() -> str:
        return json.loads(cnncli("data", "show", photos, "--no-sheet", "--format", "json").out)["fingerprint"]

    first = fingerprint()
    (photos / "cat" / "0.png").rename(photos / "cat" / "zzz.png")
    assert fingerprint() == first and len(first) == 64
    (photos / "cat" / "zzz.png").rename(photos / "dog" / "zzz.png")
    assert fingerprint() != first


def test_show_to_stdout_writes_the_sheet_and_nothing_else(photos) -> None:
    done = subprocess.run([sys.executable, "-m", "cnncli", "data", "show", "photos", "-o", "-"], capture_output=True)
    assert done.returncode == 0 and Image.open(io.BytesIO(done.stdout)).format == "PNG"


def test_show_never_writes_into_the_data(cnncli, photos, monkeypatch) -> None:
    before = state(photos)
    run = cnncli("data", "show", photos, "-o", photos / "cat" / "0.png")
    assert run.code == 2 and "lies inside the data set" in run.err
    monkeypatch.chdir(photos)
    run = cnncli("data", "show", ".")
    assert run.code == 0 and "no contact sheet: this directory is a part of the data set" in run.err
    monkeypatch.chdir("..")
    assert state(Path("photos")) == before


def test_show_never_writes_over_an_image_that_a_manifest_names(cnncli, photos) -> None:
    write(Path("one.png"), 5)
    Path("m.csv").write_text("path,label\none.png,cat\nphotos/dog/1.png,dog\n")
    run = cnncli("data", "show", "m.csv", "-o", "one.png")
    assert run.code == 2 and "this is an image of the data set" in run.err


@pytest.mark.parametrize("name", ["malaria", "concrete"])
def test_show_of_a_projects_data_says_where_they_are_had(cnncli, name) -> None:
    run = cnncli("data", "show", name)
    assert run.code == 0 and PUBLISHED[name].home in run.out
    assert [line.strip().split("/")[0] for line in run.out.splitlines()[3:5]] == list(PUBLISHED[name].classes)


def test_show_of_what_is_missing_says_so(cnncli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = cnncli("data", "show", "cifr10")
    assert run.code == 1 and "Did you mean cifar10?" in run.err


def test_show_names_unreadable_files_and_counts_the_rest(cnncli, photos) -> None:
    (photos / "cat" / "0.png").write_bytes(b"")
    run = cnncli("data", "show", photos)
    assert run.code == 3 and f"error: {photos / 'cat' / '0.png'}: the file is empty" in run.err
    assert "cat\t19\n" in run.out


# -- check ----------------------------------------------------------------------------------------------------------


def findings(run: object) -> dict[str, list[str]]:
    return {finding["kind"]: finding["cases"] for finding in json.loads(run.out)["findings"]}


def test_check_of_a_sound_data_set_finds_nothing(cnncli, photos) -> None:
    before = state(photos)
    run = cnncli("data", "check", photos, "--format", "json")
    assert (run.code, findings(run)) == (0, {})
    assert state(photos) == before


def test_check_names_every_unreadable_file(cnncli, photos) -> None:
    good = (photos / "cat" / "0.png").read_bytes()
    (photos / "cat" / "1.png").write_bytes(good[: len(good) // 2])  # its header is whole
    (photos / "cat" / "2.png").write_bytes(b"<html>")
    before = state(photos)
    run = cnncli("data", "check", photos)
    assert run.code == 3
    kinds = [line.split("\t") for line in run.out.splitlines()]
    assert [(level, kind) for level, kind, _ in kinds] == [("error", "unreadable")] * 2
    assert kinds[0][2] == "photos/cat/1.png: the file is truncated (an interrupted copy or download?)"
    assert kinds[1][2].startswith("photos/cat/2.png: not an image: this is an HTML page")
    assert state(photos) == before


def test_check_without_any_readable_image_fails(cnncli, tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert cnncli("data", "check", tmp_path).code == 1


def test_check_tells_duplicates_within_a_class_across_splits_and_in_two_classes_apart(cnncli, photos) -> None:
    root = photos.parent / "split"
    shutil.copytree(photos, root / "train")
    for name in ("cat", "dog"):
        write(root / "test" / name / "t.png", 900 + len(name) + ord(name[0]))
    shutil.copy(root / "train/cat/3.png", root / "train/cat/3-copy.png")
    shutil.copy(root / "train/cat/4.png", root / "test/cat/u.png")
    shutil.copy(root / "train/cat/5.png", root / "train/dog/v.png")
    run = cnncli("data", "check", root, "--format", "json")
    assert run.code == 0
    assert findings(run) == {
        "one picture in two classes": [f"{root}/train/cat/5.png (cat) = {root}/train/dog/v.png (dog)"],
        "duplicates across splits": [f"{root}/train/cat/4.png (train) = {root}/test/cat/u.png (test)"],
        "duplicates": [f"{root}/train/cat/3-copy.png = {root}/train/cat/3.png"],
    }


def test_check_warns_of_tiny_misnamed_and_uneven(cnncli, photos) -> None:
    write(photos / "cat" / "tiny.png", 1, size=(31, 60))
    picture(2).save(photos / "cat" / "really-a-jpeg.png", "JPEG")
    (photos / "cat" / "JPEG.JPEG").write_bytes((photos / "cat" / "really-a-jpeg.png").read_bytes()[:-2] + b"\xff\xd9\0")
    write(photos / "owl" / "0.png", 203)
    write(photos / "owl" / "1.png", 204)
    found = findings(cnncli("data", "check", photos, "--format", "json"))
    assert found == {
        "tiny": ["photos/cat/tiny.png: 31x60"],
        "wrong extension": ["photos/cat/really-a-jpeg.png: holds JPEG"],
        "uneven classes": ["owl: 2"],
    }


def test_check_of_images_that_are_all_small_is_no_trouble(cnncli, mnist) -> None:
    assert findings(cnncli("data", "check", "mnist", "--format", "json")) == {}


# -- split ----------------------------------------------------------------------------------------------------------


def test_split_writes_a_manifest_that_is_read_back(cnncli, photos) -> None:
    before = state(photos)
    run = cnncli("data", "split", photos, "-o", "lists/photos.csv", "--val", "0.2", "--test", "0.2")
    assert run.code == 0 and "lists/photos.csv: written: train " in run.err
    rows = rows_of(Path("lists/photos.csv"))
    assert {Path("lists", row["path"]).resolve() for row in rows} == {path.resolve() for path in photos.rglob("*.png")}
    assert all(Path(row["path"]).parent.name == row["label"] for row in rows)
    counts = Counter((row["label"], row["split"]) for row in rows)
    assert len(counts) == 6 and 16 <= sum(counts[name, "train"] for name in ("cat", "dog")) <= 34
    shown = json.loads(cnncli("data", "show", "lists/photos.csv", "--no-sheet", "--format", "json").out)
    assert shown["classes"] == [
        {"label": name, **{split: counts[name, split] for split in ("train", "val", "test")}} for name in ("cat", "dog")
    ]
    assert state(photos) == before


def test_adding_files_moves_none(cnncli, photos) -> None:
    cnncli("data", "split", photos, "-o", "first.csv")
    for number in range(20, 60):
        write(photos / "cat" / f"{number}.png", number + 5000)
    (photos / "dog" / "7.png").rename(photos / "dog" / "renamed.png")
    cnncli("data", "split", photos, "-o", "second.jsonl")
    first = {row["path"].replace("dog/7.png", "dog/renamed.png"): row["split"] for row in rows_of(Path("first.csv"))}
    lines = Path("second.jsonl").read_text().splitlines()
    second = {row["path"]: row["split"] for row in map(json.loads, lines)}
    assert len(second) == 80 and {path: second[path] for path in first} == first


def test_what_is_split_once_is_split_again_by_other_numbers(cnncli, photos) -> None:
    assert cnncli("data", "split", photos, "-o", "m.csv", "--val", "0", "--test", "0.5").code == 0
    assert cnncli("data", "split", "m.csv", "-o", "n.csv", "--val", "0.4", "--test", "0").code == 0
    first, second = ({row["path"]: row["split"] for row in rows_of(Path(name))} for name in ("m.csv", "n.csv"))
    tests = {path for path, split in first.items() if split == "test"}
    assert {path for path, split in second.items() if split == "test"} == tests
    rest = Counter(split for path, split in second.items() if path not in tests)
    assert 0.2 < rest["val"] / rest.total() < 0.6


@pytest.mark.parametrize("how", ["--copy", "--link"])
def test_split_writes_a_tree_that_is_read_back(cnncli, photos, how) -> None:
    write(photos / "cat" / "inner" / "3.png", 77)  # the same name as another
    before = state(photos)
    assert cnncli("data", "split", photos, "-o", "tree", how).code == 0
    files = list(Path("tree").rglob("*.png"))
    assert len(files) == 41 and {path.parts[1] for path in files} == {"train", "val", "test"}
    contents = Counter(path.read_bytes() for path in photos.rglob("*.png"))
    assert Counter(path.read_bytes() for path in files) == contents
    assert {path.stat().st_nlink for path in files} == ({1} if how == "--copy" else {2})
    assert cnncli("data", "show", "tree", "--no-sheet").code == 0
    assert state(photos) == before


def test_tree_on_another_disk_has_symbolic_links(cnncli, photos, monkeypatch) -> None:
    def another_disk(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", another_disk)
    assert cnncli("data", "split", photos, "-o", "tree", "--link").code == 0
    files = list(Path("tree").rglob("*.png"))
    assert len(files) == 40 and all(path.is_symlink() and path.read_bytes() for path in files)


def test_split_of_published_data_can_be_copied_as_png(cnncli, mnist, tmp_path) -> None:
    run = cnncli("data", "split", "mnist", "-o", tmp_path / "m.csv", "--val", "0.3")
    assert run.code == 1 and "has no file of its own; --copy writes a tree of PNG files" in run.err
    assert cnncli("data", "split", "mnist", "-o", tmp_path / "tree", "--copy", "--val", "0.3").code == 0
    shown = json.loads(cnncli("data", "show", tmp_path / "tree", "--no-sheet", "--format", "json").out)
    assert sum(row["test"] for row in shown["classes"]) == TEST  # the published split is kept
    assert sum(row["train"] + row["val"] for row in shown["classes"]) == TRAIN and shown["gray"] == TRAIN + TEST
    pixels = {np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "tree").rglob("*.png")}
    arrays = digits()
    assert pixels == {image.tobytes() for image in (*arrays["x_train"], *arrays["x_test"])}


def test_split_replaces_nothing_without_force(cnncli, photos) -> None:
    Path("mine.csv").write_text("my notes")
    assert cnncli("data", "split", photos, "-o", "mine.csv").code == 1
    assert Path("mine.csv").read_text() == "my notes"
    assert cnncli("data", "split", photos, "-o", "mine.csv", "--force").code == 0
    assert len(rows_of(Path("mine.csv"))) == 40


def test_force_replaces_a_tree_that_was_written_and_nothing_else(cnncli, photos) -> None:
    assert cnncli("data", "split", photos, "-o", "tree", "--copy").code == 0
    assert "is not empty; --force replaces" in cnncli("data", "split", photos, "-o", "tree", "--copy").err
    (photos / "cat" / "0.png").unlink()
    assert cnncli("data", "split", photos, "-o", "tree", "--copy", "--force").code == 0
    assert len(list(Path("tree").rglob("*.png"))) == 39
    Path("tree/notes.txt").write_text("mine")
    run = cnncli("data", "split", photos, "-o", "tree", "--copy", "--force")
    assert run.code == 1 and "'data split' did not write notes.txt" in run.err
    assert Path("tree/notes.txt").read_text() == "mine" and len(list(Path("tree").rglob("*.png"))) == 39
    before = state(photos)
    assert cnncli("data", "split", photos, "-o", photos, "--copy", "--force").code == 1
    assert state(photos) == before


def test_split_never_replaces_what_it_reads(cnncli, photos) -> None:
    assert cnncli("data", "split", photos, "-o", "tree", "--link").code == 0
    assert cnncli("data", "split", photos, "-o", "m.csv").code == 0
    Path("inside.csv").write_text("path,label\ntree/train/cat/1.png,cat\ntree/train/dog/1.png,dog\n")
    before = state(Path())
    for given, output, message in (
        ("tree/train", "tree", "holds images of the data set"),
        ("inside.csv", "tree", "holds images of the data set"),
        ("tree", "tree", "this is the input"),
        ("m.csv", "m.csv", "this is the input"),
    ):
        how = [] if output.endswith(".csv") else ["--link"]
        run = cnncli("data", "split", given, "-o", output, "--force", *how)
        assert run.code == 2 and message in run.err
    assert state(Path()) == before


def test_tree_that_fails_half_way_leaves_nothing(cnncli, photos, monkeypatch) -> None:
    from cnncli.datasets import export

    copies = []

    def full_disk(source: Path, target: Path) -> None:
        copies.append(target)
        if len(copies) > 10:
            raise OSError(28, "No space left on device", str(target))
        target.touch()

    monkeypatch.setattr(export.shutil, "copyfile", full_disk)
    before = set(Path.cwd().iterdir())
    run = cnncli("data", "split", photos, "-o", "tree", "--copy")
    assert run.code == 1 and "No space left on device" in run.err
    assert set(Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "tree"], "expected a manifest (.csv or .jsonl), or --copy or --link"),
        (["-o", "x.csv", "--copy"], "a manifest needs no --copy"),
        (["-o", "photos/tree", "--link"], "lies inside the data set"),
        (["-o", "x.csv", "--val", "0.5", "--test", "0.5"], "leave nothing for train"),
        (["-o", "x.csv", "--val", "1.5"], "expected a number from 0 to 1"),
    ],
)
def test_wrong_usage_is_said(cnncli, photos, options, message) -> None:
    run = cnncli("data", "split", photos, *options)
    assert run.code == 2 and message in run.err.replace("\n", " ")


def test_split_that_takes_nothing_says_what_is_there(cnncli, mnist) -> None:
    run = cnncli("data", "split", "mnist", "-o", "x.csv", "--val", "0")
    assert run.code == 1 and "it has train, test already" in run.err


def test_class_too_small_for_the_split_is_named(cnncli, photos) -> None:
    write(photos / "owl" / "0.png", 3)
    run = cnncli("data", "split", photos, "-o", "x.csv")
    assert run.code == 1 and "class owl has 1 image" in run.err and not Path("x.csv").exists()


def test_class_whose_name_leads_out_of_the_tree_is_refused(cnncli, photos) -> None:
    rows = [
        f"photos/{name}/{number}.png,{label}" for name, label in (("cat", "../up"), ("dog", "d")) for number in range(5)
    ]
    Path("m.csv").write_text("path,label\n" + "\n".join(rows))
    before = set(Path.cwd().iterdir())
    run = cnncli("data", "split", "m.csv", "-o", "tree", "--copy")
    assert run.code == 1 and "'../up': a class of this name cannot be a folder" in run.err
    assert set(Path.cwd().iterdir()) == before


def test_split_leaves_unreadable_files_out_and_names_them(cnncli, photos) -> None:
    (photos / "cat" / "0.png").write_bytes(b"")
    run = cnncli("data", "split", photos, "-o", "x.csv")
    assert run.code == 3 and "photos/cat/0.png: the file is empty" in run.err
    assert len(rows_of(Path("x.csv"))) == 39


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_odd_file_names_survive_a_manifest(cnncli, photos, form) -> None:
    names = ["a,b.png", 'q"uote.png', "new\nline.png", "[red].png", "ü 🐱.png", os.fsdecode(b"\xff.png")]
    for number, name in enumerate(names):
        write(photos / "cat" / name, 300 + number)
    assert cnncli("data", "split", photos, "-o", f"x.{form}").code == 0
    run = cnncli("data", "show", f"x.{form}", "--no-sheet")
    assert run.code == 0 and "all classes\t" in run.out and run.out.rstrip().endswith("\t46")


# -- on a screen ----------------------------------------------------------------------------------------------------


def test_names_are_printed_literally(cnncli, photos) -> None:
    for name in ("[red]x", "esc\x1b]0;pwn\x07"):
        write(photos / name / "0.png", len(name))
    for command in ("show", "check"):
        run = cnncli("data", command, photos)
        assert "\x1b" not in run.out + run.err and "[red]x" in run.out


def test_many_classes_are_summed_up_on_a_screen(photos) -> None:
    for number in range(30):
        write(photos / f"class {number}" / "0.png", 700 + number)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_screen([*COMMAND, "data", "show", "photos"])).splitlines()
    assert "32 classes" in lines[0] and len(lines) < 32
    assert any("12 more classes, which a pipe and --format json show" in line for line in lines)
    assert max(map(len, lines)) <= 80
