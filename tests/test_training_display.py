"""What a person sees of a run: a line for each epoch, and on a terminal where it is now."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from screens_for_tests import on_screen

from cnncli import console
from cnncli.history import EpochRow
from cnncli.training_display import display

HEADER = "epoch      loss     acc  val loss  val acc      rate  images/s     time  best"
FIRST = "  1/2    2.3026  10.00%    2.2500   12.50%     0.001     5,000    10.0s  best"
SECOND = "  2/2    1.2000  56.78%    1.5000   12.00%  9.51e-05         7  2:01:05"


def report(watcher) -> None:
    """A run of two epochs, the first of which is the better one."""
    watcher.begin(total_epochs=2, steps_per_epoch=100, images=50_000)
    watcher.step(1, 50, 2.5, 0.05, 0.001, 4_900.0)
    watcher.epoch(EpochRow(1, 2.302585, 0.1, 2.25, 0.125, 0.001, 10.0), True)
    watcher.step(2, 50, 1.3, 0.5, 0.0005, 4_900.0)
    watcher.epoch(EpochRow(2, 1.2, 0.56781, 1.5, 0.12, 0.00009512, 7265.0), False)


@pytest.fixture(autouse=True)
def settings(monkeypatch) -> None:
    monkeypatch.setattr(console, "settings", console.Settings())


def test_pipe_gets_one_plain_line_an_epoch_in_aligned_columns(capsys) -> None:
    with display() as watcher:
        report(watcher)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", [HEADER, FIRST, SECOND])
    assert {len(line) for line in (HEADER, FIRST)} == {77} and "\x1b" not in err


def test_run_without_validation_has_no_columns_for_it(capsys) -> None:
    with display() as watcher:
        watcher.begin(1000, 10, 100)
        watcher.epoch(EpochRow(7, 0.5, 1.0, None, None, 0.1, 0.0), True)
    header, row = capsys.readouterr().err.splitlines()
    assert header.split() == ["epoch", "loss", "acc", "rate", "images/s", "time", "best"]
    assert row == "   7/1000    0.5000  100.0%       0.1         -     0.0s  best"


def test_loss_beyond_all_bounds_keeps_the_columns(capsys) -> None:
    with display() as watcher:
        watcher.begin(9, 10, 100)
        watcher.epoch(EpochRow(1, 123456789.0, 0.1, float("inf"), 0.1, 0.1, 1.0), False)
    header, row = capsys.readouterr().err.splitlines()
    assert row.split()[1:4] == ["1.23e+08", "10.00%", "inf"] and row.index("10.00%") + 6 == header.index(" acc") + 4


def test_quiet_prints_nothing(capsys) -> None:
    console.settings.quiet = True
    with display() as watcher:
        report(watcher)
    assert capsys.readouterr() == ("", "")


def drawn(watcher, width: int) -> list[str]:
    """The foot of the screen, as a terminal of `width` columns shows it."""
    from rich.console import Console

    screen = Console(width=width, color_system=None)
    with screen.capture() as captured:
        screen.print(watcher.foot(width))
    return captured.get().splitlines()


def test_foot_shows_the_epoch_so_far_not_validated_yet_and_the_time_left_of_the_whole_run() -> None:
    seconds = iter([100.0, 130.0, 140.0])
    with display(lambda: next(seconds)) as watcher:
        watcher.begin(total_epochs=3, steps_per_epoch=100, images=50_000)
        assert drawn(watcher, 80) == ["preparing the first step"]
        watcher.step(1, 10, 2.5, 0.05, 0.001, 4_900.0)  # at 100 s
        watcher.epoch(EpochRow(1, 2.3, 0.1, 2.25, 0.125, 0.001, 10.0), True)
        watcher.step(2, 50, 1.25, 0.5, 0.0005, 4_812.0)
        line, bar = drawn(watcher, 80)  # at 130 s: 140 steps in 30 s, 150 are left
        assert line == "  2/3    1.2500  50.00%         -        -    0.0005     4,812"
        assert bar.split("━")[-1].strip("╸╺ ") == "50/100  32.1s left"
        assert 20 <= bar.count("━") + bar.count("╸") <= 40
        # at 140 s
        assert drawn(watcher, 20)[1].startswith("50/100  42.9s left")


def test_time_left_of_a_resumed_run_counts_only_its_own_steps() -> None:
    seconds = iter([0.0, 10.0])
    with display(lambda: next(seconds)) as watcher:
        watcher.begin(total_epochs=10, steps_per_epoch=100, images=50_000)
        watcher.step(9, 0, 1.0, 0.5, 0.1, 1.0)
        watcher.step(9, 50, 1.0, 0.5, 0.1, 1.0)
        assert drawn(watcher, 80)[-1].endswith("50/100  30.0s left")  # 150 more at 5 a second


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 80, 200])
def test_foot_is_names_line_and_bar_on_any_terminal(width: int) -> None:
    with display() as watcher:
        watcher.begin(total_epochs=100, steps_per_epoch=1_000_000, images=50_000)
        watcher.step(99, 123_456, 2.5, 0.05, 0.001, 4_900.0)
        watcher.step(99, 123_457, 2.5, 0.05, 0.001, 4_900.0)
        lines = drawn(watcher, width)
    assert len(lines) == 3 and all(len(line) <= width for line in lines)


LOOP = """
import os, sys, time
sys.path.insert(0, os.environ["TESTS"])
from cnncli import console
from cnncli.training_display import display
from test_training_display import report
with display() as watcher, console.progress("images", unit="images") as seen:
    report(watcher)
    time.sleep(0.6)
    seen(1, 2)
    console.note("a note [red]")
    time.sleep(0.4)
"""


def looped(columns: int, **environment: str) -> list[str]:
    """The screen after `LOOP` in a terminal of so many columns, as far as carriage returns and erasures tell."""
    settings = {"TESTS": str(Path(__file__).parent), **environment}
    return on_screen([sys.executable, "-c", LOOP], columns, **settings).split("\r\n")


@pytest.mark.parametrize(("columns", "shown"), [(80, HEADER), (60, "val acc     time  best"), (20, "epoch  val acc")])
def test_terminal_keeps_finished_epochs_and_notes_above_the_foot(columns: int, shown: str) -> None:
    screen = looped(columns, NO_COLOR="1")
    text = "\n".join(screen)
    assert shown in text and text.count("a note [red]") == 1 and text.count("12.50%") >= 1
    assert text.index("12.00%") < text.index("a note")
    assert "\x1b[3" not in text.replace("\x1b[?25", "")  # no colours
    assert text.endswith("\x1b[2K")  # the foot is gone at the end


def test_best_epoch_is_green_on_a_terminal_in_colour() -> None:
    text = "\n".join(looped(80))
    assert f"\x1b[32m{FIRST}\x1b[0m" in text and f"\x1b[1m{HEADER}\x1b[0m" in text
    assert SECOND in text and f"\x1b[32m{SECOND}" not in text


def test_dumb_terminal_gets_lines_only() -> None:
    text = "\n".join(looped(80, TERM="dumb"))
    assert "\x1b" not in text and HEADER in text and SECOND in text and "preparing" not in text
