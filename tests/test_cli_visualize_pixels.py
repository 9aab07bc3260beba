"""`cnncli visualize pixels` as its users meet it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli import planes
from cnncli.commands.visualize import pixels


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> Path:
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    return tmp_path


def test_picture_goes_beside_under_a_name_made_from_the_image(cnncli, here) -> None:
    done = cnncli("visualize", "pixels", "photo.png")
    assert (done.code, done.out, done.err) == (0, "", "photo.png -> photo-pixels.png\n")
    with Image.open("photo-pixels.png") as sheet:
        assert sheet.mode == "RGB" and sheet.width > 1200


def test_csv_is_what_the_image_holds_and_a_matrix_for_filter(cnncli, here, photo) -> None:
    done = cnncli(
        "visualize", "pixels", "photo.png", "--at", "7,9", "--size", "3x3", "--channel", "red", "--format", "csv"
    )
    assert done.out.split() == [",".join(map(str, row)) for row in np.asarray(photo)[9:12, 7:10, 0]]
    Path("part.csv").write_text(done.out)
    total = int(np.asarray(photo)[9:12, 7:10, 0].sum())
    shown = cnncli("filter", "--matrix", "part.csv", "--kernel", "1 1 1;1 1 1;1 1 1")
    assert shown.code == 0 and str(total) in shown.out
    assert sorted(path.name for path in here.iterdir()) == ["part.csv", "photo.png"]


def test_photo_is_turned_as_its_exif_says(cnncli, here) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(np.array([[1, 2, 3]], np.uint8)).save("turned.png", exif=exif)
    done = cnncli("visualize", "pixels", "turned.png", "--format", "csv")
    assert done.out == "1\n2\n3\n"


def test_csv_and_output_do_not_go_together(cnncli, here) -> None:
    done = cnncli("visualize", "pixels", "photo.png", "--format", "csv", "-o", "x.csv")
    assert done.code == 2 and "standard output" in done.err


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["missing.png"], 1, "missing.png: "),
        (["broken.png"], 1, "broken.png: "),
        (["photo.png", "--at", "900,0"], 1, "the image has 320x200 pixels"),
        (["photo.png", "--at", "x"], 2, "expected 10,20"),
        (["photo.png", "-o", "x.txt"], 2, "expected a name that ends in"),
        (["photo.png", "--size", "200x200"], 1, "at most 64x64"),
        (["folder"], 2, "there are several; give one"),
    ],
)
def test_what_a_user_can_cause_is_one_line(cnncli, here, args: list[str], code: int, text: str) -> None:
    Path("broken.png").write_text("no image")
    Path("folder").mkdir()
    for name in "ab":
        Image.new("RGB", (4, 4)).save(f"folder/{name}.png")
    done = cnncli("visualize", "pixels", *args)
    assert done.code == code and text in done.err and "Traceback" not in done.err


def test_pictures_do_not_go_into_the_folder_that_they_are_made_from(cnncli, here) -> None:
    for args in (["."], [str(here)], [".", "-o", "x.png"], [".", "-o", "./"]):
        done = cnncli("visualize", "pixels", *args)
        assert done.code == 2 and "its photos are the input" in done.err
    assert [path.name for path in here.iterdir()] == ["photo.png"]
    assert cnncli("visualize", "pixels", ".", "-o", "out/").code == 0
    assert Path("out/photo-pixels.png").exists()


def test_choices_are_those_of_the_library() -> None:
    assert tuple(planes.RANGES) == pixels._RANGES and pixels._CHANNELS == planes.CHANNELS


def test_image_is_never_written_over(cnncli, here) -> None:
    before = Path("photo.png").read_bytes()
    assert cnncli("visualize", "pixels", "photo.png", "-o", "photo.png").code == 2
    assert Path("photo.png").read_bytes() == before
