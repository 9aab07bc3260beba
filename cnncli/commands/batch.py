"""Doing the same for several names: one that fails is said, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from cnncli import console
from cnncli.errors import CnncliError, ExitCode, outcome

T = TypeVar("T")


def each(names: Iterable[str], find: Callable[[str], T], action: Callable[[T], Any]) -> ExitCode:
    """Does `action` with what `find` makes of each name; a failure is said and the rest go on."""
    good = bad = 0
    for name in names:
        try:
            action(find(name))
            good += 1
        except CnncliError as problem:
            console.error(str(problem))
            bad += 1
        except OSError as problem:
            console.error(f"{problem.filename or name}: {problem.strerror}")
            bad += 1
    return outcome(good, bad)
