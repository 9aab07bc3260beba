"""Runs that are stopped, killed, starved of disk or crowded: nothing is lost, and they end as if nothing had been."""

from __future__ import annotations

import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from photos_for_tests import TINY, history, weights, write_photos

from cnncli.errors import TerminatedError
from cnncli.interruption import deferred
from cnncli.modelfile import check_content, read_card

# `cnncli` that does not compile its model at the end, which takes longer than all epochs.
UNCOMPILED = """
from cnncli.inference import models
models.open_model = lambda *args, **options: None
from cnncli.cli import entry
entry()
"""
# Everything that has a state: dropout, augmentation, an average, a plateau, validation.
OPTIONS = (*TINY, "--epochs", "40", "--dropout", "0.2", "--augment", "flip,crop", "--ema", "0.9")
OPTIONS = (*OPTIONS, "--schedule", "plateau", "--checkpoint-every", "0", "--workers", "2")


def start(*args: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UNCOMPILED, "train", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for_epoch(run: subprocess.Popen[str], least: int) -> None:
    """Reads what a run says until it has done so many epochs."""
    assert run.stderr is not None
    for line in run.stderr:
        epoch, slash, _ = line.strip().partition("/")
        if slash and epoch.isdigit() and int(epoch) >= least:
            return
    raise AssertionError("the run ended too early")


def finish(run: subprocess.Popen[str], within_s: float = 60) -> tuple[int, str]:
    """Its exit code and the rest of what it said."""
    error = run.communicate(timeout=within_s)[1]
    return run.returncode, error


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed, and its photos."""

    photos: Path
    run: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    base = tmp_path_factory.mktemp("whole")
    photos = write_photos(base / "photos")
    assert finish(start(photos, "-o", base / "run", *OPTIONS))[0] == 0
    assert len(history(base / "run")) == 40
    yield Whole(photos, base / "run")


@pytest.fixture
def copy(whole: Whole, tmp_path: Path) -> Path:
    """A copy of the whole run, to be damaged."""
    return Path(shutil.copytree(whole.run, tmp_path / "run"))


def assert_equal(run: Path, whole: Whole) -> None:
    assert history(run) == history(whole.run)
    assert weights(run) == weights(whole.run)


def assert_intact(model: Path) -> None:
    check_content(model, read_card(model))


def test_first_signal_is_noted_and_the_second_acts_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(TerminatedError):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(TerminatedError):
        stop.raise_again()


def test_signals_are_left_alone_outside_the_main_thread_and_where_they_are_ignored() -> None:
    requested = []

    def work() -> None:
        with deferred() as stop:
            requested.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [False]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_run_says_how_to_go_on_and_ends_as_one_that_was_not(whole, tmp_path, number, code) -> None:
    folder = tmp_path / "my run"
    run = start(whole.photos, "-o", folder, *OPTIONS)
    wait_for_epoch(run, 3)
    run.send_signal(number)
    stopped, error = finish(run, within_s=10)
    assert stopped == code
    assert 3 <= len(history(folder)) < 40
    assert '"status": "interrupted"' in (folder / "run.json").read_text()
    assert_intact(folder / "model.keras")
    line = next(line for line in error.splitlines() if line.startswith("To go on: "))
    command = shlex.split(line.removeprefix("To go on: "))
    assert command == ["cnncli", "train", "--resume", "--output", str(folder)]
    assert finish(start(*command[2:]))[0] == 0
    assert_equal(folder, whole)


def test_run_that_is_stopped_before_it_began_leaves_nothing(whole, tmp_path) -> None:
    run = start(whole.photos, "-o", tmp_path / "run", *OPTIONS)
    while not (tmp_path / "run" / "state" / "lock").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    assert finish(run, within_s=10)[0] == 130
    assert not (tmp_path / "run").exists()


def kill_and_resume(whole: Whole, folder: Path, kills: int, seed: int) -> None:
    """Kills a run at random moments, and those that go on with it, and lets the last one finish."""
    moments = random.Random(seed)
    args: tuple[str | Path, ...] = (whole.photos, "-o", folder, *OPTIONS)
    for _ in range(kills):
        run = start(*args)
        wait_for_epoch(run, 1)
        time.sleep(moments.uniform(0, 0.4))
        run.kill()
        finish(run)
        if (folder / "model.keras").exists():
            assert_intact(folder / "model.keras")
        args = ("--resume", "-o", folder)
    assert finish(start(*args, "--checkpoint-every", "0"))[0] == 0
    assert_equal(folder, whole)
    names = {path.name for path in folder.rglob("*")}
    assert not [name for name in names if name.endswith(".tmp")]


def test_killed_run_ends_as_one_that_was_not_also_killed_again(whole, tmp_path) -> None:
    kill_and_resume(whole, tmp_path / "run", kills=2, seed=1)


@pytest.mark.realdata  # a minute
def test_run_that_is_killed_ten_times_ends_as_one_that_was_not(whole, tmp_path) -> None:
    kill_and_resume(whole, tmp_path / "run", kills=10, seed=2)


def test_another_process_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Large enough for operations that run at the same time to end now in one order and now in another."""
    photos = write_photos(tmp_path / "photos", each=48, px=64)
    pairs = (" ".join([f"conv:{filters}:3:same bn relu"] * 2) for filters in (32, 64))
    options = ("--net", f"{' pool:2 '.join(pairs)} gap", "--batch-size", "64", "--epochs", "3", "--workers", "2")
    for name in ("a", "b", "c"):
        run = start(photos, "-o", tmp_path / name, *options, env={**os.environ, "PYTHONHASHSEED": str(ord(name))})
        assert finish(run)[0] == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b") == weights(tmp_path / "c")
    assert history(tmp_path / "a") == history(tmp_path / "b") == history(tmp_path / "c")


def limited(most_bytes: int) -> Callable[[], None]:
    """Lets no file of a process grow further, as if the disk were full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return limit


def test_full_disk_is_one_line_and_a_whole_model_stays(whole, copy) -> None:
    args = (whole.photos, "-o", copy, "--force", *OPTIONS, "--seed", "9")
    code, error = finish(start(*args, preexec_fn=limited(1_000)))
    assert code == 1
    errors = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(copy) in errors[0] and "File too large" in errors[0]
    assert_intact(copy / "model.keras")
    assert weights(copy) == weights(whole.run)


def test_disk_that_is_full_for_tensorboard_alone_stops_no_training(whole, tmp_path) -> None:
    run = start(whole.photos, "-o", tmp_path / "run", *OPTIONS, preexec_fn=limited(150_000))
    code, error = finish(run)
    assert code == 0 and error.count("(File too large); training goes on without it") == 1
    assert_equal(tmp_path / "run", whole)


def test_damaged_checkpoint_is_stepped_over(whole, copy) -> None:
    newest = max((copy / "state").glob("checkpoint-*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])
    code, error = finish(start("--resume", "-o", copy))
    assert code == 0
    assert f"{newest}: damaged" in error
    assert_equal(copy, whole)


def test_checkpoint_with_one_wrong_bit_is_stepped_over(whole, copy) -> None:
    newest = max((copy / "state").glob("checkpoint-*.npz"))
    content = bytearray(newest.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] ^= 1  # of its directory: the first member is encrypted, it says now
    newest.write_bytes(content)
    code, error = finish(start("--resume", "-o", copy))
    assert code == 0 and f"{newest}: damaged" in error
    assert_equal(copy, whole)


def test_only_damaged_checkpoints_are_refused(whole, copy) -> None:
    for path in (copy / "state").glob("checkpoint-*.npz"):
        path.write_bytes(b"PK\x03\x04")
    code, error = finish(start("--resume", "-o", copy))
    assert code == 1 and "every checkpoint is damaged; start again without --resume" in error
    assert_intact(copy / "model.keras")


def test_suspended_run_keeps_others_out_and_ends_as_one_that_was_not(whole, tmp_path) -> None:
    run = start(whole.photos, "-o", tmp_path / "run", *OPTIONS)
    wait_for_epoch(run, 2)
    run.send_signal(signal.SIGSTOP)
    try:
        for args in ((whole.photos, "--force"), (whole.photos,), ("--resume",)):
            code, error = finish(start(*args, "-o", tmp_path / "run"))
            assert code == 1
            assert error.splitlines()[-1] == f"error: {tmp_path / 'run'}: in use by process {run.pid}"
    finally:
        run.send_signal(signal.SIGCONT)
    assert finish(run)[0] == 0
    assert_equal(tmp_path / "run", whole)


def test_folder_that_cannot_be_written_is_refused_within_2_seconds(process, whole, tmp_path) -> None:
    (tmp_path / "file").write_text("kept")
    for folder in ("/proc/run", "/dev/full", tmp_path / "file", tmp_path / "file" / "run"):
        begin = time.monotonic()
        done = process("train", whole.photos, "-o", folder)
        assert time.monotonic() - begin < 2
        assert (done.code, done.err.count("\n"), done.err.startswith(f"error: {folder}: ")) == (1, 1, True)
    assert (tmp_path / "file").read_text() == "kept"


def test_predict_works_while_the_model_is_replaced(cnncli, whole, copy) -> None:
    content = (whole.run / "model.keras").read_bytes()
    image = whole.photos / "red" / "0.png"
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            (copy / "new").write_bytes(content)
            (copy / "new").replace(copy / "model.keras")

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        runs = [cnncli("predict", image, "--model", copy, "--backend", "tensorflow") for _ in range(10)]
    finally:
        stop.set()
        thread.join()
    assert [run.code for run in runs] == [0] * 10
    assert len({run.out for run in runs}) == 1
