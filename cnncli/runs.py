"""The folder of a training run: what is in it, who may write to it, and how it is read again."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.errors import CnncliError, TerminatedError, TrainingError
from cnncli.files import remove_leftovers_in, replacing
from cnncli.modelfile import read_card
from cnncli.text import csv_lines

SCHEMA = 1
_MEMBERS = ("model.keras", "history.csv", "run.json", "data.csv", "earlier.csv", "curves.png", "tensorboard", "state")


@dataclass(frozen=True, slots=True)
class Seen:
    """One image that a run was given, as `data.csv` keeps it."""

    split: str
    label: str
    sha256: str  # hexadecimal
    path: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is for a run, wherever it lies."""
        return self.split, self.label, self.sha256


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def model(self) -> Path:
        """The best network so far."""
        return self.folder / "model.keras"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.png"

    @property
    def board(self) -> Path:
        """TensorBoard's event files."""
        return self.folder / "tensorboard"

    @property
    def state(self) -> Path:
        """The checkpoints that a resumed run goes on from."""
        return self.folder / "state"

    @property
    def record(self) -> Path:
        """What was asked for and what came of it."""
        return self.folder / "run.json"

    @property
    def data(self) -> Path:
        """Which images the run was given."""
        return self.folder / "data.csv"

    @property
    def earlier(self) -> Path:
        """The images that the weights which the run began with were learned from, if it began with a run's."""
        return self.folder / "earlier.csv"

    @contextlib.contextmanager
    def begun(self, *, force: bool) -> Iterator[None]:
        """Makes the folder, checks that it can be written, and keeps others out while a run begins in it and goes on.

        Raises TrainingError if it holds something already; with `force` only a run may be there, and nothing else. If
        the run ends before anything can be resumed, nothing is left of it; an earlier run that it was to replace
        stays as it is until the new one writes its record.
        """
        self._make()
        with self.held():
            earlier = _identity(self.record)
            if (earlier or self.model.exists()) and not force:
                raise TrainingError(
                    f"{self.folder}: there is a run already; go on with it by --resume, replace it by --force, "
                    "or give another --output"
                )
            try:
                yield
            except BaseException as end:
                untouched = earlier is not None and _identity(self.record) == earlier
                interrupted = isinstance(end, (KeyboardInterrupt, TerminatedError)) and self.record.exists()
                if not untouched and not interrupted and not any(self.state.glob("checkpoint-*.npz")):
                    self._discard()
                raise

    def _make(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise TrainingError(f"{self.folder}: this is a file; expected a folder for the run")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = sorted(path.name for path in self.folder.iterdir())
            if foreign := [name for name in names if name not in _MEMBERS and not name.startswith(".")]:
                raise TrainingError(
                    f"{self.folder}: it holds {foreign[0]!r}; expected a new or empty folder for the run"
                )
            self.state.mkdir(exist_ok=True)
            self._probe()
        except OSError as problem:
            raise TrainingError(f"{self.folder}: no run can be written here ({problem.strerror})") from problem

    @property
    def texts(self) -> tuple[Path, ...]:
        """What a new run in the folder begins without."""
        return self.record, self.history, self.curves, self.data, self.earlier

    def _discard(self) -> None:
        """Removes all but a model, which is an earlier run's."""
        shutil.rmtree(self.board, ignore_errors=True)
        with contextlib.suppress(OSError):
            for path in (*self.texts, self.state / "pid", self.state / "lock"):
                path.unlink(missing_ok=True)
            self.state.rmdir()
            self.folder.rmdir()

    def _probe(self) -> None:
        probe = self.folder / f".probe.{secrets.token_hex(4)}.tmp"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have begun meanwhile, and cleared the folder

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from writing to the run, and clears what killed ones left half written.

        Raises TrainingError naming the process that writes to it now.
        """
        import filelock

        lock = filelock.FileLock(self.state / "lock")
        holder = self.state / "pid"
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            with contextlib.suppress(OSError):
                raise TrainingError(f"{self.folder}: in use by process {holder.read_text()}") from None
            raise TrainingError(f"{self.folder}: in use by another process") from None
        except OSError as problem:
            raise TrainingError(f"{self.folder}: no run can be written here ({problem.strerror})") from problem
        try:
            holder.write_text(str(os.getpid()))
            remove_leftovers_in(self.folder)
            remove_leftovers_in(self.state)
            yield
        finally:
            with contextlib.suppress(OSError):
                holder.unlink(missing_ok=True)
            lock.release()

    def write_record(self, values: dict[str, Any]) -> None:
        """Writes `run.json`. Raises OSError."""
        with replacing(self.record) as file:
            file.write(json.dumps({"schema": SCHEMA, **values}, indent=1).encode())

    def read_record(self) -> dict[str, Any]:
        """What `write_record` wrote. Raises TrainingError."""
        try:
            values = json.loads(self.record.read_bytes())
        except FileNotFoundError:
            raise TrainingError(f"{self.folder}: no run is here (run.json is missing)") from None
        except (OSError, ValueError) as problem:
            raise TrainingError(f"{self.record}: cannot be read ({problem})") from problem
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise TrainingError(f"{self.record}: not the record of a run that this cnncli can read")
        return values

    def write_data(self, rows: Iterable[Seen], earlier: Sequence[Seen] = ()) -> None:
        """Writes `data.csv`, which is a manifest of the data as well, and `earlier.csv` if something is to be in it.

        Raises OSError.
        """
        _write_images(rows, self.data)
        if earlier:
            _write_images(earlier, self.earlier)

    def read_data(self) -> tuple[Seen, ...]:
        """The rows of `data.csv`. Raises TrainingError."""
        return _read_images(self.data)

    def learned_from(self) -> tuple[Seen, ...] | None:
        """The images that the run's weights were learned from; None if that is not known. Raises TrainingError."""
        if not self.data.exists() or self._model_is_an_earlier_runs():
            return None
        earlier = _read_images(self.earlier) if self.earlier.exists() else ()
        return (*earlier, *(row for row in self.read_data() if row.split == "train"))

    def _model_is_an_earlier_runs(self) -> bool:
        """Whether the model was learned from other data: it stays after --force until there is a better one."""
        with contextlib.suppress(CnncliError, KeyError, TypeError):  # where one cannot be read, nothing is known
            return bool(read_card(self.model).data_fingerprint != self.read_record()["data"]["fingerprint"])
        return False

    def trained_on(self) -> frozenset[bytes] | None:
        """The sha256 of the images that the run's weights were learned from; None if that is not known.

        Raises TrainingError.
        """
        learned_from = self.learned_from()
        try:
            return None if learned_from is None else frozenset(bytes.fromhex(row.sha256) for row in learned_from)
        except ValueError as problem:
            raise TrainingError(f"{self.data}: not the images of a run ({problem})") from problem


def _write_images(rows: Iterable[Seen], path: Path) -> None:
    lines = ((row.path, row.label, row.split, row.sha256) for row in rows)
    with replacing(path) as file:
        file.write(csv_lines([("path", "label", "split", "sha256"), *lines]).encode("utf-8", "surrogateescape"))


def _identity(path: Path) -> tuple[int, int] | None:
    """By which a file is known as long as nothing takes its place; None if there is none."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _read_images(path: Path) -> tuple[Seen, ...]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            return tuple(Seen(row["split"], row["label"], row["sha256"], row["path"]) for row in rows)
    except (OSError, ValueError, KeyError, csv.Error) as problem:
        raise TrainingError(f"{path}: cannot be read ({problem})") from problem


def new_folder(data: str) -> Path:
    """Where a run on `data` goes if the user names no place: `runs/NAME`, or `runs/NAME-2` if that is taken."""
    name = Path(data).resolve().name.removesuffix(".csv").removesuffix(".jsonl")
    name = "-".join(re.findall(r"[\w.]+", name)).strip(".-") or "data"
    for number in itertools.count(1):
        folder = Path("runs", name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise AssertionError("counting does not end")


def changes(before: Iterable[Seen], now: Iterable[Seen], *, shown: int = 5) -> list[str]:
    """How the images of a run differ from what is there now, as lines for the user; none if they do not."""
    before, now = list(before), list(now)
    old, new = (Counter(row.key for row in rows) for rows in (before, now))
    gone, come = _paths(before, old - new), _paths(now, new - old)
    lines = []
    for what, paths in (("missing or changed", gone), ("new or changed", come)):
        if paths:
            more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
            lines.append(f"{what}: {', '.join(sorted(paths)[:shown])}{more}")
    return lines


def _paths(rows: Sequence[Seen], wanted: Counter[tuple[str, str, str]]) -> list[str]:
    """The paths of as many images of each kind as are wanted, the last ones first."""
    left, paths = Counter(wanted), []
    for row in reversed(rows):
        if left[row.key] > 0:
            left[row.key] -= 1
            paths.append(row.path)
    return paths
