"""`cnncli visualize architecture`: a network's layers as a picture."""

from __future__ import annotations

import click

from cnncli.commands.options import complete_model
from cnncli.commands.visualize.picture import Pictures, picture_options


@click.command()
@click.argument("layers", metavar="NET|FILE|LAYER...", nargs=-1, required=True, shell_complete=complete_model)
@click.option("-i", "--input", "size", metavar="SIZES", help="Sizes, then channels, as for 'cnncli shapes'.")
@picture_options
def architecture(layers: tuple[str, ...], size: str | None, pictures: Pictures) -> None:
    """Draw the layers of a network with their sizes, from left to right.

    Each block is as high as its map (as its square root) and as thick as its channels (as their logarithm). Layers
    that only touch values, like relu, stand below the block that they follow; branches that meet again are one block
    with a line around it. Networks of many layers are drawn by stages. LAYER... is the grammar of 'cnncli shapes'.

    \b
    Example:
      cnncli visualize architecture lenet
      cnncli visualize architecture resnet50 -o resnet50.png
      cnncli visualize architecture runs/photos/model.keras
      cnncli visualize architecture --input 32x32x3 conv:16:3:relu pool:2 res:32:s2 gap dense:10
    """
    from cnncli.commands.network import any_network
    from cnncli.tracing import trace

    network = any_network(layers, size)
    traced = trace(network)
    pictures.begin()
    from cnncli.architecture_picture import picture

    pictures.save(picture(traced), network.name.removesuffix(".keras"), "architecture")
