"""Runs a LiteRT model that nobody vouches for once, where a crash does no harm: a process of its own.

`python -m cnncli.inference.trial FILE IMAGES` is that process.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from cnncli.errors import ModelError
from cnncli.inference import child
from cnncli.inference.engine import allocate, open_interpreter

TRIAL_S = 60  # the largest of the pretrained networks needs two


def try_out(path: Path, *, at_once: int = 1) -> None:
    """Runs a LiteRT model that nobody vouches for once, `at_once` images, in a process of its own.

    LiteRT checks the structure of a file, but some damaged ones crash it or keep it busy for ever all the same.
    Raises ModelError.
    """
    try:
        trial = subprocess.run(
            child.command("cnncli.inference.trial", path, str(at_once)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_S,
            env=child.environment(),
        )
    except subprocess.TimeoutExpired as problem:
        raise ModelError(f"{path}: LiteRT ran this model for {TRIAL_S} s without an answer; refused") from problem
    if trial.returncode < 0:
        raise ModelError(f"{path}: this model crashes LiteRT (signal {-trial.returncode}): it is damaged; refused")
    if trial.returncode > 0:
        raise ModelError(trial.stdout.decode(errors="replace").strip() or f"{path}: LiteRT cannot run this model")


def main() -> int:
    """The process of `try_out`: runs the model that the command line names on an input of zeros."""
    try:
        path, at_once = Path(sys.argv[1]), int(sys.argv[2])
        interpreter = open_interpreter(path, num_threads=1)
        allocate(interpreter, path, at_once)
        for tensor in interpreter.get_input_details():
            interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
        interpreter.invoke()
    except (ModelError, ValueError, RuntimeError) as problem:
        sys.stdout.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
