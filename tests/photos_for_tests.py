"""Small photos of three classes that a tiny network learns in a few epochs, and what a run on them left behind."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue")  # class -> the channel that is bright
TINY = ("--net", "conv:4:3:relu gap", "--lr", "0.05", "--batch-size", "8")


def photo(label: int, number: int, px: int = 14, *, gray: bool = False) -> Image.Image:
    """Noise that no other label and number give, brighter in the class's channel; in grey, at the class's level."""
    rng = np.random.default_rng(1000 * label + number)
    if gray:
        return Image.fromarray(rng.integers(80 * label, 80 * label + 60, (px, px), np.uint8))
    pixels = rng.integers(0, 120, (px, px, 3), np.uint8)
    pixels[..., label] += 120
    return Image.fromarray(pixels)


def write_photos(folder: Path, *, each: int = 12, px: int = 14, gray: bool = False, first: int = 0) -> Path:
    """A folder for each class, `red/0.png` and so on."""
    for label, name in enumerate(COLOURS):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + each):
            photo(label, number, px, gray=gray).save(folder / name / f"{number}.png")
    return folder


def weights(run: Path) -> bytes:
    """The weights file in a run's model."""
    with zipfile.ZipFile(run / "model.keras") as archive:
        return archive.read("model.weights.h5")


def history(run: Path) -> list[dict[str, str]]:
    """The epochs of a run, without what they took."""
    with (run / "history.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def column(run: Path, name: str) -> list[float]:
    """One column of the history."""
    return [float(row[name]) for row in history(run)]
