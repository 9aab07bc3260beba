"""`cnncli visualize dataset`: a contact sheet of a data set by class."""

from __future__ import annotations

from typing import Any

import click

from cnncli import console
from cnncli.commands.dataset import complete_data, opened, short_name
from cnncli.commands.visualize.picture import Pictures, picture_options
from cnncli.errors import ExitCode
from cnncli.text import printable


@click.command()
@click.argument("data", metavar="DATA", shell_complete=complete_data)
@click.option("--split", type=click.Choice(("train", "val", "test")), help="Which images.  [default: all]")
@click.option(
    "--class", "classes", multiple=True, metavar="LABEL", help="A class by label or id; repeatable.  [default: all]"
)
@click.option(
    "--count", type=click.IntRange(1, 1000), metavar="N", help="Images of a class.  [default: 10; 5 of many classes]"
)
@click.option(
    "--size", type=click.IntRange(8, 1024), metavar="PX",
    help="The longer side of an image.  [default: 96; 64 with many classes]",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Use what is on this machine; fetch nothing.")
@picture_options
def dataset(
    data: str,
    split: Any,
    classes: tuple[str, ...],
    count: int | None,
    size: int | None,
    offline: bool,
    pictures: Pictures,
) -> ExitCode:
    """Draw a contact sheet of a data set: a row of images for each class.

    DATA is what 'cnncli data show' takes, which draws such a sheet of everything. Images are spread over all that a
    class has, the same ones each time; small ones are enlarged pixel by pixel.

    \b
    Example:
      cnncli visualize dataset photos/
      cnncli visualize dataset cifar10 --split test --class cat --class dog --count 20 -o cats-and-dogs.png
    """
    from cnncli.datasets.contact import Style, check_place, chosen, data_sheet

    found = opened(data, offline=offline, to_train=False, wanted=split or "all")
    name = short_name(found)
    pictures.begin()
    path = pictures.plan(name, "sheet")
    if path is not None:
        check_place(path, found)
    unread = []

    def failed(example: Any, reason: str) -> None:
        unread.append(example)
        console.error(f"{printable(example.name)}: {reason}")

    examples = chosen(found, split, classes)
    with console.progress("contact sheet", unit="classes") as update:
        picture = data_sheet(found, examples, update, Style(count, size), failed)
    pictures.write(picture, name, path)
    return ExitCode.PARTIAL if unread else ExitCode.DONE
