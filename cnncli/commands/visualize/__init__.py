"""`cnncli visualize`: pictures of images, networks, predictions and data sets."""

from __future__ import annotations

import click

from cnncli.commands.lazy import LazyGroup
from cnncli.commands.options import common_options

_HERE = "cnncli.commands.visualize"

WHATS: dict[str, tuple[str, str]] = {
    "kernels": (f"{_HERE}.kernels:kernels", "Draw the kernels that layers learned, before and after training."),
    "features": (f"{_HERE}.features:features", "Draw what the layers of a network answer to a photo."),
    "gradcam": (f"{_HERE}.gradcam:gradcam", "Draw which places of a photo speak for a class."),
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
