"""`cnncli visualize steps` as its users meet it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli import steps_picture
from cnncli.explanations import Exercise
from cnncli.kernels import find
from cnncli.matrices import course

ARGS = ("visualize", "steps", "--matrix", "course:d4", "--kernel", "1 0 1;0 1 0;1 0 1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sheet_and_animation_are_written(cnncli) -> None:
    done = cnncli(*ARGS)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == ["course:d4 -> course_d4-steps.png", "course:d4 -> course_d4-steps.gif"]
    frames = steps_picture.pictures(steps_picture.scenes(Exercise(course()["d4"].matrix, find(ARGS[-1]))))
    with Image.open("course_d4-steps.png") as image:
        assert image.tobytes() == steps_picture.sheet(frames).tobytes()
    with Image.open("course_d4-steps.gif") as image:
        assert image.n_frames == len(frames) == 9 and image.size == frames[0].size
        image.seek(4)
        off = np.abs(np.asarray(image.convert("RGB")).astype(int) - np.asarray(frames[4])).max(axis=-1)
        assert (off == 0).mean() > 0.97  # all but some of the shades of the letters' edges


@pytest.mark.parametrize(("name", "form"), [("one.png", "PNG"), ("one.gif", "GIF")])
def test_output_that_names_a_file_asks_for_that_one(cnncli, here, name: str, form: str) -> None:
    assert cnncli(*ARGS, "-o", name).code == 0
    assert [path.name for path in here.iterdir()] == [name]
    with Image.open(name) as image:
        assert image.format == form


def test_folder_takes_both(cnncli, here) -> None:
    assert cnncli(*ARGS, "-o", "steps/").code == 0
    assert sorted(path.suffix for path in Path("steps").iterdir()) == [".gif", ".png"]


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--matrix", "1 2;3 4"], 2, "give --kernel, --pool or both"),
        (["--matrix", "1 2;3 4", "--kernel", "cross"], 1, "does not fit"),
        (["--matrix", "1 2;3", "--kernel", "cross"], 1, "row"),
        (["--matrix", "course:x7", "--kernel", "crosss"], 2, "Did you mean 'cross'?"),
        (["--matrix", "course:x7", "--pool", "median:2"], 2, "expected max:K"),
        (["--matrix", "course:x7", "--kernel", "cross", "--padding", "x"], 2, "expected same, valid"),
        (["--matrix", "course:digit-b", "--kernel", "cross"], 1, "196 steps"),
        (["--matrix", "course:x7", "--kernel", "cross", "-o", "x.mp4"], 2, ".gif"),
    ],
)
def test_what_a_user_can_cause_is_said(cnncli, here, args: list[str], code: int, text: str) -> None:
    done = cnncli("visualize", "steps", *args)
    assert done.code == code and text in done.err and "Traceback" not in done.err
    assert list(here.iterdir()) == []
