"""How the tool behaves at the edge: pipes, signals, odd file names, encodings, closed streams."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from screens_for_tests import on_screen

COMMAND = [sys.executable, "-m", "cnncli"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one red picture."""
    Image.new("RGB", (40, 30), (250, 0, 0)).save(tmp_path / "red.png")
    return tmp_path


def start(*args: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_pipe_that_closes_early_is_quiet_and_exits_1(folder, flat_tflite) -> None:
    for number in range(400):
        os.link(folder / "red.png", folder / f"red-{number}.png")
    with start("predict", folder, "--model", flat_tflite) as run:
        assert run.stdout is not None and run.stderr is not None
        assert b"red" in run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["models", "list"], ["models", "show", "resnet50"], ["predict", "--help"]]
)
def test_full_disk_behind_stdout_is_one_line_and_exits_1(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


def test_full_disk_behind_predict_is_one_line_and_exits_1(folder, flat_tflite) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, "predict", str(folder / "red.png"), "--model", str(flat_tflite), "--format", "json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed: str, folder, flat_tflite) -> None:
    arguments = f"-m cnncli predict '{folder}/red.png' --model '{flat_tflite}'"
    done = subprocess.run(f"'{sys.executable}' {arguments} {closed}", shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("red" in done.stdout) == ("1>&-" not in closed)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat[red].png", "cat[red].png"),
        ("a[bold]b[.png", "a[bold]b[.png"),
        ("\x1b]0;pwn\x07.png", "\\x1b]0;pwn\\x07.png"),
        ("line\nbreak.png", "line\\x0abreak.png"),
        ("tab\there.png", "tab\\x09here.png"),
        (":smile: 🐈.png", ":smile: 🐈.png"),
        ("-rf.png", "-rf.png"),
    ],
)
def test_odd_file_names_are_shown_literally_and_cannot_steer_the_terminal(
    name: str, shown: str, folder, flat_tflite, process
) -> None:
    (folder / "red.png").rename(folder / name)
    (folder / f"bad{name}").write_text("no image")
    run = process("predict", "--model", flat_tflite, "--top", "1", folder)
    assert run.code == 3
    assert {f"{folder}/{shown}", f"{folder}/bad{shown}"} == {line.split("\t")[0] for line in run.out.splitlines()}
    assert f"error: {folder}/bad{shown}: not an image" in run.err
    assert "\x1b" not in run.out + run.err
    rows = json.loads(process("predict", "--model", flat_tflite, "--format", "json", folder).out)
    assert f"{folder}/{name}" in [row["path"] for row in rows]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS file names are Unicode")
@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii"])
def test_file_names_that_are_not_utf8_survive(encoding: str, folder, flat_tflite, process, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("LC_ALL", "C")
    name = os.fsdecode(b"\xff.png")
    (folder / "red.png").rename(folder / name)
    run = process("predict", "--model", flat_tflite, "--format", "json", folder)
    assert (run.code, run.err) == (0, "")
    assert json.loads(run.out)[0]["path"] == f"{folder}/{name}"
    table = process("predict", "--model", flat_tflite, folder)
    assert table.out.splitlines()[0].split("\t")[0] == f"{folder}/{name}"  # the very bytes
    missing = process("predict", "--model", flat_tflite, os.fsdecode(b"\xfe.png"))
    assert missing.err == "error: \\xfe.png: no such file or folder\n"


def test_labels_in_any_script_come_through_an_ascii_terminal(folder, flat_tflite, process, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (folder / "красный.png").write_bytes((folder / "red.png").read_bytes())
    run = process("predict", folder / "красный.png", "--model", flat_tflite, "--top", "1")
    assert (run.code, run.err) == (0, "")
    assert run.out.split("\t")[3] == "red"


SCREEN_ENVIRONMENTS = [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, {"CI": "true"}]


@pytest.mark.parametrize("environment", SCREEN_ENVIRONMENTS, ids=str)
def test_pipes_get_no_escape_sequences(environment: dict[str, str], folder, flat_tflite, process, monkeypatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (folder / "bad.png").write_text("x")
    for args in (["predict", folder, "--model", flat_tflite], ["models", "list"], ["predict", "x"], ["--help"]):
        run = process(*args)
        assert "\x1b" not in run.out + run.err


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_terminal_of_any_width_loses_nothing(columns: int, folder, flat_tflite) -> None:
    name = "a-rather-long-name-of-a-picture-" * 3 + ".png"
    (folder / "red.png").rename(folder / name)
    screen = on_screen([*COMMAND, "predict", str(folder), "--model", str(flat_tflite)], columns)
    letters = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\s", "", screen)
    assert name in letters and "red" in letters and "green" in letters and "blue" in letters


def test_no_color_keeps_a_terminal_colourless(folder, flat_tflite) -> None:
    coloured = on_screen([*COMMAND, "predict", str(folder), "--model", str(flat_tflite)])
    plain = on_screen([*COMMAND, "predict", str(folder), "--model", str(flat_tflite)], NO_COLOR="1")
    assert re.search(r"\x1b\[3\d", coloured) and "\x1b" not in plain


def test_failures_on_a_terminal_are_said_once(folder, flat_tflite) -> None:
    (folder / "bad.png").write_text("no image")
    screen = on_screen([*COMMAND, "predict", str(folder), "--model", str(flat_tflite)], 200)
    assert screen.count("bad.png") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_stopping_leaves_what_was_done_as_valid_json(number: int, code: int, folder, flat_tflite) -> None:
    for index in range(3000):
        os.link(folder / "red.png", folder / f"red-{index:04}.png")
    with start("predict", folder, "--model", flat_tflite, "--format", "json") as run:
        assert run.stdout is not None and run.stderr is not None
        begin = run.stdout.readline() + run.stdout.readline()
        run.send_signal(number)
        signalled = time.monotonic()
        rows = json.loads(begin + run.stdout.read())
        stderr = run.stderr.read()
    assert run.returncode == code
    assert time.monotonic() - signalled < 5
    assert 1 <= len(rows) < 3001 and all(row["predictions"][0]["label"] == "red" for row in rows)
    assert stderr.strip() == b"stopped"


def test_predict_never_stops_for_a_fifo_or_an_endless_device(folder, flat_tflite, process) -> None:
    os.mkfifo(folder / "pipe.png")
    begin = time.monotonic()
    run = process("predict", folder / "pipe.png", "/dev/zero", "--model", flat_tflite)
    assert run.code == 1 and run.err.count("not a regular file") == 2
    assert time.monotonic() - begin < 10


def test_options_for_every_command_work_before_and_after_it(folder, flat_tflite, process) -> None:
    (folder / "bad.png").write_text("no image")
    plain = process("predict", folder, "--model", flat_tflite)
    assert "1 of 2 images failed" in plain.err
    for args in (["-q", "predict"], ["predict", "-q"]):
        run = process(*args, folder, "--model", flat_tflite)
        assert run.out == plain.out and run.code == 3
        assert "images failed" not in run.err and "error: " in run.err


def test_many_images_work_with_few_open_files(folder, flat_tflite) -> None:
    for index in range(500):
        os.link(folder / "red.png", folder / f"red-{index}.png")
    command = f"ulimit -n 64; exec '{sys.executable}' -m cnncli predict '{folder}' --model '{flat_tflite}' --top 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 501


def test_a_fault_of_our_own_is_one_line_and_exits_70(cnncli, folder, flat_tflite, monkeypatch) -> None:
    monkeypatch.setattr("cnncli.inference.pipeline.predict", lambda *args, **kwargs: 1 / 0)
    run = cnncli("predict", folder / "red.png", "--model", flat_tflite)
    assert run.code == 70 and run.err.count("\n") == 1
    assert "this is a fault in cnncli: ZeroDivisionError" in run.err and "--traceback" in run.err
    assert "Traceback" in cnncli("--traceback", "predict", folder / "red.png", "--model", flat_tflite).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_offered_for_each_shell(shell: str, monkeypatch) -> None:
    environment = {**os.environ, "_CNNCLI_COMPLETE": f"{shell}_source"}
    code = "from cnncli.cli import entry; import sys; sys.argv = ['cnncli']; entry()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "_CNNCLI_COMPLETE" in done.stdout


def test_shell_completion_knows_commands_options_and_networks() -> None:
    def complete(words: str) -> list[str]:
        environment = {
            **os.environ,
            "_CNNCLI_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split())) if words.endswith(" ") else str(len(words.split()) - 1),
        }
        code = "from cnncli.cli import entry; import sys; sys.argv = ['cnncli']; entry()"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        return [line.split(",")[1] for line in done.stdout.splitlines()]

    assert complete("cnncli pr") == ["predict"]
    assert "--annotate" in complete("cnncli predict --a")
    assert complete("cnncli predict --model mobilenet-0") == ["mobilenet-0.25", "mobilenet-0.5", "mobilenet-0.75"]
    assert complete("cnncli models pull vgg") == ["vgg16", "vgg19"]
