"""What the commands of `visualize` share: where their pictures go, and the preview on the terminal."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cnncli import console
from cnncli.commands.options import common_options
from cnncli.text import printable

if TYPE_CHECKING:
    from PIL import Image

    from cnncli.images import Picture
    from cnncli.outputs import Destination
    from cnncli.sources import Source

T = TypeVar("T")


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

    @property
    def suffix(self) -> str | None:
        """That of the file that `-o` names, in small letters; None if it names none."""
        assert self._destination is not None
        return self._destination.suffix

    def begin(self, inputs: Sequence[str] = (), *, several: bool = False, animated: bool = False) -> None:
        """Finds out where pictures go, before anything slow begins; `inputs` are IMAGE arguments.

        `animated` says that a .gif may be asked for. Raises OutputError and UsageError where they cannot go there.
        """
        from cnncli import sources
        from cnncli.outputs import FORMATS, Destination, check_apart

        self._destination = Destination(
            self._output,
            several=several,
            inputs_in=lambda folder: sources.names_in(folder, inputs, recursive=False),
        )
        expected = (*FORMATS, ".gif") if animated else tuple(FORMATS)
        if self._destination.suffix is not None and self._destination.suffix not in expected:
            raise click.UsageError(f"-o {self._output}: expected a name that ends in {', '.join(expected)}")
        if self._destination.is_stdout and console.stdout_is_terminal():
            raise click.UsageError("-o -: standard output is a terminal, which shows no pictures; redirect it")
        if self._destination.folder is not None:
            check_apart("-o", self._destination.folder, inputs)

    def save(self, picture: Image.Image, source: Source | str, what: str) -> None:
        """Writes a picture made from `source`, by default as `SOURCE-WHAT.png`, says where it is and shows it.

        A source that is no image is given by its name.
        """
        self.write(picture, source, self.plan(source, what))

    def plan(self, source: Source | str, what: str, suffix: str = ".png") -> Path | None:
        """Where the picture goes that `save` would write, which then belongs to it; None: standard output."""
        from cnncli.outputs import safe_name

        assert self._destination is not None
        if self._destination.is_stdout:
            return None
        return self._destination.path_for(source, safe_name(what), suffix)

    def write(self, picture: Image.Image, source: Source | str, path: Path | None) -> None:
        """`save` to a path that `plan` gave."""
        from cnncli import outputs

        if path is None:
            outputs.write(picture, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        outputs.save(picture, path)
        if self._preview:
            console.show_picture(picture)
        self._say(source, path)

    def save_animation(self, frames: Sequence[Image.Image], source: Source | str, what: str) -> None:
        """Writes pictures of one size as an animated `SOURCE-WHAT.gif`, unless results go to standard output."""
        from cnncli import animation

        path = self.plan(source, what, ".gif")
        if path is not None:
            animation.save(frames, path)
            self._say(source, path)

    def _say(self, source: Source | str, path: Path) -> None:
        name = source if isinstance(source, str) else source.name
        console.note(f"{printable(name)} -> {printable(str(path))}")


def one_image(argument: str) -> tuple[Source, Picture]:
    """The one picture that IMAGE stands for, upright. Raises UsageError for several, CnncliError naming it."""
    import itertools

    from cnncli import sources
    from cnncli.errors import CnncliError, ImageError

    found = sources.find([argument], recursive=False, offline=False, notify=console.note)
    source, *more = itertools.islice(found, 2)
    if more:
        raise click.UsageError(f"IMAGE {printable(argument)}: there are several; give one")
    try:
        return source, read(source)
    except ImageError as problem:
        raise CnncliError(f"{printable(source.name)}: {problem}") from problem


def readable(sources: Iterable[Source], action: Callable[[Source], T]) -> Iterator[tuple[Source, T]]:
    """Each image with what `action` makes of it; one that cannot be read is said and left out."""
    from cnncli.errors import ImageError

    for source in sources:
        try:
            result = action(source)
        except ImageError as problem:
            console.error(f"{printable(source.name)}: {problem}")
        else:
            yield source, result


def read(source: Source, shorter_side_px: int | None = None) -> Picture:
    """`images.read`, which says what the user should know about how it was read. Raises ImageError."""
    from cnncli import images

    picture = images.read(source, shorter_side_px=shorter_side_px)
    for text in picture.notes:
        console.note(f"{printable(source.name)}: {text}")
    return picture


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
