"""`cnncli visualize receptive-field`: what a cell of a layer sees of an image."""

from __future__ import annotations

from typing import Any

import click

from cnncli import console
from cnncli.backbones import RESIZES
from cnncli.commands.options import Pair, complete_file, complete_model
from cnncli.commands.visualize.picture import Pictures, one_image, picture_options
from cnncli.errors import CnncliError


@click.command("receptive-field")
@click.argument("net", metavar="MODEL|NET", shell_complete=complete_model)
@click.argument("image", metavar="IMAGE", shell_complete=complete_file)
@click.option(
    "--layer", metavar="L",
    help="Draw this layer only: a name, or a convolution's number.  [default: the last one with a window, and below]",
)  # fmt: skip
@click.option("--at", type=Pair(",", least=0), metavar="X,Y", help="A cell of the layer's map.  [default: the middle]")
@click.option("-i", "--input", "size", metavar="SIZES", help="What the network takes, instead of its own: 64, 96x128.")
@click.option("--resize", type=click.Choice(RESIZES), help="How a photo becomes that.  [default: the model's, or crop]")
@picture_options
def receptive_field(
    net: str,
    image: str,
    layer: str | None,
    at: tuple[int, int] | None,
    size: str | None,
    resize: Any,
    pictures: Pictures,
) -> None:
    """Draw what one cell of a layer's map sees of an image.

    Frames lie on the image as the network sees it, at the pixels that the windows of all layers below cover; where
    padding is among them they reach over the edge. Without --layer the fields of the layers below are nested in it.

    \b
    Example:
      cnncli visualize receptive-field lenet photo.jpg
      cnncli visualize receptive-field resnet50 photo.jpg --layer conv3_block4_out --at 10,14
      cnncli visualize receptive-field runs/photos photo.jpg
    """
    from cnncli import receptive
    from cnncli.commands.network import any_network
    from cnncli.tracing import joined, trace

    traced = trace(any_network((net,), size))
    shape = traced.network.input
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise CnncliError(f"{net}: its input is {joined(shape)}; expected an image of 1 or 3 channels")
    cell = None if at is None else (at[1], at[0])
    if layer is None:
        views = receptive.nested(traced, receptive.last_with_window(traced), cell)
    else:
        views = [receptive.view(traced, receptive.find_layer(traced, layer), cell)]
    if views[-1].gated:
        console.note("Frames leave gates out, which weigh whole maps: through them each cell sees the whole image")
    pictures.begin([image])
    from cnncli.backbones import InputSpec
    from cnncli.images import network_input
    from cnncli.inference.locate import resize_of
    from cnncli.receptive_picture import picture

    source, read = one_image(image)
    color: Any = "gray" if shape[-1] == 1 else "rgb"
    pixels = network_input(read, InputSpec(shape[0], shape[1], color, resize or resize_of(net)))
    pictures.save(picture(pixels, views), source, "receptive-field")
