"""The file with a line for each epoch: it reads back exactly, and damage is named."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cnncli import history
from cnncli.errors import TrainingError
from cnncli.history import EpochRow

ROWS = (
    EpochRow(1, 2.302585092994046, 0.1, 2.25, 0.125, 0.001, 12.5),
    EpochRow(2, 1 / 3, 0.2 + 0.1, None, None, 1e-5, 5e-324),
)
TEXT = """\
epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds
1,2.302585092994046,0.1,2.25,0.125,0.001,12.5
2,0.3333333333333333,0.30000000000000004,,,1e-05,5e-324
"""


def test_history_has_a_header_all_digits_and_nothing_where_there_was_no_validation(tmp_path) -> None:
    history.write(ROWS, tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_bytes() == TEXT.encode()
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [row["val_loss"] for row in csv.DictReader(file)] == ["2.25", ""]


finite = some.floats(allow_nan=False)


@given(some.lists(some.tuples(finite, finite, some.none() | finite, some.none() | finite, finite, finite), max_size=5))
def test_any_history_reads_back_as_it_was(tmp_path_factory, values) -> None:
    path = tmp_path_factory.mktemp("run") / "history.csv"
    rows = tuple(EpochRow(epoch, *row) for epoch, row in enumerate(values, 1))
    history.write(rows, path)
    assert history.read(path) == rows


def test_loss_that_is_not_a_number_reads_back(tmp_path) -> None:
    history.write([EpochRow(1, math.nan, 0.1, None, None, 0.1, 1.0)], tmp_path / "history.csv")
    assert math.isnan(history.read(tmp_path / "history.csv")[0].loss)


def test_history_that_a_spreadsheet_saved_reads_back(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert history.read(path) == ROWS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: not a training history; expected epoch,loss,accuracy,val_loss"),
        ("a,b\n1,2\n", "line 1: not a training history"),
        (TEXT[:-3], "line 3: the file ends within this line; it was cut off"),
        (TEXT.replace("0.125,", ""), "line 2: not a line of a training history (6 values; expected 7)"),
        (TEXT.replace("2.25", "high"), "line 2: not a line of a training history (could not convert string to float"),
        (TEXT.replace("1e-05", ""), "line 3: not a line of a training history (could not convert string to float"),
        (TEXT.replace("\n2,", "\n7,"), "line 3: not a line of a training history (epoch 7; expected 2)"),
        (TEXT.replace("\n2,", "\n\n2,"), "line 3: not a line of a training history (0 values; expected 7)"),
        (TEXT.replace("\n1,", "\none,"), "line 2: not a line of a training history (invalid literal for int"),
    ],
)
def test_damage_is_named_with_its_line(text: str, said: str, tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(TrainingError) as problem:
        history.read(path)
    assert str(problem.value).startswith(f"{path}, {said}")


def test_file_that_is_no_text_or_missing_is_named(tmp_path) -> None:
    (tmp_path / "history.csv").write_bytes(b"epoch\xff\n")
    for path, said in ((tmp_path / "history.csv", "cannot be read"), (tmp_path / "none.csv", "No such file")):
        with pytest.raises(TrainingError) as problem:
            history.read(path)
        assert str(path) in str(problem.value) and said in str(problem.value)


def test_write_that_fails_leaves_the_old_history(tmp_path, monkeypatch) -> None:
    path = tmp_path / "history.csv"
    history.write(ROWS, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError) as problem:
        history.write(ROWS[:1], path)
    assert str(problem.value) == f"{path}: cannot be written (No space left on device)"
    assert [file.name for file in Path(tmp_path).iterdir()] == ["history.csv"] and history.read(path) == ROWS
