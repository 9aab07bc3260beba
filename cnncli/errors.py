"""Errors that a user can cause, and the exit codes of the tool."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a run of `cnncli` ends with."""

    DONE = 0  # everything that was asked for was done
    FAILED = 1  # it could not be done: no input succeeded, a model was refused, ...
    USAGE = 2  # the command line is wrong
    PARTIAL = 3  # some inputs succeeded and some failed; each failure was named
    GATE = 4  # a gate that the user set was not met
    BUG = 70  # a fault of cnncli itself (EX_SOFTWARE in BSD's sysexits)
    INTERRUPTED = 130  # stopped by SIGINT (128 + 2)
    TERMINATED = 143  # stopped by SIGTERM (128 + 15)


def outcome(good: int, bad: int) -> ExitCode:
    """What a run over several inputs ends with."""
    return ExitCode.DONE if not bad else ExitCode.PARTIAL if good else ExitCode.FAILED


class CnncliError(Exception):
    """Something that the user can cause and mend: the message says what, where, and what to do."""

    exit_code = ExitCode.FAILED


class ImageError(CnncliError):
    """One image cannot be used. The message does not repeat the image's name."""


class ModelError(CnncliError):
    """A model or weights file is refused."""


class ParityError(CnncliError):
    """An exported model does not answer as the one that it was made from."""

    exit_code = ExitCode.GATE


class WeightsUnavailableError(CnncliError):
    """Published weights are not on this machine and cannot be fetched."""


class ShapeError(CnncliError):
    """A layer is impossible: no window fits, or a size, kernel or stride makes no sense."""


class GrammarError(CnncliError):
    """A size or a layer is written in a way that cannot be understood."""

    exit_code = ExitCode.USAGE


class KernelError(CnncliError):
    """A kernel or matrix cannot be understood, or does not fit what it is applied to."""


class OutputError(CnncliError):
    """Results cannot go where `--output` says: the command line is wrong."""

    exit_code = ExitCode.USAGE


class DataError(CnncliError):
    """A data set cannot be used as it is laid out, or one of its files."""


class TrainingError(CnncliError):
    """A training run cannot begin, go on or be resumed."""


class CacheError(CnncliError):
    """A cache folder cannot be used."""


class TerminatedError(BaseException):
    """SIGTERM or SIGHUP arrived. Like KeyboardInterrupt, no handler of ordinary errors may swallow it."""
