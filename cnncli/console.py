"""Where text meets the terminal: results on stdout, everything else on stderr, user text printed literally."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from cnncli.text import escaped, printable

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console, RenderableType
    from rich.text import Text

_PREVIEW_SHARE = 2 / 3  # of the screen's height that a picture may take: the command that made it stays in sight
_LITERAL = "cnncli.literal"  # name of the encoding error handler below


@dataclass
class Settings:
    """The options that every command takes."""

    quiet: bool = False
    verbose: bool = False
    traceback: bool = False


settings = Settings()


def _encode_literally(error: UnicodeError) -> tuple[str | bytes, int]:
    """Writes undecodable bytes of file names back as they were, and escapes what the encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    pieces = (bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else escaped(c).encode() for c in text)
    return b"".join(pieces), error.end


def write(text: str) -> None:
    """Writes a result to stdout, as it is, and flushes it."""
    if _live is not None and _live.file is sys.stdout:  # above the bar, on the screen that both share
        _live.print(text, end="", soft_wrap=True)
        return
    sys.stdout.write(text)
    sys.stdout.flush()


@contextlib.contextmanager
def json_array() -> Iterator[Callable[[str], None]]:
    """Yields what writes an element of a JSON array to stdout at once; it is closed even when the run is stopped."""
    separators = itertools.chain(["[\n"], itertools.repeat(",\n"))
    try:
        yield lambda element: write(next(separators) + element)
    finally:
        write("\n]\n" if next(separators) == ",\n" else "[]\n")


def note(message: str) -> None:
    """Tells the user something on stderr, unless `--quiet`."""
    if not settings.quiet:
        _write_line(message)


def warning(message: str) -> None:
    """Tells the user on stderr what the results must not be read without, always."""
    _write_line(f"warning: {message}")


def error(message: str) -> None:
    """Reports a failure on stderr, always."""
    _write_line(f"error: {message}")


def report_bug(fault: BaseException) -> None:
    """One line for a fault of our own, or the traceback where `--traceback` asks for it."""
    if settings.traceback:
        traceback.print_exception(fault)
        return
    what = f"{type(fault).__name__}: {fault}".splitlines()[0]
    error(f"this is a fault in cnncli: {what}. Run the command again with --traceback and report what it prints")


def _write_line(message: str) -> None:
    text = "\n".join(map(printable, message.split("\n")))
    with contextlib.suppress(OSError, ValueError):  # a closed stderr is no reason to fail
        if _live is not None:
            _live.print(text, soft_wrap=True)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def stdout_is_terminal() -> bool:
    """Whether results go to a person's screen rather than to a pipe or a file."""
    return sys.stdout.isatty()


def results() -> Console:
    """The Rich console of stdout. Text is never read as markup."""
    return _console(sys.stdout)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    colours: Any = None if os.environ.get("NO_COLOR") else "auto"  # with NO_COLOR alone Rich still writes bold
    return _live or Console(file=stream, markup=False, highlight=False, emoji=False, color_system=colours)


def show_picture(image: Image.Image) -> None:
    """Shows a picture on stdout in half blocks, two pixels a character, as far as the terminal has room.

    Nothing is shown where there are no colours (a pipe, NO_COLOR, a dumb terminal) or no half block in the encoding:
    without them there is nothing to see.
    """
    from cnncli.preview import HALF_BLOCK, half_blocks

    screen = results()
    if screen.color_system is None or not _can_write(HALF_BLOCK, screen.encoding):
        return
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    for row in half_blocks(image, screen.width, max(1, round(_PREVIEW_SHARE * screen.height))).tolist():
        line = Text()
        for upper, lower in row:
            line.append(HALF_BLOCK, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        screen.print(line, no_wrap=True)


def _can_write(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


_live: Console | None = None  # the console that a progress bar is on: what is printed meanwhile goes above the bar

Update = Callable[..., None]


@contextlib.contextmanager
def progress(description: str, *, unit: str, count: Callable[[], int | None] | None = None) -> Iterator[Update]:
    """Yields `update(completed, total=None)` and shows a progress bar for work that takes more than a moment.

    `unit` is `"bytes"` (shown in MB) or a plural noun. `count` finds the total and runs beside the work. Nothing is
    shown, and Rich is not imported, unless stderr is a terminal.
    """
    bar = _Bar(description, unit, count)
    try:
        yield bar.update
    finally:
        bar.stop()


@contextlib.contextmanager
def foot(draw: Callable[[int], RenderableType]) -> Iterator[Callable[[Text], None] | None]:
    """Keeps what `draw(width)` makes at the foot of the screen, four times a second; all else is printed above it.

    Yields what prints a text above it, or None where stderr is no terminal or the user wants quiet: then there is no
    foot, and Rich is not imported.
    """
    if settings.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.live import Live

    global _live
    screen = _live = _shared_screen()
    live = Live(
        console=screen,
        get_renderable=lambda: draw(screen.width),
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )

    def print_above(text: Text) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone; the work goes on
            screen.print(text, soft_wrap=True)

    live.start()
    try:
        yield print_above
    finally:
        with contextlib.suppress(OSError, ValueError):
            live.stop()
        _live = None


def _shared_screen() -> Console:
    """The console of what is drawn while results may be written: one screen has one console."""
    return _console(sys.stdout if sys.stdout.isatty() else sys.stderr)


class _Bar:
    DELAY_S = 0.5  # quicker work needs no bar

    def __init__(self, description: str, unit: str, count: Callable[[], int | None] | None) -> None:
        self._description, self._unit, self._count = description, unit, count
        self._wanted = not settings.quiet and sys.stderr.isatty() and _live is None  # there is room for one
        self._begin = time.monotonic()
        self._total: int | None = None
        self._progress: Any = None

    def update(self, completed: int, total: int | None = None) -> None:
        if not self._wanted or time.monotonic() - self._begin < self.DELAY_S:
            return
        if self._progress is None:
            self._start()
        self._progress.update(self._task, completed=completed, total=total or self._total)

    def _start(self) -> None:
        from rich import progress as rich

        global _live
        _live = _shared_screen()
        amount = rich.DownloadColumn() if self._unit == "bytes" else rich.MofNCompleteColumn()
        columns = (rich.TextColumn(self._description, markup=False), rich.BarColumn(), amount, _rate_column(self._unit))
        left = rich.TimeRemainingColumn(compact=True, elapsed_when_finished=True)
        self._progress = rich.Progress(*columns, left, console=_live, transient=True, redirect_stdout=False)
        self._task = self._progress.add_task(self._description, total=None)
        self._progress.start()
        if self._count is not None:
            threading.Thread(target=self._find_total, daemon=True).start()

    def _find_total(self) -> None:
        assert self._count is not None
        self._total = self._count()

    def stop(self) -> None:
        global _live
        if self._progress is not None:
            self._progress.stop()
            _live = None


def _rate_column(unit: str) -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed or 0.0
            return Text(f"{speed / 1e6:.1f} MB/s" if unit == "bytes" else f"{speed:.1f} {unit}/s")

    return Rate()


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """Prepares stdin, stdout and stderr of a real process.

    Closed ones become the null device, and undecodable file names can be written in any encoding. Python's stderr
    gets a file descriptor of its own, so that what native libraries (TensorFlow, LiteRT, libtiff) write to
    descriptor 2 stays off the screen; see `show_native_output`.
    """
    _open_closed_descriptors()
    codecs.register_error(_LITERAL, _encode_literally)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that a caller put in place
            stream.reconfigure(errors=_LITERAL)  # type: ignore[union-attr]
    global _screen
    stderr, _screen = sys.stderr, os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    sys.stderr = open(_screen, "w", encoding=stderr.encoding, errors=_LITERAL, buffering=1, closefd=False)  # noqa: SIM115
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        show_native_output()
        sys.stderr = stderr
        os.close(_screen)
        _screen = None


_screen: int | None = None  # a duplicate of the descriptor 2 that the process was started with


def show_native_output() -> None:
    """Lets what native libraries write to descriptor 2 through to the screen from now on (`-v`)."""
    if _screen is not None:
        os.dup2(_screen, 2)


def _open_closed_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - lives as long as the process
