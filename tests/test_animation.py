"""Animated GIFs: every frame with its own colours, for its own time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli import animation
from cnncli.errors import CnncliError


def test_frames_keep_colours_order_and_time(tmp_path: Path) -> None:
    colours = [(255, 255, 255), (213, 94, 0), (7, 8, 9)]
    frames = [Image.new("RGB", (9, 6), colour) for colour in colours]
    for frame in frames:
        frame.putpixel((0, 0), (1, 2, 3))
    animation.save(frames, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as image:
        assert image.n_frames == 3 and image.size == (9, 6) and image.info["loop"] == 0
        for number, frame in enumerate(frames):
            image.seek(number)
            assert (np.asarray(image.convert("RGB")) == np.asarray(frame)).all()
            assert image.info["duration"] == (3000 if number == 2 else 900)


def test_areas_keep_their_colour_among_many_others(tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 255, np.uint8)
    pixels[:20] = np.random.default_rng(0).integers(0, 256, (20, 60, 3), np.uint8)
    animation.save([Image.fromarray(pixels)], tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as image:
        assert (np.asarray(image.convert("RGB"))[20:] == 255).all()


def test_file_is_the_same_each_time_and_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), (value, 0, 0)) for value in (0, 200)]
    for name in "ab":
        animation.save(frames, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(CnncliError, match="cannot be written"):
        animation.save(frames, tmp_path / "no" / "x.gif")
