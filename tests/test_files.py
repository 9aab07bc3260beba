"""Files are replaced whole or not at all, whatever fails."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from cnncli.files import digests, remove_leftovers, replacing
from cnncli.network import reason

OLD, NEW = b"old " * 10_000, b"new " * 100_000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "photo.png"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def write(target: Path, content: bytes = NEW) -> None:
    with replacing(target) as file:
        for start in range(0, len(content), 50_000):
            file.write(content[start : start + 50_000])


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_replacing_puts_the_new_file_in_place_of_the_old(target) -> None:
    write(target)
    assert target.read_bytes() == NEW and names(target) == ["photo.png"]


def test_replacing_makes_a_file_that_was_not_there(tmp_path) -> None:
    write(tmp_path / "new.bin")
    assert (tmp_path / "new.bin").read_bytes() == NEW and names(tmp_path / "x") == ["new.bin"]


@pytest.mark.parametrize("problem", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_replacing_keeps_the_old_file_when_its_block_is_left_by_an_exception(target, problem) -> None:
    with pytest.raises(type(problem)), replacing(target) as file:
        file.write(NEW)
        raise problem
    assert target.read_bytes() == OLD and names(target) == ["photo.png"]


class Faults:
    """Makes the system call number `first` fail, once or for ever after."""

    def __init__(self, first: int, persistent: bool, code: int) -> None:
        self.calls, self.failed = 0, False
        self._first, self._persistent, self._code = first, persistent, code

    def around(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            self.calls += 1
            if self.calls == self._first or (self._persistent and self.calls > self._first):
                self.failed = True
                raise OSError(self._code, os.strerror(self._code))
            return function(*args, **options)

        return call


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_replacing_is_whole_or_nothing_whichever_call_fails(target, monkeypatch, persistent, code) -> None:
    for number in range(1, 20):
        target.write_bytes(OLD)
        faults = Faults(number, persistent, code)
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "open"), (os, "fsync"), (Path, "replace"), (os, "open")):
                patch.setattr(owner, name, faults.around(getattr(owner, name)))
            try:
                write(target)
                expected = NEW
            except OSError as problem:
                assert problem.errno == code
                expected = OLD
        assert target.read_bytes() == expected and names(target) == ["photo.png"]
        if not faults.failed:
            break
    assert number > 4  # each of the calls failed once


@contextmanager
def no_file_above(num_bytes: int) -> Iterator[None]:
    """A full disk that needs no disk: Python ignores SIGXFSZ, so that writing fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 1, 50_000, 399_999])
def test_replacing_keeps_the_old_file_when_the_disk_is_full(target, limit) -> None:
    with no_file_above(limit), pytest.raises(OSError, match="File too large"):
        write(target)
    assert target.read_bytes() == OLD and names(target) == ["photo.png"]


WRITER = """
import os, signal, sys
from pathlib import Path
from cnncli.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_replacing_keeps_the_old_file_when_the_process_is_killed_and_the_rest_can_be_removed(target) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD and len(names(target)) == 2
    for name in (".photo.png.swp", ".photo.jpg.0badcafe.tmp", "photo.png.tmp"):  # not ours
        (target.parent / name).write_bytes(b"")
    remove_leftovers(target)
    assert names(target) == [".photo.jpg.0badcafe.tmp", ".photo.png.swp", "photo.png", "photo.png.tmp"]


def test_replacing_writes_through_a_link(tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    for content in (b"made", b"replaced"):
        with replacing(tmp_path / "link") as file:
            file.write(content)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "file").read_bytes() == content
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_remove_leftovers_takes_brackets_in_a_name_literally(tmp_path) -> None:
    (tmp_path / ".a.0badcafe.tmp").write_bytes(b"")
    (tmp_path / ".[a].0badcafe.tmp").write_bytes(b"")
    remove_leftovers(tmp_path / "[a]")
    assert names(tmp_path / "x") == [".a.0badcafe.tmp"]


def test_readers_see_a_whole_file_while_it_is_replaced_again_and_again(target) -> None:
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            write(target, OLD)
            write(target, NEW)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    seen = {target.read_bytes() for _ in range(200)}
    stop.set()
    writer.join()
    assert seen <= {OLD, NEW}


@pytest.mark.parametrize(
    "name",
    ["x" * 255, "\N{CAT FACE}" * 63, "\udcff" * 255, "-rf", "[red]*.png", "a\nb", " "],
    ids=["255-letters", "63-cats", "255-bytes-not-utf8", "dash", "brackets", "newline", "blank"],
)
def test_replacing_takes_every_name_that_the_file_system_takes(tmp_path, name) -> None:
    write(tmp_path / name)
    assert names(tmp_path / "x") == [name]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_replacing_never_takes_the_place_of_what_is_no_file(tmp_path, make) -> None:
    make(tmp_path / "there")
    with pytest.raises(OSError, match="not a regular file") as caught:
        write(tmp_path / "there")
    assert caught.value.filename == str(tmp_path / "there")
    assert names(tmp_path / "x") == ["there"] and not (tmp_path / "there").is_file()


def test_replacing_names_the_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "missing" / "x.png")
    assert str(caught.value.filename).startswith(str(tmp_path / "missing"))


@pytest.mark.parametrize("content", [b"", b"x", b"x" * (1 << 20), b"y" * ((1 << 20) + 1)], ids=len)
def test_digests_are_those_of_the_whole_content(tmp_path, content) -> None:
    (tmp_path / "file").write_bytes(content)
    expected = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
    assert digests(tmp_path / "file", "md5", "sha256") == expected


def chained(*problems: Exception) -> Exception:
    for outer, inner in pairwise(problems):
        outer.__context__ = inner
    return problems[0]


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (
            chained(OSError("outer"), ValueError("middle\nmore"), OSError(111, "Connection refused")),
            "Connection refused",
        ),
        (chained(OSError("outer"), ValueError("inner\nmore")), "inner"),
        (OSError("alone"), "alone"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=["system", "text", "alone", "empty"],
)
def test_reason_of_a_network_failure_is_the_innermost_one(problem, expected) -> None:
    assert reason(problem) == expected
