"""`cnncli predict`: names what is in photos."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli import console
from cnncli.commands.options import PROBABILITY, common_options, images_argument, model_options
from cnncli.errors import CnncliError, ExitCode, outcome
from cnncli.inference.request import ModelRequest
from cnncli.text import csv_lines, printable

if TYPE_CHECKING:
    from cnncli.inference.models import ReadyModel
    from cnncli.inference.pipeline import Result
    from cnncli.outputs import Names
    from cnncli.sources import Source

FORMATS = ("table", "json", "jsonl", "csv")
_MOST_EXPLAINED = 5  # classes of a photo: each takes work and a panel of its picture


@click.command()
@images_argument
@model_options
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Labels an image.")
@click.option(
    "--min-confidence", type=PROBABILITY, default=0.0, metavar="P", help="Leave out scores below P, from 0 to 1."
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Of the results."
)
@click.option(
    "--annotate", type=click.Path(path_type=Path), metavar="DIR", help="Write each photo with its labels to DIR."
)
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a picture of where the network looks in each photo, for its 5 best classes at most, to DIR "
    "(see 'cnncli visualize gradcam').",
)
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Read folders inside folders.")
@click.option("--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse larger images.  [default: 178956970]")
@common_options
def predict(
    images: tuple[str, ...],
    request: ModelRequest,
    top: int,
    min_confidence: float,
    form: str,
    annotate: Path | None,
    explain: Path | None,
    recursive: bool,
    max_pixels: int | None,
) -> ExitCode:
    """Name what is in photos, best guess first.

    IMAGE is a file, a folder, a pattern ('*.jpg'), an http(s) address, '-' for an image on standard input, or
    @list.txt with one of these a line. Each image is scaled, aspect kept, until it covers the network's input; its
    centre is what the network sees. Transparent parts are laid on white.

    \b
    Example:
      cnncli predict photo.jpg
      cnncli predict holiday/ --model mobilenet --format csv > labels.csv
      cnncli predict *.jpg --top 1 --annotate labelled/
      cnncli predict cat.jpg --model mobilenet --explain why/
      curl -s https://example.org/cat.jpg | cnncli predict -
    """
    from cnncli import sources
    from cnncli.images import MAX_PIXELS
    from cnncli.inference import pipeline
    from cnncli.inference.request import usable_cores

    outputs = _outputs(annotate, explain, images, recursive)
    limit = max_pixels or MAX_PIXELS
    written = annotate or explain
    found = sources.find(images, recursive=recursive, offline=request.offline, notify=console.note, results=written)
    begin = sources.up_to_one_there(found)
    if all(source.fault is not None for source in begin):  # no network need be fetched to say so
        results = _faults(begin, request)
    else:
        model = _opened(request)
        if model.fallback_from is not None:
            request = replace(request, model=model.name)  # heat maps are of the network that answers
        results = pipeline.predict(
            model,
            itertools.chain(begin, found),
            top=top,
            min_confidence=min_confidence,
            max_pixels=limit,
            workers=request.workers or usable_cores(),
            single=sources.is_one(images),
        )
    after = _afterwards(outputs, request, limit)
    count = functools.partial(sources.count, images, recursive=recursive, results=written)
    with console.progress("images", unit="images", count=count) as seen, _writer(form) as write:
        good, bad = _shown(results, write, after, seen)
    if good and bad:
        console.note(f"{bad} of {good + bad} images failed")
    return outcome(good, bad)


def _opened(request: ModelRequest) -> ReadyModel:
    """The model that answers; where it is not the one that was asked for, that is said whatever else is not."""
    from cnncli.inference import models

    with console.progress("weights", unit="bytes") as downloaded:
        model = models.open_model(request, notify=console.note, progress=downloaded)
    if model.fallback_from is not None and console.settings.quiet:  # what was said of it was a note
        console.warning(f"{model.fallback_from} is not here; {model.name} answers instead")
    return model


def _faults(found: Iterable[Source], request: ModelRequest) -> Iterator[Result]:
    """A result for each source, none of which is there."""
    from cnncli.backbones import DEFAULT
    from cnncli.inference.pipeline import Result

    for source in found:
        yield Result(source, request.model or DEFAULT, error=source.fault)


def _shown(
    results: Iterable[Result],
    write: Callable[[Result], None],
    after: Sequence[Callable[[Result], bool]],
    seen: console.Update,
) -> tuple[int, int]:
    """Writes results as they come, and does what is to be done after each; how many went well, and how many not."""
    good = bad = 0
    for result in results:
        write(result)
        failed = not _report(result) or bool([step for step in after if not step(result)])
        good, bad = good + (not failed), bad + failed
        seen(good + bad)
    return good, bad


def _report(result: Result) -> bool:
    """What goes to stderr for one image; returns whether it could be read."""
    name = printable(result.source.name)
    if result.error is not None:
        console.error(f"{name}: {result.error}")
    for message in result.notes:
        console.note(f"{name}: {message}")
    return result.error is None


def _annotate(result: Result, names: Names, max_pixels: int) -> bool:
    """Writes the labelled copy of one image, which is read once more, whole; returns whether that could be done."""
    from cnncli import annotate
    from cnncli.images import read

    lines = [(answer.image_class.words, answer.score) for answer in result.predictions]
    try:
        picture = read(result.source, max_pixels=max_pixels)
        path = annotate.path_for(names, result.source)
        annotate.save(annotate.annotated(picture.image, lines), picture, path)
    except CnncliError as problem:
        console.error(f"{printable(result.source.name)}: no labelled copy: {problem}")
        return False
    console.note(f"{printable(result.source.name)} -> {printable(str(path))}")
    return True


def _outputs(annotate: Path | None, explain: Path | None, images: tuple[str, ...], recursive: bool) -> dict[str, Names]:
    """Names for the pictures of each option; makes their folder now, so that a bad one stops the run at once."""
    given = {"--annotate": annotate, "--explain": explain}
    found = {option: _names(option, folder, images, recursive) for option, folder in given.items() if folder}
    if annotate and explain:
        if not annotate.samefile(explain):
            raise click.UsageError("--annotate and --explain: give both the same folder")
        found["--explain"] = found["--annotate"]  # one folder, so that no name is given twice
    return found


def _names(option: str, folder: Path, images: tuple[str, ...], recursive: bool) -> Names:
    from cnncli import sources
    from cnncli.outputs import Names, check_apart

    check_apart(option, folder, images)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise click.UsageError(f"{option} {folder}: cannot be used as a folder ({problem.strerror})") from None
    return Names(folder, sources.names_in(folder, images, recursive=recursive))


def _afterwards(outputs: dict[str, Names], request: ModelRequest, max_pixels: int) -> list[Callable[[Result], bool]]:
    """What is done with each image that could be read, beyond naming it; each says whether it could be done."""
    steps: list[Callable[[Result], bool]] = []
    if "--annotate" in outputs:
        steps.append(functools.partial(_annotate, names=outputs["--annotate"], max_pixels=max_pixels))
    if "--explain" in outputs:
        steps.append(_explaining(outputs["--explain"], request, max_pixels))
    return steps


def _explaining(names: Names, request: ModelRequest, max_pixels: int) -> Callable[[Result], bool]:
    """Opens the network a second time, to look into it, and gives what draws a result's best classes over its photo."""
    from cnncli.explained import explained
    from cnncli.inference import saliency
    from cnncli.outputs import save

    explainer = saliency.open_explainer(request, None, None, notify=console.note, progress=lambda done, total: None)

    def draw(result: Result) -> bool:
        indices = tuple(answer.index for answer in result.predictions[:_MOST_EXPLAINED])
        if not indices:  # nothing reaches --min-confidence
            return True
        question = saliency.Question(indices, check=False, max_pixels=max_pixels)
        try:
            found = saliency.explain(explainer, result.source, question, lambda done, total: None)
            path = names.path_for(result.source, explainer.method, ".png")
            save(explained(found), path)
        except CnncliError as problem:
            console.error(f"{printable(result.source.name)}: no explanation: {problem}")
            return False
        console.note(f"{printable(result.source.name)} -> {printable(str(path))}")
        return True

    return draw


@contextlib.contextmanager
def _writer(form: str) -> Iterator[Callable[[Result], None]]:
    """Yields what writes one result to stdout at once."""
    from cnncli import formats

    if form == "json":
        with console.json_array() as write:
            yield lambda result: write(formats.as_json(result))
    elif form == "jsonl":
        yield lambda result: console.write(formats.as_json(result) + "\n")
    elif form == "csv":
        console.write(csv_lines([formats.CSV_HEADER]))
        yield lambda result: console.write(formats.as_csv(result))
    elif console.stdout_is_terminal():
        yield _print_block
    else:
        yield lambda result: console.write(formats.as_tabs(result))


def _print_block(result: Result) -> None:
    from cnncli.tables import prediction_block

    if result.error is None:  # a failure is said on stderr, which is the same screen
        screen = console.results()
        screen.print(prediction_block(result, screen.width))
