"""The cache of compiled networks: each network is compiled to LiteRT once and then mapped from disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from cnncli.backbones import BACKBONES
from cnncli.errors import CacheError, ModelError
from cnncli.files import digests, remove_leftovers, replacing
from cnncli.inference import cache, child
from cnncli.modelfile import read_card

Notify = Callable[[str], None]
Form = Literal["litert", "litert-float16", "keras"]

# Part of every key: raise it when the same weights compile to another network (layers, normalisation, converter).
RECIPE = 1

ATTEMPTS = 5  # at a source that is replaced while it is compiled
_BEAT_S = 1.0
_IN_USE_S = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """A network to compile: pretrained weights (`backbone`) or a `.keras` file with a card (`keras`)."""

    kind: str
    name: str
    path: Path
    form: Form = "litert"  # what is made of it; the cache holds this one alone

    def key(self) -> str:
        """What an entry of the cache depends on: the weights' content, the network and the recipe."""
        content = cache.hashes(self.path).sha256
        # of a MobileNet the weights tell the width, whatever width was asked for
        network = BACKBONES[self.name].function if self.kind == "backbone" else ""
        return sha256(f"{RECIPE} {self.kind} {network} {content}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Compiled:
    """An entry of the cache."""

    path: Path
    name: str
    source: str
    sha256: str

    @property
    def size_bytes(self) -> int:
        """Size of the compiled network on disk."""
        return self.path.stat().st_size


def folder() -> Path:
    """Where compiled networks are kept."""
    return cache.folder() / "compiled"


def entries() -> Iterator[Compiled]:
    """Every compiled network in the cache."""
    for record in sorted(folder().glob("*.json")):
        entry = _entry(record.with_suffix(".tflite"))
        if entry is not None:
            yield entry


def obtain(job: Job, notify: Notify) -> Compiled:
    """The compiled network of `job`, compiling it with a message if this is its first use.

    It is of one whole content of the source, also while that is being replaced. Raises ModelError and CacheError.
    """
    for _ in range(ATTEMPTS):
        key = job.key()
        entry = _intact(key)
        if entry is None:
            entry = _compile_once(job, key, notify)
        if entry is not None:
            with contextlib.suppress(OSError):  # a cache that cannot be written serves as well
                os.utime(entry.path.with_suffix(".json"))  # in use
            return entry
    raise ModelError(f"{job.path}: it is replaced again and again; try again when its writer has ended")


def build(job: Job, output: Path) -> None:
    """Writes the model file that `job` asks for, of any form, outside the cache. Raises ModelError.

    The folder of `output` must be one that is made for this, since a process that is killed leaves files in it.
    """
    fault = _run_compiler(job, output, lambda: None)
    if fault is not None:
        raise ModelError(fault)


def remove(entry: Compiled) -> None:
    """Deletes a compiled network; a run that has it mapped is not disturbed."""
    entry.path.unlink(missing_ok=True)
    entry.path.with_suffix(".json").unlink(missing_ok=True)


def _intact(key: str) -> Compiled | None:
    """The entry with this key if it is there and still has the content that was written."""
    entry = _entry(folder() / f"{key}.tflite")
    with contextlib.suppress(FileNotFoundError):  # another process has just removed it
        if entry is not None and cache.hashes(entry.path).sha256 == entry.sha256:
            return entry
    return None


def _entry(path: Path) -> Compiled | None:
    try:
        record = json.loads(path.with_suffix(".json").read_bytes())
        entry = Compiled(path, record["name"], record["source"], record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if path.is_file() else None


def _compile_once(job: Job, key: str, notify: Notify) -> Compiled | None:
    """Compiles unless another process has just done so; None if the source was replaced meanwhile."""
    waiting_for = f"another cnncli is compiling {job.name}; waiting for it"
    with cache.lock(f"compiled {key}", notify=notify, waiting_for=waiting_for) as work:
        entry = _intact(key)
        if entry is not None:
            return entry
        if work.held:
            _remove_leftovers(key)
        notify(f"Compiling {job.name} for this machine, once; later runs start at once.")
        with _writing():
            workspace = tempfile.TemporaryDirectory(prefix=f"{key}.", dir=cache.writable(folder()))
        with workspace:
            entry = _compile(job, key, Path(workspace.name) / "network.tflite", work)
    if entry is not None:
        _forget_older(entry)
    return entry


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Names the folder and the variable to set where it cannot be written."""
    try:
        yield
    except OSError as problem:
        raise CacheError(
            f"{folder()}: a compiled network cannot be kept here ({problem.strerror}); free some space, "
            "or set CNNCLI_CACHE to another folder"
        ) from problem


def _remove_leftovers(key: str) -> None:
    """Removes what compilations that were killed left half written."""
    for workspace in folder().glob(f"{key}.*/"):
        shutil.rmtree(workspace, ignore_errors=True)
    remove_leftovers(folder() / f"{key}.json")


def _compile(job: Job, key: str, made: Path, work: cache.Work) -> Compiled | None:
    """The new entry, compiled at `made`; None if the source is no longer what `key` stands for."""
    fault = _run_compiler(job, made, work.beat)
    if job.key() != key:
        return None
    if fault is not None:
        raise ModelError(fault)
    entry = Compiled(folder() / f"{key}.tflite", read_card(made).name, str(job.path.resolve()), _sha256(made))
    with _writing():
        with replacing(entry.path.with_suffix(".json")) as file:
            file.write(json.dumps({"name": entry.name, "source": entry.source, "sha256": entry.sha256}).encode())
        made.replace(entry.path)
    return entry


def _sha256(path: Path) -> str:
    return digests(path, "sha256")["sha256"]


def _is_in_use(entry: Compiled) -> bool:
    """Whether somebody asked for it a short while ago: its engines are opened as they are needed, not all at once."""
    with contextlib.suppress(OSError):
        return time.time() - entry.path.with_suffix(".json").stat().st_mtime < _IN_USE_S
    return False


def _forget_older(entry: Compiled) -> None:
    """A model file that was written anew needs its earlier compilations no more, when nobody is opening them."""
    for other in entries():
        if other.source == entry.source and other.path != entry.path and not _is_in_use(other):
            with contextlib.suppress(OSError):  # Windows does not delete what another run has mapped
                remove(other)


def _run_compiler(job: Job, output: Path, beat: Callable[[], None]) -> str | None:
    """Runs `cnncli.learning.compile` in a process of its own, with a `beat` a second; returns what went wrong."""
    stdin, alive = os.pipe()  # closes when this process ends, however it ends, and the compiler with it
    try:
        with subprocess.Popen(
            _command(job, output),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**child.environment(), "TMPDIR": str(output.parent)},  # which is removed if the process is killed
        ) as process:
            try:
                answer, noise = _communicate(process, beat)
            except BaseException:  # Ctrl-C or SIGTERM: TensorFlow would finish its work first
                process.kill()
                process.wait()  # which Popen's own end leaves out after Ctrl-C
                raise
    finally:
        os.close(stdin)
        os.close(alive)
    with contextlib.suppress(OSError):
        os.write(2, noise.encode(errors="replace"))  # native output: the screen with -v, else the null device
    return None if process.returncode == 0 else _fault(job, process.returncode, answer, noise)


def _communicate(process: subprocess.Popen[str], beat: Callable[[], None]) -> tuple[str, str]:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_BEAT_S)
        beat()


def _command(job: Job, output: Path) -> list[str]:
    values = {"kind": job.kind, "name": job.name, "path": str(job.path), "form": job.form, "output": str(output)}
    return child.command("cnncli.learning.compile", json.dumps(values))


def _fault(job: Job, code: int, answer: str, noise: str) -> str:
    """What the compiler said: its own message, or the last line of what TensorFlow or Python printed."""
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        return str(json.loads(answer.splitlines()[-1])["error"])
    if code < 0:
        less = "predict and evaluate need less of it with --backend tensorflow"
        return f"{job.name}: compiling it was stopped by signal {-code} (not enough memory? {less})"
    lines = [line for line in noise.splitlines() if line.strip()]
    said = lines[-1].strip() if lines else f"exit code {code}"
    return f"{job.name}: it could not be compiled ({said}); -v shows everything that was printed"
