"""The model that comes with cnncli, so that it answers without a network from the first minute.

One LiteRT file with float16 weights serves both engines: LiteRT maps it, and `cnncli.learning.bundled` reads its
weights into the named net of the same name. `tests/package_tiny200.py` made it of a run of `cnncli train`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cnncli.backbones import BUNDLED


def path() -> Path:
    """The model file, with its card."""
    return Path(str(files("cnncli") / "data" / f"{BUNDLED}.tflite"))
