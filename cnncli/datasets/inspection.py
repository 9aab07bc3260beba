"""Looks at every image of a data set once: its content's hash, size, colour and format, and whether it can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from cnncli import images
from cnncli.datasets.cores import Progress, on_cores
from cnncli.datasets.dataset import Dataset, Example, Split
from cnncli.errors import ImageError
from cnncli.imagekinds import sniff
from cnncli.sources import Source

_DECODED_PX = 32  # shorter side at which a JPEG is decoded at least: its whole file is read at any scale


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one image turned out to be. A fault says why it cannot be used; then the rest may be unknown."""

    example: Example
    split: Split
    digest: bytes = b""  # sha256 of the file, or of the pixels where there is no file
    height: int = 0
    width: int = 0
    gray: bool = False
    format: str | None = None  # "JPEG", whatever the file is called
    fault: str | None = None


def inspect(dataset: Dataset, *, decode: bool, workers: int, progress: Progress) -> list[Inspected]:
    """Every image of a data set, in its order. Without `decode` an image is read as far as its header."""
    waiting = [(split, example) for split, examples in dataset.splits.items() for example in examples]
    examples = [example for _, example in waiting]
    return list(on_cores(partial(_inspector, decode), waiting, workers, progress, images=examples))


def _inspector(decode: bool) -> Callable[[tuple[Split, Example]], Inspected]:
    return lambda one: _inspected(*one, decode=decode)


def readable(seen: list[Inspected]) -> Iterator[Inspected]:
    """Those that can be used."""
    return (one for one in seen if one.fault is None)


@dataclass(frozen=True, slots=True)
class Contents:
    """The readable images of one split, for fingerprint and duplicates."""

    labels: npt.NDArray[np.int32]
    digests: tuple[bytes, ...]
    names: tuple[str, ...]


def contents(seen: list[Inspected]) -> dict[Split, Contents]:
    """What is known of the readable images, by split."""
    by_split: dict[Split, list[Inspected]] = {}
    for one in readable(seen):
        by_split.setdefault(one.split, []).append(one)
    return {
        split: Contents(
            np.array([one.example.label for one in rows], np.int32),
            tuple(one.digest for one in rows),
            tuple(one.example.name for one in rows),
        )
        for split, rows in by_split.items()
    }


def source_of(example: Example) -> Source:
    """The file of an example as the image reader takes it."""
    return Source(example.name, path=example.path)


def _inspected(split: Split, example: Example, *, decode: bool) -> Inspected:
    if example.pixels is not None:
        height, width = example.pixels.shape[:2]
        digest = sha256(example.pixels.tobytes()).digest()
        return Inspected(example, split, digest, height, width, gray=example.pixels.ndim == 2)
    content = b""
    try:
        with source_of(example).open() as file:
            content = file.read()
        source = Source(example.name, content=content)
        header = images.probe(source)
        if decode:
            images.read(source, shorter_side_px=_DECODED_PX)
    except (ImageError, OSError) as problem:
        reason = str(problem) if isinstance(problem, ImageError) else (problem.strerror or str(problem)).lower()
        return Inspected(example, split, sha256(content).digest(), fault=reason)
    return Inspected(
        example, split, sha256(content).digest(), header.height, header.width, header.gray, sniff(content[:64])
    )
