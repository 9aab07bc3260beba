"""Heat maps over photos: which pixel gets which colour."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from cnncli.backbones import InputSpec
from cnncli.errors import CnncliError
from cnncli.framing import framing
from cnncli.heatmap import colour_bar, framed, on_photo, overlay, pixel_box, tinted
from cnncli.mapgrid import even_grid
from cnncli.panels import Panel, Scale, panel_sheet


def test_hotter_is_lighter_for_every_grey_below() -> None:
    for gray in (0.0, 128.0, 200.0):
        drawn = tinted(np.full(50, gray), np.linspace(0.3, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
        assert (np.diff(drawn) > -0.6).all() and drawn[-1] > drawn[0] + 30


def test_a_map_lies_on_the_part_of_the_photo_that_the_network_sees() -> None:
    seen = framing((300, 200), InputSpec(32, 32))
    assert pixel_box(seen) == (50, 0, 250, 200)
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = 8
    drawn = on_photo(values, even_grid(4, 4, (32, 32)), seen)
    assert drawn.shape == (200, 200)
    assert np.unravel_index(drawn.argmax(), drawn.shape) == (74, 124)  # the cell's middle, 75 and 125, between pixels
    assert drawn[:24].max() == 0 and drawn[:, :74].max() == 0


def test_of_a_padded_input_the_padding_is_not_drawn() -> None:
    seen = framing((200, 100), InputSpec(32, 32, resize="pad"))  # 16 rows of padding, 8 above
    values = np.repeat(np.arange(4, dtype=np.float32)[:, np.newaxis], 4, axis=1)
    drawn = on_photo(values, even_grid(4, 4, (32, 32)), seen)
    assert drawn.shape == (100, 200)
    # rows 8 to 24 of the input are cells 1 to 3: 0.5 to 2.5 at the cells' edges
    assert abs(drawn[0, 0] - 0.5) < 0.02 and abs(drawn[-1, 0] - 2.5) < 0.02 and abs(drawn[50, 0] - 1.5) < 0.02


def test_what_the_network_does_not_see_is_dark_and_hatched() -> None:
    photo = Image.new("RGB", (300, 200), (200, 100, 50))
    seen = framing(photo.size, InputSpec(32, 32))
    pixels = np.asarray(framed(photo, seen))
    outside = {tuple(pixel) for pixel in pixels[:, :50].reshape(-1, 3).tolist()}
    assert outside == {(80, 40, 20), (120, 80, 60)}
    assert (pixels[2:-2, 52:248] == (200, 100, 50)).all() and (pixels[100, 50] == 255).all()


def test_the_hottest_place_has_a_ring_and_the_whole_view_no_frame() -> None:
    photo = Image.new("RGB", (64, 64), (128, 128, 128))
    seen = framing(photo.size, InputSpec(32, 32))
    drawn = np.asarray(overlay(photo, np.ones((2, 2), np.float32), even_grid(2, 2, (32, 32)), seen, 1.0, (32, 20)))
    hot = tinted(np.array([128.0]), np.array([1.0]))[0]
    assert (drawn[0, 0] == hot).all() and (drawn[20, 32] == hot).all()
    assert (drawn[20, 32 - 8] == 255).all() and (drawn[20, 32 + 8] == 255).all()


def test_a_map_that_is_nowhere_above_zero_is_cold() -> None:
    photo = Image.new("RGB", (32, 32), (128, 128, 128))
    drawn = overlay(
        photo,
        np.full((2, 2), -1, np.float32),
        even_grid(2, 2, (32, 32)),
        framing(photo.size, InputSpec(32, 32)),
        0.0,
        None,
    )
    assert (np.asarray(drawn) == tinted(np.array([128.0]), np.array([0.0]))[0]).all()


def test_the_colour_bar_goes_from_cold_to_hot() -> None:
    bar = np.asarray(colour_bar(100, 5))
    assert bar.shape == (5, 100, 3)
    assert (bar[0, 0] == tinted(np.array([128.0]), np.array([0.0]))[0]).all() and bar[0, -1].sum() > 2 * bar[0, 0].sum()


def test_panels_stand_in_rows_with_their_pictures_whole() -> None:
    red, blue = Image.new("RGB", (310, 40), (255, 0, 0)), Image.new("RGB", (310, 40), (0, 0, 255))
    scale = Scale(Image.new("RGB", (10, 6), (0, 255, 0)), "low", "high")
    sheet = np.asarray(panel_sheet("Title", "About it.", [Panel(red, "a"), Panel(blue, "b", ("x",), scale)], 2))
    at = {}
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("green", (0, 255, 0))):
        rows, columns = np.nonzero((sheet == colour).all(axis=-1))
        at[name] = (rows.min(), columns.min(), rows.max() + 1 - rows.min(), columns.max() + 1 - columns.min())
    assert at["red"][2:] == at["blue"][2:] == (40, 310)
    assert at["red"][0] == at["blue"][0] and at["blue"][1] - at["red"][1] == 310 + 24
    assert at["green"] == (at["blue"][0] + 48, at["blue"][1], 6, 310)


def test_long_words_in_panels_are_broken_not_cut() -> None:
    picture = Image.new("RGB", (300, 10), (255, 0, 0))
    one = panel_sheet("t", "a", [Panel(picture, "h", ("w" * 20,))])
    two = panel_sheet("t", "a", [Panel(picture, "h", ("w" * 60,))])
    assert one.width == two.width and two.height > one.height


def test_more_panels_than_a_picture_holds_are_refused_as_soon_as_they_are_seen() -> None:
    made = []

    def panels() -> Iterator[Panel]:
        for number in range(1000):
            made.append(number)
            yield Panel(Image.new("L", (4000, 4000)), str(number))

    with pytest.raises(CnncliError, match=r"7 panels: more than 100 megapixels; expected fewer: name some layers"):
        panel_sheet("t", "a", panels())
    assert made == list(range(7))


def test_panels_that_would_leave_more_than_a_picture_holds_empty_are_refused() -> None:
    uneven = [Panel(Image.new("L", size), "x") for size in ((4000, 10), (10, 4000), *[(10, 10)] * 5)]
    with pytest.raises(CnncliError, match="7 panels: more than 100 megapixels"):
        panel_sheet("t", "a", uneven, 7)
