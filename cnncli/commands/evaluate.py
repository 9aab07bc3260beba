"""`cnncli evaluate`: how good models are on labelled images."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli import __version__, console
from cnncli.commands.dataset import complete_data, opened
from cnncli.commands.options import PROBABILITY, common_options, complete_network, request_options
from cnncli.errors import ExitCode, OutputError
from cnncli.inference.request import ModelRequest, usable_cores
from cnncli.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from cnncli.datasets.dataset import Dataset
    from cnncli.datasets.pixels import Failure
    from cnncli.evaluation.comparison import Comparison
    from cnncli.evaluation.evaluation import Evaluation
    from cnncli.evaluation.gates import Gate
    from cnncli.evaluation.mistake_maps import MistakeMaps
    from cnncli.evaluation.rows import Rows
    from cnncli.evaluation.run import Question, Task
    from cnncli.inference.saliency import Explainer
    from cnncli.runs import Run

FORMATS = ("table", "json", "csv")
SPLITS = ("train", "val", "test", "all")
_OUTPUTS = {  # option -> suffixes that its file may have
    "--report": (".html", ".htm"),
    "--predictions": (".csv", ".jsonl"),
    "--confusion": (".csv", ".png"),
}


class GateOption(click.ParamType[Any]):
    """`NAME=P`: a figure and the least that it may be."""

    name = "gate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from cnncli.evaluation.gates import Gate

        try:
            return Gate.parse(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [*complete_network(ctx, param, incomplete), *complete_data(ctx, param, incomplete)]


@click.command()
@click.argument("models_and_data", metavar="MODEL... DATA", nargs=-1, required=True, shell_complete=_complete)
@request_options
@click.option("--split", type=click.Choice(SPLITS), help="Which images.  [default: test, else val, else all]")
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, metavar="K", help="The k of top-k.")
@click.option("--only-present", is_flag=True, help="Let the model choose among the classes that DATA has only.")
@click.option("--allow-missing", is_flag=True, help="Leave out images of classes that the model does not know.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Of the results."
)
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write everything as one page, FILE.html."
)
@click.option("--explain", is_flag=True, help="In the report: where the model looked when it was surely wrong.")
@click.option(
    "--predictions", type=click.Path(path_type=Path), metavar="FILE", help="Write every answer to FILE.csv or .jsonl."
)
@click.option(
    "--confusion", type=click.Path(path_type=Path), metavar="FILE", help="Write the matrix to FILE.csv or .png."
)
@click.option("--min-accuracy", type=PROBABILITY, metavar="P", help="Exit with 4 if the accuracy is below P.")
@click.option(
    "--min",
    "gates",
    type=GateOption(),
    multiple=True,
    metavar="NAME=P",
    help="The same for top3, f1-macro (of the classes that have images), ...",
)
@common_options
def evaluate(
    models_and_data: tuple[str, ...],
    request: ModelRequest,
    split: str | None,
    top: int,
    only_present: bool,
    allow_missing: bool,
    form: str,
    report: Path | None,
    explain: bool,
    predictions: Path | None,
    confusion: Path | None,
    min_accuracy: float | None,
    gates: tuple[Gate, ...],
) -> ExitCode:
    """Measure how good a model is on labelled images, or which of several is better.

    MODEL is a pretrained network, a .keras or .tflite file, or a run folder. DATA is a folder with a subfolder for
    each class, a manifest (CSV or JSONL: path, label, split) or a published set ('cnncli data list'). Its classes are
    matched with the model's by id, then by label. Images are read and shown to the network exactly as 'predict' does.

    \b
    Example:
      cnncli evaluate runs/photos photos/
      cnncli evaluate runs/photos photos/ --report report.html --min-accuracy 0.9
      cnncli evaluate runs/photos photos/ --report report.html --explain
      cnncli evaluate runs/a runs/b photos/ --split test
      cnncli evaluate mobilenet my-imagenet-folders/ --only-present --top 5
    """
    from cnncli.evaluation.comparison import compare
    from cnncli.evaluation.gates import Gate
    from cnncli.evaluation.rows import saving_rows
    from cnncli.evaluation.run import Question

    *models, data = models_and_data
    outputs = {"--report": report, "--predictions": predictions, "--confusion": confusion}
    _check(models, data, request, outputs)
    if explain and report is None:
        raise click.UsageError("--explain puts heat maps into the report: give --report FILE.html")
    if min_accuracy is not None:
        gates = (Gate("accuracy", min_accuracy), *gates)
    question = Question(split, top, only_present, allow_missing, request.workers or usable_cores())
    dataset = opened(data, offline=request.offline, to_train=False, wanted=split)
    _spare(confusion, data, dataset)
    asked = [_opened(replace(request, model=model), dataset, question, gates) for model in models]
    explainers = [_explainer(replace(request, model=model)) for model in models] if explain else []
    named: set[str] = set()  # the images that were said to be unreadable
    with saving_rows(predictions, top) as write:
        evaluations = [_evaluate(task, run, write, named) for task, run in asked]
    comparisons = [compare(evaluations[0], other) for other in evaluations[1:]]
    if any(found.images for found in evaluations) or form == "json":
        _print(evaluations, comparisons, form)
    if not all(found.images for found in evaluations):
        console.error("none of the images could be read, so there is nothing to measure")
        return ExitCode.FAILED
    runs = [run for _, run in asked]
    maps = _mistake_maps(evaluations, explainers) if explain else {}
    _write_files(evaluations, comparisons, runs, report, confusion, maps)
    return _verdict(evaluations, gates)


def _check(models: Sequence[str], data: str, request: ModelRequest, outputs: dict[str, Path | None]) -> None:
    """Refuses, before anything slow begins, what cannot be meant."""
    if not models:
        line = f"{shlex.quote(data)} DATA" if _is_model(data) else f"MODEL {shlex.quote(data)}"
        raise click.UsageError(f"expected MODEL and DATA, got {data!r} alone: cnncli evaluate {line}")
    if len(models) > 1 and request.weights is not None:
        raise click.UsageError("--weights goes with one MODEL")
    if len(models) > 1 and outputs["--confusion"] is not None:
        raise click.UsageError("--confusion goes with one MODEL")
    _require_different(models)
    if _is_model(data):
        raise click.UsageError(f"{data}: this is a model; DATA comes last: cnncli evaluate MODEL... DATA")
    given = [path for path in outputs.values() if path is not None]
    if len({path.resolve() for path in given}) < len(given):
        raise OutputError("two of --report, --predictions and --confusion name one file")
    for option, path in outputs.items():
        if path is None:
            continue
        if path.suffix.lower() not in _OUTPUTS[option]:
            raise OutputError(f"{option} {path}: expected a name that ends in {' or '.join(_OUTPUTS[option])}")
        if not path.parent.is_dir():
            raise OutputError(f"{option} {path}: there is no folder {path.parent}")
        if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(f"{option} {path}: no file can be written there")
        if path.exists() and Path(data).exists() and path.samefile(data):
            raise OutputError(f"{option} {path}: this is the input, which is never written over; give another name")


def _is_model(data: str) -> bool:
    """Whether DATA is a model file, a run folder, or a name of a network that no file has."""
    from cnncli import backbones

    path = Path(data)
    if path.exists():
        return path.suffix in (".keras", ".tflite") or (path / "model.keras").exists()
    return backbones.find(data) is not None or backbones.is_bundled(data)


def _require_different(models: Sequence[str]) -> None:
    """Raises UsageError if two arguments are one model; a name that means nothing is for later to say."""
    from cnncli.errors import CnncliError
    from cnncli.inference.locate import locate

    seen: dict[object, str] = {}
    for model in models:
        with contextlib.suppress(CnncliError):
            location = locate(model)
            identity = location.resolve() if isinstance(location, Path) else location.name
            if identity in seen:
                raise click.UsageError(f"{seen[identity]} and {model} are one model")
            seen[identity] = model


def _spare(picture: Path | None, data: str, dataset: Dataset) -> None:
    """Refuses to write a picture over one that may be an input: anything in DATA, whichever split is read."""
    if picture is None or not picture.exists():
        return
    images = (one.path.resolve() for some in dataset.splits.values() for one in some if one.path)
    if picture.resolve().is_relative_to(Path(data).resolve()) or picture.resolve() in images:
        raise OutputError(f"--confusion {picture}: this is an input, which is never written over; give another name")


def _opened(
    request: ModelRequest, dataset: Dataset, question: Question, gates: Sequence[Gate]
) -> tuple[Task, Run | None]:
    """What one model is asked, and its run folder; all that can be wrong is said before any image is read."""
    from cnncli.evaluation.run import task
    from cnncli.inference import models

    with console.progress("weights", unit="bytes") as downloaded:
        model = models.open_model(request, notify=console.note, progress=downloaded)
    asked = task(model, dataset, question)
    for gate in gates:
        gate.require_meaning(printable(model.name), asked.choices)
    if asked.left_out:
        console.note(f"{asked.left_out:,} images are left out: {printable(model.name)} does not know their classes")
    return asked, _run_of(request.model or "")


def _explainer(request: ModelRequest) -> Explainer:
    """A model opened a second time, to look into it; here too all that can be wrong is said before images are read."""
    from cnncli.inference.saliency import open_explainer

    return open_explainer(request, None, None, notify=console.note, progress=lambda done, total: None)


def _run_of(model: str) -> Run | None:
    """The run folder that a model is from, if it is one's."""
    from cnncli.inference.locate import locate
    from cnncli.runs import Run

    location = locate(model)
    return Run(location.parent) if isinstance(location, Path) and location.name == "model.keras" else None


def _evaluate(task: Task, run: Run | None, write: Rows, named: set[str]) -> Evaluation:
    """Asks one model; each image that cannot be read is said once."""
    from cnncli.evaluation.run import Tellers, evaluate

    model = task.model

    def fail(failure: Failure) -> None:
        write.failure(failure, model.name)
        if failure.name not in named:
            named.add(failure.name)
            console.error(f"{printable(failure.name)}: {failure.reason}")

    with console.progress(printable(model.name), unit="images") as progress:
        tellers = Tellers(progress, lambda answer: write.answer(answer, model), fail)
        found = evaluate(task, tellers, trained_on=run.trained_on() if run else None)
    if found.seen_in_training and run:
        console.warning(
            f"{printable(model.name)} was trained on {found.seen_in_training:,} of these {found.images:,} "
            f"images; its figures say little about new ones{_held_out(run)}"
        )
    return found


def _held_out(run: Run) -> str:
    """How to measure on what a run did not learn from, if that is still there."""
    rows = run.read_data()
    if not any(row.split != "train" and Path(row.path).is_file() for row in rows):
        return ""
    paths = (shlex.quote(str(path)) for path in (run.folder, run.data))
    return f".\n  Those that it was not trained on: cnncli evaluate {' '.join(paths)}"


def _print(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison], form: str) -> None:
    from cnncli.evaluation import formats

    if form == "json":
        console.write(formats.as_json(evaluations, comparisons))
    elif form == "csv":
        console.write(formats.as_csv(evaluations))
    elif console.stdout_is_terminal():
        from cnncli.evaluation.tables import comparison_tables, evaluation_tables

        screen = console.results()
        for found in evaluations:
            screen.print(evaluation_tables(found, screen.width))
        if comparisons:
            screen.print(comparison_tables(evaluations, comparisons, screen.width))
    else:
        console.write(formats.as_tabs(evaluations, comparisons))


def _write_files(
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    runs: Sequence[Run | None],
    report: Path | None,
    confusion: Path | None,
    maps: Mapping[str, MistakeMaps],
) -> None:
    """Writes the page and the matrix that were asked for."""
    if confusion is not None:
        from cnncli.evaluation import matrix

        matrix.write(evaluations[0], confusion)
        console.note(f"{confusion}: written")
    if report is not None:
        from cnncli import history
        from cnncli.evaluation import report as page

        made = f"cnncli {__version__}: cnncli {shlex.join(sys.argv[1:])}"
        histories = {
            found.model: history.read(run.history)
            for found, run in zip(evaluations, runs, strict=True)
            if run and run.history.exists()
        }
        page.write(report, evaluations, comparisons, histories, made=made, maps=maps)
        console.note(f"{report}: written")


def _mistake_maps(evaluations: Sequence[Evaluation], explainers: Sequence[Explainer]) -> dict[str, MistakeMaps]:
    """Heat maps of the mistakes that the report shows, by model."""
    from cnncli.evaluation.mistake_maps import mistake_maps

    def say(problem: str) -> None:
        console.note(printable(problem))

    maps = {}
    for found, explainer in zip(evaluations, explainers, strict=True):
        with console.progress("heat maps", unit="images") as progress:
            maps[found.model] = mistake_maps(found, explainer, notify=say, progress=progress)
    return maps


def _verdict(evaluations: Sequence[Evaluation], gates: Sequence[Gate]) -> ExitCode:
    """Says which gates are not met, and what the run ends with."""
    faults = [fault for found in evaluations for gate in gates if (fault := gate.fault(found))]
    for fault in faults:
        console.error(printable(fault))
    if faults:
        return ExitCode.GATE
    return ExitCode.PARTIAL if any(found.failures for found in evaluations) else ExitCode.DONE
