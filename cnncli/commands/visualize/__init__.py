"""`cnncli visualize`: pictures of images, networks, predictions and data sets."""

from __future__ import annotations

import click

from cnncli.commands.lazy import LazyGroup
from cnncli.commands.options import common_options

_HERE = "cnncli.commands.visualize"

# name -> (module:attribute, one line for --help)
WHATS: dict[str, tuple[str, str]] = {
    "pixels": (f"{_HERE}.pixels:pixels", "Show an image as the numbers that a computer sees."),
    "kernels": (f"{_HERE}.kernels:kernels", "Draw the kernels that layers learned, before and after training."),
    "features": (f"{_HERE}.features:features", "Draw what the layers of a network answer to a photo."),
    "gradcam": (f"{_HERE}.gradcam:gradcam", "Draw which places of a photo speak for a class."),
    "augment": (f"{_HERE}.augment:augment", "Draw what training sees of an image under augmentation."),
    "dataset": (f"{_HERE}.dataset:dataset", "Draw a contact sheet of a data set by class."),
    "curves": (f"{_HERE}.curves:curves", "Draw loss and accuracy of training runs over their epochs."),
    "receptive-field": (f"{_HERE}.receptive_field:receptive_field", "Draw what a cell of a layer sees of an image."),
    "architecture": (f"{_HERE}.architecture:architecture", "Draw the layers of a network with their sizes."),
    "steps": (f"{_HERE}.steps:steps", "Draw the convolution of a small matrix step by step."),
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
