"""One pixel worked out: the same value as the whole feature map has there."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnncli.convolution import convolve
from cnncli.errors import KernelError, ShapeError
from cnncli.kernels import Kernel, find, matrix
from cnncli.pixel import pixel_lines, steps_at
from cnncli.setting import Setting

LEARNED = Kernel("learned", (matrix("1 -2 3"), matrix("0 5 1"), matrix("-1 -1 4")))


def picture(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    kind = np.uint16 if mode == "I;16" else np.uint8
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(rng.integers(0, np.iinfo(kind).max + 1, shape, dtype=kind))


@settings(max_examples=150, deadline=None)
@given(
    mode=st.sampled_from(["L", "RGB", "I;16"]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.sampled_from(["sobel-h", "tri-lower", "1 2 3 4", "1 -2;0 3;5 7", "3"]).map(find),
    setting=st.builds(
        Setting,
        st.sampled_from(["same", "valid", 1, 3]),
        st.sampled_from(["zero", "edge", "reflect", "wrap"]),
        st.tuples(st.integers(1, 3), st.integers(1, 3)),
        st.tuples(st.integers(1, 2), st.integers(1, 2)),
        st.booleans(),
    ),
    at=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_steps_sum_to_the_value_of_the_feature_map(mode: str, size, kernel: Kernel, setting: Setting, at) -> None:
    image = picture(mode, *size, seed=sum(size))
    pixels = np.asarray(image).reshape(size[1], size[0], -1)
    try:
        values = convolve(pixels, kernel, setting)
    except ShapeError:
        with pytest.raises(ShapeError):
            steps_at(image, kernel, setting, 0, 0)
        return
    x, y = int(at[0] * values.shape[1]), int(at[1] * values.shape[0])
    assert [step.sum for _, step in steps_at(image, kernel, setting, x, y)] == values[y, x].tolist()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("border", ["zero", "edge", "reflect", "wrap"])
def test_a_kernel_with_planes_adds_its_channels(border: Any, flip: bool) -> None:
    image, setting = picture("RGB", 7, 5), Setting("same", border, (1, 2), flip=flip)
    values = convolve(np.asarray(image), LEARNED, setting)
    for y, x in np.ndindex(values.shape[:2]):
        steps = steps_at(image, LEARNED, setting, x, y)
        assert sum(step.sum for _, step in steps) == values[y, x, 0]
    last = list(pixel_lines(steps, summed=True))[-1]
    assert last.startswith("all channels: ") and last.endswith(f" = {values[-1, -1, 0]}")


def test_negative_sums_of_channels_are_in_brackets() -> None:
    steps = steps_at(Image.new("RGB", (3, 1), (1, 1, 2)), LEARNED, Setting(), 0, 0)
    assert list(pixel_lines(steps, summed=True))[-1] == "all channels: 2 + 6 + 4 = 12"
    steps = steps_at(Image.new("RGB", (2, 1), (1, 1, 2)), LEARNED, Setting(1), 0, 1)
    assert list(pixel_lines(steps, summed=True))[-1] == "all channels: 1 + 6 + 6 = 13"
    steps = steps_at(Image.new("RGB", (2, 1), (1, 1, 2)), LEARNED, Setting(1), 1, 1)
    assert list(pixel_lines(steps, summed=True))[-1] == "all channels: (-1) + 5 + (-4) = 0"


def test_channels_are_called_by_their_colours() -> None:
    names = {
        mode: [name for name, _ in steps_at(picture(mode, 4, 4), find("3"), Setting(), 0, 0)] for mode in ("L", "RGB")
    }
    assert names == {"L": ["grey"], "RGB": ["red", "green", "blue"]}


@pytest.mark.parametrize(("x", "y"), [(6, 0), (0, 4), (-1, 0), (0, -1), (10**9, 10**9)])
def test_a_pixel_outside_of_the_result_is_refused(x: int, y: int) -> None:
    with pytest.raises(ShapeError, match="the result is 6 wide and 4 high; expected 0,0 to 5,3"):
        steps_at(picture("L", 8, 6), find("sobel-h"), Setting(), x, y)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_kernel_for_colours_is_refused_for_grey(mode: str) -> None:
    with pytest.raises(KernelError, match="for pictures of 3 channels, this one has 1"):
        steps_at(picture(mode, 8, 6), LEARNED, Setting(), 0, 0)


def test_lines_show_weights_window_products_and_their_sum() -> None:
    image = Image.fromarray(np.arange(1, 10, dtype=np.uint8).reshape(3, 3))
    steps = steps_at(image, find("tri-upper"), Setting(), 0, 0)
    assert list(pixel_lines(steps, summed=False)) == [
        "grey, rows 0 to 2, columns 0 to 2",
        "   1 1 1     1 2 3     1 2 3",
        "   1 1 0  x  4 5 6  =  4 5 0",
        "   1 0 0     7 8 9     7 0 0",
        "   1*1+1*2+1*3+1*4+1*5+0*6+1*7+0*8+0*9 = 22",
    ]


def test_fractions_are_shown_on_demand() -> None:
    image = Image.fromarray(np.full((3, 3), 7, np.uint8))
    steps = steps_at(image, find("diag"), Setting(), 0, 0)
    assert steps[0][1].sum == Fraction(-7, 3)
    assert list(pixel_lines(steps, summed=False, exact=True))[-1].endswith("= -7/3")
    assert list(pixel_lines(steps, summed=False))[-1].endswith("= -2.3333")


def test_work_does_not_grow_with_the_picture() -> None:
    """Only the window is read: a pixel of a large picture is worked out at once."""
    image = Image.new("L", (9000, 9000), 3)
    assert [step.sum for _, step in steps_at(image, find("box-3"), Setting("same", "edge"), 8999, 8999)] == [27]
