"""What the commands of `visualize` share: where their pictures go, and the preview on the terminal."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cnncli import console
from cnncli.commands.options import common_options
from cnncli.text import printable

if TYPE_CHECKING:
    from PIL import Image

    from cnncli.outputs import Destination
    from cnncli.sources import Source


class Pictures:
    """Writes the pictures of one command and shows them."""

    def __init__(self, output: str | None, preview: bool | None) -> None:
        self._output = output
        self._preview = console.stdout_is_terminal() if preview is None else preview
        self._destination: Destination | None = None

    @property
    def output(self) -> str | None:
        """What `-o` was given, or None."""
        return self._output

    def begin(self, inputs: Sequence[str] = (), *, several: bool = False) -> None:
        """Finds out where pictures go, before anything slow begins; `inputs` are IMAGE arguments.

        Raises OutputError and UsageError where they cannot go there.
        """
        from cnncli import sources
        from cnncli.outputs import FORMATS, Destination

        self._destination = Destination(
            self._output,
            several=several,
            inputs_in=lambda folder: sources.names_in(folder, inputs, recursive=False),
        )
        if self._destination.suffix is not None and self._destination.suffix not in FORMATS:
            raise click.UsageError(f"-o {self._output}: expected a name that ends in {', '.join(FORMATS)}")
        if self._destination.is_stdout and console.stdout_is_terminal():
            raise click.UsageError("-o -: standard output is a terminal, which shows no pictures; redirect it")

    def save(self, picture: Image.Image, source: Source, what: str) -> None:
        """Writes a picture made from `source`, by default as `SOURCE-WHAT.png`, says where it is and shows it."""
        from cnncli import outputs

        assert self._destination is not None
        if self._destination.is_stdout:
            outputs.write(picture, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        path = self._destination.path_for(source, outputs.safe_name(what), ".png")
        outputs.save(picture, path)
        if self._preview:
            console.show_picture(picture)
        console.note(f"{printable(source.name)} -> {printable(str(path))}")


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-o`, `--preview` and the common options; the command receives the first two as one `pictures: Pictures`."""

    @functools.wraps(command)
    def with_pictures(*args: Any, output: str | None, preview: bool | None, **kwargs: Any) -> Any:
        return command(*args, pictures=Pictures(output, preview), **kwargs)

    options = (
        click.option(
            "--preview/--no-preview", default=None, help="Show the pictures in the terminal.  [default: if it is one]"
        ),
        click.option("-o", "--output", metavar="PATH", help="A picture, a folder, or - for standard output."),
    )
    for option in options:
        with_pictures = option(with_pictures)
    return common_options(with_pictures)
