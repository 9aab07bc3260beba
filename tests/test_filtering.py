"""Whole pictures in bands: the same bits as the whole array at once, in little memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import cnncli.convolution
import cnncli.filtering
from cnncli.convolution import convolve
from cnncli.errors import ImageError, KernelError, ShapeError
from cnncli.filtering import feature_maps, filtered
from cnncli.kernels import Kernel, find, matrix
from cnncli.pooling import pool
from cnncli.ranges import magnitude, to_range
from cnncli.setting import FOR_PHOTOS, Setting, parse_pool

FLOATS = "0.1234567 -0.7654321 0.3;0.25 0.4 1e-5"
LEARNED = Kernel("learned", (matrix("0.123456 -1;2 0.5"), matrix("1 0;0.333333 1"), matrix("-1 0.1;0 1")))


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bands and blocks that a small picture meets every case."""
    monkeypatch.setattr(cnncli.filtering, "_BAND_BYTES", 600)
    monkeypatch.setattr(cnncli.convolution, "_BLOCK_BYTES", 300)


def picture(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    kind = np.uint16 if mode == "I;16" else np.uint8
    return Image.fromarray(rng.integers(0, np.iinfo(kind).max + 1, shape, dtype=kind))


def pixels_of(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.atleast_3d(np.asarray(image))


modes = st.sampled_from(["L", "RGB", "I;16"])
specs = st.sampled_from(["sobel-h", "blur", "x", "box:5", "gaussian:6:1.5", FLOATS, "random:7x1", "random:2x8", "3"])
layers = st.builds(
    Setting,
    st.sampled_from(["same", "valid", 0, 2, 30]),
    st.sampled_from(["zero", "edge", "reflect", "wrap"]),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
pools = st.sampled_from([None, "max:3", "max:2:s1:same", "avg:2", "avg:3:s2:same", "max:2x3:s4", "gap", "gmp"])


@settings(max_examples=250, deadline=None, derandomize=True)
@given(modes, st.integers(1, 40), st.integers(1, 60), specs, layers, pools)
def test_bands_give_the_same_bits_as_the_whole_array_at_once(mode, width, height, spec, layer, token) -> None:
    image, kernel, pooling = picture(mode, width, height), find(spec), parse_pool(token) if token else None
    try:
        whole = convolve(pixels_of(image), kernel, layer)
        expected = pool(whole, pooling) if pooling else whole
    except ShapeError:
        with pytest.raises(ShapeError):
            filtered(image, [kernel], layer, mode="raw", pool=pooling)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnncli.filtering, "_BAND_BYTES", 600)
        patch.setattr(cnncli.convolution, "_BLOCK_BYTES", 300)
        found, _ = filtered(image, [kernel], layer, mode="raw", pool=pooling)
    averaged_fractions = token and token.startswith(("avg", "gap")) and not kernel.is_integer
    if averaged_fractions:  # averaged before the division by the common denominator, not after it
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-3)
    else:
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
@pytest.mark.parametrize("spec", ["sobel-h", "sharpen", "box-3", "motion-blur-h", "diag", FLOATS])
@pytest.mark.parametrize("range_", ["auto", "clip", "abs", "scale"])
def test_the_picture_is_the_range_step_of_the_whole_map(mode: str, spec: str, range_: Any) -> None:
    image, kernel = picture(mode, 23, 31), find(spec)
    found, said = filtered(image, [kernel], mode=range_)
    assert isinstance(found, Image.Image)
    maps = convolve(pixels_of(image), kernel, FOR_PHOTOS)
    expected, expected_said = to_range(maps, kernel, range_, 65535 if mode == "I;16" else 255)
    assert (found.mode, found.size, said) == (mode, (23, 31), expected_said)
    assert np.abs(pixels_of(found).astype(int) - expected).max() <= (0 if kernel.is_integer or range_ != "scale" else 1)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_identity_gives_the_picture_back(mode: str) -> None:
    image = picture(mode, 30, 20)
    for border in ("zero", "edge", "reflect", "wrap"):
        assert np.array_equal(filtered(image, [find("identity")], replace(FOR_PHOTOS, border=border))[0], image)


@pytest.mark.usefixtures("small_bands")
def test_magnitude_of_a_pair_is_clipped_and_raw_on_demand() -> None:
    image, pair = picture("RGB", 25, 18), [find("sobel-h"), find("sobel-v")]
    length = magnitude(*(convolve(pixels_of(image), kernel, FOR_PHOTOS) for kernel in pair))
    found, said = filtered(image, pair)
    assert said == "range clip, of the magnitude"
    assert np.array_equal(pixels_of(found), np.floor(length.clip(0, 255) + 0.5))
    assert np.array_equal(filtered(image, pair, mode="raw")[0], length)
    with pytest.raises(KernelError, match="two kernels with maps of one size"):
        filtered(image, [find("sobel-h"), find("box:5")], replace(FOR_PHOTOS, padding="valid"))


@pytest.mark.usefixtures("small_bands")
def test_a_kernel_with_planes_makes_one_gray_map_of_the_channels() -> None:
    image = picture("RGB", 25, 18)
    found, _ = filtered(image, [LEARNED])
    raw, _ = filtered(image, [LEARNED], replace(FOR_PHOTOS, stride=2), mode="raw")
    assert (found.mode, found.size, raw.shape) == ("L", (25, 18), (9, 13, 1))
    assert np.array_equal(raw, convolve(pixels_of(image), LEARNED, replace(FOR_PHOTOS, stride=2)))
    with pytest.raises(KernelError, match="for pictures of 3 channels, this one has 1"):
        filtered(picture("L", 9, 9), [LEARNED])


@pytest.mark.usefixtures("small_bands")
def test_feature_maps_stand_behind_one_another_kernel_by_kernel() -> None:
    image, kernels = picture("RGB", 12, 9), [find("sobel-h"), find("laplacian")]
    maps = feature_maps(image, kernels)
    assert (maps.shape, maps.dtype) == ((9, 12, 6), np.int32)
    assert np.array_equal(maps[:, :, 3:], convolve(pixels_of(image), kernels[1], FOR_PHOTOS))


def test_a_pooled_picture_has_the_size_of_the_pool() -> None:
    image = picture("RGB", 23, 31)
    assert filtered(image, [find("identity")], pool=parse_pool("max:2"))[0].size == (11, 15)
    mean, _ = filtered(image, [find("identity")], pool=parse_pool("gap"))
    assert mean.size == (1, 1)
    assert mean.getpixel((0, 0)) == tuple(np.floor(pixels_of(image).mean(axis=(0, 1)) + 0.5).astype(int))


def test_one_thread_and_many_give_the_same_picture(photo: Image.Image) -> None:
    one, many = (filtered(photo, [find("gaussian:5:1")], workers=workers)[0] for workers in (1, 7))
    assert one.tobytes() == many.tobytes()


def test_a_file_that_is_only_opened_is_decoded_once(photo: Image.Image, tmp_path) -> None:
    path = tmp_path / "photo.jpg"
    photo.resize((1600, 1000)).save(path)
    with Image.open(path) as lazy, Image.open(path) as loaded:
        loaded.load()
        assert filtered(lazy, [find("blur")])[0].tobytes() == filtered(loaded, [find("blur")])[0].tobytes()


def test_other_modes_are_refused() -> None:
    with pytest.raises(ImageError, match="mode RGBA are not filtered; expected L, RGB, I;16"):
        filtered(Image.new("RGBA", (4, 4)), [find("blur")])


def test_an_error_in_a_band_stops_the_others(monkeypatch: pytest.MonkeyPatch, small_bands) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(cnncli.convolution.Correlation, "sums", fails)
    with pytest.raises(MemoryError):
        filtered(picture("RGB", 30, 60), [find("blur")])


PEAK = """
import resource, sys
from PIL import Image
from cnncli.filtering import filtered
from cnncli.kernels import find
image = Image.effect_noise((10000, 1000), 90).resize((10000, 10000), Image.Resampling.NEAREST).convert("RGB")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = filtered(image, [find(sys.argv[1])])[0]
assert out.size == (10000, 10000) and out.mode == "RGB"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts in another unit elsewhere")
def test_100_megapixels_are_filtered_within_one_and_a_half_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK, FLOATS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 1.5e9
