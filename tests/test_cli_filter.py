"""`cnncli filter` as its users meet it: the files that it writes, what it says, and the course's figures."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cnncli.convolution import convolve
from cnncli.kernels import find
from cnncli.setting import FOR_PHOTOS, Setting

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> Path:
    """The current directory, with a photo and a second, smaller one."""
    photo.save(tmp_path / "photo.png")
    photo.crop((10, 20, 90, 80)).save(tmp_path / "part.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path: str | Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def mapped(path: str, kernel: str, setting: Setting = FOR_PHOTOS) -> np.ndarray[Any, Any]:
    """The feature map of a picture file, `(height, width, channels)`."""
    return convolve(np.atleast_3d(pixels(path)), find(kernel), setting)


def files() -> set[str]:
    return {path.name for path in Path().iterdir()}


# --- where results go ---------------------------------------------------------------------------------------------


def test_filter_writes_a_picture_named_after_photo_and_kernel(cnncli, folder) -> None:
    run = cnncli("filter", "photo.png", "--kernel", "sobel-h")
    assert (run.code, run.out) == (0, "")
    assert run.err.splitlines() == [
        "sobel-h: range abs: the weights sum to 0, so the size of each value is shown",
        "photo.png -> photo-sobel-h.png",
    ]
    expected = np.clip(np.abs(mapped("photo.png", "sobel-h")), 0, 255)
    assert np.array_equal(pixels("photo-sobel-h.png"), expected)


def test_filter_says_the_range_of_each_kernel_once_for_many_photos(cnncli, folder) -> None:
    run = cnncli("filter", "photo.png", "part.png", "-k", "sobel-h", "-k", "blur", "-k", "cross")
    assert run.code == 0
    made = {f"{stem}-{kernel}.png" for stem in ("photo", "part") for kernel in ("sobel-h", "blur", "cross")}
    assert files() == {"photo.png", "part.png"} | made
    assert [line for line in run.err.splitlines() if "range" in line] == [
        "sobel-h: range abs: the weights sum to 0, so the size of each value is shown",
        "blur: range clip: the weights sum to 1",
        "cross: range clip, after division by the sum of the weights, 5",
    ]


def test_quiet_says_nothing(cnncli, folder) -> None:
    run = cnncli("filter", "photo.png", "-k", "sobel-h", "--quiet")
    assert (run.code, run.out, run.err) == (0, "", "")


@pytest.mark.parametrize("name", ["edges.png", "edges.jpg", "edges.tif", "new/edges.webp"])
def test_output_names_the_file_and_its_format(cnncli, folder, name: str) -> None:
    assert cnncli("filter", "photo.png", "-k", "sobel-h", "-o", name).code == 0
    with Image.open(name) as image:
        assert (image.size, image.mode) == ((320, 200), "RGB")
        suffixes = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp"}
        assert suffixes[str(image.format)] == Path(name).suffix


def test_output_names_a_folder_that_is_made(cnncli, folder) -> None:
    assert cnncli("filter", "photo.png", "part.png", "-k", "blur", "-k", "outline", "-o", "results/").code == 0
    names = {"photo-blur.png", "photo-outline.png", "part-blur.png", "part-outline.png"}
    assert {path.name for path in Path("results").iterdir()} == names
    assert files() == {"photo.png", "part.png", "results"}


def test_output_to_standard_output_is_a_picture_and_nothing_else(process, folder) -> None:
    with Path("out.png").open("wb") as out:
        command = [sys.executable, "-m", "cnncli", "filter", "photo.png", "-k", "identity", "-o", "-"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "identity: range clip: the weights sum to 1\n")
    assert np.array_equal(pixels("out.png"), pixels("photo.png"))


@pytest.mark.parametrize("output", ["-", "one.png"])
def test_several_results_do_not_go_to_one_place(cnncli, folder, output: str) -> None:
    before = files()
    run = cnncli("filter", "photo.png", "-k", "blur", "-k", "sobel-h", "-o", output)
    assert run.code == 2 and "several results" in run.err
    assert files() == before


def test_an_input_is_never_written_over(cnncli, folder) -> None:
    before = Path("photo.png").read_bytes()
    run = cnncli("filter", "photo.png", "-k", "blur", "-o", "photo.png")
    assert run.code != 0 and "never written over" in run.err
    os.link("photo.png", "linked.png")
    assert cnncli("filter", "photo.png", "-k", "blur", "-o", "linked.png").code != 0
    assert Path("photo.png").read_bytes() == before


def test_a_result_that_is_itself_an_input_gets_another_name(cnncli, folder) -> None:
    cnncli("filter", "photo.png", "-k", "blur")
    before = Path("photo-blur.png").read_bytes()
    assert cnncli("filter", "photo.png", "photo-blur.png", "-k", "blur").code == 0
    assert Path("photo-blur.png").read_bytes() == before
    assert {"photo-blur-2.png", "photo-blur-blur.png"} <= files()


def test_a_second_run_replaces_a_result_whole(cnncli, folder) -> None:
    """Who has the old file open keeps it: the new one takes its name, it is not written into it."""
    cnncli("filter", "photo.png", "-k", "blur", "-o", "result.png")
    old = Path("result.png").read_bytes()
    with Path("result.png").open("rb") as reader:
        assert cnncli("filter", "photo.png", "-k", "sobel-h", "-o", "result.png").code == 0
        assert reader.read() == old
    assert Path("result.png").read_bytes() != old
    assert files() == {"photo.png", "part.png", "result.png"}


@pytest.mark.parametrize("name", ["[red].png", "a\nb.png", "-k.png", "%s {x}.png", "a\x1b[31mb.png", "umläut 写真.png"])
def test_odd_file_names_are_kept_and_printed_harmlessly(cnncli, folder, name: str) -> None:
    Path("part.png").rename(name)
    run = cnncli("filter", "-k", "blur", "--", name)
    assert run.code == 0
    assert pixels(Path(name).stem + "-blur.png").shape == (60, 80, 3)
    assert len(run.err.splitlines()) == 2 and "\x1b" not in run.err


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("gaussian:5:1.2", "part-gaussian-5-1.2.png"),
        ("random:5x5", "part-random-5x5.png"),
        ("0 1 0;1 -4 1;0 1 0", "part-custom.png"),
        ("mine.txt", "part-mine.png"),
        ("sobel", "part-sobel-h.png"),
    ],
)
def test_results_are_named_after_any_kernel(cnncli, folder, kernel: str, name: str) -> None:
    Path("mine.txt").write_text("0 1\n1 0\n")
    assert cnncli("filter", "part.png", "-k", kernel).code == 0
    assert name in files()


# --- forms of results ---------------------------------------------------------------------------------------------


def test_compare_writes_one_sheet_with_the_photo_and_its_results(cnncli, folder) -> None:
    assert cnncli("filter", "photo.png", "--compare", "sobel-h, sobel-v,blur").code == 0
    assert files() == {"photo.png", "part.png", "photo-compare.png"}
    with Image.open("photo-compare.png") as sheet:
        assert sheet.mode == "RGB" and 2 * 320 < sheet.width < 2 * 320 + 100  # two by two
        assert 2 * 200 < sheet.height < 2 * 200 + 150
        colours = np.asarray(sheet).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 1000  # the photo is on it in colour


def test_compare_scales_large_photos_before_they_are_filtered(cnncli, folder, photo) -> None:
    photo.resize((1600, 1000)).save("large.png")
    run = cnncli("filter", "large.png", "--compare", "blur")
    assert "compared at 480x300 pixels" in run.err
    with Image.open("large-compare.png") as sheet:
        assert sheet.width < 2 * 480 + 100


def test_stack_is_one_array_of_all_kernels_and_channels(cnncli, folder) -> None:
    run = cnncli("filter", "part.png", "--stack", "-k", "sobel-h", "-k", "box-3")
    assert run.code == 0
    stack = np.load("part-stack.npy")
    assert stack.shape == (60, 80, 6) and stack.dtype.kind == "i"
    expected = np.concatenate([mapped("part.png", "sobel-h"), mapped("part.png", "box-3")], axis=-1)
    assert np.array_equal(stack, expected)


def test_magnitude_is_the_length_of_both_maps(cnncli, folder) -> None:
    assert cnncli("filter", "part.png", "--magnitude", "-k", "sobel-h", "-k", "sobel-v").code == 0
    a, b = (mapped("part.png", name).astype(float) for name in ("sobel-h", "sobel-v"))
    expected = np.floor(np.clip(np.sqrt(a * a + b * b), 0, 255) + 0.5)
    assert np.array_equal(pixels("part-magnitude.png"), expected)


def test_raw_values_are_written_as_whole_numbers_where_they_are(cnncli, folder) -> None:
    assert cnncli("filter", "part.png", "-k", "sobel-h", "-k", "diag", "--range", "raw").code == 0
    whole, fractions = np.load("part-sobel-h.npy"), np.load("part-diag.npy")
    assert whole.dtype.kind == "i" and whole.min() < 0
    assert np.array_equal(whole, mapped("part.png", "sobel-h"))
    assert fractions.dtype.kind == "f"
    assert np.allclose(fractions, mapped("part.png", "diag"))


@pytest.mark.parametrize("mode", ["clip", "abs", "scale"])
def test_ranges_are_what_they_say(cnncli, folder, mode: str) -> None:
    assert cnncli("filter", "part.png", "-k", "sobel-h", "--range", mode).code == 0
    values = mapped("part.png", "sobel-h").astype(float)
    expected = {
        "clip": np.clip(values, 0, 255),
        "abs": np.clip(np.abs(values), 0, 255),
        "scale": np.floor((values - values.min()) * 255 / (values.max() - values.min()) + 0.5),
    }[mode]
    assert np.abs(pixels("part-sobel-h.png") - expected).max() == 0


def test_gray_turns_colours_into_one_channel(cnncli, folder) -> None:
    assert cnncli("filter", "part.png", "-k", "identity", "--gray").code == 0
    with Image.open("part.png") as image:
        assert np.array_equal(pixels("part-identity.png"), np.asarray(image.convert("L")))


@pytest.mark.parametrize("token", ["gap", "gmp"])
def test_a_global_pool_leaves_one_pixel(cnncli, folder, token: str) -> None:
    assert cnncli("filter", "part.png", "-k", "blur", "--pool", token, "--range", "raw").code == 0
    values = mapped("part.png", "blur")
    expected = values.mean((0, 1), dtype=float) if token == "gap" else values.max((0, 1))
    pooled = np.load("part-blur.npy")
    assert pooled.shape == (1, 1, 3)
    assert np.allclose(pooled[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "setting", "size"),
    [
        ("--stride 2x1", Setting("same", "edge", (2, 1)), (80, 30)),
        ("--stride 1x3", Setting("same", "edge", (1, 3)), (27, 60)),
        ("--dilation 1x2 --padding valid", Setting("valid", "edge", 1, (1, 2)), (76, 58)),
        ("--padding 4 --border reflect", Setting(4, "reflect"), (86, 66)),
        ("--padding 2 --border wrap", Setting(2, "wrap"), (82, 62)),
        ("--border zero --flip", Setting("same", "zero", flip=True), (80, 60)),
    ],
)
def test_geometry_is_that_of_a_convolution_layer(cnncli, folder, options: str, setting: Setting, size) -> None:
    assert cnncli("filter", "part.png", "-k", "tri-lower", "--range", "raw", *options.split()).code == 0
    values = np.load("part-tri-lower.npy")
    assert values.shape == (size[1], size[0], 3)
    assert np.array_equal(values, mapped("part.png", "tri-lower", setting))


def test_flip_that_makes_no_difference_is_said(cnncli, folder) -> None:
    assert "--flip makes no difference to blur" in cnncli("filter", "part.png", "-k", "blur", "--flip").err
    assert "no difference" not in cnncli("filter", "part.png", "-k", "sobel-h", "--flip").err


def test_seed_chooses_the_random_kernel(cnncli, folder) -> None:
    arrays = []
    for seed in ("1", "1", "2"):
        cnncli("filter", "part.png", "-k", "random:3x3", "--seed", seed, "--range", "raw", "-o", "r.npy")
        arrays.append(np.load("r.npy"))
    assert np.array_equal(arrays[0], arrays[1]) and not np.array_equal(arrays[0], arrays[2])


def test_normalize_divides_by_the_sum(cnncli, folder) -> None:
    run = cnncli("filter", "part.png", "-k", "box-3", "--normalize", "--range", "raw")
    assert run.code == 0
    assert np.allclose(np.load("part-box-3.npy"), mapped("part.png", "box-3") / 9, atol=1e-3)


def test_at_shows_the_products_of_one_pixel(cnncli, folder) -> None:
    x, y = 7, 5
    run = cnncli("filter", "part.png", "-k", "sobel-h", "--at", f"{x},{y}")
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("part.png, sobel-h at x 7, y 5, rows and columns counted from 0\n")
    sums = [int(line.rpartition("= ")[2]) for line in run.out.splitlines() if re.search(r"\+.* = ", line)]
    assert sums == mapped("part.png", "sobel-h")[y, x].tolist()
    assert files() == {"photo.png", "part.png"}


def test_at_outside_says_what_is_inside_and_prints_nothing(cnncli, folder) -> None:
    run = cnncli("filter", "part.png", "-k", "sobel-h", "--at", "80,5")
    assert (run.code, run.out) == (1, "")
    assert "expected 0,0 to 79,59" in run.err


# --- what photos carry --------------------------------------------------------------------------------------------


def test_16_bit_grey_stays_16_bit(cnncli, folder) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (30, 40), dtype=np.uint16)
    Image.fromarray(values).save("deep.png")
    assert cnncli("filter", "deep.png", "-k", "identity", "-k", "box-3").code == 0
    assert np.array_equal(pixels("deep-identity.png"), values)
    smooth = pixels("deep-box-3.png")
    assert smooth.dtype == np.uint16
    assert np.array_equal(smooth, np.floor(mapped("deep.png", "box-3")[..., 0] / 9 + 0.5))


def test_transparency_and_profile_are_kept_and_the_rest_is_dropped(cnncli, folder, photo) -> None:
    alpha = Image.linear_gradient("L").resize(photo.size)
    photo.putalpha(alpha)
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif.get_ifd(0x8825)[1] = "N"
    photo.save("clear.png", icc_profile=SRGB, exif=exif)
    assert cnncli("filter", "clear.png", "-k", "outline", "-o", "a.png").code == 0
    with Image.open("a.png") as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image.getchannel("A")), np.asarray(alpha))
        assert image.info.get("icc_profile") == SRGB
        assert dict(image.getexif()) == {}
    assert b"Maker of cameras" not in Path("a.png").read_bytes()


def test_a_profile_for_colours_is_not_given_to_grey(cnncli, folder, photo) -> None:
    photo.save("colours.png", icc_profile=SRGB)
    assert cnncli("filter", "colours.png", "-k", "blur", "--gray", "-o", "a.png").code == 0
    with Image.open("a.png") as image:
        assert (image.mode, image.info.get("icc_profile")) == ("L", None)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_gives_the_picture_of_the_upright_one(cnncli, folder, quadrants, orientation: int) -> None:
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    quadrants.transpose(back[orientation]).save("turned.png", exif=exif)
    quadrants.save("upright.png")
    assert cnncli("filter", "turned.png", "upright.png", "-k", "sobel-h", "--range", "raw").code == 0
    assert np.array_equal(np.load("turned-sobel-h.npy"), np.load("upright-sobel-h.npy"))


def test_a_turned_jpeg_comes_out_upright_and_without_the_tag(cnncli, folder, quadrants) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    quadrants.transpose(Image.Transpose.ROTATE_90).save("turned.jpg", exif=exif, quality=95, subsampling=0)
    assert cnncli("filter", "turned.jpg", "-k", "identity", "-o", "a.png").code == 0
    with Image.open("a.png") as image:
        assert image.size == (100, 60) and dict(image.getexif()) == {}
        assert np.abs(np.asarray(image).astype(int) - np.asarray(quadrants))[5:25, 5:45].max() < 20


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"]


@pytest.mark.parametrize("form", ["PNG", "GIF", "TIFF", "BMP", "JPEG", "WEBP"])
def test_identity_writes_a_valid_picture_for_every_mode(cnncli, folder, photo, form: str) -> None:
    """Robustness A15, A16: palettes, palettes with transparency, 1 bit, CMYK."""
    names = []
    for mode in MODES:
        image = Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300) if mode == "I;16" else None
        image = image or photo.resize((8, 6)).convert("L" if mode in ("I", "F") else "RGB").convert(mode)
        try:
            image.save(f"mode-{mode.replace(';', '')}.{form.lower()}", form)
        except (OSError, KeyError, ValueError):  # the format has no such mode
            continue
        names.append(f"mode-{mode.replace(';', '')}.{form.lower()}")
    clear = photo.resize((8, 6)).quantize(16)
    if form in ("PNG", "GIF"):
        clear.save(f"mode-clear.{form.lower()}", transparency=3)
        names.append(f"mode-clear.{form.lower()}")
    assert len(names) > 3
    run = cnncli("filter", *names, "-k", "identity", "-o", "out/")
    assert run.code == 0, run.err
    for name in names:
        with Image.open(Path("out", f"{Path(name).stem}-identity.png")) as image:
            image.load()
            assert image.size == (8, 6)


def test_palette_1_bit_and_cmyk_are_filtered_as_they_look(cnncli, folder, quadrants) -> None:
    quadrants.quantize(8).save("palette.png")
    quadrants.convert("CMYK").save("ink.tif")
    quadrants.convert("L").point(lambda value: 255 * (value > 100)).convert("1").save("bit.png")
    assert cnncli("filter", "palette.png", "ink.tif", "bit.png", "-k", "identity").code == 0
    for name in ("palette", "ink"):
        assert np.abs(pixels(f"{name}-identity.png").astype(int) - np.asarray(quadrants)).max() <= 2
    assert set(np.unique(pixels("bit-identity.png"))) == {0, 255}


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_an_unreadable_file_among_good_ones_is_named_and_exits_3(cnncli, folder) -> None:
    Path("broken.jpg").write_text("<!DOCTYPE html><p>404")
    run = cnncli("filter", "part.png", "broken.jpg", "photo.png", "-k", "blur")
    assert run.code == 3
    assert "error: broken.jpg: not an image: this is an HTML page" in run.err
    assert {"part-blur.png", "photo-blur.png"} <= files()


def test_an_unreadable_file_alone_exits_1(cnncli, folder) -> None:
    Path("broken.jpg").write_bytes(b"")
    assert cnncli("filter", "broken.jpg", "-k", "blur").code == 1
    assert cnncli("filter", "missing.jpg", "-k", "blur").code == 1


def test_results_that_are_being_written_are_not_read(cnncli, folder) -> None:
    for _ in range(2):
        assert cnncli("filter", ".", "-k", "blur", "-k", "sharpen", "-o", "out/").code == 0
        assert {path.name for path in Path("out").iterdir()} == {
            f"{name}-{kernel}.png" for name in ("part", "photo") for kernel in ("blur", "sharpen")
        }


def test_a_kernel_larger_than_one_of_the_photos_is_said_for_it(cnncli, folder) -> None:
    run = cnncli("filter", "part.png", "photo.png", "-k", "box:101", "--padding", "valid")
    assert run.code == 3
    assert "error: part.png: a window of 101 does not fit into 60" in run.err


def test_an_unknown_kernel_is_refused_with_a_near_name(cnncli, folder) -> None:
    run = cnncli("filter", "photo.png", "-k", "sobel-x")
    assert run.code == 2 and "unknown kernel 'sobel-x'. Did you mean 'sobel-" in run.err
    assert files() == {"photo.png", "part.png"}


def test_larger_images_than_allowed_are_refused(cnncli, folder) -> None:
    run = cnncli("filter", "photo.png", "-k", "blur", "--max-pixels", "1000")
    assert run.code == 1 and "photo.png" in run.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_behind_stdout_is_one_line_and_exits_1(folder) -> None:
    command = [sys.executable, "-m", "cnncli", "filter", "photo.png", "-k", "blur", "-q", "-o", "-"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


def test_a_photo_from_standard_input_is_filtered(process, folder) -> None:
    with Path("photo.png").open("rb") as file:
        run = process("filter", "-", "-k", "sobel-h", stdin=file)
    assert run.code == 0
    assert "stdin-sobel-h.png" in files()


def test_the_same_photo_and_kernel_twice_give_two_files(cnncli, folder) -> None:
    assert cnncli("filter", "photo.png", "photo.png", "-k", "blur").code == 0
    assert {"photo-blur.png", "photo-blur-2.png"} <= files()


def test_a_kernel_for_colours_is_refused_for_grey_and_used_for_colours(cnncli, folder) -> None:
    np.save("rgb.npy", np.random.default_rng(1).integers(-3, 4, (3, 3, 3)))
    for options in ("--gray", "--gray --at 1,1"):
        run = cnncli("filter", "part.png", "-k", "rgb.npy", *options.split())
        assert run.code == 1 and "for pictures of 3 channels, this one has 1" in run.err
    assert cnncli("filter", "part.png", "-k", "rgb.npy", "--range", "raw").code == 0
    values = np.load("part-rgb.npy")
    assert np.array_equal(values, mapped("part.png", "rgb.npy"))
    shown = cnncli("filter", "part.png", "-k", "rgb.npy", "--at", "4,9").out.splitlines()[-1]
    assert shown.startswith("all channels: ") and shown.endswith(f" = {values[9, 4, 0]}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no kernel: give --kernel"),
        ("photo.png", "no kernel: give --kernel"),
        ("photo.png --matrix course:x7 -k blur", "--matrix stands for the image"),
        ("photo.png -k sobel-h --normalize", "the weights of sobel-h sum to 0"),
        ("photo.png -k blur --steps", "--steps needs --matrix"),
        ("photo.png -k blur --expect 1", "--expect needs --matrix"),
        ("--matrix course:x7 -k cross --gray", "--gray does not go with --matrix"),
        ("--matrix course:x7 -k cross --range abs", "--range does not go with --matrix"),
        ("--matrix course:x7 -k cross -o x.png", "--output does not go with --matrix"),
        ("--matrix course:x7 -k cross -k ring", "--matrix takes one --kernel, received 2"),
        ("--matrix course:x7", "--matrix needs --kernel, --pool or both"),
        ("--matrix course:x7 --pool max:2 --im2col", "--im2col needs --kernel"),
        ("photo.png -k blur --stack --compare blur", "give one of them"),
        ("photo.png -k blur -k ring --stack --magnitude", "--stack and --magnitude: give one of them"),
        ("photo.png -k blur --compare ring", "without --kernel"),
        ("photo.png --compare ring --range raw", "--range raw"),
        ("photo.png -k blur --magnitude", "--magnitude takes two kernels, received 1"),
        ("photo.png -k blur --stack --range abs", "--stack writes the values as they are: without --range"),
        ("photo.png -k blur --at 1,1 --pool max:2", "without --pool"),
        ("photo.png -k blur --at 1,1 -o x.png", "without --output"),
        ("-k blur --at 1,1", "--at needs an IMAGE"),
        ("--stack -k blur", "--stack needs an IMAGE"),
        ("photo.png -k blur --pool max:2 --pool max:2", "photos take one, received 2"),
        ("photo.png -k blur --padding many", "expected same, valid or a number"),
        ("photo.png -k blur --padding -1", "expected same, valid or a number"),
        ("photo.png -k blur --stride 0", "expected 1 or more"),
        ("photo.png -k blur --stride 2x", "expected 2 or 2x3"),
        ("photo.png -k blur --stride 99999999999", "expected 2 or 2x3"),
        ("photo.png -k blur --dilation nan", "expected 2 or 2x3"),
        ("photo.png -k blur --at 5", "expected 10,20"),
        ("photo.png -k blur -o x.gif", "expected a name that ends in .png"),
        ("photo.png -k blur --range raw -o x.png", "expected a name that ends in .npy"),
        ("photo.png -k blur --max-pixels 0", "0 is not in the range"),
        ("photo.png -k blur --border mirror", "'mirror' is not one of"),
    ],
)
def test_contradictory_or_senseless_options_are_usage_errors(cnncli, folder, arguments: str, message: str) -> None:
    run = cnncli("filter", *arguments.split())
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert files() == {"photo.png", "part.png"}


# --- the course's figures: every [doc] and [calc] row of worked matrices ------------------------------------------

TRUNCATED_DIAG = (
    ".77 -.11 .11 .33 .55 -.11 .33 / -.11 1.00 -.11 .33 -.11 .11 -.11 / .11 -.11 1.00 -.33 .11 -.11 .55 / "
    ".33 .33 -.33 .55 -.33 .33 .33 / .55 -.11 .11 -.33 1.00 -.11 .11 / -.11 .11 -.11 .33 -.11 1.00 -.11 / "
    ".33 -.11 .55 .33 .11 -.11 .77"
)
TRUNCATED_X = (
    ".33 -.55 .11 -.11 .11 -.55 .33 / -.55 .55 -.55 .33 -.55 .55 -.55 / .11 -.55 .55 -.77 .55 -.55 .11 / "
    "-.11 .33 -.77 1.00 -.77 .33 -.11 / .11 -.55 .55 -.77 .55 -.55 .11 / -.55 .55 -.55 .33 -.55 .55 -.55 / "
    ".33 -.55 .11 -.11 .11 -.55 .33"
)
CROSS = "3 3 2 3 4 / 2 1 3 3 4 / 1 0 1 2 3 / 2 1 1 1 3 / 3 2 2 3 3"
RING = "3 4 3 2 3 3 3 / 4 5 5 3 6 5 4 / 2 3 3 2 5 5 5 / 3 3 2 2 4 4 3 / 2 2 2 2 4 5 3 / 4 6 4 2 3 4 4 / 2 3 2 3 4 3 2"
HOLE = "2 3 2 2 3 2 2 / 3 4 5 2 6 4 3 / 1 3 3 1 4 4 5 / 3 3 2 2 4 3 2 / 1 1 2 2 4 5 2 / 3 6 4 1 2 3 4 / 1 2 1 3 4 2 1"
COURSE = {  # ledger row -> matrix and options, the map
    "D0-M1": ("x7 -k box-3", "6 5 4 6 6 / 3 3 3 6 6 / 3 2 2 4 5 / 3 2 2 4 5 / 6 4 3 4 5"),
    "D0-M2": (
        "x7 -k box-3 --padding 1",
        "4 5 4 2 3 4 4 / 5 6 5 4 6 6 5 / 3 3 3 3 6 6 5 / 3 3 2 2 4 5 4 / 3 3 2 2 4 5 4 / 5 6 4 3 4 5 4 / 3 4 3 3 4 4 3",
    ),
    "D0-M3": ("x7 -k cross", CROSS),
    "D0-M4, as computed": ("x7 -k ring --padding 1", RING),
    "D0-M4, as printed": ("x7 -k hole --padding 1", HOLE),
    "D0-M5": ("x7 -k line-v", "2 1 2 1 3 / 1 0 2 1 3 / 1 0 1 1 2 / 1 0 1 1 2 / 2 1 1 1 2"),
    "D0-M6": ("x7 -k line-h", "2 2 1 2 2 / 1 1 2 3 2 / 0 0 0 1 2 / 2 1 0 0 1 / 1 1 2 3 2"),
    "D0-M7": ("x7 -k tri-lower", "3 2 3 5 5 / 0 2 2 4 4 / 2 2 1 2 3 / 2 1 2 4 4 / 3 3 3 3 4"),
    "D0-M8": ("x7 -k tri-upper", "6 3 2 3 4 / 3 2 2 4 4 / 2 2 2 3 3 / 3 1 0 2 3 / 4 2 2 2 3"),
    "D0-M9": (
        "x7 -k antidiag-15",
        "45 0 15 30 45 / 0 15 15 30 30 / 15 30 15 15 15 / 30 0 0 30 30 / 15 15 30 15 30",
    ),
    "D0-M10": ("x7 -k cross-10", re.sub(r"(\d)", r"\g<1>0", CROSS)),
    "D1-M1": ("x9 -k diag", TRUNCATED_DIAG),
    "D1-M2": ("x9 -k x", TRUNCATED_X),
    "D1-M3, whole windows": ("x9 -k diag --pool max:2", "1.00 .33 .55 / .33 1.00 .33 / .55 .33 1.00"),
    "D1-M3, partial windows": (
        "x9 -k diag --pool max:2:same",
        "1.00 .33 .55 .33 / .33 1.00 .33 .55 / .55 .33 1.00 .11 / .33 .55 .11 .77",
    ),
    "D2-M4, average": ("pool4 --pool avg:2", "4.25 4.25 / 4.25 3.5"),
    "D2-M4, maximum": ("pool4 --pool max:2:s2", "9 7 / 8 6"),
    "D2-M4, global maximum": ("pool4 --pool gmp", "9"),
    "D2-M4, global average": ("pool4 --pool gap", "4.0625"),
    "D4": ("d4 -k x-binary", "4 3 4 / 2 4 3 / 2 3 4"),
}


def expected(cnncli, arguments: str, claim: str):
    """`cnncli filter --matrix course:ARGUMENTS --expect CLAIM`."""
    return cnncli("filter", "--matrix", *f"course:{arguments}".split(), "--expect", claim)


@pytest.mark.parametrize(("arguments", "claim"), COURSE.values(), ids=COURSE)
def test_maps_of_the_course_agree(cnncli, arguments: str, claim: str) -> None:
    run = expected(cnncli, arguments, claim)
    assert (run.code, run.err) == (0, "")
    count = len(claim.replace("/", " ").split())
    assert f"expected: agrees, {count} number" in run.out


@pytest.mark.parametrize("row", COURSE)
def test_one_wrong_number_in_a_map_of_the_course_is_the_one_that_is_named(cnncli, row: str) -> None:
    arguments, claim = COURSE[row]
    rows = [line.split() for line in claim.split("/")]
    generator = random.Random(row)
    y, x = generator.randrange(len(rows)), generator.randrange(len(rows[0]))
    rows[y][x] = str(Decimal(rows[y][x]) + 1)
    run = expected(cnncli, arguments, ";".join(map(" ".join, rows)))
    assert run.code == 4
    named = re.findall(r"row (\d+), column (\d+): \S+ is claimed", run.out)
    assert named == [(str(y + 1), str(x + 1))]


def test_erratum_1_second_cell_of_the_cross_map(cnncli) -> None:
    run = expected(cnncli, "x7 -k cross", "3 4 ? ? ?" + "; ? ? ? ? ?" * 4)
    assert run.code == 4
    assert "row 1, column 2: 4 is claimed, 3 is true" in run.out


def test_erratum_2_kernel_behind_the_printed_map(cnncli) -> None:
    run = expected(cnncli, "x7 -k hole --padding 1", RING)
    assert run.code == 4
    assert "row 2, column 2: 0 in place of -1" in run.out
    assert "the claim is the map of this kernel, and of no other 3x3 one:\n   1 1 1\n   1 0 1\n   1 1 1\n" in run.out


@pytest.mark.parametrize("seed", range(5))
def test_kernel_behind_a_map_is_found_for_any_matrix(cnncli, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, claimed = rng.integers(0, 10, (7, 8)), rng.integers(-5, 6, (3, 3))
    printed = claimed.copy()
    printed[tuple(rng.integers(0, 3, 2))] += 1
    windows = np.lib.stride_tricks.sliding_window_view(matrix, (3, 3))
    texts = [as_text(rows) for rows in (matrix, printed, (windows * claimed).sum((2, 3)))]
    run = cnncli("filter", "--matrix", texts[0], "--kernel", texts[1], "--expect", texts[2])
    (y, x), *others = np.argwhere(printed != claimed)
    assert run.code == 4 and not others
    assert f"row {y + 1}, column {x + 1}: {claimed[y, x]} in place of {printed[y, x]}" in run.out


def as_text(rows: np.ndarray[Any, Any]) -> str:
    return ";".join(" ".join(map(str, row)) for row in rows.tolist())


def test_erratum_15_truncated_values_are_said_to_be_truncated(cnncli) -> None:
    run = expected(cnncli, "x9 -k diag", TRUNCATED_DIAG)
    text = " ".join(run.out.split())
    assert "agrees, 49 numbers, truncated to 2 decimals, not rounded: 7/9 is given as 0.77" in text


@pytest.mark.parametrize("seed", range(4))
def test_truncated_and_rounded_claims_are_told_apart_for_any_matrix(cnncli, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 50, (6, 6))
    matrix[:3, :3] = np.diag([2, 0, 0])  # its mean, 2/9, is 0.22; together with 8/9, 0.88 or 0.89
    matrix[0, 3:] = 2, 2, 2
    sums = np.lib.stride_tricks.sliding_window_view(matrix, (3, 3)).sum((2, 3))
    for word, place in (("truncated", lambda n: n * 100 // 9), ("rounded", lambda n: (n * 200 + 9) // 18)):
        claim = ";".join(" ".join(f"{place(int(n)) // 100}.{place(int(n)) % 100:02}" for n in row) for row in sums)
        run = cnncli("filter", "--matrix", as_text(matrix), "-k", "box:3", "--expect", claim)
        assert run.code == 0 and f"{word} to 2 decimals" in " ".join(run.out.split())


def test_erratum_18_maxima_that_no_4x4_has_at_stride_1(cnncli) -> None:
    claim = "155 254 123;254 254 123;220 255 255"
    run = expected(cnncli, "pool4 --pool max:2:s1", claim)
    assert run.code == 4
    assert "no input at all has these maxima" in run.out


def test_erratum_19_an_average_under_a_caption_of_maxima_is_named(cnncli) -> None:
    run = expected(cnncli, "pool4 --pool max:2", "4.25 4.25;4.25 3.5")
    assert run.code == 4
    assert "the claim would be right with average pooling" in " ".join(run.out.split())


def test_erratum_26_printed_im2col_formula_holds_by_luck_for_5x5_and_not_at_all_for_6x6(cnncli) -> None:
    lucky = cnncli("filter", "--matrix", "course:letters", "-k", "ring", "--im2col")
    assert "(1,1)   a  b  c  f  g  h  k  l  m" in lucky.out
    assert "(3,3)   m  n  o  r  s  t  w  x  y" in lucky.out
    assert "happens to be symmetric" in lucky.out
    other = np.random.default_rng(26).integers(0, 10, (6, 6))
    text = cnncli("filter", "--matrix", as_text(other), "-k", "ring", "--im2col").out
    assert "im2col(x), 16x9" in text and "is impossible" in text


def test_erratum_30_second_picture_gives_another_map(cnncli) -> None:
    second = "1 1 0 1 0;0 1 1 0 0;0 0 1 1 1;0 0 1 1 0;0 1 1 0 0"
    arguments = ["filter", "--matrix", second, "-k", "x-binary", "--expect"]
    run = cnncli(*arguments, "4 3 4;2 4 3;2 3 4")
    assert run.code == 4
    named = re.findall(r"row (\d), column (\d): (\S+) is claimed, (\S+) is true", run.out)
    assert named == [("1", "1", "4", "3"), ("1", "2", "3", "4"), ("1", "3", "4", "2"), ("2", "2", "4", "3")]
    assert cnncli(*arguments, "3 4 2;2 3 3;2 3 4").code == 0


def test_d4_spells_its_sums_out_as_the_lecture_does(cnncli) -> None:
    out = cnncli("filter", "--matrix", "course:d4", "-k", "x-binary", "--steps").out
    assert "1*1+0*1+1*1+0*0+1*1+0*1+1*0+0*0+1*1 = 4" in out
    assert "1*1+0*1+1*0+0*1+1*1+0*1+1*0+0*1+1*1 = 3" in out


def test_conv_arithmetic_figure_is_that_of_stride_1(cnncli) -> None:
    """vdumoulin/conv_arithmetic, issue 17: outside the course, the same kind of error."""
    arguments = "conv-arithmetic --padding 1 --stride 2 -k".split()
    command = ["filter", "--matrix", f"course:{arguments[0]}", *arguments[1:], "2 0 1;1 0 0;0 1 1", "--expect"]
    assert cnncli(*command, "1 6 5;7 10 9;7 10 8").code == 4
    assert cnncli(*command, "1 5 6;7 8 3;3 10 4").code == 0


def test_exact_shows_fractions(cnncli) -> None:
    out = cnncli("filter", "--matrix", "course:x9", "-k", "diag", "--exact").out
    assert "7/9" in out and "0.7" not in out


def test_cards_correct_the_course(cnncli) -> None:
    """Errata 20 (the direction of Sobel) and 9 (a motion blur that darkens)."""
    sobel = " ".join(cnncli("filter", "-k", "sobel-h").out.split())
    assert "changes from top to bottom (the course says in the horizontal direction)" in sobel
    blur = " ".join(cnncli("filter", "-k", "motion-blur-h").out.split())
    assert "0.2 each: a sum of 0.6" in blur and "1/3 1/3 1/3" in blur


def test_motion_blur_as_printed_darkens_to_60_percent(cnncli, folder) -> None:
    Image.new("L", (9, 9), 200).save("plain.png")
    assert cnncli("filter", "plain.png", "-k", "0.2 0.2 0.2", "--range", "clip", "-o", "dark.png").code == 0
    assert set(pixels("dark.png").flat) == {120}
    assert cnncli("filter", "plain.png", "-k", "motion-blur-h", "-o", "same.png").code == 0
    assert set(pixels("same.png").flat) == {200}


def test_list_names_every_kernel_in_80_columns(cnncli) -> None:
    from cnncli.kernels import CATALOGUE

    run = cnncli("filter", "--list")
    starts = {line.split()[0] for line in run.out.splitlines() if not line.startswith(" ")}
    assert run.code == 0 and starts == set(CATALOGUE)
    assert max(map(len, (run.out + run.err).splitlines())) <= 80
