"""What a run would take: measured on a few real steps over a few real images."""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cnncli.backbones import InputSpec
from cnncli.datasets.dataset import Dataset
from cnncli.datasets.pixels import load
from cnncli.errors import DataError
from cnncli.learning.checkpoints import values_of
from cnncli.learning.job import Job, Tellers, network_for, threads_for, with_network
from cnncli.learning.phases import FromScratch, Transfer
from cnncli.learning.prepared import Prepared, all_of, input_spec
from cnncli.learning.steps import Objective, Steps, Threads
from cnncli.learning.training import Phase
from cnncli.settings import Settings

TIMED_STEPS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it is to be expected."""

    network: str
    input: tuple[int, int, int]  # height, width, channels
    classes: int
    parameters: int
    trainable: int
    images: int  # that train
    steps_per_epoch: int
    epochs: int
    memory_bytes: int  # of the process at its peak
    seconds: float  # of everything but reading the images, validation and the final compilation


def plan(job: Job, tellers: Tellers) -> Plan:
    """Builds the network, times some steps on real images, and writes nothing. Raises what a run would raise."""
    dataset = job.dataset
    spec = input_spec(job.settings, dataset, workers=job.cores, notify=tellers.notify, meter=tellers.meter)
    settings = with_network(job.settings, spec, len(dataset.classes), tellers.notify)
    if settings.class_weights == "auto":  # a few images do not tell, and no step takes longer for them
        settings = replace(settings, class_weights=None)
    few = _few(settings, dataset, spec, (TIMED_STEPS + 1) * settings.batch_size, job.cores)
    spread = threads_for(settings, len(dataset.classes), job.cores)
    spread.apply()
    network = network_for(replace(job, settings=settings), few, spread, tellers)
    counts = {split: len(examples) for split, examples in dataset.splits.items()}
    images = counts["train"] if "val" in counts else round(counts["train"] * (1 - settings.val_split))
    steps = -(-images // settings.batch_size)
    seconds, each_bytes = 0.0, few.train.inputs[0].nbytes
    phases = list(_phases(network))
    for phase in phases:
        seconds += steps * _seconds_of_a_step_each_epoch(phase, settings.batch_size, spread)
        if phase.train.inputs is not few.train.inputs:  # features, computed once
            each_bytes += phase.train.inputs[0].nbytes
            seconds += (counts["train"] + counts.get("val", 0)) * _feature_seconds(network, few)
    return Plan(
        network=settings.net or settings.backbone or "",
        input=(spec.height, spec.width, few.train.inputs.shape[-1]),
        classes=len(dataset.classes),
        parameters=network.complete.count_params(),
        trainable=max(sum(int(np.prod(w.shape)) for w in phase.model.trainable_weights) for phase in phases),
        images=images,
        steps_per_epoch=steps,
        epochs=sum(phase.epochs for phase in phases),
        memory_bytes=_peak_bytes() + each_bytes * sum(counts.values()),
        seconds=seconds,
    )


def _few(settings: Settings, dataset: Dataset, spec: InputSpec, count: int, workers: int) -> Prepared:
    """Some training images from all over the data set, one of which stands for those to validate with, if there are."""
    examples = dataset.splits["train"]
    chosen = examples[:: max(1, len(examples) // count)][:count]
    pixels = load(chosen, spec, workers=workers, progress=lambda done, total: None)
    if not len(pixels.labels):
        raise DataError(f"{dataset.name}: not one of {len(chosen)} images can be read")
    train = all_of(pixels)
    val = replace(train, rows=train.rows[:1]) if settings.val_split or "val" in dataset.splits else None
    return Prepared(dataset.classes, spec, {"train": pixels}, train, val, None, (), pixels.failures)


def _phases(network: FromScratch | Transfer) -> Iterator[Phase]:
    for index in itertools.count():
        phase = network.phase(index, values_of(network.complete.weights))
        if phase is None:
            return
        yield phase


def _seconds_of_a_step_each_epoch(phase: Phase, batch_size: int, spread: Threads) -> float:
    """What one step in each of the epochs takes together; those with images of one size take the same."""
    objectives = [phase.objectives(epoch) for epoch in range(phase.epochs)]
    counts = Counter(objective.size for objective in objectives)
    one_each = {objective.size: objective for objective in objectives}
    return sum(counts[size] * _step_seconds(phase, one_each[size], batch_size, spread) for size in counts)


def _step_seconds(phase: Phase, objective: Objective, batch_size: int, spread: Threads) -> float:
    """What one step takes, once it is traced."""
    steps = Steps(phase.model, phase.optimizer, objective, parts=spread.parts, average=None)
    rows = np.resize(phase.train.rows, (TIMED_STEPS, batch_size))
    inputs, labels = phase.train.take(rows)
    steps.train(inputs[:1], labels[:1], 0, [0.0])
    begin = time.monotonic()
    steps.train(inputs, labels, 0, [0.0] * TIMED_STEPS)
    return (time.monotonic() - begin) / TIMED_STEPS


def _feature_seconds(network: FromScratch | Transfer, few: Prepared) -> float:
    """What the features of one image take."""
    assert isinstance(network, Transfer)
    begin = time.monotonic()
    network.features([few.train])
    return (time.monotonic() - begin) / len(few.train.rows)


def _peak_bytes() -> int:
    """The most memory that this process has held. `ru_maxrss` is in bytes on macOS, elsewhere in kB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
