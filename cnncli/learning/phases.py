"""What a run trains, in phases: a network from scratch; or a head on a frozen backbone, then some of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from cnncli import augmentations, balance, bundled, networks
from cnncli.backbones import BACKBONES, BUNDLED, Backbone, InputSpec
from cnncli.errors import TrainingError
from cnncli.grammar import parse
from cnncli.layers import Layer
from cnncli.learning import augment, keras, trunks
from cnncli.learning.checkpoints import Array, assign, values_of
from cnncli.learning.networks import Precision, as_trained, build, float32_twin
from cnncli.learning.optimizers import OPTIMIZERS
from cnncli.learning.prepared import Prepared
from cnncli.learning.starting import start_from
from cnncli.learning.steps import Evaluation, Objective
from cnncli.learning.training import Batches, Phase, outputs
from cnncli.schedules import Schedule, ScheduleName
from cnncli.settings import FINE_TUNE_RATE, Settings

_UNDECAYED = ["bias", "gamma", "beta"]
# Progressive size (Tan & Le, EfficientNetV2, arXiv 2104.00298): the side as a part of the whole, and until which part
# of the run. Theirs are equally long; here the whole, which costs as much as the others together, comes late.
_STAGES = ((0.5, 0.4), (0.75, 0.8))
_SMALLEST_PX = 16


def layers_of(net: str, classes: int, dropout: float) -> list[Layer]:
    """The layers of a named net or of the grammar for `classes` classes. Raises GrammarError."""
    named = networks.NAMED_NETS.get(net)
    layers = parse([net, f"dense:{classes}:softmax"]) if named is None else named.layers(classes)
    extra = [Layer("dropout", rate=str(dropout))] if dropout else []
    return [*layers[:-1], *extra, layers[-1]]


@dataclass(frozen=True)
class Recipe:
    """What all phases of a run share."""

    settings: Settings
    data: Prepared

    @cached_property
    def augmentations(self) -> tuple[str, ...]:
        """The augmentations by name."""
        spec = self.data.spec
        return augmentations.parse(self.settings.augment, spec.color == "gray", spec.height)

    @cached_property
    def class_weights(self) -> tuple[float, ...] | None:
        """A weight for each class, in their order."""
        if self.settings.class_weights is None:
            return None
        labels = self.data.train.labels[self.data.train.rows].tolist()
        return tuple(balance.class_weights(labels, self.settings.class_weights, self.data.classes))

    def check(self) -> None:
        """Raises CnncliError for settings that do not go with the data, before anything slow begins."""
        settings = self.settings
        self.schedule(settings.epochs, settings.rate)
        if settings.fine_tune:
            self.schedule(settings.fine_tune_epochs, settings.rate)
        if self.data.val is None and (settings.patience or settings.schedule == "plateau"):
            option = "--patience" if settings.patience else "--schedule plateau"
            raise TrainingError(f"{option} needs validation: give --val-split above 0, or data with a split for it")
        _ = self.augmentations, self.class_weights

    def steps(self, epochs: int) -> int:
        return epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.data.train.rows) // self.settings.batch_size)

    def optimizer(self, model: Any) -> Any:
        settings = self.settings
        decay = (
            {"weight_decay": settings.weight_decay} if settings.weight_decay or settings.optimizer == "adamw" else {}
        )
        made = OPTIMIZERS[settings.optimizer](learning_rate=settings.rate, global_clipnorm=settings.clip_norm, **decay)
        if decay:
            made.exclude_from_weight_decay(var_names=_UNDECAYED)
        made.build(model.trainable_variables)
        return made

    def schedule(self, epochs: int, rate: float) -> Schedule:
        warmup = round(self.settings.warmup * self.steps_per_epoch)
        return Schedule(cast(ScheduleName, self.settings.schedule), rate, self.steps(epochs), warmup)

    def objective(self, phase: int, size: tuple[int, int] | None = None, *, plain: bool = False) -> Objective:
        """What a phase minimises; `plain` leaves images, or features, as they are."""
        names = () if plain else tuple(name for name in self.augmentations if name != "mixup")
        return Objective(
            label_smoothing=self.settings.label_smoothing,
            class_weights=self.class_weights,
            augment=augment.augmentation(names) if names else None,
            mix=augment.mixup if "mixup" in self.augmentations and not plain else None,
            size=size,
            seed=augment.phase_seed(self.settings.seed, phase),
        )


def untrained(settings: Settings, spec: InputSpec, classes: int) -> Any:
    """The network of a run from scratch, pixels to logits, with the weights that the seed draws."""
    keras.utils.set_random_seed(settings.seed)
    precision = cast(Precision, settings.precision)
    if settings.backbone is not None:
        trunk = trunks.trunk(settings.backbone, None, spec, precision=precision)
        head = trunks.classifier(trunk.outputs[0].shape[-1], classes, dropout=settings.dropout)
        return trunks.join(trunk, head)
    layers = layers_of(settings.net or "", classes, settings.dropout)
    return build(layers, spec, rescale=settings.rescale, precision=precision)


class FromScratch:
    """One phase: every weight of a network of layers, or of a backbone, from random ones."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._model = untrained(recipe.settings, recipe.data.spec, len(recipe.data.classes))
        if recipe.settings.start_from is not None:
            start_from(Path(recipe.settings.start_from), self._model, recipe.data.classes)
        self.complete = float32_twin(self._model)
        self._stages = self._sizes()

    def phase(self, index: int, best: list[Array] | None) -> Phase | None:
        """The phase at an index; None after the last."""
        if index:
            return None
        recipe = self.recipe
        epochs = recipe.settings.epochs
        return Phase(
            name="train",
            model=self._model,
            twin=self.complete,
            publish=lambda: values_of(self.complete.weights),
            optimizer=recipe.optimizer(self._model),
            objectives=self._objectives(epochs),
            schedule=recipe.schedule(epochs, recipe.settings.rate),
            epochs=epochs,
            train=recipe.data.train,
            val=recipe.data.val,
        )

    def _objectives(self, epochs: int) -> Callable[[int], Objective]:
        small = [(self.recipe.objective(0, size), until) for size, until in self._stages]
        whole = self.recipe.objective(0)

        def objective(epoch: int) -> Objective:
            middle = (epoch + 0.5) / epochs
            is_last = epoch == epochs - 1  # a run ends with the whole size, however short
            return whole if is_last else next((found for found, until in small if middle < until), whole)

        return objective

    def _sizes(self) -> list[tuple[tuple[int, int], float]]:
        """The smaller sizes of images that a run goes through, and until which part of it. Raises TrainingError."""
        if not self.recipe.settings.progressive:
            return []
        spec = self.recipe.data.spec
        stages = []
        for side, until in _STAGES:
            height, width = (min(px, max(_SMALLEST_PX, round(side * px))) for px in (spec.height, spec.width))
            if (height, width) != (spec.height, spec.width):
                as_trained(self._model, (height, width))  # refuses networks that take one size only
                stages.append(((height, width), until))
        return stages


class Transfer:
    """A head on a backbone whose weights are published; then, with `--fine-tune`, its last blocks too."""

    def __init__(self, recipe: Recipe, weights: Path, parts: int, report: Callable[[str], Any]) -> None:
        """`report` gives a context manager with a progress callable, for the computing of features."""
        self.recipe, self._parts, self._report = recipe, parts, report
        settings, data = recipe.settings, recipe.data
        keras.utils.set_random_seed(settings.seed)
        self._trunk = trunks.trunk(
            settings.backbone or "", weights, data.spec, precision=cast(Precision, settings.precision)
        )
        if settings.fine_tune is not None:
            trunks.unfreeze(self._trunk, settings.fine_tune)  # refuses too many before anything slow begins
        self._trunk.trainable = False
        features = self._trunk.outputs[0].shape[-1]
        self._head = trunks.classifier(features, len(data.classes), dropout=settings.dropout)
        self._twin_head = float32_twin(self._head)
        self._twin_trunk = float32_twin(self._trunk)
        self.complete = trunks.join(self._twin_trunk, self._twin_head)

    def phase(self, index: int, best: list[Array] | None) -> Phase | None:
        """The phase at an index; None after the last."""
        if index == 0:
            return self._head_phase()
        if index == 1 and self.recipe.settings.fine_tune:
            return self._fine_tuning(best)
        return None

    def _head_phase(self) -> Phase:
        recipe = self.recipe
        data, epochs = recipe.data, recipe.settings.epochs
        augmented = bool(recipe.augmentations)
        objective = recipe.objective(0, plain=not augmented)
        model = trunks.join(self._trunk, self._head) if augmented else self._head
        batches = [data.train, data.val] if augmented else self.features([data.train, data.val])
        frozen = values_of(self._trunk.weights)
        return Phase(
            name="head",
            model=model,
            twin=self.complete if augmented else self._twin_head,
            publish=lambda: [*frozen, *values_of(self._twin_head.weights)],
            optimizer=recipe.optimizer(model),
            objectives=lambda epoch: objective,
            schedule=recipe.schedule(epochs, recipe.settings.rate),
            epochs=epochs,
            train=cast(Batches, batches[0]),
            val=batches[1],
        )

    def features(self, groups: Sequence[Batches | None]) -> list[Batches | None]:
        """What the backbone makes of every image, computed once."""
        network = Evaluation(self._twin_trunk, parts=self._parts)
        total = sum(0 if batches is None else len(batches.rows) for batches in groups)
        found: list[Batches | None] = []
        before = 0

        def report(done: int) -> None:
            progress(before + done, total)

        with self._report("features") as progress:
            for batches in groups:
                if batches is None:
                    found.append(None)
                    continue
                made = outputs(network, batches, report)
                before += len(batches.rows)
                found.append(Batches(made, batches.labels[batches.rows], np.arange(len(batches.rows))))
        return found

    def _fine_tuning(self, best: list[Array] | None) -> Phase:
        recipe, settings = self.recipe, self.recipe.settings
        assert best is not None and settings.fine_tune is not None
        model = trunks.join(self._trunk, self._head)
        assign(model.weights, best)
        trunks.unfreeze(self._trunk, settings.fine_tune)
        twin = float32_twin(model)
        objective = recipe.objective(1)
        return Phase(
            name="fine-tune",
            model=model,
            twin=twin,
            publish=lambda: values_of(twin.weights),
            optimizer=recipe.optimizer(model),
            objectives=lambda epoch: objective,
            schedule=recipe.schedule(settings.fine_tune_epochs, FINE_TUNE_RATE * settings.rate),
            epochs=settings.fine_tune_epochs,
            train=recipe.data.train,
            val=recipe.data.val,
        )


_DIGITS_PX = 40  # at most: MNIST and its kin


def with_net(settings: Settings, spec: InputSpec) -> Settings:
    """The settings with a network that suits the images, if none was asked for."""
    if settings.net or settings.backbone:
        return settings
    digits = spec.color == "gray" and max(spec.height, spec.width) <= _DIGITS_PX
    return replace(settings, net="digits" if digits else "compact")


def needs_whole_batches(settings: Settings, classes: int) -> bool:
    """Whether the parts of a batch must not be worked on side by side.

    The statistics of batch normalisation would be those of a part. And what is fine-tuned of NASNet has gradients that
    are sums of four terms, the first of which others use too: AddN's order would depend on what else is being computed.
    """
    if settings.net is None:
        return settings.from_scratch or (settings.backbone == "nasnetmobile" and bool(settings.fine_tune))
    return any(layer.kind in ("bn", "res") for layer in layers_of(settings.net, classes, 0))


def weights_of(settings: Settings, obtain: Callable[[Backbone], Path]) -> Path:
    """The backbone's weights file: the one that was given, or what `obtain` fetches."""
    if settings.backbone == BUNDLED:
        return bundled.path()
    if settings.weights is None:
        return obtain(BACKBONES[settings.backbone or ""])
    path = Path(settings.weights)
    if not path.is_file():
        raise TrainingError(f"--weights {path}: no such file")
    return path
