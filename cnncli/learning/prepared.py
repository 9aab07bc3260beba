"""From a data set to arrays: which images train, validate and test, at what size, and which could not be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cnncli.backbones import BACKBONES, BUNDLED, ImageClass, InputSpec, Resize
from cnncli.datasets.dataset import SPLITS, Dataset, Split
from cnncli.datasets.pixels import DEFAULT_PX, Failure, Pixels, load, survey
from cnncli.datasets.splitting import split_by_content
from cnncli.errors import DataError
from cnncli.grammar import sizes
from cnncli.learning.training import Batches
from cnncli.networks import NAMED_NETS
from cnncli.runs import Seen
from cnncli.settings import Settings
from cnncli.text import printable

_SPLIT_WORDS: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}

Notify = Callable[[str], None]
Meter = Callable[[str], Any]  # a description -> a context manager that gives a progress callable


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set as a run uses it."""

    classes: tuple[ImageClass, ...]
    spec: InputSpec
    pixels: dict[Split, Pixels]
    train: Batches
    val: Batches | None
    test: Batches | None
    seen: tuple[Seen, ...]
    failures: tuple[Failure, ...]

    def ordered_as(self, before: Sequence[Seen]) -> Prepared:
        """The same with the images in the order of `before`, in which a run began with them, whatever their names.

        `before` names the same images as often.
        """
        places: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        lengths = [len(part.labels) for part in self.pixels.values()]
        begins = dict(zip(self.pixels, accumulate([0, *lengths[:-1]]), strict=True))
        for place, row in enumerate(self.seen):
            places[row.key].append(place)
        order: dict[str, list[int]] = defaultdict(list)
        for row in before:
            order[row.split].append(places[row.key].pop(0))

        def ordered(batches: Batches, split: Split) -> Batches:
            held_in = split if split in begins else "train"
            return replace(batches, rows=np.array(order[split], np.int64) - begins[held_in])

        return replace(
            self,
            train=ordered(self.train, "train"),
            val=None if self.val is None else ordered(self.val, "val"),
            test=None if self.test is None else ordered(self.test, "test"),
        )

    def sample(self, count: int) -> npt.NDArray[np.uint8]:
        """Some images that the network is not trained on, if there are such; else of those that it is."""
        batches = self.val or self.train
        return cast(npt.NDArray[np.uint8], batches.inputs[batches.rows[:count]])


def prepare(
    settings: Settings,
    dataset: Dataset,
    *,
    spec: InputSpec | None,
    check: Callable[[InputSpec, int], None],
    workers: int,
    notify: Notify,
    meter: Meter,
) -> Prepared:
    """Surveys, decodes and splits; `spec` is the input of a run that goes on.

    `check` hears the input and the number of classes before anything is decoded. Raises DataError.
    """
    if spec is None:
        spec = input_spec(settings, dataset, workers=workers, notify=notify, meter=meter)
    check(spec, len(dataset.classes))
    pixels: dict[Split, Pixels] = {}
    for split in SPLITS:
        if examples := dataset.splits.get(split):
            with meter(f"reading {split}") as progress:
                pixels[split] = load(examples, spec, workers=workers, progress=progress)
    return _divided(settings, dataset, spec, pixels)


def _divided(settings: Settings, dataset: Dataset, spec: InputSpec, pixels: dict[Split, Pixels]) -> Prepared:
    whole = {split: all_of(part) for split, part in pixels.items()}
    _require_images(dataset, pixels)
    train, val = whole["train"], whole.get("val")
    if val is None and settings.val_split:
        part = pixels["train"]
        parts = split_by_content(
            part.digests, part.labels.tolist(), (1 - settings.val_split, settings.val_split), classes=dataset.classes
        )
        train, val = (replace(train, rows=np.asarray(rows, np.int64)) for rows in parts)
    seen = _seen(dataset, pixels, train, val)
    failures = tuple(failure for part in pixels.values() for failure in part.failures)
    return Prepared(dataset.classes, spec, pixels, train, val, whole.get("test"), seen, failures)


def _require_images(dataset: Dataset, pixels: dict[Split, Pixels]) -> None:
    """Raises DataError for a split, or a class to be learned, none of whose images can be read."""
    for split, part in pixels.items():
        readable = set(part.labels.tolist())
        wanted = {example.label for example in dataset.splits[split]}
        if not readable or (split == "train" and readable < wanted):
            missing = "" if not readable else f" of class {printable(dataset.classes[min(wanted - readable)].label)}"
            first = part.failures[0]
            raise DataError(
                f"{dataset.name}: not one {_SPLIT_WORDS[split]} image{missing} can be read "
                f"({printable(first.name)}: {first.reason}{', ...' if len(part.failures) > 1 else ''})"
            )


def all_of(pixels: Pixels) -> Batches:
    """Every image of a split."""
    return Batches(pixels.images, pixels.labels, np.arange(len(pixels.labels)))


def _seen(dataset: Dataset, pixels: dict[Split, Pixels], train: Batches, val: Batches | None) -> tuple[Seen, ...]:
    """Every image with the split that it is used in, and its path as it is found from anywhere."""
    classes = dataset.classes
    examples = (example for split in dataset.splits.values() for example in split)
    paths = {example.name: example.path.absolute() for example in examples if example.path is not None}
    rows = []
    for split, part in pixels.items():
        names: list[str] = [split] * len(part.labels)
        if split == "train" and val is not None and val.inputs is train.inputs:
            for row in val.rows:
                names[row] = "val"
        rows += [
            Seen(name, classes[label].id, digest.hex(), str(paths.get(path, path)))
            for name, label, digest, path in zip(names, part.labels, part.digests, part.names, strict=True)
        ]
    return tuple(rows)


def input_spec(settings: Settings, dataset: Dataset, *, workers: int, notify: Notify, meter: Meter) -> InputSpec:
    """What the network will take: what was asked for, else what the network is made for, else what the images are."""
    size = _asked_size(settings)
    color = "rgb" if settings.backbone and settings.color == "auto" else settings.color
    if size is None or color == "auto":
        with meter("looking at images") as progress:
            found = survey(dataset, workers=workers, progress=progress)
        color = ("gray" if found.gray else "rgb") if color == "auto" else color
        if size is None:
            size = found.common_size or (DEFAULT_PX, DEFAULT_PX)
            if found.common_size is None:
                notify(f"The images differ in size: the network will see {DEFAULT_PX}x{DEFAULT_PX} (--image-size)")
    return InputSpec(*size, color, cast(Resize, settings.resize))


def _asked_size(settings: Settings) -> tuple[int, int] | None:
    if settings.image_size is not None:
        given = sizes(settings.image_size, "--image-size")
        if len(given) > 2:
            raise DataError(f"--image-size {settings.image_size}: expected N or HxW, like 128 or 96x128")
        return given[0], given[-1]
    if settings.backbone in BACKBONES:
        row = BACKBONES[settings.backbone]
        return row.input_px, row.input_px
    if settings.backbone == BUNDLED:
        return NAMED_NETS[BUNDLED].input[0], NAMED_NETS[BUNDLED].input[1]
    named = NAMED_NETS.get(settings.net or "")
    if named is not None and any(layer.kind == "flatten" for layer in named.layers()):
        return named.input[0], named.input[1]
    return None  # a network that ends in global pooling takes any size
