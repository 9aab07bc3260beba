"""The cache folder: stamps of known files, locks, and folders that cannot be used."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

from cnncli.errors import CacheError
from cnncli.inference import cache


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"first content")
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)


class Counted:
    """Finds the content of a file and counts how often."""

    def __init__(self, path: Path) -> None:
        self.path, self.times = path, 0

    def __call__(self) -> dict[str, str]:
        self.times += 1
        return {"content": self.path.read_text()}


def ask(counted: Counted) -> str:
    return cache.remembered(counted.path, "content", counted)["content"]


# -- stamps ---------------------------------------------------------------------------------------------------------


def test_hashes_are_those_of_the_content(file) -> None:
    expected = cache.Hashes(hashlib.sha256(b"first content").hexdigest(), hashlib.md5(b"first content").hexdigest())
    assert cache.hashes(file) == expected


def test_what_was_found_out_is_looked_up_while_the_file_stays_the_same(file, settled) -> None:
    counted = Counted(file)
    assert [ask(counted) for _ in range(3)] == ["first content"] * 3
    assert counted.times == 1


def _rewrite(path: Path) -> None:
    path.write_bytes(b"FIRST CONTENT")


def _replace(path: Path) -> None:
    """As atomic writers do, here with the old times."""
    times = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(b"FIRST CONTENT")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def _rewrite_with_old_times(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"FIRST CONTENT")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _lengthen(path: Path) -> None:
    path.write_bytes(b"first content!")


@pytest.mark.parametrize("change", [_rewrite, _replace, _rewrite_with_old_times, _lengthen])
def test_changed_file_is_read_again(file, settled, change) -> None:
    counted = Counted(file)
    ask(counted)
    change(file)
    assert ask(counted) == file.read_text() and counted.times == 2


def test_touched_file_is_read_again_once(file, settled) -> None:
    counted = Counted(file)
    ask(counted)
    file.touch()
    assert [ask(counted), ask(counted)] == ["first content"] * 2 and counted.times == 2


def test_file_that_was_written_this_moment_is_not_remembered(file, monkeypatch) -> None:
    """Its next change might leave its times as they are."""
    counted = Counted(file)
    ask(counted)
    ask(counted)
    assert counted.times == 2
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    ask(counted)
    ask(counted)
    assert counted.times == 3


def test_each_question_about_a_file_has_an_answer_of_its_own(file, settled) -> None:
    assert cache.remembered(file, "a", lambda: {"x": "1"}) == {"x": "1"}
    assert cache.remembered(file, "b", lambda: {"x": "2"}) == {"x": "2"}
    assert cache.remembered(file, "a", lambda: {}) == {"x": "1"}


def test_link_and_relative_path_mean_the_same_file(file, settled, monkeypatch) -> None:
    ask(Counted(file))
    (file.parent / "link").symlink_to(file)
    monkeypatch.chdir(file.parent)
    for name in ("link", "weights.h5"):
        counted = Counted(Path(name))
        assert (ask(counted), counted.times) == ("first content", 0)


def test_damaged_stamp_is_never_believed(file, settled) -> None:
    counted = Counted(file)
    ask(counted)
    (stamp,) = (cache.folder() / "stamps").iterdir()
    good = stamp.read_bytes()
    for place in range(len(good)):
        stamp.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert ask(counted) == "first content"
    for content in (b"", b"[]", b"null", b'{"identity": 1}', b"\xff\xfe", good[:-1]):
        stamp.write_bytes(content)
        assert ask(counted) == "first content"
    assert json.loads(stamp.read_bytes()) == json.loads(good)


@pytest.mark.parametrize("fault", ["folder", "file", "full"])
def test_cache_that_takes_no_stamps_costs_time_and_nothing_else(file, settled, monkeypatch, fault) -> None:
    if fault == "file":
        cache.folder().write_bytes(b"")
    elif fault == "folder":
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    else:
        monkeypatch.setattr(os, "fsync", _no_space)
    counted = Counted(file)
    assert [ask(counted), ask(counted)] == ["first content"] * 2 and counted.times == 2


def _no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_stamps_of_a_cache_that_became_read_only_are_still_used(file, settled, monkeypatch) -> None:
    ask(Counted(file))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    counted = Counted(file)
    assert (ask(counted), counted.times) == ("first content", 0)


# -- folders --------------------------------------------------------------------------------------------------------


def test_cache_folder_is_the_one_that_the_system_gives_its_users(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("CNNCLI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    cache._default_folder.cache_clear()
    try:
        assert cache.folder().name == "cnncli" and tmp_path in cache.folder().parents
    finally:
        cache._default_folder.cache_clear()


def test_user_without_a_home_gets_no_folder_called_tilde(monkeypatch, tmp_path) -> None:
    for name in ("CNNCLI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does where it knows no home
    cache._default_folder.cache_clear()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CacheError, match="no home folder; set CNNCLI_CACHE"):
        cache.folder()
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_is_made_for_its_owner_alone() -> None:
    made = cache.writable(cache.folder() / "compiled")
    assert made.is_dir() and made.stat().st_mode & 0o777 == 0o700


def test_cache_that_is_a_file_is_named_with_the_variable_to_set(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "compiled"):
        with pytest.raises(CacheError, match=rf"{path}: cannot be made a folder \(.*\); set CNNCLI_CACHE to another"):
            cache.writable(path)


def test_cache_that_cannot_be_written_is_named_with_the_variable_to_set(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CacheError, match=rf"{tmp_path}: this folder cannot be written; set KERAS_HOME to another"):
        cache.writable(tmp_path, "KERAS_HOME")


# -- locks ----------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from cnncli.inference import cache
with cache.lock("work", notify=print, waiting_for="waiting") as work:
    print("held" if work.held else "not held", flush=True)
    while True:
        time.sleep(0.05)
        if sys.argv[1] == "busy":
            work.beat()
"""


@pytest.fixture
def holder() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that holds the lock `work` until it is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLDER, how], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def held(notes: list[str]) -> bool:
    with cache.lock("work", notify=notes.append, waiting_for="waiting") as work:
        return work.held


def test_free_lock_is_got_at_once_and_without_a_word() -> None:
    notes: list[str] = []
    assert [held(notes), held(notes)] == [True, True] and notes == []


def test_lock_is_given_back_when_the_work_fails() -> None:
    with pytest.raises(ValueError, match="x"), cache.lock("work", notify=print, waiting_for=""):
        raise ValueError("x")
    assert held([])


def test_lock_of_a_killed_process_is_free(holder) -> None:
    process = holder("busy")
    process.kill()
    process.wait()
    notes: list[str] = []
    assert held(notes) and notes == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_waiting_ends_when_the_holder_is_killed(holder, number) -> None:
    process = holder("busy")
    notes: list[str] = []

    def kill(note: str) -> None:
        notes.append(note)
        process.send_signal(number)

    with cache.lock("work", notify=kill, waiting_for="waiting") as work:
        assert work.held
    assert notes == ["waiting"]


def test_holder_that_does_nothing_is_waited_for_10_s_and_told_of_once(holder, monkeypatch) -> None:
    assert cache.STALLED_S == 10.0
    monkeypatch.setattr(cache, "STALLED_S", 0.5)
    holder("idle")
    notes: list[str] = []
    begin = time.monotonic()
    assert not held(notes)
    assert 0.5 <= time.monotonic() - begin < 5 and notes == ["waiting"]


def test_holder_that_works_is_waited_for_longer(holder, monkeypatch) -> None:
    monkeypatch.setattr(cache, "STALLED_S", 0.5)
    process = holder("busy")
    begin = time.monotonic()

    beats = iter(range(1_000_000))
    last_beat = cache._last_beat

    def watched(pulse: Path) -> int | None:
        if next(beats) == 8:  # each look follows a try of 0.2 s
            process.kill()
        return last_beat(pulse)

    monkeypatch.setattr(cache, "_last_beat", watched)
    assert held([])
    assert time.monotonic() - begin > 3 * 0.5


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOLCK, "No locks available"), OSError(errno.EIO, "I/O error"), NotImplementedError("no flock")],
    ids=["ENOLCK", "EIO", "old-filelock"],
)
def test_file_system_without_locks_means_work_without_a_lock(monkeypatch, fault) -> None:
    def acquire(*args: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    notes: list[str] = []
    assert not held(notes) and notes == []


def test_file_system_without_flock_gives_no_warning(monkeypatch) -> None:
    def flock(*args: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    assert [held([]), held([])] in ([True, True], [False, False])  # by the version of filelock


def test_lock_names_the_variable_to_set_where_it_cannot_be_kept() -> None:
    shutil.rmtree(cache.folder(), ignore_errors=True)
    cache.folder().write_bytes(b"")
    with pytest.raises(CacheError, match="set CNNCLI_CACHE to another"):
        held([])
