"""`cnncli visualize features`: what the layers of a network answer to a photo."""

from __future__ import annotations

from typing import Any, cast

import click

from cnncli import console
from cnncli.commands.options import complete_model, images_argument, request_options
from cnncli.commands.visualize.picture import Pictures, picture_options
from cnncli.errors import ExitCode, ImageError, outcome
from cnncli.inference.request import ModelRequest
from cnncli.text import printable


@click.command()
@click.argument("model", shell_complete=complete_model)
@images_argument
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="L",
    help="A layer's name, a convolution's number, or all; again for more.  [default: first, last, some between]",
)
@click.option("--count", type=click.IntRange(1), default=32, show_default=True, metavar="N", help="Maps of a layer.")
@click.option(
    "--sort",
    type=click.Choice(("index", "strength")),
    default="index",
    show_default=True,
    help="By number, or by the mean of absolute values, the strongest first.",
)
@request_options
@picture_options
def features(
    images: tuple[str, ...],
    layers: tuple[str, ...],
    count: int,
    sort: str,
    request: ModelRequest,
    pictures: Pictures,
) -> ExitCode:
    """Show the feature maps that a photo makes in the layers of a network.

    MODEL is a pretrained network, a .keras file or a run folder. The photo is shown first as the network sees it, then
    a sheet for each layer: a tile for each feature map, all on one scale. A convolution is shown before what follows
    it; name the layer after it (conv1_relu) to see what is left.

    \b
    Example:
      cnncli visualize features mobilenet photo.jpg
      cnncli visualize features mobilenet photo.jpg --layer conv1_relu --layer -1 --sort strength
      cnncli visualize features runs/digits digit.png --layer all --count 16 -o maps.png
    """
    from cnncli import sources
    from cnncli.feature_sheet import feature_sheet
    from cnncli.images import network_input, read
    from cnncli.inference.models import open_layers
    from cnncli.outputs import original_name

    pictures.begin(images, several=not sources.is_one(images))
    with console.progress("weights", unit="bytes") as downloaded:
        model = open_layers(request, notify=console.note, progress=downloaded)
    from cnncli.learning.features import FeatureReader

    reader = FeatureReader(model, layers)
    spec = model.card.input
    good = bad = 0
    for found in sources.find(images, recursive=False, offline=request.offline, notify=console.note):
        try:
            source = found.fetched()
            picture = read(source, shorter_side_px=max(spec.height, spec.width))
        except ImageError as problem:
            console.error(f"{printable(found.name)}: {problem}")
            bad += 1
            continue
        pixels = network_input(picture, spec)
        maps = reader.maps(pixels)
        sheet = feature_sheet(model.name, original_name(source).name, pixels, maps, count=count, sort=cast("Any", sort))
        pictures.save(sheet, source, "features")
        good += 1
    return outcome(good, bad)
