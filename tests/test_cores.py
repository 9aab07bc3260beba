"""Images shared out to processes: the same results in the same order, and nothing left when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from photos_for_tests import write_photos

from cnncli.backbones import InputSpec
from cnncli.datasets import cores
from cnncli.datasets.dataset import Example
from cnncli.datasets.find import open_dataset
from cnncli.datasets.inspection import inspect
from cnncli.datasets.pixels import load, survey
from cnncli.errors import DataError, ModelError


def multiplier(factor: int) -> Callable[[int], int]:
    """Prepares what multiplies; 7 kills its process."""

    def multiply(number: int) -> int:
        if number == 7:
            os._exit(9)
        return factor * number

    return multiply


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a handful of images be worth processes."""
    monkeypatch.setattr(cores, "WORTH_PROCESSES", 10)


def quiet(done: int, total: int | None) -> None:
    pass


def test_processes_give_what_map_gives_and_say_how_far_they_are() -> None:
    heard: list[tuple[int, int | None]] = []
    numbers = [number for number in range(40) if number != 7]
    found = cores.on_processes(partial(multiplier, 3), numbers, 2, lambda *far: heard.append(far))
    assert list(found) == [3 * number for number in numbers]
    assert heard == [(16, 39), (32, 39), (39, 39)]


def test_what_is_not_taken_is_not_made_in_advance() -> None:
    made: list[int] = []
    results = cores.on_threads(lambda number: made.append(number) or number, range(5000), 2, quiet)
    assert next(results) == 0
    time.sleep(0.2)
    assert len(made) <= 10 * 16
    assert list(results) == list(range(1, 5000))


def test_a_process_that_dies_is_an_error_and_not_a_hole() -> None:
    with pytest.raises(DataError, match="ended without an answer"):
        list(cores.on_processes(partial(multiplier, 3), range(40), 2, quiet))


def unable() -> None:
    raise ModelError("m.tflite: no such file")


def test_what_a_process_cannot_prepare_is_said_as_it_is() -> None:
    with pytest.raises(ModelError, match=r"^m\.tflite: no such file$"):
        list(cores.on_processes(unable, range(40), 2, quiet))


def test_processes_are_for_many_small_files_alone(tmp_path: Path, few: None) -> None:
    (tmp_path / "small").write_bytes(bytes(100))
    (tmp_path / "large").write_bytes(bytes(100_000))
    small, large = (Example(name, 0, tmp_path / name) for name in ("small", "large"))
    array = Example("array", 0, pixels=np.zeros((4, 4), np.uint8))
    assert cores.worth_processes([small] * 10, 2)
    assert not cores.worth_processes([small] * 9, 2)
    assert not cores.worth_processes([small] * 10, 1)
    assert not cores.worth_processes([large] * 10, 2)
    assert not cores.worth_processes([array] * 10, 2)
    assert not cores.worth_processes([], 2)


def test_images_are_read_alike_by_processes_and_by_one_thread(tmp_path: Path, few: None) -> None:
    write_photos(tmp_path, each=5)
    (tmp_path / "red" / "3.png").write_bytes(b"no picture")
    dataset = open_dataset(str(tmp_path), offline=True, notify=print, progress=quiet)
    examples, spec = dataset.splits["train"], InputSpec(8, 8, "rgb")
    one, two = (load(examples, spec, workers=workers, progress=quiet) for workers in (1, 2))
    np.testing.assert_array_equal(one.images, two.images)
    assert one.digests == two.digests and one.names == two.names and one.failures == two.failures
    assert len(one.failures) == 1 and len(two.images) == 14
    assert survey(dataset, workers=1, progress=quiet) == survey(dataset, workers=2, progress=quiet)
    seen = [inspect(dataset, decode=True, workers=workers, progress=quiet) for workers in (1, 2)]
    assert seen[0] == seen[1]


SCRIPT = """
import time
from functools import partial
from cnncli.datasets import cores
def slow():
    return time.sleep
if __name__ == "__main__":
    for _ in cores.on_processes(slow, [0.0] * 16 + [60.0] * 64, 2, lambda done, total: print(done, flush=True)):
        pass
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"16\n"
        children = children_of(process.pid)
        assert len(children) >= 2
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, children))


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in listed.splitlines())
    return [int(child) for parent, child in pairs if int(parent) == pid]


def is_running(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")
