"""The geometry of preprocessing: places in a photo and places in the network's input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnncli.backbones import InputSpec
from cnncli.framing import framing
from cnncli.images import Picture, network_input

SIZES = [(300, 200), (200, 300), (97, 331), (64, 64), (40, 30)]


def test_crop_sees_the_largest_centred_box_with_the_proportions_of_the_input() -> None:
    seen = framing((300, 200), InputSpec(32, 32, resize="crop"))
    assert seen.seen == (50, 0, 250, 200) and seen.filled == (0, 0, 32, 32)
    wide = framing((300, 200), InputSpec(20, 40, resize="crop"))
    assert wide.seen == (0, 25, 300, 175)


def test_pad_sees_everything_in_the_middle_of_the_input() -> None:
    seen = framing((300, 200), InputSpec(32, 32, resize="pad"))
    assert seen.seen == (0, 0, 300, 200) and seen.filled == (0, 5, 32, 26) and seen.filled_size == (32, 21)


def test_squash_scales_both_sides_on_their_own() -> None:
    seen = framing((300, 200), InputSpec(32, 32, resize="squash"))
    assert seen.seen == (0, 0, 300, 200) and seen.filled == (0, 0, 32, 32)
    assert seen.to_photo(16, 8) == (150, 50)


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", SIZES)
def test_places_go_to_the_input_and_back(size: tuple[int, int], resize: str) -> None:
    seen = framing(size, InputSpec(24, 56, resize=resize))  # type: ignore[arg-type]
    for place in ((0.0, 0.0), (3.5, 17.25), (size[0], size[1])):
        assert seen.to_photo(*seen.to_input(*place)) == pytest.approx(place)
    assert seen.to_photo(*seen.filled[:2]) == pytest.approx(seen.seen[:2])
    assert seen.to_photo(*seen.filled[2:]) == pytest.approx(seen.seen[2:])


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (331, 197)])
def test_a_dot_of_the_photo_is_in_the_input_where_the_view_says(size: tuple[int, int], resize: str) -> None:
    spec = InputSpec(48, 48, "gray", resize)  # type: ignore[arg-type]
    x, y = size[0] // 2 + 37, size[1] // 2 - 41  # the middle of a square of 21 px
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[y - 10 : y + 11, x - 10 : x + 11] = 255
    found = network_input(Picture(Image.fromarray(pixels)), spec)[..., 0].astype(float)
    seen = framing(size, spec)
    left, top, right, bottom = seen.filled
    found = found[top:bottom, left:right]  # without the padding, which is grey
    down, across = np.indices(found.shape)
    middle = (across * found).sum() / found.sum() + 0.5 + left, (down * found).sum() / found.sum() + 0.5 + top
    assert middle == pytest.approx(seen.to_input(x + 0.5, y + 0.5), abs=0.1)


def test_the_view_of_a_reduced_photo_is_that_of_the_whole_one_at_its_size() -> None:
    spec = InputSpec(32, 32, resize="crop")
    assert framing((150, 100), spec).of_size((300, 200)) == framing((300, 200), spec)
