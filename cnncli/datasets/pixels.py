"""The pixels of a data set: every image decoded once, on all cores, with the one reader, and kept as uint8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli import images
from cnncli.backbones import InputSpec, Resize
from cnncli.datasets.cores import Progress, on_cores
from cnncli.datasets.dataset import Dataset, Example
from cnncli.datasets.memory import bytes_array
from cnncli.errors import ImageError
from cnncli.imagekinds import sniff
from cnncli.sources import Source

DEFAULT_PX = 128  # side of the input where neither network nor images say one


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


def spec_to_show(headers: Sequence[images.Header], size: tuple[int, int] | None, resize: Resize) -> InputSpec:
    """The input of a network that would be trained on such images, where a few of them are shown.

    `size` is `(height, width)`; None is 128x128 or, if they are smaller and have all the same, theirs.
    """
    color = "gray" if all(header.gray for header in headers) else "rgb"
    sizes = {(header.height, header.width) for header in headers}
    own = next(iter(sizes))
    if size is None:
        size = own if len(sizes) == 1 and max(own) <= DEFAULT_PX else (DEFAULT_PX, DEFAULT_PX)
    return InputSpec(*size, color, resize)


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
    headers = on_cores(_prober, examples, workers, progress, images=examples)
    for example, header in zip(examples, headers, strict=True):
        if isinstance(header, ImageError):
            failures.append(Failure(example.name, str(header)))
            continue
        sizes[header.height, header.width] += 1
        gray = gray and header.gray
    return Survey(dict(sizes), gray and bool(sizes), tuple(failures))


def _prober() -> Callable[[Example], images.Header | ImageError]:
    return _header


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

    read = partial(_reader, spec)
    results: list[bytes | ImageError] = []
    for row, found in enumerate(on_cores(read, examples, workers, progress, images=examples)):
        if isinstance(found, ImageError):
            results.append(found)
        else:
            pixels[row], digest = found
            results.append(digest)
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


def _reader(spec: InputSpec) -> Callable[[Example], tuple[npt.NDArray[np.uint8], bytes] | ImageError]:
    """What makes of an example the pixels for `spec` and their sha256."""

    def read(example: Example) -> tuple[npt.NDArray[np.uint8], bytes] | ImageError:
        try:
            picture, digest = picture_of(example, spec)
        except ImageError as problem:
            return problem
        return images.network_input(picture, spec), digest

    return read


def picture_of(example: Example, spec: InputSpec) -> tuple[images.Picture, bytes]:
    """An example decoded for `spec`, and its sha256; a file is read once for both. Raises ImageError."""
    if example.pixels is not None:
        return images.Picture(Image.fromarray(example.pixels)), sha256(example.pixels.tobytes()).digest()
    with Source(example.name, path=example.path).open() as file:
        try:
            content = file.read(1024)
            if sniff(content):  # what is no image may be of any size
                content += file.read()
        except OSError as problem:
            raise ImageError(problem.strerror.lower() if problem.strerror else str(problem)) from problem
    source = Source(example.name, content=content)
    return images.read(source, shorter_side_px=max(spec.height, spec.width)), sha256(content).digest()
