"""`cnncli visualize receptive-field` as its users meet it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from models_for_tests import brightest_channel_model, colour_detector
from PIL import Image

from cnncli import networks
from cnncli.backbones import InputSpec
from cnncli.images import Picture, network_input
from cnncli.modelfile import CARD
from cnncli.receptive import last_with_window, nested, view
from cnncli.receptive_picture import picture
from cnncli.tracing import trace


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> Path:
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    return tmp_path


@pytest.mark.parametrize(
    ("args", "resize"),
    [
        ([], "crop"),
        (["--resize", "pad"], "pad"),
        (["--layer", "conv2", "--at", "7,3"], "crop"),
        (["--layer", "-1", "--at", "7,3"], "crop"),
    ],
)
def test_frames_lie_on_the_image_as_the_network_sees_it(cnncli, here, photo, args: list[str], resize: str) -> None:
    done = cnncli("visualize", "receptive-field", "lenet", "photo.png", *args)
    assert (done.code, done.out, done.err) == (0, "", "photo.png -> photo-receptive-field.png\n")
    network = networks.find("lenet")
    assert network is not None
    traced = trace(network)
    views = [view(traced, 3, (3, 7))] if "--at" in args else nested(traced, last_with_window(traced))
    pixels = network_input(Picture(photo), InputSpec(32, 32, "rgb", resize))  # type: ignore[arg-type]
    with Image.open("photo-receptive-field.png") as image:
        assert image.tobytes() == picture(pixels, views).tobytes()


def test_other_input_and_grey_network_are_used(cnncli, here) -> None:
    assert cnncli("visualize", "receptive-field", "pyramid", "photo.png", "-i", "40x60", "-o", "x.png").code == 0
    with Image.open("x.png") as image:
        assert image.height == round(800 / 60) * 40 + 2 * (16 + 4 * 6)  # margins, and room for four frames


def test_model_file_without_a_card_is_drawn_and_one_whose_card_is_damaged_is_refused(cnncli, here) -> None:
    colour_detector(Path("model.keras"))
    with zipfile.ZipFile("model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, card in (("bare.keras", None), ("damaged.keras", b'{"schema": 1}')):
        with zipfile.ZipFile(name, "w") as archive:
            for member, content in members.items():
                if member != CARD:
                    archive.writestr(member, content)
            if card:
                archive.writestr(CARD, card)
    assert cnncli("visualize", "receptive-field", "bare.keras", "photo.png").code == 0
    done = cnncli("visualize", "receptive-field", "damaged.keras", "photo.png")
    assert done.code == 1 and "damaged.keras: its model card is not valid" in done.err


def test_gates_that_frames_leave_out_are_said(cnncli, here) -> None:
    done = cnncli("visualize", "receptive-field", "efficientnetb0", "photo.png", "--layer", "top_conv", "-o", "x.png")
    assert done.code == 0 and done.err.startswith("Frames leave gates out")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["lenett", "photo.png"], 2, "Did you mean lenet?"),
        (["lenet", "missing.png"], 1, "missing.png: "),
        (["lenet", "photo.png", "--layer", "conv9"], 1, "did you mean conv"),
        (["lenet", "photo.png", "--layer", "9"], 1, "or a convolution by number, 0 to 1"),
        (["lenet", "photo.png", "--layer", "flatten"], 1, "its output is a vector"),
        (["lenet", "photo.png", "--at", "5,0"], 1, "no cell 0,5 in a map of 5x5"),
        (["model.keras", "photo.png"], 1, "no convolution or pooling layer"),
    ],
)
def test_what_a_user_can_cause_is_said(cnncli, here, args: list[str], code: int, text: str) -> None:
    if args[0] == "model.keras":
        brightest_channel_model(Path("model.keras"))
    done = cnncli("visualize", "receptive-field", *args)
    assert done.code == code and text in done.err and "Traceback" not in done.err
