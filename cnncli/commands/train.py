"""`cnncli train`: a classifier from a folder of photos."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli import augmentations, backbones, console, runs
from cnncli.backbones import BUNDLED, RESIZES
from cnncli.commands.dataset import complete_data, opened
from cnncli.commands.options import common_options, complete_network
from cnncli.errors import ExitCode, GrammarError, TerminatedError, TrainingError
from cnncli.inference.request import ModelRequest, usable_cores
from cnncli.runs import Run
from cnncli.schedules import SCHEDULES
from cnncli.settings import COLORS, OPTIMIZERS, PRECISIONS, PRESETS, Settings, from_json, with_preset
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.datasets.dataset import Dataset
    from cnncli.learning.job import Job
    from cnncli.learning.train import Outcome

_DEFAULTS = Settings()


class Positive(click.ParamType[float]):
    """A finite number above 0, or from 0 on; if it is a part of something, below 1."""

    name = "number"

    def __init__(self, *, zero: bool = False, part: bool = False) -> None:
        self._zero, self._limit = zero, 1 if part else math.inf

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < self._limit or (number == 0 and not self._zero):
            least = "from 0 on" if self._zero else "above 0"
            self.fail(f"{value!r}: expected a number {least}{' and below 1' if self._limit == 1 else ''}", param, ctx)
        return number


class Net(click.ParamType[str]):
    """A named net, or layers."""

    name = "net"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from cnncli import networks
        from cnncli.grammar import parse

        if value in networks.NAMED_NETS:
            return str(value)
        if backbones.find(value):
            self.fail(f"{value!r} is a pretrained network: expected --backbone {value}", param, ctx)
        try:
            if not parse([value]):
                self.fail("it is empty: expected a named net, or layers like conv:32:3:relu", param, ctx)
        except GrammarError as problem:
            if close := get_close_matches(value.lower(), networks.NAMED_NETS, n=1):
                nets = ", ".join(networks.NAMED_NETS)
                self.fail(f"{value!r} is neither a net nor layers. Did you mean {close[0]}? Nets: {nets}", param, ctx)
            self.fail(str(problem), param, ctx)
        return str(value)


class BackboneName(click.ParamType[str]):
    """A pretrained network, in any of the spellings in use."""

    name = "backbone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        row = backbones.find(value)
        if row is not None:
            return row.name
        if backbones.is_bundled(value):
            return BUNDLED
        close = get_close_matches(value.lower(), backbones.names(), n=1)
        guess = f" Did you mean {close[0]}?" if close else ""
        self.fail(f"{value!r} is no pretrained network.{guess} Networks: {', '.join(backbones.names())}", param, ctx)


def _option(name: str, text: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that is a field of Settings. Not given it is None, so that presets and resumed runs can tell."""
    field = name.removeprefix("--").partition("/")[0].replace("-", "_")
    default = getattr(_DEFAULTS, field)
    shown = "" if default is None or isinstance(default, bool) else f"  [default: {default}]"
    return click.option(name, field, default=None, help=text + shown, **options)


_COUNT = click.IntRange(1)
_PART = Positive(zero=True, part=True)
_OPTIONS = (
    _option(
        "--net",
        "A named net (lenet, ...), or layers: 'conv:32:3:relu pool:2 flatten'.",
        type=Net(),
        metavar="NAME|GRAMMAR",
    ),
    _option(
        "--backbone",
        "Learn from the features of a pretrained network.",
        type=BackboneName(),
        metavar="NAME",
        shell_complete=complete_network,
    ),
    _option(
        "--fine-tune",
        "Then train the backbone's last N blocks too, at a hundredth of the rate.",
        type=_COUNT,
        metavar="N",
    ),
    _option("--epochs", "Times that every image is seen.", type=_COUNT, metavar="N"),
    _option("--batch-size", "Images a step.", type=_COUNT, metavar="N"),
    _option(
        "--lr",
        "Learning rate.  [default: 0.001, sgd 0.01; ten times that for --backbone]",
        type=Positive(),
        metavar="RATE",
    ),
    _option("--optimizer", "How weights follow gradients.", type=click.Choice(list(OPTIMIZERS))),
    _option("--augment", "crop, rotate, blur, flip, color, distort, cutout, mixup; or auto.", metavar="LIST"),
    _option("--val-split", "Part of the images that validates, where no split is given.", type=_PART, metavar="P"),
    _option("--seed", "Of weights, order and augmentation.", type=click.IntRange(0, 2**30), metavar="N"),
    _option("--color", "Channels of the input; auto: gray if every image is.", type=click.Choice(COLORS)),
    _option("--image-size", "Input of the network.  [default: the network's, else the images']", metavar="N|HxW"),
    _option("--resize", "How an image becomes the input.", type=click.Choice(RESIZES)),
    _option("--patience", "Stop after N epochs without a better validation accuracy.", type=_COUNT, metavar="N"),
    _option("--class-weights", "auto, or 'cat=2,dog=1': how much images of a class count.", metavar="WEIGHTS"),
    _option("--schedule", "How the learning rate changes.", type=click.Choice(SCHEDULES)),
    _option("--warmup", "Epochs in which the rate rises from 0.", type=Positive(zero=True), metavar="EPOCHS"),
    _option("--weight-decay", "Shrinks weights at each step.", type=Positive(zero=True), metavar="RATE"),
    _option("--label-smoothing", "Part of each label given to all classes.", type=_PART, metavar="P"),
    _option("--clip-norm", "Largest norm of the gradient.", type=Positive(), metavar="NORM"),
    _option("--ema", "Decay of a moving average of the weights, which is what is kept.", type=_PART, metavar="P"),
    _option("--dropout", "Before the output layer.", type=_PART, metavar="P"),
    _option("--progressive", "Begin with images of 1/2, then 3/4 of the size (nets with gap or gmp).", is_flag=True),
    _option("--precision", "Of the arithmetic; a saved model is always float32.", type=click.Choice(PRECISIONS)),
    _option("--rescale/--no-rescale", "Bring pixels from 0..255 to 0..1 first.  [default: rescale]", is_flag=True),
    _option("--weights", "The backbone's weights (.h5, Keras Applications' layout).", metavar="FILE"),
    _option("--from-scratch", "Train the backbone itself, from random weights.", is_flag=True),
    _option("--fine-tune-epochs", "How long.", type=_COUNT, metavar="N"),
    _option("--start-from", "Begin with the weights of a trained model of the same --net.", metavar="RUN|FILE"),
)


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("data", metavar="[DATA]", required=False, shell_complete=complete_data)
@_settings_options
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Options that go together; others given beside win.")
@click.option(
    "-o", "--output", metavar="RUN", type=click.Path(path_type=Path), help="The run folder.  [default: runs/NAME]"
)
@click.option("--resume", is_flag=True, help="Go on with the run in --output.")
@click.option("--force", is_flag=True, help="Replace a run that is in --output.")
@click.option("--plan", is_flag=True, help="Print parameters, memory and a time estimate, and stop.")
@click.option("--strict", is_flag=True, help="Do not start if an image cannot be read.")
@click.option(
    "--checkpoint-every",
    type=Positive(zero=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How much work may be lost.",
)
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Cores to use.  [default: all]")
@click.option("--offline", is_flag=True, help="Use what is on this machine; fetch nothing.")
@common_options
def train(
    data: str | None,
    preset: str | None,
    output: Path | None,
    resume: bool,
    force: bool,
    plan: bool,
    strict: bool,
    checkpoint_every: float,
    workers: int | None,
    offline: bool,
    **options: Any,
) -> ExitCode:
    """Train a classifier on a folder of photos.

    DATA is a folder with a folder of images for each class (or train, val and test with such folders), a manifest
    (.csv or .jsonl with path, label, split), or a name: see 'cnncli data list'. The best epoch's network is kept,
    with all that 'cnncli predict --model RUN' needs.

    \b
    Example:
      cnncli train photos/ --backbone mobilenet
      cnncli train mnist --net pyramid --epochs 5
      cnncli train photos/ --net 'conv:16:3:relu pool:2 conv:32:3:relu gap' --augment flip,crop
      cnncli train --resume --output runs/photos
    """
    given = {name: value for name, value in options.items() if value is not None}
    for option in {"weights", "start_from"} & given.keys():  # a run is resumed from any folder
        if not given[option]:
            raise click.UsageError(f"{_flag(option)}: the name is empty.")
        given[option] = str(Path(given[option]).absolute())
    job_options = {
        "command": ("cnncli", *sys.argv[1:]),
        "cores": workers or usable_cores(),
        "offline": offline,
        "strict": strict,
        "checkpoint_every_s": checkpoint_every,
    }
    if resume:
        if force or plan:
            raise click.UsageError(f"--resume and --{'force' if force else 'plan'} exclude each other.")
        return _resume(data, preset, output, given, job_options)
    if data is None:
        raise click.UsageError("Missing argument 'DATA'.")
    settings = with_preset(preset, given)
    _check(settings)
    if plan:
        return _plan(data, settings, job_options)
    run = Run(output or runs.new_folder(data))
    with run.begun(force=force):  # before TensorFlow is imported, which takes seconds
        dataset = opened(data, offline=offline)
        from cnncli.learning import train as training

        return _finish(training.train, _job(run, _lasting(data), dataset, settings, job_options))


def _lasting(data: str) -> str:
    """DATA as a run can be resumed with from any folder."""
    from cnncli.datasets import published

    return data if published.find(data) else str(Path(data).absolute())


def _resume(
    data: str | None, preset: str | None, output: Path | None, given: dict[str, Any], job_options: dict[str, Any]
) -> ExitCode:
    if output is None:
        raise click.UsageError("--resume needs --output RUN: which run is to go on.")
    run = Run(output)
    record = run.read_record()
    try:
        settings, trained = from_json(record["settings"]), record["data"]["path"]
    except (KeyError, TypeError) as problem:
        raise TrainingError(f"{run.record}: not the record of a run that this cnncli can read ({problem})") from problem
    if differences := settings.differences(({} if preset is None else PRESETS[preset]) | given):
        lines = "".join(f"\n  {line}" for line in differences)
        raise TrainingError(f"{output}: these options are not those of the run; leave them out, or train anew:{lines}")

    with run.held():
        dataset = opened(data or trained, offline=job_options["offline"])
        from cnncli.learning import train as training

        return _finish(training.resume, _job(run, _lasting(data) if data else trained, dataset, settings, job_options))


def _check(settings: Settings) -> None:
    """Raises UsageError for options that exclude each other or need another, GrammarError for unknown augmentations."""
    for option, other in _EXCLUSIVE:
        if getattr(settings, option) and getattr(settings, other):
            raise click.UsageError(f"{_flag(option)} and {_flag(other)} exclude each other.")
    for option in ("fine_tune", "weights", "from_scratch"):
        if getattr(settings, option) and not settings.backbone:
            raise click.UsageError(f"{_flag(option)} goes with --backbone.")
    if settings.backbone and not settings.rescale:
        raise click.UsageError("--no-rescale goes with --net: a backbone has a normalisation of its own.")
    if settings.start_from and Path(settings.start_from).name == BUNDLED and not Path(settings.start_from).exists():
        raise click.UsageError(f"--start-from {BUNDLED}: to learn on from it, --backbone {BUNDLED} --fine-tune N.")
    if settings.backbone == BUNDLED and (settings.weights or settings.from_scratch):
        option = "--weights" if settings.weights else "--from-scratch"
        raise click.UsageError(f"{option}: {BUNDLED} comes with its weights; from scratch it is --net {BUNDLED}.")
    if settings.progressive and settings.schedule == "plateau":  # for the reason in _EXCLUSIVE
        raise click.UsageError("--progressive and --schedule plateau exclude each other.")
    if settings.backbone and settings.progressive and not settings.from_scratch:
        raise click.UsageError("--progressive with --backbone needs --from-scratch.")
    augmentations.parse(settings.augment, gray=False, height=1)


_EXCLUSIVE = (
    ("progressive", "patience"),  # a network that saw small images so far validates badly on whole ones
    ("net", "backbone"),
    ("start_from", "backbone"),
    ("from_scratch", "fine_tune"),
    ("from_scratch", "weights"),
)


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _job(run: Run, data: str, dataset: Dataset, settings: Settings, options: dict[str, Any]) -> Job:
    from cnncli.learning.job import Job

    return Job(run, data, dataset, settings, **options)


def _plan(data: str, settings: Settings, options: dict[str, Any]) -> ExitCode:
    dataset = opened(data, offline=options["offline"])
    from cnncli import tables
    from cnncli.learning import plan
    from cnncli.learning.job import Tellers
    from cnncli.training_display import display

    job = _job(Run(Path()), data, dataset, settings, options)
    with display() as watcher:
        found = plan.plan(job, Tellers(console.note, console.error, _meter, watcher))
    console.results().print(tables.plan_table(found))
    return ExitCode.DONE


def _meter(description: str) -> AbstractContextManager[console.Update]:
    return console.progress(description, unit="bytes" if description == "weights" else "images")


def _finish(work: Callable[[Job, Any], Outcome], job: Job) -> ExitCode:
    """Runs `work`, then compiles the model, so that its first prediction is instant; says what came out."""
    from cnncli.inference import models
    from cnncli.learning.job import Tellers
    from cnncli.training_display import display

    folder = shlex.quote(str(job.run.folder))
    try:
        with display() as watcher:
            outcome = work(job, Tellers(console.note, console.error, _meter, watcher))
    except (KeyboardInterrupt, TerminatedError):
        if job.run.record.exists():
            console.note(f"To go on: cnncli train --resume --output {folder}")
        raise
    models.open_model(ModelRequest(str(job.run.folder)), notify=console.note, progress=lambda done, total: None)
    console.write("".join(f"{printable(line)}\n" for line in _lines(outcome, job)))
    console.note(f"Next: cnncli predict --model {folder} PHOTO")
    if outcome.failures:
        console.note(f"{len(outcome.failures)} images could not be read and were left out")
    return ExitCode.PARTIAL if outcome.failures else ExitCode.DONE


def _lines(outcome: Outcome, job: Job) -> list[str]:
    """The results, a line each."""
    lines = [f"{job.run.folder}: epoch {outcome.best_epoch} of {outcome.epochs} is kept"]
    for what, accuracy, count in (
        ("validation", outcome.val_accuracy, outcome.num_val),
        ("test", outcome.test_accuracy, outcome.num_test),
    ):
        if accuracy is not None:
            lines.append(f"{what} accuracy {accuracy:.1%} of {count:,} images")
    return lines
