"""`cnncli visualize kernels`: what the convolutions of a network have learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli import console
from cnncli.commands.options import complete_model, request_options
from cnncli.commands.visualize.picture import Pictures, picture_options
from cnncli.errors import CnncliError, ExitCode
from cnncli.inference.request import ModelRequest
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.learning.kernels import LayerKernels


@click.command()
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="L",
    help="A layer's name, a convolution's number, or all; again for more.  [default: first, last, one between]",
)
@click.option("--before/--no-before", default=True, show_default=True, help="Of a run: before training, too.")
@request_options
@picture_options
def kernels(layers: tuple[str, ...], before: bool, request: ModelRequest, pictures: Pictures) -> ExitCode:
    """Show the kernels that the convolutions of a network have learned.

    MODEL is a pretrained network, a .keras file or a run folder. All kernels of a layer are on one scale with zero in
    the middle; those with three inputs are in colour, of others each plane is a tile. Of a run that began with random
    weights these are shown beside them: the run's seed draws them again.

    \b
    Example:
      cnncli visualize kernels mobilenet
      cnncli visualize kernels runs/digits --layer all
      cnncli visualize kernels model.keras --layer conv2d -o kernels.png
    """
    from cnncli.inference.models import open_layers
    from cnncli.kernel_sheet import kernel_sheet

    pictures.begin()
    with console.progress("weights", unit="bytes") as downloaded:
        model = open_layers(request, notify=console.note, progress=downloaded)
    from cnncli.learning import kernels as learned

    after = learned.kernels(model, layers)
    old = _before(model.path, [layer.name for layer in after]) if before else ()
    pictures.save(
        kernel_sheet(model.name, after, old), Path(model.name).name if model.row is None else model.name, "kernels"
    )
    return ExitCode.DONE


def _before(model: Path, names: list[str]) -> tuple[LayerKernels, ...]:
    """The kernels that the run began with; none, and a word about it, where they are not to be had."""
    from cnncli.learning.kernels import kernels_before
    from cnncli.runs import Run

    run = Run(model.parent)
    if model.name != run.model.name or not run.record.exists():
        return ()
    try:
        found = kernels_before(run, names)
    except CnncliError as problem:
        console.note(f"{printable(str(problem))}: only the kernels after training are shown")
        return ()
    console.note("The kernels before training are drawn again from the run's seed")
    return found
