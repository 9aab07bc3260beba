"""What a user asks for with the model options. Standard library only: `--help` reads it."""

import os
from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("auto", "litert", "tensorflow")
EXPORT_SUFFIXES = {"litert": ".tflite", "keras": ".keras"}
DTYPES = ("float32", "float16")  # of an exported network's weights


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model options of one run; None means the default."""

    model: str | None = None
    weights: Path | None = None
    resize: str | None = None
    backend: str = "auto"
    offline: bool = False
    workers: int | None = None


def usable_cores() -> int:
    """How many processor cores this process may use: the default of `--workers`."""
    if hasattr(os, "sched_getaffinity"):  # containers and taskset leave fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
