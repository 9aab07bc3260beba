"""What models are on this machine, whether they are whole, and how to be rid of them. Imports no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cnncli import bundled, networks
from cnncli.backbones import BACKBONES, BUNDLED, Backbone
from cnncli.errors import ModelError
from cnncli.files import digests
from cnncli.inference import compiled, weights
from cnncli.inference.compiled import Compiled
from cnncli.inference.locate import locate
from cnncli.modelfile import check_content, read_card
from cnncli.tracing import trace


@dataclass(frozen=True, slots=True)
class Holding:
    """What this machine has of a pretrained network."""

    row: Backbone
    weights_bytes: int  # 0 where the weights are not cached
    compiled: tuple[Compiled, ...]

    @property
    def disk_bytes(self) -> int:
        """Weights and compiled copies together."""
        return self.weights_bytes + sum(entry.size_bytes for entry in self.compiled)


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of verifying one file."""

    name: str
    path: Path
    fault: str | None
    how: str  # what was compared


@dataclass(frozen=True, slots=True)
class Bundled:
    """The model that comes with cnncli."""

    name: str
    input_px: int
    parameters: int
    disk_bytes: int


def bundled_model() -> Bundled:
    """What is known of the bundled model without running it."""
    network = networks.find(BUNDLED)
    assert network is not None
    return Bundled(BUNDLED, network.input[0], trace(network).parameters, bundled.path().stat().st_size)


def holdings() -> list[Holding]:
    """Every row of the table of pretrained networks with what this machine has of it."""
    entries = list(compiled.entries())
    return [holding(row, entries) for row in BACKBONES.values()]


def holding(row: Backbone, entries: list[Compiled] | None = None) -> Holding:
    """What this machine has of one network; `entries` saves reading the cache again."""
    own = tuple(e for e in (compiled.entries() if entries is None else entries) if _row_name(e) == row.name)
    size = row.weights_path.stat().st_size if weights.cached(row) else 0
    return Holding(row, size, own)


def other_compiled() -> list[Compiled]:
    """Compiled networks that come from model files of the user's own."""
    return [entry for entry in compiled.entries() if _row_name(entry) is None]


def _row_name(entry: Compiled) -> str | None:
    """The pretrained network that was compiled; None for a model file, which may have the name of one."""
    return entry.name if entry.name in BACKBONES and not entry.source.endswith(".keras") else None


def verify_everything() -> Iterator[Check]:
    """Checks the bundled model, and all cached weights and compiled networks."""
    yield _verify_file(BUNDLED, bundled.path())
    for held in holdings():
        yield from _verify_holding(held)
    for entry in other_compiled():
        yield _verify_compiled(entry)


def verify(names: Iterable[str]) -> Iterator[Check]:
    """Checks pretrained networks by name, and model files and run folders by path."""
    for name in names:
        try:
            location = locate(name)
        except ModelError as problem:
            yield Check(name, Path(name), str(problem).removeprefix(f"{name}: "), "-")
            continue
        if isinstance(location, Path):
            yield _verify_file(name, location)
            continue
        held = holding(location)
        if not held.weights_bytes:
            missing = f"not there; 'cnncli models pull {location.name}' fetches it"
            yield Check(location.name, location.weights_path, missing, "-")
        yield from _verify_holding(held)


def _verify_holding(held: Holding) -> Iterator[Check]:
    if held.weights_bytes:
        yield _verify_weights(held.row)
    for entry in held.compiled:
        yield _verify_compiled(entry)


def _verify_file(name: str, path: Path) -> Check:
    how = "card, classes of layers, sizes, values, sha256" if path.suffix == ".keras" else "card, sha256"
    try:
        check_content(path, read_card(path))
        if path.suffix == ".keras":
            from cnncli.modelsafety import check_keras_file

            check_keras_file(path)
    except (ModelError, OSError) as problem:
        return Check(name, path, str(problem).removeprefix(f"{path}: "), how)
    return Check(name, path, None, how)


def _verify_compiled(entry: Compiled) -> Check:
    """Compares a compiled network with the hash taken when it was written."""
    same = digests(entry.path, "sha256")["sha256"] == entry.sha256
    fault = None if same else "damaged: its sha256 is not the one it was written with; it will be compiled anew"
    return Check(entry.name, entry.path, fault, "sha256 taken when it was compiled")


def _verify_weights(row: Backbone) -> Check:
    how = f"published {row.digest.split(':')[0]}" if row.digest else "structure and values; no hash is published"
    return Check(row.name, row.weights_path, weights.examine(row, row.weights_path), how)


def remove(name: str, *, compiled_only: bool) -> list[Path]:
    """Deletes what the cache has of a model and returns the paths; a user's own model file is never touched."""
    location = _location(name)
    if isinstance(location, Path):
        source = str(location.resolve())
        removed = [entry for entry in compiled.entries() if entry.source == source]
    else:
        removed = list(holding(location).compiled)
    for entry in removed:
        compiled.remove(entry)
    paths = [entry.path for entry in removed]
    if isinstance(location, Backbone) and not compiled_only and weights.cached(location):
        location.weights_path.unlink(missing_ok=True)
        paths.append(location.weights_path)
    return paths


def _location(name: str) -> Backbone | Path:
    """What `name` means, or where the model file of that name was whose compiled copy is still there."""
    try:
        return locate(name)
    except ModelError:
        gone = (Path(name), Path(name) / "model.keras")
        sources = {entry.source for entry in compiled.entries()}
        path = next((path for path in gone if str(path.resolve()) in sources), None)
        if path is None:
            raise
        return path
