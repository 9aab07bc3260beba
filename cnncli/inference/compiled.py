"""The cache of compiled networks: each network is compiled to LiteRT once and then mapped from disk."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cnncli
from cnncli.errors import ModelError
from cnncli.files import digests, replacing
from cnncli.inference import cache
from cnncli.modelfile import read_card

Notify = Callable[[str], None]

# Part of every key: raise it when the same weights compile to another network (layers, normalisation, converter).
RECIPE = 1


@dataclass(frozen=True, slots=True)
class Job:
    """A network to compile: pretrained weights (`backbone`) or a `.keras` file with a card (`keras`)."""

    kind: str
    name: str
    path: Path

    def key(self) -> str:
        """What the compiled network depends on: the weights' content, the network and the recipe."""
        content = cache.hashes(self.path).sha256
        name = self.name if self.kind == "backbone" else ""
        return sha256(f"{RECIPE} {self.kind} {name} {content}".encode()).hexdigest()[:32]


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


def lookup(job: Job) -> Compiled | None:
    """The compiled network of `job`, if it is in the cache."""
    return _entry(folder() / f"{job.key()}.tflite")


def intact(entry: Compiled) -> bool:
    """Whether a compiled network still has the content that was written."""
    return cache.hashes(entry.path).sha256 == entry.sha256


def obtain(job: Job, notify: Notify) -> Compiled:
    """The compiled network of `job`, compiling it with a message if this is its first use. Raises ModelError."""
    entry = lookup(job)
    if entry is not None and intact(entry):
        return entry
    target = cache.writable(folder()) / f"{job.key()}.tflite"
    temporary = target.with_name(f"{target.stem}.{os.getpid()}.part.tflite")
    with cache.lock(
        str(target),
        notify=notify,
        waiting_for=f"another cnncli is compiling {job.name}; waiting for it",
        growing=lambda: int(time.monotonic() / 60),  # a compilation says nothing while it works
    ):
        entry = lookup(job)
        if entry is None or not intact(entry):
            notify(f"Compiling {job.name} for this machine, once; later runs start at once.")
            try:
                _compile(job, temporary)
                entry = _keep(job, temporary, target)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            _forget_older(entry)
    return entry


def remove(entry: Compiled) -> None:
    """Deletes a compiled network; a run that has it mapped is not disturbed."""
    entry.path.with_suffix(".json").unlink(missing_ok=True)
    entry.path.unlink(missing_ok=True)


def _entry(path: Path) -> Compiled | None:
    try:
        record = json.loads(path.with_suffix(".json").read_bytes())
        entry = Compiled(path, record["name"], record["source"], record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if path.is_file() else None


def _keep(job: Job, temporary: Path, target: Path) -> Compiled:
    hashes = digests(temporary, "sha256")
    entry = Compiled(target, read_card(temporary).name, str(job.path.resolve()), hashes["sha256"])
    with replacing(target.with_suffix(".json")) as file:
        file.write(json.dumps({"name": entry.name, "source": entry.source, "sha256": entry.sha256}).encode())
    temporary.replace(target)
    return entry


def _forget_older(entry: Compiled) -> None:
    """A model file that was written anew needs its earlier compilations no more."""
    for other in entries():
        if other.source == entry.source and other.path != entry.path:
            remove(other)


def _compile(job: Job, output: Path) -> None:
    """Runs `cnncli.learning.compile` in a process of its own; raises ModelError with what it says."""
    values = {"kind": job.kind, "name": job.name, "path": str(job.path), "output": str(output)}
    package_folder = str(Path(cnncli.__file__).parent.parent)
    paths = os.pathsep.join([package_folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cnncli.learning.compile", json.dumps(values)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        answer, noise = process.communicate()
    except BaseException:  # Ctrl-C or SIGTERM: TensorFlow would finish its work first
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise ModelError(_fault(job, process.returncode, answer, noise))


def _fault(job: Job, code: int, answer: str, noise: str) -> str:
    with contextlib.suppress(ValueError, KeyError, IndexError):
        return str(json.loads(answer.splitlines()[-1])["error"])
    if code < 0:
        return f"{job.path}: compiling it was stopped by signal {-code} (not enough memory?)"
    last = "\n".join(noise.splitlines()[-20:])
    return f"{job.path}: it could not be compiled; TensorFlow said:\n{last}"
