"""Times whole processes in pairs, so that a ratio holds although the machine's speed drifts."""

from __future__ import annotations

import itertools
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One run of a command: seconds on the clock, processor seconds, peak memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> Measured:
    """Runs a command with its output thrown away; raises with what it said on stderr if it fails."""
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=_as_installed() | (environment or {}),
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        if code := os.waitstatus_to_exitcode(status):
            said.seek(0)
            raise SystemExit(f"exit code {code}: {' '.join(map(str, command))}\n{said.read().decode(errors='replace')}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss is in bytes there, in kilobytes here
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def epoch_seconds(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> list[float]:
    """Runs a command that writes a line `1/10 ...` on stderr after each epoch; how long each took by this clock.

    The first epoch has all in it that comes before. Raises if the command fails.
    """
    times, lines = [time.perf_counter()], []
    with subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=_as_installed() | (environment or {}),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if re.match(r"\s*\d+/\d+\b", line):
                times.append(time.perf_counter())
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(map(str, command))}\n{''.join(lines)}")
    return [end - begin for begin, end in itertools.pairwise(times)]


def _as_installed() -> dict[str, str]:
    """This environment, but with compiled modules kept, as an installed package has them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def make_weights(network: str, path: Path) -> Path:
    """Random weights in the official layout, made by another process: a large parent would count as our memory."""
    code = "import sys; from pathlib import Path; from official_weights import official_weights as make; "
    code += "make(sys.argv[1], Path(sys.argv[2]))"
    run([sys.executable, "-c", code, network, path], {"PYTHONPATH": str(Path(__file__).parents[1])})
    return path


def compare(
    title: str,
    ours: Sequence[str | Path],
    theirs: Sequence[str | Path],
    *,
    runs: int,
    environment: dict[str, str] | None = None,
    warm_up: bool = True,
) -> float:
    """Runs both commands `runs` times in turn; prints medians and returns theirs / ours.

    Before, each runs once as a warm-up; without `warm_up`, which is for commands that take minutes, none does.
    """
    if warm_up:
        run(ours, environment), run(theirs, environment)
    pairs = [(run(ours, environment), run(theirs, environment)) for _ in range(runs)]
    ratios = sorted(b.wall_s / a.wall_s for a, b in pairs)
    print(f"{title} ({runs} pairs; {machine()})")
    for name, column in (("ours", [a for a, _ in pairs]), ("theirs", [b for _, b in pairs])):
        wall = statistics.median(m.wall_s for m in column)
        cpu = statistics.median(m.cpu_s for m in column)
        print(f"  {name:7} {wall:7.3f} s wall  {cpu:7.3f} s cpu  {max(m.peak_mb for m in column):6.0f} MB")
    median = statistics.median(ratios)
    print(f"  theirs / ours, wall: {median:.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
    return median


def machine() -> str:
    """The hardware and versions that a figure belongs to."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "ai-edge-litert", "pillow"))
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}"
