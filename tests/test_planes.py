"""An image as numbers: the right ones, of the right part, in the right range."""

from __future__ import annotations

import csv
import io
import itertools
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cnncli import planes
from cnncli.errors import CnncliError
from cnncli.matrices import course


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8)


def found(pixels: np.ndarray, **options: object) -> planes.Planes:
    options = {"channel": None, "at": None, "size": None, **options}
    return planes.planes(Image.fromarray(pixels), **options)  # type: ignore[arg-type]


def test_window_holds_exactly_the_pixels_of_its_place(noise) -> None:
    part = found(noise, at=(30, 10), size=(5, 4))
    assert part.channels == ("red", "green", "blue") and part.box == (30, 10, 35, 14)
    assert (part.values == noise[10:14, 30:35]).all() and part.shrunk == (1, 1)


def test_window_ends_with_the_image(noise) -> None:
    assert (found(noise, at=(78, 58), size=(5, 4)).values == noise[58:, 78:]).all()


@pytest.mark.parametrize("at", [(80, 0), (0, 60)])
def test_window_outside_of_the_image_is_refused(noise, at: tuple[int, int]) -> None:
    with pytest.raises(CnncliError, match="80x60 pixels; expected x up to 79, y up to 59"):
        found(noise, at=at)


def test_reduced_number_is_the_mean_of_its_area(noise) -> None:
    small = found(noise, size=(8, 8))
    assert small.values.shape == (6, 8, 3) and small.shrunk == (10, 10)
    means = noise.reshape(6, 10, 8, 10, 3).mean(axis=(1, 3))
    assert np.abs(small.values - means).max() <= 0.75


@pytest.mark.parametrize(("channel", "index"), [("red", 0), ("green", 1), ("blue", 2)])
def test_channel_is_the_one_that_was_named(noise, channel: str, index: int) -> None:
    assert (found(noise, channel=channel).values[:, :, 0] == noise[:, :, index]).all()


def test_gray_of_a_colour_image_has_the_weights_of_video(noise) -> None:
    exact = noise @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(found(noise, channel="gray").values[:, :, 0] - exact).max() <= 1


def test_grey_image_has_one_channel_and_no_other() -> None:
    assert found(np.full((2, 3), 9, np.uint8)).channels == ("gray",)
    with pytest.raises(CnncliError, match="--channel red: this image is grey"):
        found(np.full((2, 3), 9, np.uint8), channel="red")


@pytest.mark.parametrize(
    ("name", "expected"), [("0..255", [0, 51, 255]), ("0..1", [0, 0.2, 1]), ("-1..1", [-1, -0.6, 1])]
)
def test_ranges_have_black_and_white_at_their_ends(name: str, expected: list[float]) -> None:
    assert planes.in_range(np.array([0, 51, 255], np.uint8), name) == pytest.approx(expected)


def six() -> tuple[Image.Image, list[list[float]]]:
    """The course's handwritten six as a grey image, and its numbers."""
    numbers = [[float(value) for value in row] for row in course()["digit-b"].matrix]
    return Image.fromarray(np.rint((np.array(numbers) + 1) * 127.5).astype(np.uint8)), numbers


def test_csv_of_one_channel_is_its_matrix() -> None:
    image, numbers = six()
    text = "".join(planes.as_csv(planes.planes(image, channel=None, at=None, size=None), "-1..1"))
    rows = [[float(cell) for cell in row] for row in csv.reader(io.StringIO(text))]
    assert np.abs(np.array(rows) - numbers).max() < 0.005  # a step of 256 is 0.0078
    assert text.splitlines()[4].split(",")[6:8] == ["1", "0.803922"]


def test_csv_of_three_channels_has_a_line_for_each_pixel(noise) -> None:
    lines = "".join(planes.as_csv(found(noise, at=(3, 4), size=(2, 2)), "0..255")).splitlines()
    assert lines[0] == "x,y,red,green,blue" and len(lines) == 5
    assert lines[2] == ",".join(map(str, (4, 4, *noise[4, 4])))


def test_csv_comes_row_by_row_in_the_memory_of_one() -> None:
    large = found(np.full((2000, 3000, 3), 9, np.uint8))
    tracemalloc.start()
    count = sum(text.count("\n") for text in itertools.islice(planes.as_csv(large, "0..1"), 21))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1 + 20 * 3000 and peak < 5_000_000  # bytes; all of it as numbers of Python takes a gigabyte


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(-0.004, 2, "0"), (0.5, 2, "0.5"), (-1, 2, "-1"), (254.6, 0, "255"), (100, 0, "100")]
)
def test_numbers_are_as_short_as_they_are_right(value: float, digits: int, text: str) -> None:
    assert planes.written(value, digits) == text


def test_picture_tints_each_plane_by_its_own_values() -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 50))
    sheet = planes.picture(planes.planes(image, channel=None, at=None, size=None), image, "one", "0..255")
    colours = {colour for _, colour in sheet.getcolors(1 << 20) or []}
    assert {(200, 100, 50), (200, 0, 0), (0, 100, 0), (0, 0, 50)} <= colours


def test_picture_marks_the_window_on_the_photo() -> None:
    image = Image.new("RGB", (400, 400), (0, 0, 0))
    sheet = planes.picture(planes.planes(image, channel="gray", at=(200, 100), size=(20, 20)), image, "x", "0..255")
    marked = np.argwhere((np.asarray(sheet) == (213, 94, 0)).all(axis=-1))
    scale = (20 + 1) * 42 / 400  # the photo is as large as 20 cells and their labels
    (top, left), (bottom, right) = marked.min(axis=0), marked.max(axis=0)
    assert right - left == pytest.approx(20 * scale + 6, abs=6) and bottom - top == pytest.approx(right - left, abs=2)
    assert left > 1.7 * top


def test_picture_with_more_numbers_than_one_can_read_is_refused(noise) -> None:
    with pytest.raises(CnncliError, match="80x60 numbers: at most 64x64"):
        planes.picture(found(noise), Image.fromarray(noise), "x", "0..255")


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (65, 64)])
def test_picture_of_any_shape_is_drawn(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (9, 8, 7))
    part = planes.planes(image, channel=None, at=None, size=planes.legible_size(image, None))
    assert (part.values == (9, 8, 7)).all() and planes.picture(part, image, "x", "0..1").mode == "RGB"
