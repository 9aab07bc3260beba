"""What a user asks for with the model options. Standard library only: `--help` reads it."""

from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("auto", "litert", "tensorflow")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model options of one run; None means the default."""

    model: str | None = None
    weights: Path | None = None
    resize: str | None = None
    backend: str = "auto"
    offline: bool = False
    workers: int | None = None
