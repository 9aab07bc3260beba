"""The command `cnncli`: subcommands loaded when they are used, and the one place where errors become messages."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from cnncli import __version__, console
from cnncli.commands.lazy import LazyGroup
from cnncli.commands.options import common_options
from cnncli.errors import CnncliError, ExitCode, TerminatedError

# name -> (module.attribute, one line for --help): the modules are imported only when their command runs
COMMANDS = {
    "predict": ("cnncli.commands.predict:predict", "Name what is in photos."),
    "train": ("cnncli.commands.train:train", "Train a classifier on a folder of photos."),
    "evaluate": ("cnncli.commands.evaluate:evaluate", "Measure how good models are on labelled images."),
    "shapes": ("cnncli.commands.shapes:shapes", "Work out what a layer or network does to sizes, and explain it."),
    "filter": ("cnncli.commands.filter:filter_", "Run convolution kernels over photos and matrices."),
    "visualize": ("cnncli.commands.visualize:visualize", "Draw what a network, a prediction or a data set looks like."),
    "data": ("cnncli.commands.data:data", "List, fetch, show, check and split data sets."),
    "models": ("cnncli.commands.models:models", "List, fetch, check, describe and export models."),
}


class _Commands(LazyGroup):
    def unknown(self, name: str) -> str:
        if not name.startswith("-") and Path(name).exists():
            return f"{name!r} is a file or folder, not a command. Did you mean 'cnncli predict {name}'?"
        return super().unknown(name)


@click.group(cls=_Commands, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="cnncli %(version)s")
@common_options
def cli() -> None:
    """Convolutional networks from the terminal.

    \b
    Example:
      cnncli predict photo.jpg
      cnncli COMMAND --help
    """


def main(args: Sequence[str] | None = None) -> int:
    """Runs `cnncli` with `args` (default: those of the process) and returns its exit code."""
    console.settings = console.Settings()
    try:
        returned = cli.main(args, prog_name="cnncli", standalone_mode=False, windows_expand_args=False)
        sys.stdout.flush()
        return int(returned or ExitCode.DONE)
    except SystemExit as stop:  # Click's own answer to a closed pipe
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except (KeyboardInterrupt, click.Abort):
        console.note("stopped")
        return ExitCode.INTERRUPTED
    except TerminatedError:
        console.note("stopped")
        return ExitCode.TERMINATED
    except click.exceptions.NoArgsIsHelpError as problem:
        console.note(problem.format_message())
        return problem.exit_code
    except click.ClickException as problem:
        return _report_usage(problem)
    except CnncliError as problem:
        console.error(str(problem))
        return problem.exit_code
    except MemoryError:
        console.error("not enough memory for this")
        return ExitCode.FAILED
    except OSError as problem:
        return _report_os_error(problem)
    except Exception as fault:
        console.report_bug(fault)
        return ExitCode.BUG


def _report_usage(problem: click.ClickException) -> int:
    context = getattr(problem, "ctx", None)
    if context is not None:
        console.note(context.get_usage())
        console.note(f"Try '{context.command_path} --help' for help.")
    console.error(problem.format_message().expandtabs(2))
    return problem.exit_code


def _report_os_error(problem: OSError) -> int:
    """A closed pipe is quiet; a full disk behind stdout and the like are said in one line."""
    if problem.errno == errno.EPIPE:
        return ExitCode.FAILED
    place = problem.filename if isinstance(problem.filename, str) else None
    if place is None and problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
        console.report_bug(problem)
        return ExitCode.BUG
    console.error(f"{place or 'standard output'}: {problem.strerror}")
    return ExitCode.FAILED


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise TerminatedError


def entry() -> NoReturn:
    """The console script: `main` with the streams and signals of a real process."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _terminate)
    with console.own_streams():
        code = main()
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            sys.stdout.flush()
    # Not by way of the interpreter's end, which would wait for threads that still fetch an address.
    os._exit(code)
