"""`cnncli visualize`: pictures of images, networks, predictions and data sets."""

from __future__ import annotations

import click

from cnncli.commands.lazy import LazyGroup
from cnncli.commands.options import common_options

_HERE = "cnncli.commands.visualize"

WHATS: dict[str, tuple[str, str]] = {
    "kernels": (f"{_HERE}.kernels:kernels", "The learned kernels of a layer, before and after training."),
    "features": (f"{_HERE}.features:features", "What the layers of a network answer to a photo."),
    "gradcam": (f"{_HERE}.gradcam:gradcam", "Which places of a photo speak for a class, as a heat map."),
}


@click.group(cls=LazyGroup, table=WHATS)
@common_options
def visualize() -> None:
    """Draw what a network, a prediction or a data set looks like.

    Each command writes PNG files and, on a terminal, shows a preview of them.

    \b
    Example:
      cnncli visualize pixels photo.jpg
      cnncli visualize gradcam mobilenet photo.jpg
      cnncli visualize COMMAND --help
    """
