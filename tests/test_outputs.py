"""Where results go, and how pictures are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from cnncli.errors import OutputError
from cnncli.outputs import FORMATS, Destination, check_apart, safe_name, save
from cnncli.sources import Source


def no_inputs(folder: Path) -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


CAT = Source("x/cat.jpg", path=Path("x/cat.jpg"))


def test_results_go_to_the_current_folder_under_names_of_their_own(folder: Path) -> None:
    target = Destination(None, several=True, inputs_in=lambda place: ["cat-blur.png"])
    found = [target.path_for(CAT, what, ".png") for what in ("blur", "blur", "sharpen")]
    assert found == [Path("cat-blur-2.png"), Path("cat-blur-3.png"), Path("cat-sharpen.png")]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("lenet", "lenet"), ("mobilenet-0.75", "mobilenet-0.75"), ("course:d4", "course_d4"), ("50%20", "50_20"),
     (os.fsdecode(b"r\xff"), "r_"), ("Äpfel", "Äpfel"), ("../x", "_x"), ("", "result")],
)  # fmt: skip
def test_result_of_what_is_no_image_is_named_after_it(folder: Path, name: str, stem: str) -> None:
    target = Destination(None, several=False, inputs_in=no_inputs)
    assert target.path_for(name, "curves", ".png") == Path(f"{stem}-curves.png")


def test_results_do_not_go_into_a_folder_of_inputs(folder: Path) -> None:
    Path("photos/inside").mkdir(parents=True)
    Path("link").symlink_to("photos")
    for inputs in (["photos"], ["x.png", "./photos/"], ["link"], [str(folder / "photos")]):
        with pytest.raises(OutputError, match="-o photos: its photos are the input; give the results a folder"):
            check_apart("-o", Path("photos"), inputs)
    for inputs in (["photos/inside"], ["."], ["photos/1.png"], ["\0"], []):
        check_apart("-o", Path("photos"), inputs)


@pytest.mark.parametrize("output", ["new/", "there"])
def test_results_go_to_a_folder_that_exists_or_ends_in_a_slash(folder: Path, output: str) -> None:
    Path("there").mkdir()
    target = Destination(output, several=True, inputs_in=no_inputs)
    assert target.path_for(CAT, "blur", ".png") == Path(output) / "cat-blur.png"
    assert Path(output).is_dir() and target.suffix is None


def test_one_result_goes_to_the_file_that_was_asked_for(folder: Path) -> None:
    target = Destination("new/edges.JPG", several=False, inputs_in=no_inputs)
    assert (target.path_for(CAT, "blur", ".png"), target.suffix) == (Path("new/edges.JPG"), ".jpg")
    assert Path("new").is_dir()


@pytest.mark.parametrize("output", ["edges.png", "-"])
def test_several_results_do_not_go_to_one_file(folder: Path, output: str) -> None:
    with pytest.raises(OutputError, match="expected a folder"):
        Destination(output, several=True, inputs_in=no_inputs)
    assert not list(folder.iterdir())


def test_a_result_never_replaces_its_input(folder: Path) -> None:
    Path("cat.png").write_bytes(b"a picture")
    target = Destination("./cat.png", several=False, inputs_in=no_inputs)
    with pytest.raises(OutputError, match="this is the input"):
        target.path_for(Source("cat.png", path=Path("cat.png")), "blur", ".png")


def test_a_file_where_a_folder_should_be_is_said(folder: Path) -> None:
    Path("taken").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be used as a folder"):
        Destination("taken/", several=True, inputs_in=no_inputs)


@pytest.mark.parametrize("suffix", FORMATS)
def test_save_writes_the_format_of_the_suffix(folder: Path, suffix: str) -> None:
    save(Image.new("RGB", (8, 6), (200, 100, 50)), Path(f"a{suffix}"))
    with Image.open(f"a{suffix}") as written:
        assert (written.format, written.size) == (FORMATS[suffix], (8, 6))
        assert all(abs(a - b) <= 3 for a, b in zip(written.getpixel((3, 3)), (200, 100, 50), strict=True))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_mode_of_a_result_fits_every_format(folder: Path, mode: str, suffix: str) -> None:
    image = Image.new(mode, (8, 6), {"L": 51, "LA": (51, 255), "I;16": 51 * 257}.get(mode, (51, 51, 51)))
    save(image, Path(f"a{suffix}"))
    with Image.open(f"a{suffix}") as written:
        shown = written.point(lambda value: value / 257).convert("RGB") if written.mode == "I;16" else written
        assert shown.convert("RGB").getpixel((3, 3)) == (51, 51, 51)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_transparency_is_laid_on_white_where_the_format_has_none(folder: Path, suffix: str) -> None:
    save(Image.new("RGBA", (8, 6), (0, 0, 0, 0)), Path(f"a{suffix}"))
    with Image.open(f"a{suffix}") as written:
        assert written.convert("RGB").getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("random:5x5", "random-5x5"),
        ("1 0;0 1", "kernel"),
        ("../../etc", "etc"),
        ("a/b.keras:conv:3", "a-b.keras-conv-3"),
        ("", "kernel"),
        ("\x1b[31m", "31m"),
        ("x" * 99, "x" * 60),
    ],
)
def test_what_was_typed_makes_a_harmless_part_of_a_name(text: str, name: str) -> None:
    assert safe_name(text) == name
