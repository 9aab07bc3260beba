"""Finds the model that the model options ask for and makes it ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from cnncli import backbones, bundled, hdf5
from cnncli.backbones import BACKBONES, BUNDLED, Backbone, Resize
from cnncli.errors import CacheError, ModelError, WeightsUnavailableError
from cnncli.inference import cache, compiled, weights
from cnncli.inference.engine import Engine, LiteRTEngine, litert_available
from cnncli.inference.locate import backbone_card, locate
from cnncli.inference.request import ModelRequest
from cnncli.modelcard import ModelCard
from cnncli.modelfile import check_content, read_card

Notify = Callable[[str], None]
Progress = Callable[[int, int | None], None]

_MAX_PACKED_BYTES = 1_000_000_000  # of all engines of a run: each packs the weights for itself


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model that can be run: its name as results show it, its card, its file on disk, and what runs it."""

    name: str
    card: ModelCard
    path: Path  # a LiteRT file, or what Keras loads: `.keras`, or weights with `row`
    backend: str
    row: Backbone | None = None
    fallback_from: str | None = None  # the default model, which this one stands in for

    def most_engines(self, at_once: int) -> int:
        """How many engines may run at once: each packs the weights for itself, so a large network has fewer."""
        if self.backend == "tensorflow":
            return 1  # Keras uses all cores itself
        try:
            size_bytes = self.path.stat().st_size
        except OSError as problem:
            raise ModelError(f"{self.path}: {problem.strerror}") from problem
        return min(at_once, max(1, _MAX_PACKED_BYTES // size_bytes))

    def engine(self, num_threads: int) -> Engine:
        """An engine for one thread at a time, which computes on `num_threads`."""
        if self.backend == "tensorflow":
            from cnncli.learning.engine import KerasEngine

            return KerasEngine(self.path, self.row, mirrored=self.card.mirrored)
        return LiteRTEngine(self.path, self.card, num_threads)


def open_model(request: ModelRequest, *, notify: Notify, progress: Progress) -> ReadyModel:
    """The model of `request`, fetched and compiled if need be. Raises CnncliError with what to do."""
    location = locate(backbones.DEFAULT if request.model is None else request.model)
    if isinstance(location, Backbone):
        ready = _open_backbone_or_bundled(location, request, notify, progress)
    else:
        if request.weights is not None:
            raise ModelError(
                f"--weights {request.weights}: {request.model} has its own; it goes with a pretrained network"
            )
        ready = _open_file(location, request, notify)
    if request.resize is not None:
        spec = replace(ready.card.input, resize=cast(Resize, request.resize))
        ready = replace(ready, card=replace(ready.card, input=spec))
    return ready


def _open_backbone_or_bundled(row: Backbone, request: ModelRequest, notify: Notify, progress: Progress) -> ReadyModel:
    """The pretrained network; if nobody asked for it by name and its weights cannot be had, the bundled model."""
    try:
        return _open_backbone(row, request, notify, progress)
    except (WeightsUnavailableError, CacheError) as problem:  # also where there is no place to keep them
        if request.model is not None or request.weights is not None:
            raise
        why = str(problem).splitlines()[0].rstrip(".")
        missing = isinstance(problem, WeightsUnavailableError)
        here = _others_here(row) if missing else []
        known = f", or --model {' or '.join(here)}, which is here" if here else ""
        fetch = f"\n  For {row.name}, with a network: cnncli models pull {row.name}" if missing else ""
        notify(
            f"{why}.\n{BUNDLED} answers instead, the small model that comes with cnncli: it knows 200 of ImageNet's "
            f"1000 classes.\n  To use it at once: --model {BUNDLED}{known}{fetch}"
        )
    return replace(_open_file(bundled.path(), request, notify), fallback_from=row.name)


def _others_here(row: Backbone) -> list[str]:
    return [other.name for other in BACKBONES.values() if other is not row and weights.cached(other)]


def open_layers(request: ModelRequest, *, notify: Notify, progress: Progress) -> ReadyModel:
    """The model of `request` as Keras has it, with its layers. Raises CnncliError, also for a compiled one."""
    if is_compiled(request):
        raise ModelError(
            f"{request.model}: the layers of a .tflite file are fused and cannot be looked into; give the .keras model"
        )
    if request.backend == "litert":
        raise ModelError("--backend litert: LiteRT fuses layers, which cannot be looked into; leave the option out")
    return open_model(replace(request, backend="tensorflow"), notify=notify, progress=progress)


def is_compiled(request: ModelRequest) -> bool:
    """Whether `request` names a LiteRT file. Raises ModelError if it names nothing."""
    location = locate(request.model or backbones.DEFAULT)
    return isinstance(location, Path) and location.suffix == ".tflite" and location != bundled.path()


def _open_backbone(row: Backbone, request: ModelRequest, notify: Notify, progress: Progress) -> ReadyModel:
    if request.weights is not None:
        weights.check_given(request.weights)
        path = request.weights
    else:
        path = weights.obtain(row, offline=request.offline, notify=notify, progress=progress)
    if _uses_keras(request):
        row = hdf5.row_of(row, path)
        return ReadyModel(row.name, backbone_card(row), path, "tensorflow", row)
    try:
        entry = compiled.obtain(compiled.Job("backbone", row.name, path), notify)
    except ModelError as problem:
        if request.weights is not None or not str(problem).startswith(f"{path}: "):
            raise  # only where cached weights are to blame it helps to fetch them again
        again = f"cnncli models remove {row.name}, then cnncli models pull {row.name}"
        raise ModelError(f"{problem}\n  To fetch the weights again: {again}") from problem
    return ReadyModel(entry.name, backbone_card(BACKBONES[entry.name]), entry.path, "litert", row)


def _open_file(path: Path, request: ModelRequest, notify: Notify) -> ReadyModel:
    card = read_card(path)  # refuses a file without a card before anything slow begins
    if path == bundled.path():
        try:
            cache.remembered(path, f"card {card.sha256}", lambda: _whole(path, card))
        except CacheError:  # it needs none
            _whole(path, card)
        return ReadyModel(BUNDLED, card, path, "tensorflow" if _uses_keras(request) else "litert")
    name = str(path.parent if path.name == "model.keras" and path.parent.name else path)
    if path.suffix == ".tflite":
        if request.backend == "tensorflow":
            raise ModelError(f"{path}: --backend tensorflow runs .keras files and pretrained networks, not .tflite")
        cache.remembered(path, f"card {card.sha256}", lambda: _checked(path, card))
        return ReadyModel(name, card, path, "litert")
    if _uses_keras(request):
        return ReadyModel(name, card, path, "tensorflow")
    entry = compiled.obtain(compiled.Job("keras", name, path), notify)
    return ReadyModel(name, read_card(entry.path), entry.path, "litert")  # `path` may have been replaced meanwhile


def _whole(path: Path, card: ModelCard) -> dict[str, str]:
    check_content(path, card)
    return {}


def _checked(path: Path, card: ModelCard) -> dict[str, str]:
    from cnncli.inference.trial import try_out

    whole = _whole(path, card)
    try_out(path, at_once=card.views)
    return whole


def _uses_keras(request: ModelRequest) -> bool:
    """Whether Keras itself runs the network: because it is asked for, or because LiteRT is missing."""
    if request.backend == "litert" and not litert_available():
        raise ModelError("--backend litert: this machine has no LiteRT; pip install ai-edge-litert")
    return request.backend == "tensorflow" or not litert_available()
