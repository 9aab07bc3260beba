"""The pixels of a data set: every image decoded once, on all cores, with the one reader, and kept as uint8."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli import images
from cnncli.backbones import InputSpec
from cnncli.datasets.dataset import Dataset, Example
from cnncli.datasets.memory import bytes_array
from cnncli.errors import ImageError
from cnncli.sources import Source

Progress = Callable[[int, int | None], None]  # images so far, images in all

# The work on small images is nearly all Python's, which threads hinder: at 32x32 two take 1.7 times as long as one.
_SMALL_FILE_BYTES = 4000
_AT_ONCE = 16  # images a thread takes at a time: enough that handing them out costs nothing

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What the headers of all images say."""

    sizes: dict[tuple[int, int], int]  # how many images have each `(height, width)`, as displayed
    gray: bool  # whether every image is stored in grey
    failures: tuple[Failure, ...]

    @property
    def common_size(self) -> tuple[int, int] | None:
        """`(height, width)` if all images have the same."""
        return next(iter(self.sizes)) if len(self.sizes) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Decoded images in the order of their examples, without those that failed."""

    images: npt.NDArray[np.uint8]  # `(n, height, width, channels)`, 0..255
    labels: npt.NDArray[np.int32]  # `(n,)`
    digests: tuple[bytes, ...]  # sha256 of each file's content, or of a published image's pixels: 32 bytes
    names: tuple[str, ...]
    failures: tuple[Failure, ...]


def survey(dataset: Dataset, *, workers: int, progress: Progress) -> Survey:
    """Reads the header of every image, in all splits."""
    examples = [example for split in dataset.splits.values() for example in split]
    sizes: Counter[tuple[int, int]] = Counter()
    gray, failures = True, []
    for example, header in zip(examples, on_threads(_header, examples, workers, progress), strict=True):
        if isinstance(header, ImageError):
            failures.append(Failure(example.name, str(header)))
            continue
        sizes[header.height, header.width] += 1
        gray = gray and header.gray
    return Survey(dict(sizes), gray and bool(sizes), tuple(failures))


def _header(example: Example) -> images.Header | ImageError:
    if example.pixels is not None:
        height, width = example.pixels.shape[:2]
        return images.Header(width, height, gray=example.pixels.ndim == 2)
    try:
        return images.probe(Source(example.name, path=example.path))
    except ImageError as problem:
        return problem


def load(examples: Sequence[Example], spec: InputSpec, *, workers: int, progress: Progress) -> Pixels:
    """Decodes every image once, to the very pixels that `predict` gives a network with this `spec`.

    An image that cannot be read becomes a failure. Raises CacheError if the array fits neither in memory nor in the
    cache folder.
    """
    channels = 1 if spec.color == "gray" else 3
    pixels = bytes_array((len(examples), spec.height, spec.width, channels))

    def one(row: int) -> bytes | ImageError:
        try:
            picture, digest = picture_of(examples[row], spec)
        except ImageError as problem:
            return problem
        pixels[row] = images.network_input(picture, spec)
        return digest

    results = list(on_threads(one, range(len(examples)), readers(examples, workers), progress))
    good = [row for row, result in enumerate(results) if isinstance(result, bytes)]
    for place, row in enumerate(good):  # a part of the array at a time: a copy may not fit in memory
        if place != row:
            pixels[place] = pixels[row]
    return Pixels(
        pixels[: len(good)],
        np.array([examples[row].label for row in good], np.int32),
        tuple(result for result in results if isinstance(result, bytes)),
        tuple(examples[row].name for row in good),
        tuple(
            Failure(example.name, str(result))
            for example, result in zip(examples, results, strict=True)
            if isinstance(result, ImageError)
        ),
    )


def readers(examples: Sequence[Example], workers: int) -> int:
    """How many of `workers` threads are worth using to read images: one alone if they are small."""
    sizes = []
    for example in examples[:: max(1, len(examples) // 100)]:
        with contextlib.suppress(OSError):  # reading it will say so
            if example.pixels is not None:
                sizes.append(example.pixels.nbytes)
            elif example.path is not None:
                sizes.append(example.path.stat().st_size)
    return 1 if sum(sizes) < _SMALL_FILE_BYTES * len(sizes) else workers


def picture_of(example: Example, spec: InputSpec) -> tuple[images.Picture, bytes]:
    """An example decoded for `spec`, and its sha256; a file is read once for both. Raises ImageError."""
    if example.pixels is not None:
        return images.Picture(Image.fromarray(example.pixels)), sha256(example.pixels.tobytes()).digest()
    with Source(example.name, path=example.path).open() as file:
        try:
            content = file.read()
        except OSError as problem:
            raise ImageError(problem.strerror.lower() if problem.strerror else str(problem)) from problem
    source = Source(example.name, content=content)
    return images.read(source, shorter_side_px=max(spec.height, spec.width)), sha256(content).digest()


def on_threads(
    function: Callable[[Item], Found], items: Sequence[Item], workers: int, progress: Progress
) -> Iterator[Found]:
    """`map` on threads, in order. An exception, an interrupt too, ends it after the images under way."""

    def several(begin: int) -> list[Found]:
        return [function(item) for item in items[begin : begin + _AT_ONCE]]

    done = 0
    pool = ThreadPoolExecutor(workers)
    try:
        for results in pool.map(several, range(0, len(items), _AT_ONCE)):
            yield from results
            done += len(results)
            progress(done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)
