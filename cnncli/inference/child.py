"""How this program starts a part of itself as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cnncli


def command(module: str, *args: str | Path) -> list[str]:
    """The command that runs `module`; with -P nothing is imported from the current folder, which may hold anything."""
    return [sys.executable, "-P", "-m", module, *map(str, args)]


def environment() -> dict[str, str]:
    """This process's environment, with this copy of the package; an empty entry would be the current folder."""
    package_folder = str(Path(cnncli.__file__).parent.parent)
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package_folder, *entries])}
