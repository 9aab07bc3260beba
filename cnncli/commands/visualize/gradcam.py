"""`cnncli visualize gradcam`: which places of a photo speak for a class."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import click

from cnncli import console
from cnncli.commands.options import complete_model, images_argument, request_options
from cnncli.commands.visualize.picture import Pictures, picture_options
from cnncli.errors import ExitCode, ImageError, ModelError, outcome
from cnncli.inference.request import ModelRequest
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.inference.saliency import Explainer, Explanation

METHODS = ("gradcam", "occlusion")
FORMATS = ("table", "json")


@click.command()
@click.argument("model", shell_complete=complete_model)
@images_argument
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="LABEL",
    help="A class, by id or label; again for more.  [default: top]",
)
@click.option(
    "--top", type=click.IntRange(1, 20), default=3, show_default=True, metavar="N", help="The N best classes."
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Gradients of the network, or covering one place after another.  [default: gradcam, for .tflite occlusion]",
)
@click.option(
    "--layer",
    metavar="L",
    help="Whose feature maps Grad-CAM weighs: a name, or a convolution by number.  [default: the last]",
)
@click.option(
    "--check/--no-check", default=True, show_default=True, help="Measure how faithful each map is, against chance."
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Of the figures."
)
@request_options
@picture_options
def gradcam(
    images: tuple[str, ...],
    classes: tuple[str, ...],
    top: int,
    method: str | None,
    layer: str | None,
    check: bool,
    form: str,
    request: ModelRequest,
    pictures: Pictures,
) -> ExitCode:
    """Show which places of a photo speak for a class, as a heat map over the photo.

    MODEL is a pretrained network, a .keras or .tflite file, or a run folder. The map lies on the whole photo; what the
    network does not see of it is hatched. Grad-CAM weighs the last feature maps by the gradient of the class's logit,
    the score before the softmax. Occlusion covers places with a grey patch and watches the score fall: slower, and
    it needs nothing of the network but its answers.

    The check hides the hottest places first (deletion: the score should fall early) and shows them first (insertion:
    it should rise early). Each figure is the mean score meanwhile, 0 to 1, beside that of maps made by chance.

    \b
    Example:
      cnncli visualize gradcam mobilenet photo.jpg
      cnncli visualize gradcam mobilenet photo.jpg --class tabby --class espresso
      cnncli visualize gradcam runs/photos photo.jpg --top 1 --format json
      cnncli visualize gradcam model.tflite photo.jpg --method occlusion -o where.png
    """
    from cnncli import explained_text, sources
    from cnncli.classnames import class_index
    from cnncli.explained import explained
    from cnncli.inference import saliency

    if form == "json" and pictures.output == "-":
        raise click.UsageError("-o - writes the picture to standard output, where --format json writes the figures")
    pictures.begin(images, several=not sources.is_one(images))
    explainer = _opened(request, method, layer)
    chosen = tuple(class_index(explainer.model.card.classes, name) for name in classes)
    question = saliency.Question(tuple(dict.fromkeys(chosen)), top, check)
    good = bad = 0
    with console.json_array() if form == "json" else contextlib.nullcontext() as write:
        for source in sources.find(images, recursive=False, offline=request.offline, notify=console.note):
            try:
                with console.progress(printable(source.name), unit="answers") as progress:
                    explanation = saliency.explain(explainer, source, question, progress)
                pictures.save(explained(explanation), explanation.source, explanation.method)
            except (ImageError, ModelError) as problem:
                console.error(f"{printable(source.name)}: {problem}")
                if write is not None:
                    write(explained_text.failure_json(source.name, explainer, str(problem)))
                bad += 1
                continue
            good += 1
            if write is not None:
                write(explained_text.as_json(explanation))
            elif pictures.output != "-":
                _print(explanation)
    return outcome(good, bad)


def _opened(request: ModelRequest, method: str | None, layer: str | None) -> Explainer:
    from cnncli.inference.saliency import open_explainer

    with console.progress("weights", unit="bytes") as downloaded:
        return open_explainer(request, cast("Any", method), layer, notify=console.note, progress=downloaded)


def _print(explanation: Explanation) -> None:
    from cnncli import explained_text

    for note in explanation.picture.notes:
        console.note(f"{printable(explanation.source.name)}: {note}")
    if console.stdout_is_terminal():
        console.write("\n".join(explained_text.lines(explanation)) + "\n")
    else:
        console.write(explained_text.as_tabs(explanation))
