"""`cnncli visualize curves` as its users meet it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from test_curves import rows

from cnncli import curves, history


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of different lengths, and one that has just begun."""
    monkeypatch.chdir(tmp_path)
    for name, epochs in (("short", 4), ("long", 9), ("new", 0)):
        Path("runs", name).mkdir(parents=True)
        history.write(rows(epochs), Path("runs", name, "history.csv"))
    return tmp_path


def test_one_run_is_drawn_as_training_draws_it(cnncli, runs) -> None:
    done = cnncli("visualize", "curves", "runs/short")
    assert (done.code, done.out, done.err) == (0, "", "short -> short-curves.png\n")
    expected = curves.picture(rows(4), title="short", best_epoch=4)
    with Image.open("short-curves.png") as image:
        assert image.tobytes() == expected.tobytes()


def test_run_whose_name_is_not_utf8_is_drawn(cnncli, runs) -> None:
    name = os.fsdecode(b"r\xff")
    Path("runs/short").rename(name)
    done = cnncli("visualize", "curves", name)
    assert (done.code, done.err) == (0, "r\\xff -> r_-curves.png\n") and Path("r_-curves.png").exists()
    assert cnncli("visualize", "curves", name, "runs/long").code == 0


def test_picture_of_an_earlier_time_is_replaced(cnncli, runs) -> None:
    for epochs in (4, 5):
        history.write(rows(epochs), Path("runs/short/history.csv"))
        assert cnncli("visualize", "curves", "runs/short").code == 0
    assert [path.name for path in runs.glob("*.png")] == ["short-curves.png"]


def test_folder_and_file_of_a_run_are_the_same(cnncli, runs) -> None:
    assert cnncli("visualize", "curves", "runs/short", "-o", "a.png").code == 0
    assert cnncli("visualize", "curves", "runs/short/history.csv", "-o", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_several_runs_share_a_picture_and_a_bad_one_is_named(cnncli, runs) -> None:
    done = cnncli("visualize", "curves", "runs/short", "runs/new", "runs/long", "nowhere")
    assert done.code == 3 and "runs -> runs-curves.png" in done.err
    assert "runs/new/history.csv: no epoch is done yet" in done.err and "nowhere" in done.err
    expected = curves.comparison([("short", rows(4)), ("long", rows(9))])
    with Image.open("runs-curves.png") as image:
        assert image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("names", [["nowhere"], ["runs/new"], ["runs"]])
def test_nothing_to_draw_exits_1(cnncli, runs, names: list[str]) -> None:
    done = cnncli("visualize", "curves", *names)
    assert done.code == 1 and done.err.startswith("error: ") and not list(runs.glob("*.png"))


def test_runs_of_one_name_are_told_apart_by_their_paths(cnncli, runs, monkeypatch) -> None:
    Path("other/short").mkdir(parents=True)
    history.write(rows(3), Path("other/short/history.csv"))
    named: list[str] = []
    monkeypatch.setattr(
        curves, "comparison", lambda runs: named.extend(name for name, _ in runs) or Image.new("L", (1, 1))
    )
    cnncli("visualize", "curves", "runs/short", "other/short", "runs/long")
    assert named == ["runs/short", "other/short", "long"]
