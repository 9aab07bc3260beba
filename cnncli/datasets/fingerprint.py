"""What the hashes of images tell about a data set: a name for its content, and exact duplicates."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from cnncli.backbones import ImageClass
from cnncli.datasets.dataset import Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Hashed(Protocol):
    """Images of one split whose content is known; `Pixels` is one."""

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """Classes, shape `(images,)`."""

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The sha256 of each image's content."""

    @property
    def names(self) -> tuple[str, ...]:
        """As the user sees them."""


def fingerprint(classes: Sequence[ImageClass], splits: Mapping[Split, Hashed]) -> str:
    """The sha256, in hexadecimal, of all images with their split and class id, whatever their order and names."""
    lines = sorted(
        json.dumps([split, classes[label].id, digest.hex()])
        for split, pixels in splits.items()
        for label, digest in zip(pixels.labels.tolist(), pixels.digests, strict=True)
    )
    return sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Copy:
    """One of several images with the same content."""

    split: Split
    label: int
    name: str


@dataclass(frozen=True, slots=True)
class Duplicates:
    """All images with one content, two or more."""

    copies: tuple[Copy, ...]

    @property
    def across_splits(self) -> bool:
        """Whether the image is in several splits: a network is then measured on what it was shown."""
        return len({copy.split for copy in self.copies}) > 1

    @property
    def across_classes(self) -> bool:
        """Whether the image is in several classes: one of its labels is wrong."""
        return len({copy.label for copy in self.copies}) > 1


def duplicates(splits: Mapping[Split, Hashed]) -> tuple[Duplicates, ...]:
    """The images that are there more than once, byte for byte, in the order of the first of each."""
    found: dict[bytes, list[tuple[Split, int]]] = defaultdict(list)
    for split, pixels in splits.items():
        for row, digest in enumerate(pixels.digests):
            found[digest].append((split, row))
    return tuple(
        Duplicates(tuple(Copy(split, int(splits[split].labels[row]), splits[split].names[row]) for split, row in rows))
        for rows in found.values()
        if len(rows) > 1
    )
