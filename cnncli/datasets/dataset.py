"""What a data set is: classes in order, and labelled images in splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnncli.backbones import ImageClass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SPLIT_NAMES: dict[str, Split] = {  # what folders and manifests call them, in small letters
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def wanted_splits(there: Iterable[Split], wanted: str | None) -> tuple[Split, ...]:
    """The splits that `wanted` asks for: those of one name or `all`; None: test, else val, else all.

    All, too, where the one of that name is missing.
    """
    splits = tuple(split for split in SPLITS if split in set(there))
    names = ("test", "val") if wanted is None else (wanted,)
    return next(((split,) for name in names for split in splits if split == name), splits)


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled image: a file, or an array of a published data set."""

    name: str  # as the user sees it
    label: int  # index of its class
    path: Path | None = None
    pixels: npt.NDArray[np.uint8] | None = None  # `(height, width)` or `(height, width, 3)`, where there is no file


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images by split. A data set that is not split has everything in `train`."""

    name: str  # DATA as the user gave it
    classes: tuple[ImageClass, ...]
    splits: dict[Split, tuple[Example, ...]]
    notes: tuple[str, ...] = ()  # what was passed over, for the user
