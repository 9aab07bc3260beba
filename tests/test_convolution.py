"""Feature maps, pooling and the range step: SciPy as the oracle for borders, Keras for strides, `same` and pooling."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cnncli.convolution import convolve
from cnncli.errors import GrammarError, KernelError, ShapeError
from cnncli.kernels import Kernel, find, matrix
from cnncli.pooling import pool
from cnncli.ranges import magnitude, to_range
from cnncli.setting import FOR_PHOTOS, Pool, Setting, parse_pool
from cnncli.worked import correlate

SCIPY_MODES = {"zero": "constant", "edge": "nearest", "reflect": "mirror", "wrap": "wrap"}
X7 = """1 1 1 0 0 1 1; 1 1 0 1 0 1 1; 1 0 0 1 1 1 0; 0 0 0 0 0 1 1; 1 1 0 0 0 0 1; 1 0 0 1 1 1 0; 1 1 1 0 0 1 1"""
many = settings(max_examples=250, deadline=None, derandomize=True)

sides = st.integers(1, 5)
whole = st.integers(-40, 40).map(Fraction)
decimal = st.integers(-999, 999).map(lambda n: Fraction(n, 100))
# SciPy leaves out weights below 2.2e-16, the precision of float64
real = st.floats(-2, 2, width=32).filter(lambda weight: weight == 0 or abs(weight) > 1e-9).map(Fraction)


@st.composite
def kernels(draw: st.DrawFn, weights: st.SearchStrategy[Fraction], planes: int = 1) -> Kernel:
    height, width = draw(sides), draw(sides)
    return Kernel(
        "drawn",
        tuple(
            tuple(tuple(draw(weights) for _ in range(width)) for _ in range(height)) for _ in range(planes)
        ),
    )  # fmt: skip


@st.composite
def pictures(draw: st.DrawFn, dtype: str | None = None, channels: int | None = None) -> np.ndarray[Any, Any]:
    dtype = dtype or draw(st.sampled_from(["uint8", "uint16"]))
    shape = draw(st.integers(1, 14)), draw(st.integers(1, 14)), channels or draw(st.sampled_from([1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def plane(kernel: Kernel, number: int = 0) -> np.ndarray[Any, Any]:
    return np.array([[float(weight) for weight in row] for row in kernel.planes[number]])


def numbers(text: str) -> np.ndarray[Any, Any]:
    return np.array([[int(weight) for weight in row] for row in matrix(text)])[:, :, np.newaxis]


def by_scipy(pixels: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], border: str) -> np.ndarray[Any, Any]:
    """Correlation of each channel; SciPy centres even kernels one pixel further down than convolution layers do."""
    origin = tuple(-1 if side % 2 == 0 else 0 for side in weights.shape)
    maps = [
        ndimage.correlate(pixels[:, :, c].astype(float), weights, mode=SCIPY_MODES[border], origin=origin)
        for c in range(pixels.shape[2])
    ]
    return np.stack(maps, axis=-1)


borders = st.sampled_from(list(SCIPY_MODES))


@many
@given(pictures(), kernels(whole), borders)
def test_whole_numbers_agree_with_scipy_exactly_at_every_border(pixels, kernel, border) -> None:
    maps = convolve(pixels, kernel, Setting("same", border))
    assert maps.dtype in (np.int32, np.int64)
    assert np.array_equal(maps, by_scipy(pixels, plane(kernel), border))


@many
@given(pictures(), kernels(decimal) | kernels(real), borders)
def test_fractions_agree_with_scipy_to_a_millionth_at_every_border(pixels, kernel, border) -> None:
    maps = convolve(pixels, kernel, Setting("same", border))
    largest = np.iinfo(pixels.dtype).max * np.abs(plane(kernel)).sum()
    assert np.abs(maps - by_scipy(pixels, plane(kernel), border)).max() <= 1e-6 * largest


@many
@given(pictures(), kernels(whole), borders, st.integers(1, 3))
def test_dilation_is_a_kernel_with_zeros_between_its_weights(pixels, kernel, border, dilation) -> None:
    weights = plane(kernel)
    spread = np.zeros([(side - 1) * dilation + 1 for side in weights.shape])
    spread[::dilation, ::dilation] = weights
    maps = convolve(pixels, kernel, Setting("same", border, dilation=dilation))
    assert np.array_equal(maps, by_scipy(pixels, spread, border))


@many
@given(pictures(), kernels(whole) | kernels(real), borders, st.integers(0, 4), st.integers(1, 4), st.integers(1, 2))
def test_stride_skips_windows_of_stride_one(pixels, kernel, border, padding, stride, dilation) -> None:
    try:
        dense = convolve(pixels, kernel, Setting(padding, border, 1, dilation))
    except ShapeError:
        with pytest.raises(ShapeError, match="larger than its input"):
            convolve(pixels, kernel, Setting(padding, border, stride, dilation))
        return
    found = convolve(pixels, kernel, Setting(padding, border, stride, dilation))
    assert found.dtype == dense.dtype
    assert np.allclose(
        found, dense[::stride, ::stride], rtol=1e-6, atol=1e-6 * 65535 * max(1, np.abs(plane(kernel)).sum())
    )


@settings(max_examples=120, deadline=None, derandomize=True)
@given(pictures("uint8"), st.data())
def test_strides_dilation_and_padding_agree_with_keras(pixels, data) -> None:
    from cnncli.learning import keras

    channels = pixels.shape[2]
    kernel = data.draw(kernels(whole, planes=channels))
    stride = data.draw(st.integers(1, 4))
    dilation = data.draw(st.integers(1, 3)) if stride == 1 else 1  # Keras has no layer with both
    padding = data.draw(st.sampled_from(["same", "valid"]))
    extent = (np.array([kernel.height, kernel.width]) - 1) * dilation + 1
    if padding == "valid" and (extent > pixels.shape[:2]).any():
        with pytest.raises(ShapeError, match="larger than its input"):
            convolve(pixels, kernel, Setting(padding, "zero", stride, dilation))
        return
    weights = np.stack([plane(kernel, c) for c in range(channels)], axis=-1)[..., np.newaxis]
    theirs = keras.ops.conv(
        pixels[np.newaxis].astype("float32"), weights.astype("float32"), stride, padding, dilation_rate=dilation
    )
    ours = convolve(pixels, kernel, Setting(padding, "zero", stride, dilation))
    assert np.array_equal(ours, np.asarray(theirs)[0])  # below 2**24 float32 holds every whole number


@settings(max_examples=120, deadline=None, derandomize=True)
@given(pictures("uint8"), st.sampled_from(["max", "avg"]), sides, sides, st.integers(1, 4), st.booleans())
def test_pooling_agrees_with_keras(pixels, kind, height, width, stride, same) -> None:
    from cnncli.learning import keras

    layer = Pool(kind, (height, width), stride, "same" if same else "valid")
    if not same and (height > pixels.shape[0] or width > pixels.shape[1]):
        with pytest.raises(ShapeError, match="larger than its input"):
            pool(pixels, layer)
        return
    ask = keras.ops.max_pool if kind == "max" else keras.ops.average_pool
    theirs = np.asarray(ask(pixels[np.newaxis].astype("float32"), (height, width), stride, layer.padding))[0]
    assert np.allclose(pool(pixels, layer), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("token", "layer"), [("gap", "GlobalAveragePooling2D"), ("gmp", "GlobalMaxPooling2D")])
def test_global_pooling_agrees_with_keras(token: str, layer: str) -> None:
    from cnncli.learning import keras

    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype(np.float32)
    theirs = np.asarray(getattr(keras.layers, layer)(keepdims=True)(pixels[np.newaxis]))[0]
    assert np.allclose(pool(pixels, parse_pool(token)), theirs, rtol=1e-6)


def test_average_pooling_gives_the_course_answer() -> None:
    pixels = numbers("2 2 7 3;9 4 6 1;8 5 2 4;3 1 2 6")
    assert pool(pixels, parse_pool("avg:2"))[:, :, 0].tolist() == [[4.25, 4.25], [4.25, 3.5]]
    assert pool(pixels, parse_pool("max:2"))[:, :, 0].tolist() == [[9, 7], [8, 6]]
    assert pool(pixels, parse_pool("gap")).item() == 4.0625
    assert pool(pixels, parse_pool("gmp")).item() == 9


@pytest.mark.parametrize(
    ("token", "layer"),
    [
        ("max:3", Pool("max", (3, 3))),
        ("max:2:s2", Pool("max", (2, 2), 2)),
        ("avg:2x3:s1:same", Pool("avg", (2, 3), 1, "same")),
        ("avg:2:valid", Pool("avg", (2, 2))),
        ("gap", Pool("avg")),
    ],
)
def test_pool_tokens_are_those_of_the_layer_grammar(token: str, layer: Pool) -> None:
    assert parse_pool(token) == layer


@pytest.mark.parametrize(
    "token", "max max: max:0 max:2:s0 min:2 max:2:s1:s2 max:2:same:valid max:2:p1 gap:2 max:-1".split()
)
def test_a_pool_token_that_is_no_pool_is_refused(token: str) -> None:
    with pytest.raises(GrammarError, match=r"pooling .*expected max:K or avg:K"):
        parse_pool(token)


@pytest.mark.parametrize(
    ("kernel", "setting", "expected"),
    [
        ("1 1 1;1 1 1;1 1 1", Setting(), "6 5 4 6 6;3 3 3 6 6;3 2 2 4 5;3 2 2 4 5;6 4 3 4 5"),
        ("0 1 0;1 1 1;0 1 0", Setting(), "3 3 2 3 4;2 1 3 3 4;1 0 1 2 3;2 1 1 1 3;3 2 2 3 3"),
        ("0 0 15;0 15 0;15 0 0", Setting(),
         "45 0 15 30 45;0 15 15 30 30;15 30 15 15 15;30 0 0 30 30;15 15 30 15 30"),
        ("1 1 1;1 0 1;1 1 1", Setting(1, "zero"),
         "3 4 3 2 3 3 3;4 5 5 3 6 5 4;2 3 3 2 5 5 5;3 3 2 2 4 4 3;2 2 2 2 4 5 3;4 6 4 2 3 4 4;2 3 2 3 4 3 2"),
        ("1 1 1;1 -1 1;1 1 1", Setting("same", "zero"),
         "2 3 2 2 3 2 2;3 4 5 2 6 4 3;1 3 3 1 4 4 5;3 3 2 2 4 3 2;1 1 2 2 4 5 2;3 6 4 1 2 3 4;1 2 1 3 4 2 1"),
    ],
)  # fmt: skip
def test_the_matrices_of_the_course_come_out(kernel: str, setting: Setting, expected: str) -> None:
    maps = convolve(numbers(X7), Kernel("course", (matrix(kernel),)), setting)
    assert np.array_equal(maps, numbers(expected))


@many
@given(pictures(channels=1), kernels(whole), borders, st.integers(1, 3), st.integers(1, 2), st.booleans())
def test_maps_are_those_that_are_worked_out_by_hand(pixels, kernel, border, stride, dilation, flip) -> None:
    chosen = Setting("same", border, stride, dilation, flip)
    by_hand = correlate(tuple(tuple(map(Fraction, row)) for row in pixels[:, :, 0].tolist()), kernel, chosen)
    assert convolve(pixels, kernel, chosen)[:, :, 0].tolist() == [list(row) for row in by_hand]


@many
@given(pictures(), kernels(whole), borders)
def test_flip_is_true_convolution(pixels, kernel, border) -> None:
    flipped = convolve(pixels, kernel, Setting("same", border, flip=True))
    assert np.array_equal(flipped, by_scipy(pixels, plane(kernel)[::-1, ::-1], border))


def test_several_planes_sum_over_the_channels_and_must_match_them() -> None:
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    kernel = Kernel("rgb", (matrix("1 0;0 1"), matrix("2 3;-1 0"), matrix("0 0;0 -7")))
    alone = [convolve(pixels[:, :, c : c + 1], Kernel("one", (kernel.planes[c],))) for c in range(3)]
    assert np.array_equal(convolve(pixels, kernel), sum(alone))
    with pytest.raises(KernelError, match="for pictures of 3 channels, this one has 1"):
        convolve(pixels[:, :, :1], kernel)


def test_nothing_wraps_at_the_ends_of_each_integer_type() -> None:
    for dtype, weights in (("uint8", 128), ("uint8", 129), ("uint16", 1), ("uint16", 40_000), ("uint16", 10**13)):
        white = np.full((3, 3, 1), np.iinfo(dtype).max, dtype)
        maps = convolve(white, Kernel("big", (matrix(f"{weights} {-weights};0 {weights}"),)))
        assert set(maps.ravel().tolist()) == {int(np.iinfo(dtype).max) * weights}
    with pytest.raises(KernelError, match="do not fit into 64 bits"):
        convolve(white, Kernel("huge", (matrix("1e18"),)))


def test_a_kernel_of_zeros_gives_zeros_and_weights_beyond_floating_point_are_refused() -> None:
    pixels = np.full((3, 4, 3), 255, np.uint8)
    assert not convolve(pixels, Kernel("none", (matrix("0 0;0 0"),))).any()
    with pytest.raises(KernelError, match="weights of a size from 1e-60 to 1e30"):
        convolve(pixels.astype(float), Kernel("huge", (matrix("1e400"),)))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (replace(FOR_PHOTOS, stride=0), "stride 0: expected 1 or more"),
        (replace(FOR_PHOTOS, dilation=-1), "dilation -1: expected 1 or more"),
        (replace(FOR_PHOTOS, padding=-1), "padding -1: expected 0 or more"),
        (replace(FOR_PHOTOS, padding=10**9), "at most 10,000"),
        (replace(FOR_PHOTOS, dilation=10**9), "at most 10,000"),
        (replace(FOR_PHOTOS, padding="valid", dilation=4), "larger than its input"),
    ],
)
def test_impossible_settingare_refused_before_anything_is_allocated(chosen: Setting, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        convolve(np.zeros((8, 8, 1), np.uint8), find("sobel-h"), chosen)


def shown(values: list[float], kernel: str, mode: Any, white: int = 255) -> tuple[list[int], str]:
    pixels, said = to_range(np.array(values).reshape(1, -1, 1), find(kernel), mode, white)
    return pixels.ravel().tolist(), said


def test_auto_takes_the_size_where_the_weights_sum_to_0() -> None:
    assert shown([-300, -3, 0, 254, 1020], "sobel-h", "auto") == (
        [255, 3, 0, 254, 255], "range abs: the weights sum to 0, so the size of each value is shown"
    )  # fmt: skip


def test_auto_clips_where_the_weights_sum_to_1() -> None:
    assert shown([-300, 0, 254, 256], "sharpen", "auto") == ([0, 0, 254, 255], "range clip: the weights sum to 1")


def test_auto_divides_by_any_other_sum_and_rounds_halves_up() -> None:
    pixels, said = shown([-9, 4, 5, 9, 2295, 2300], "box-3", "auto")
    assert (pixels, said) == ([0, 0, 1, 1, 255, 255], "range clip, after division by the sum of the weights, 9")
    assert shown([3, 4, 12], "smooth-weighted", "auto")[0] == [0, 1, 2]
    assert shown([-1, 1 / 3, -0.5], "diag", "auto")[0] == [3, 0, 2]  # the sum is -1/3; 1.5 becomes 2


def test_the_other_ranges_do_what_they_say() -> None:
    assert shown([-300, -2, 7, 300], "box-3", "abs") == ([255, 2, 7, 255], "range abs")
    assert shown([-300, -2, 7.5, 300], "box-3", "clip") == ([0, 0, 8, 255], "range clip")
    assert shown([-10, 0, 10], "sobel-h", "scale") == ([0, 128, 255], "range scale: from -10 to 10")
    assert shown([5, 5], "sobel-h", "scale") == ([0, 0], "range scale: from 5 to 5")
    assert shown([-70000, 65535, 65536], "identity", "auto", 65535)[0] == [0, 65535, 65535]
    assert shown([-4, 2], "sobel-h", "raw") == ([-4, 2], "range raw")


def test_the_range_step_leaves_the_map_as_it_is() -> None:
    maps = np.array([[[-3]]])
    to_range(maps, find("sobel-h"))
    assert maps.item() == -3


def test_magnitude_is_the_length_of_the_pair() -> None:
    assert magnitude(np.array([3, -5, 65535]), np.array([-4, 12, 0])).tolist() == [5, 13, 65535]


def test_the_type_of_a_map_is_as_exact_as_its_pixels_allow() -> None:
    ninths = find("x")
    assert convolve(np.ones((3, 3, 1), np.uint8), ninths).dtype == np.float32
    assert convolve(np.ones((3, 3, 1), np.uint16), ninths).dtype == np.float64
    assert convolve(np.ones((3, 3, 1), np.int64), ninths).item() == 1 / 9
    assert convolve(np.full((3, 3, 1), 0.5), find("box-3")).item() == 4.5
    assert convolve(np.ones((3, 3, 1), bool), find("box-3")).tolist() == [[[9]]]
    with pytest.raises(KernelError, match=r"an array of shape \(3, 3\); expected \(height, width, channels\)"):
        convolve(np.ones((3, 3)), ninths)
