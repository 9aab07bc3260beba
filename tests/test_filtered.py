"""What is made of one photo: pictures, stacks, magnitudes and sheets, and what is said about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnncli.errors import KernelError
from cnncli.filtered import Made, Plan, results
from cnncli.filtering import feature_maps
from cnncli.images import Picture
from cnncli.kernels import Kernel, find, matrix
from cnncli.setting import FOR_PHOTOS, Setting, parse_pool

EDGES = (find("sobel-h"), find("sobel-v"))
PLAN = Plan(EDGES, FOR_PHOTOS)


def made(picture: Picture | Image.Image, plan: Plan) -> list[Made]:
    return list(results(picture if isinstance(picture, Picture) else Picture(picture), plan))


def test_each_kernel_makes_a_picture_with_its_name_and_its_note(photo) -> None:
    found = made(photo, PLAN)
    assert [one.what for one in found] == ["sobel-h", "sobel-v"]
    assert [one.content.size for one in found] == [(320, 200)] * 2
    assert found[1].notes == ("sobel-v: range abs: the weights sum to 0, so the size of each value is shown",)


def test_results_are_made_one_after_the_other(photo) -> None:
    """A kernel that does not fit is met when its turn comes, and the ones before it are not lost."""
    planes = Kernel("two", (matrix("1"), matrix("1")))
    found = results(Picture(photo), replace(PLAN, kernels=(find("blur"), planes)))
    assert next(found).what == "blur"
    with pytest.raises(KernelError, match="two: this kernel is for pictures of 2 channels, this one has 3"):
        next(found)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transparency_is_kept_as_it_is_where_the_size_is(photo, mode: str) -> None:
    alpha = Image.radial_gradient("L").resize(photo.size)
    (one,) = made(Picture(photo.convert(mode), alpha=alpha), replace(PLAN, kernels=EDGES[:1]))
    assert one.content.mode == {"L": "LA", "RGB": "RGBA"}[mode]
    assert np.array_equal(one.content.getchannel("A"), alpha)


@pytest.mark.parametrize(
    ("setting", "pool", "size"),
    [
        (Setting("same", "edge", (2, 4)), None, (80, 100)),
        (Setting("valid"), None, (318, 198)),
        (Setting(5, "reflect"), None, (328, 208)),
        (FOR_PHOTOS, "max:4", (80, 50)),
        (FOR_PHOTOS, "gap", (1, 1)),
    ],
)
def test_transparency_follows_the_size_of_the_result(photo, setting: Setting, pool: str | None, size) -> None:
    alpha = Image.new("L", photo.size)
    alpha.paste(255, (160, 0, 320, 200))  # the right half is opaque
    plan = replace(PLAN, kernels=EDGES[:1], setting=setting, pool=parse_pool(pool) if pool else None)
    (one,) = made(Picture(photo, alpha=alpha), plan)
    scaled = np.asarray(one.content.getchannel("A"))
    assert one.content.size == size
    assert abs(scaled.mean() - 127.5) < 3
    assert (scaled[0, 0], scaled[-1, -1]) == (0, 255) or size == (1, 1)


def test_raw_values_and_stacks_have_no_transparency(photo) -> None:
    picture = Picture(photo, alpha=Image.new("L", photo.size, 9))
    raw = made(picture, replace(PLAN, mode="raw"))
    (stack,) = made(picture, replace(PLAN, form="stack"))
    assert [one.content.shape for one in raw] == [(200, 320, 3)] * 2
    assert stack.what == "stack" and stack.notes == ()
    assert np.array_equal(stack.content, np.concatenate([one.content for one in raw], axis=-1))
    assert np.array_equal(stack.content, feature_maps(photo, EDGES))


@pytest.mark.parametrize("form", ["each", "stack", "magnitude", "compare"])
def test_gray_is_the_same_as_a_grey_photo(photo, form) -> None:
    plan = replace(PLAN, form=form)
    colours, grey = made(photo, replace(plan, gray=True)), made(photo.convert("L"), plan)
    assert [np.asarray(one.content).tolist() for one in colours] == [np.asarray(one.content).tolist() for one in grey]


def test_gray_leaves_16_bits() -> None:
    deep = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    (one,) = made(deep, replace(PLAN, kernels=(find("identity"),), gray=True))
    assert one.content.mode == "I;16" and np.array_equal(one.content, deep)


def test_magnitude_is_one_picture_and_says_its_range(photo) -> None:
    (one,) = made(photo, replace(PLAN, form="magnitude"))
    a, b = (np.asarray(feature_maps(photo, [kernel]), float) for kernel in EDGES)
    assert np.array_equal(one.content, np.floor(np.clip(np.hypot(a, b), 0, 255) + 0.5))
    assert one.what == "magnitude" and one.notes[0].startswith("magnitude: range clip")


def test_compare_of_a_16_bit_photo_is_as_bright_as_that_of_its_8_bits() -> None:
    grey = Image.linear_gradient("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    plan = replace(PLAN, kernels=(find("identity"), find("blur")), form="compare")
    sheets = [np.asarray(made(image, plan)[0].content) for image in (grey, deep)]
    assert np.array_equal(*sheets)


def test_compare_shows_the_photo_and_each_result_unscaled(photo) -> None:
    (sheet,) = made(photo, replace(PLAN, kernels=(find("identity"),), form="compare"))
    assert sheet.content.mode == "RGB"
    assert _places(sheet.content, photo) == 2  # the original, and what identity makes of it


def _places(sheet: Image.Image, photo: Image.Image) -> int:
    """How often the photo is on the sheet, pixel by pixel."""
    pixels, wanted = np.asarray(sheet), np.asarray(photo)
    starts = np.argwhere((pixels == wanted[0, 0]).all(-1))
    height, width = wanted.shape[:2]
    return sum(np.array_equal(pixels[y : y + height, x : x + width], wanted) for y, x in starts)


def test_compare_notes_the_size_and_each_range() -> None:
    (sheet,) = made(Image.new("RGB", (2000, 500), "red"), replace(PLAN, form="compare"))
    assert sheet.notes[0] == "compared at 480x120 pixels"
    assert [note.partition(":")[0] for note in sheet.notes[1:]] == ["sobel-h", "sobel-v"]


def test_compare_leaves_the_photo_as_it_is(photo) -> None:
    before, large = photo.copy(), photo.resize((960, 600))
    made(large, replace(PLAN, form="compare"))
    made(photo, replace(PLAN, form="compare"))
    assert large.size == (960, 600) and np.array_equal(photo, before)


@pytest.mark.parametrize("size", [(1, 1), (13, 1), (7, 13)])
@pytest.mark.parametrize("form", ["each", "stack", "magnitude", "compare"])
def test_tiny_photos_are_filtered(size: tuple[int, int], form) -> None:
    for one in made(Image.new("RGB", size, (9, 99, 200)), replace(PLAN, form=form)):
        assert np.asarray(one.content).shape[2] == (6 if form == "stack" else 3)
