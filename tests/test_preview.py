"""The preview of pictures in the terminal: which colours its cells have, and where it is not shown."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from cnncli import console
from cnncli.preview import HALF_BLOCK, half_blocks


def stripes(colours: list[tuple[int, int, int]], width: int = 4) -> Image.Image:
    """A row of pixels for each colour."""
    return Image.fromarray(np.repeat(np.array(colours, np.uint8)[:, np.newaxis], width, axis=1))


def test_small_picture_keeps_every_pixel_in_its_place() -> None:
    pixels = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)
    cells = half_blocks(Image.fromarray(pixels), columns=80, rows=20)
    assert cells.shape == (2, 3, 2, 3)
    for y in range(4):
        for x in range(3):
            assert (cells[y // 2, x, y % 2] == pixels[y, x]).all()


def test_reduced_pixel_is_the_mean_of_its_area() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    cells = half_blocks(Image.fromarray(pixels), columns=6, rows=30)
    assert cells.shape == (2, 6, 2, 3)
    means = pixels.reshape(4, 10, 6, 10, 3).mean(axis=(1, 3))  # areas of 10x10
    assert np.abs(cells.transpose(0, 2, 1, 3).reshape(4, 6, 3) - means).max() <= 0.75  # two roundings of Pillow's


@pytest.mark.parametrize(
    ("size", "expected"),
    [((800, 400), (20, 80)), ((400, 800), (24, 24)), ((3000, 1), (1, 80)), ((1, 3000), (24, 1)), ((1, 1), (1, 1))],
)
def test_proportions_are_kept_within_the_columns_and_rows(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert half_blocks(Image.new("RGB", size), columns=80, rows=24).shape[:2] == expected


def test_grey_pictures_have_grey_cells() -> None:
    assert (half_blocks(Image.new("L", (2, 2), 77), 80, 24) == 77).all()


class Terminal(io.TextIOWrapper):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a terminal of 40 columns and 30 rows receives for a picture."""
    for name, value in {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "40", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)

    def show(image: Image.Image, encoding: str = "utf-8") -> str:
        received = io.BytesIO()
        with contextlib.redirect_stdout(Terminal(received, encoding=encoding, newline="", write_through=True)):
            console.show_picture(image)
            return received.getvalue().decode(encoding)

    return show


def test_terminal_shows_upper_pixels_as_ink_and_lower_ones_as_background(shown) -> None:
    first, second = shown(stripes([(255, 0, 0), (0, 0, 255), (1, 2, 3), (4, 5, 6)])).splitlines()
    assert "38;2;255;0;0;48;2;0;0;255m" in first and first.count(HALF_BLOCK) == 4
    assert "38;2;1;2;3;48;2;4;5;6m" in second


def test_picture_takes_two_thirds_of_the_screens_height_and_all_its_width_at_most(shown) -> None:
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown(Image.new("RGB", (1000, 1000)))).splitlines()
    assert lines == [HALF_BLOCK * 40] * 20


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nothing_is_shown_without_colours(shown, monkeypatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert shown(stripes([(255, 0, 0)])) == ""


def test_nothing_is_shown_where_the_encoding_has_no_half_block(shown) -> None:
    assert shown(stripes([(255, 0, 0)]), encoding="latin-1") == ""


def test_nothing_is_shown_in_a_pipe(capsys) -> None:
    console.show_picture(stripes([(255, 0, 0)]))
    assert capsys.readouterr() == ("", "")
