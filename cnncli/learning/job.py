"""What one call of `cnncli train` asks for, and the network that comes of it: for a run and for its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnncli.backbones import BUNDLED, Backbone, InputSpec
from cnncli.datasets.dataset import Dataset
from cnncli.errors import WeightsUnavailableError
from cnncli.history import Watcher
from cnncli.inference import weights
from cnncli.learning.phases import FromScratch, Recipe, Transfer, needs_whole_batches, weights_of, with_net
from cnncli.learning.prepared import Meter, Prepared
from cnncli.learning.steps import Threads, threads
from cnncli.networks import NAMED_NETS
from cnncli.runs import Run
from cnncli.settings import Settings

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One call of `cnncli train`."""

    run: Run
    data: str  # what the user gave, as the run can be resumed with
    dataset: Dataset
    settings: Settings
    command: tuple[str, ...]
    cores: int
    offline: bool = False
    strict: bool = False
    checkpoint_every_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Tellers:
    """Where a run says what it does: notes, failures, progress bars, and the display of its epochs."""

    notify: Notify
    fail: Notify
    meter: Meter
    monitor: Watcher


def with_network(settings: Settings, spec: InputSpec, classes: int, notify: Notify) -> Settings:
    """The settings with a network that suits the images, if none was asked for; says what the user did not."""
    chosen = with_net(settings, spec)
    if chosen != settings:
        notify(f"Network: {chosen.net} (choose another with --net or --backbone)")
    elif chosen.net and chosen.net not in NAMED_NETS:
        notify(f"Network: {chosen.net} dense:{classes}:softmax")
    return chosen


def threads_for(settings: Settings, classes: int, cores: int) -> Threads:
    """How the run's batches are spread over cores. Raises GrammarError for a net that cannot be read."""
    return threads(cores, settings.batch_size, whole_batches=needs_whole_batches(settings, classes))


def network_for(job: Job, prepared: Prepared, spread: Threads, tellers: Tellers) -> FromScratch | Transfer:
    """What `job` trains. Raises ShapeError, GrammarError, WeightsUnavailableError and others."""
    recipe = Recipe(job.settings, prepared)
    recipe.check()
    if job.settings.backbone is None or job.settings.from_scratch:
        return FromScratch(recipe)

    def obtain(row: Backbone) -> Path:
        try:
            with tellers.meter("weights") as progress:
                return weights.obtain(row, offline=job.offline, notify=tellers.notify, progress=progress)
        except WeightsUnavailableError as problem:
            raise WeightsUnavailableError(
                f"{problem}\n  Without them: --backbone {BUNDLED}, which comes with cnncli, or --net compact"
            ) from problem

    return Transfer(recipe, weights_of(job.settings, obtain), spread.parts, tellers.meter)
