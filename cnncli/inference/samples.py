"""Real images to try a model on: those that the user names, those of its training run, or a few that come along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cnncli import sources
from cnncli.datasets.contact import thinned
from cnncli.datasets.dataset import SPLITS
from cnncli.errors import ImageError
from cnncli.runs import Run
from cnncli.sources import Source

MOST = 100  # images: seconds for most networks, half a minute for VGG16

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """Images, and for the user where they are from."""

    sources: tuple[Source, ...]
    origin: str  # "val images of the run"


def given(arguments: Sequence[str], *, offline: bool, notify: Notify) -> Sample:
    """Up to 100 of the images that `--images` stands for. Raises ImageError if there is none."""
    found = tuple(sources.find(arguments, recursive=True, offline=offline, notify=notify))
    if all(source.fault is not None for source in found):
        raise ImageError(f"--images {found[0].name}: {found[0].fault}")
    return Sample(
        tuple(thinned(found, MOST)), f"of {len(found):,} images given" if len(found) > MOST else "images given"
    )


def of_run(run: Run) -> Sample | None:
    """Up to 100 images of a training run that are still there: of its test split, else val, else train."""
    if not run.data.is_file():
        return None
    seen = run.read_data()
    for split in reversed(SPLITS):
        paths = [Path(row.path) for row in seen if row.split == split and Path(row.path).is_file()]
        if paths:
            chosen = tuple(Source(str(path), path=path) for path in thinned(paths, MOST))
            return Sample(chosen, f"{split} images of the run")
    return None


def bundled() -> Sample:
    """The photos that come with cnncli."""
    photos = sorted((files("cnncli") / "data" / "photos").iterdir(), key=lambda file: file.name)
    chosen = tuple(Source(file.name, content=file.read_bytes()) for file in photos if file.name.endswith(".jpg"))
    return Sample(chosen, "photos that come with cnncli")
