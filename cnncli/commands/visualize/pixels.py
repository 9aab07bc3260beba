"""`cnncli visualize pixels`: an image as the numbers that a computer sees."""

from __future__ import annotations

from typing import Any

import click

from cnncli import console
from cnncli.commands.options import Pair, complete_file
from cnncli.commands.visualize.picture import Pictures, one_image, picture_options
from cnncli.text import printable

_CHANNELS = ("red", "green", "blue", "gray")
_RANGES = ("0..255", "0..1", "-1..1")


@click.command()
@click.argument("image", metavar="IMAGE", shell_complete=complete_file)
@click.option("--at", type=Pair(",", least=0), metavar="X,Y", help="The left upper corner of a window; from 0,0.")
@click.option(
    "--size", type=Pair(), metavar="WxH",
    help="Of the window, or what the image is reduced to.  [default: 16x16; 28x28 for one channel; all for csv]",
)  # fmt: skip
@click.option("--channel", type=click.Choice(_CHANNELS), help="One channel only.  [default: all]")
@click.option(
    "--range", "range_name", type=click.Choice(_RANGES), default="0..255", show_default=True,
    help="How black to white is written.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(("picture", "csv")), default="picture", show_default=True,
    help="csv writes the numbers to standard output.",
)  # fmt: skip
@picture_options
def pixels(
    image: str,
    at: tuple[int, int] | None,
    size: tuple[int, int] | None,
    channel: Any,
    range_name: str,
    form: str,
    pictures: Pictures,
) -> None:
    """Show an image as the numbers that a computer sees.

    Red, green and blue are apart, each cell tinted by its value, beside the photo. Without --at the image is reduced
    until its numbers can be read, and each number is the mean of an area. One channel as CSV is a matrix as
    'cnncli filter --matrix' takes it; three are lines of x, y, red, green, blue.

    \b
    Example:
      cnncli visualize pixels photo.jpg
      cnncli visualize pixels photo.jpg --at 300,120 --size 12x12
      cnncli visualize pixels digit.png --range -1..1 -o digit-numbers.png
      cnncli visualize pixels photo.jpg --at 300,120 --size 9x9 --channel gray --format csv > part.csv
    """
    from cnncli import planes

    if form == "csv" and pictures.output is not None:
        raise click.UsageError("--format csv goes to standard output: without -o; > FILE keeps it")
    if form == "picture":
        pictures.begin([image])
    source, read = one_image(image)
    if form == "csv":
        found = planes.planes(read.image, channel=channel, at=at, size=size)
        for text in planes.as_csv(found, range_name):
            console.write(text)
        return
    legible = size or planes.legible_size(read.image, channel)
    found = planes.planes(read.image, channel=channel, at=at, size=legible)
    name = printable(source.name.rpartition("/")[2])
    pictures.save(planes.picture(found, read.image, name, range_name), source, "pixels")
