"""`cnncli visualize augment` as its users meet it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.backbones import InputSpec
from cnncli.images import network_input, read
from cnncli.learning import variants as learning
from cnncli.learning.variants import sheet, variants
from cnncli.sources import Source


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> Path:
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    photo.rotate(90, expand=True).save("other.png")
    return tmp_path


def network_pixels(name: str, height: int, width: int) -> np.ndarray:
    return network_input(read(Source(name, path=Path(name))), InputSpec(height, width, "rgb", "crop"))


def test_sheet_shows_the_networks_input_as_training_changes_it(cnncli, here) -> None:
    args = ["--augment", "flip,rotate", "--image-size", "48x64", "--count", "3", "--seed", "7"]
    done = cnncli("visualize", "augment", "photo.png", *args)
    assert (done.code, done.out, done.err) == (0, "", "photo.png -> photo-augment.png\n")
    pixels = network_pixels("photo.png", 48, 64)
    expected = sheet(pixels, variants(pixels[np.newaxis], ("rotate", "flip"), seed=7, count=3))
    with Image.open("photo-augment.png") as image:
        assert image.tobytes() == expected.tobytes()


def test_mixup_mixes_each_image_with_the_one_before_it(cnncli, here) -> None:
    done = cnncli("visualize", "augment", "photo.png", "other.png", "--augment", "mixup", "-o", "sheets/")
    assert done.code == 0
    batch = np.stack([network_pixels(name, 128, 128) for name in ("other.png", "photo.png")])
    expected = sheet(batch[0], variants(batch, ("mixup",), seed=0, count=6))
    with Image.open("sheets/other-augment.png") as image:
        assert image.tobytes() == expected.tobytes()
    assert Path("sheets/photo-augment.png").exists()


@pytest.mark.parametrize(("listed", "each"), [("flip,blur", 1), ("flip,mixup", 2)])
def test_each_image_is_augmented_with_no_more_than_its_neighbour(cnncli, here, monkeypatch, listed, each) -> None:
    for number in range(4):
        Image.new("RGB", (300, 200), (50 * number, 0, 0)).save(f"{number}.png")
    seen = []
    monkeypatch.setattr(learning, "variants", lambda batch, *args, **more: seen.append(batch[:, 0, 0, 0]) or [])
    names = [f"{number}.png" for number in range(4)]
    assert cnncli("visualize", "augment", *names, "--augment", listed, "-o", "out/").code == 0
    assert [batch.tolist() for batch in seen] == [[50 * n, 50 * ((n - 1) % 4)][:each] for n in range(4)]


def test_image_whose_end_is_missing_is_said_and_left_out(cnncli, here) -> None:
    content = Path("photo.png").read_bytes()
    Path("cut.png").write_bytes(content[: len(content) // 2])  # its header is whole
    done = cnncli("visualize", "augment", "cut.png", "photo.png", "--augment", "flip", "-o", "out/")
    assert done.code == 3 and "cut.png: " in done.err
    assert [path.name for path in Path("out").iterdir()] == ["photo-augment.png"]


def test_small_images_keep_their_size(cnncli, here) -> None:
    Image.new("RGB", (20, 10), (1, 2, 3)).save("small.png")
    assert cnncli("visualize", "augment", "small.png", "--augment", "flip").code == 0
    with Image.open("small-augment.png") as image:
        assert (np.asarray(image) == (1, 2, 3)).all(axis=-1).sum() == 7 * 160 * 80


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["photo.png", "--augment", "spin"], 2, "'spin' is not known"),
        (["photo.png", "--augment", "none"], 2, "nothing to show"),
        (["photo.png", "--augment", "mixup"], 1, "give another IMAGE"),
        (["photo.png", "--image-size", "1x2x3"], 2, "expected N or HxW"),
        (["missing.png"], 1, "missing.png: "),
        (["photo.png", "other.png", "-o", "one.png"], 2, "there are several results"),
        (["photo.png", "missing.png", "--augment", "flip"], 3, "missing.png: "),
    ],
)
def test_what_a_user_can_cause_is_said(cnncli, here, args: list[str], code: int, text: str) -> None:
    done = cnncli("visualize", "augment", *args)
    assert done.code == code and text in done.err
