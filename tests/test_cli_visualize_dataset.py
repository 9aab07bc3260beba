"""`cnncli visualize dataset` as its users meet it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.datasets import contact

COLOURS = {"cat": (250, 10, 20), "dog": (10, 240, 30), "sea_lion": (20, 30, 230)}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits; in train all images of a class have its colour, in test half of its brightness."""
    monkeypatch.chdir(tmp_path)
    for split, share in (("train", 1), ("test", 0.5)):
        for label, colour in COLOURS.items():
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(6):
                Image.new("RGB", (30, 20), tuple(int(share * value) for value in colour)).save(folder / f"{number}.png")
    return tmp_path


def area(path: str, colour: tuple[int, ...]) -> int:
    with Image.open(path) as sheet:
        return int((np.asarray(sheet) == colour).all(axis=-1).sum())


def test_sheet_shows_the_chosen_split_classes_and_number(cnncli, photos) -> None:
    args = ["--split", "test", "--class", "cat", "--class", "Sea Lion", "--count", "4", "--size", "60"]
    done = cnncli("visualize", "dataset", "photos", *args)
    assert (done.code, done.err.splitlines()[-1]) == (0, "photos -> photos-sheet.png")
    assert area("photos-sheet.png", (125, 5, 10)) == area("photos-sheet.png", (10, 15, 115)) == 4 * 60 * 40
    for colour in (*COLOURS.values(), (5, 120, 15)):
        assert area("photos-sheet.png", colour) == 0


def test_class_is_the_one_of_exactly_that_name(cnncli, photos) -> None:
    Path("photos/train/cat").rename("photos/train/Dog")
    assert cnncli("visualize", "dataset", "photos", "--split", "train", "--class", "dog").code == 0
    assert area("photos-sheet.png", COLOURS["cat"]) == 0 < area("photos-sheet.png", COLOURS["dog"])
    done = cnncli("visualize", "dataset", "photos", "--class", "DOG")
    assert done.code == 1 and "2 classes are called so; give the id: Dog, dog" in done.err


def test_sheet_of_everything_is_that_of_data_show(cnncli, photos) -> None:
    assert cnncli("visualize", "dataset", "photos", "-o", "a.png").code == 0
    assert cnncli("data", "show", "photos", "-o", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_image_that_cannot_be_read_is_named_and_the_others_are_shown(cnncli, photos) -> None:
    Path("photos/train/dog/3.png").write_text("no image")
    done = cnncli("visualize", "dataset", "photos", "--split", "train", "--class", "dog")
    assert done.code == 3 and "dog/3.png: not an image" in done.err
    assert area("photos-sheet.png", COLOURS["dog"]) == 5 * 90 * 60


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["photos", "--class", "dgo"], 1, "--class dgo: photos has no such class; did you mean dog?"),
        (["photos", "--split", "val"], 1, "it has no split 'val'; expected train or test"),
        (["photos", "--count", "1000", "--size", "1024"], 1, "more than 100 megapixels"),
        (["photos", "-o", "photos/sheet.png"], 2, "would become a part of it"),
        (["nowhere"], 1, "no such folder or file"),
    ],
)
def test_what_a_user_can_cause_is_said(cnncli, photos, args: list[str], code: int, text: str) -> None:
    done = cnncli("visualize", "dataset", *args)
    assert done.code == code and text in done.err
    assert not list(photos.rglob("*sheet.png"))


def test_data_whose_name_is_not_utf8_is_drawn(cnncli, photos) -> None:
    name = os.fsdecode(b"d\xff")
    Path("photos/train").rename(name)
    assert cnncli("visualize", "dataset", name).code == 0 and area("d_-sheet.png", COLOURS["cat"])
    assert cnncli("data", "show", name).code == 0


def test_place_inside_of_the_data_is_refused_before_an_image_is_read(cnncli, photos, monkeypatch) -> None:
    monkeypatch.setattr(contact, "data_sheet", lambda *args: pytest.fail("an image would be read"))
    assert cnncli("visualize", "dataset", "photos", "-o", "photos/sheet.png").code == 2
    monkeypatch.chdir("photos/train")
    done = cnncli("visualize", "dataset", "../../photos")
    assert done.code == 2 and "would become a part of it" in done.err


def test_class_without_a_readable_image_is_an_error(cnncli, photos) -> None:
    for number in range(6):
        Path(f"photos/train/dog/{number}.png").write_text("no image")
    done = cnncli("visualize", "dataset", "photos", "--split", "train", "--class", "dog")
    assert done.code == 1 and "none of the chosen images can be read" in done.err
