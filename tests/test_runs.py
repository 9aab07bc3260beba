"""The run folder: what may be in it, who may write to it, and what is read back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnncli.errors import TerminatedError, TrainingError
from cnncli.runs import Run, Seen, changes, new_folder


def make(run: Run, *, force: bool = False) -> None:
    """Begins a run, and ends it when it could be resumed."""
    with run.begun(force=force):
        (run.state / "checkpoint-000001.npz").touch()


SEEN = (
    Seen("train", "cat", "aa", "photos/cat/1.jpg"),
    Seen("val", "cat", "bb", 'photos/cat/a,"b"\n[red]\r \udcff.jpg'),
    Seen("test", "Hund", "cc", "photos/Hund/3.jpg"),
)


def test_make_makes_the_folder_and_its_parents_and_leaves_no_probe(tmp_path: Path) -> None:
    make(Run(tmp_path / "a" / "b"), force=False)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["state"]


def test_make_takes_an_empty_folder_and_one_that_a_killed_make_left(tmp_path: Path) -> None:
    make(Run(tmp_path), force=False)
    make(Run(tmp_path), force=False)


@pytest.mark.parametrize("member", ["run.json", "model.keras"])
def test_make_refuses_a_run_unless_forced_and_changes_nothing(tmp_path: Path, member: str) -> None:
    (tmp_path / member).write_text("{}")
    with pytest.raises(TrainingError, match="there is a run already; go on with it by --resume"):
        make(Run(tmp_path), force=False)
    make(Run(tmp_path), force=True)
    assert (tmp_path / member).read_text() == "{}"


@pytest.mark.parametrize("force", [False, True])
def test_make_refuses_a_folder_that_holds_anything_else(tmp_path: Path, force: bool) -> None:
    (tmp_path / "thesis.docx").write_text("")
    with pytest.raises(TrainingError, match=r"it holds 'thesis.docx'; expected a new or empty folder"):
        make(Run(tmp_path), force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_make_refuses_a_file_and_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(TrainingError, match="this is a file; expected a folder for the run"):
        make(Run(tmp_path / "file"), force=True)
    with pytest.raises(TrainingError, match=r"no run can be written here \(Not a directory\)"):
        make(Run(tmp_path / "file" / "run"), force=False)
    assert (tmp_path / "file").read_text() == "kept"


def test_make_refuses_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(TrainingError, match="no run can be written here"):
        make(Run(Path("/proc/run")), force=False)


def test_held_names_the_process_that_has_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    make(run)
    code = "import sys; from pathlib import Path; from cnncli.runs import Run\nwith Run(Path(sys.argv[1])).held(): pass"
    with run.held():
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        with pytest.raises(TrainingError, match=f"in use by process {os.getpid()}"):
            make(run, force=True)
    assert f"TrainingError: {tmp_path}: in use by process {os.getpid()}" in done.stderr
    with run.held():  # free again
        pass


def test_held_clears_what_killed_processes_left_half_written_and_nothing_else(tmp_path: Path) -> None:
    run = Run(tmp_path)
    make(run)
    ours = [".history.csv.85b6353d.tmp", ".model.keras.0badcafe.tmp", ".probe.01234567.tmp"]
    left = [tmp_path / name for name in ours] + [run.state / ".checkpoint-000002.npz.0badcafe.tmp"]
    others = [tmp_path / ".notes.tmp", tmp_path / "history.csv.85b6353d.tmp", run.state / "checkpoint-000001.npz"]
    for path in (*left, *others):
        path.touch()
    with run.held():
        assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_record_is_read_back_and_anything_else_is_refused_by_name(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(TrainingError, match=r"no run is here \(run.json is missing\)"):
        run.read_record()
    run.write_record({"status": "running", "seconds": 1.5})
    assert run.read_record() == {"schema": 1, "status": "running", "seconds": 1.5}
    for damaged in ("", "[]", '{"schema": 99}', "\xff"):
        run.record.write_text(damaged, encoding="latin-1")
        with pytest.raises(TrainingError, match=r"run\.json: "):
            run.read_record()


def test_data_is_read_back_with_any_name(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_data(SEEN)
    assert run.read_data() == SEEN
    assert run.data.read_bytes().startswith(b"path,label,split,sha256\n")
    run.data.write_text("no,columns\n1,2\n")
    with pytest.raises(TrainingError, match=r"data\.csv: cannot be read"):
        run.read_data()


def test_changes_name_what_is_gone_and_what_is_new() -> None:
    assert changes(SEEN, SEEN) == []
    moved = Seen("train", "cat", "aa", "elsewhere/1.jpg")  # content counts, not its place
    assert changes(SEEN, [moved, *SEEN[1:]]) == []
    replaced = Seen("test", "Hund", "dd", "photos/Hund/3.jpg")
    assert changes(SEEN, [*SEEN[:2], replaced]) == [
        "missing or changed: photos/Hund/3.jpg", "new or changed: photos/Hund/3.jpg",
    ]  # fmt: skip
    many = [Seen("train", "cat", str(n), f"{n}.jpg") for n in range(7)]
    assert changes((), many) == ["new or changed: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more"]


def test_changes_see_how_often_an_image_is_there() -> None:
    again = Seen("train", "cat", "aa", "photos/cat/copy.jpg")
    assert changes((*SEEN, again), SEEN) == ["missing or changed: photos/cat/copy.jpg"]
    assert changes(SEEN, (*SEEN, again)) == ["new or changed: photos/cat/copy.jpg"]


def test_changes_see_an_image_that_moved_to_another_class_or_split() -> None:
    other = Seen("val", "cat", "aa", "photos/cat/1.jpg")
    assert len(changes(SEEN, [other, *SEEN[1:]])) == 2


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos/", "photos"),
        ("mnist", "mnist"),
        ("a/list.csv", "list"),
        ("a b/[red] cats", "red-cats"),
        ("/", "data"),
        ("Ärzte.jsonl", "Ärzte"),
    ],
)
def test_new_folder_is_called_after_the_data(tmp_path: Path, monkeypatch, data: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder(data) == Path("runs", name)
    Path("runs", name).mkdir(parents=True)
    assert new_folder(data) == Path("runs", f"{name}-2")


def test_run_that_fails_before_its_first_checkpoint_leaves_nothing_but_an_earlier_model(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    for _ in range(2):
        with pytest.raises(ValueError, match="no"), run.begun(force=True):
            run.write_record({})
            run.write_data(SEEN)
            raise ValueError("no")
        assert not run.folder.exists() or [path.name for path in run.folder.iterdir()] == ["model.keras"]
        run.folder.mkdir(exist_ok=True)
        run.model.write_text("an earlier one")


def test_run_that_was_to_be_replaced_stays_whole_until_the_new_one_has_a_record(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.write_record({"of": "the earlier"})
    run.write_data(SEEN)
    with pytest.raises(ValueError, match="no"), run.begun(force=True):
        raise ValueError("no")
    assert run.read_record()["of"] == "the earlier" and run.read_data() == SEEN
    with pytest.raises(ValueError, match="no"), run.begun(force=True):
        run.write_record({"of": "the new one"})
        raise ValueError("no")
    assert not run.folder.exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, TerminatedError])
def test_run_that_is_stopped_stays_if_it_can_be_resumed(tmp_path: Path, stop: type[BaseException]) -> None:
    for number, has_record in enumerate((False, True)):
        run = Run(tmp_path / str(number))
        with pytest.raises(stop), run.begun(force=False):
            if has_record:
                run.write_record({})
            raise stop
        assert run.folder.exists() == has_record


def test_record_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_record({"status": "running"})
    with pytest.raises(TypeError):
        run.write_record({"status": object()})
    assert json.loads(run.record.read_text())["status"] == "running"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
