"""A contact sheet of a data set: some images of each class, spread over all that it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from cnncli import images
from cnncli.classnames import class_index
from cnncli.datasets.dataset import Dataset, Example, Split
from cnncli.datasets.inspection import source_of
from cnncli.errors import DataError, ImageError, OutputError
from cnncli.sheet import check_pixels, class_sheet, fitted
from cnncli.text import printable

_FEW_CLASSES = 20
_PX, _PX_OF_MANY = 96, 64  # the longer side of a picture on the sheet, with few classes and with many
_ACROSS, _ACROSS_OF_MANY = 10, 5  # pictures of a class

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Style:
    """How much a sheet shows. What is None depends on the number of classes."""

    count: int | None = None  # pictures of a class, at most
    side_px: int | None = None  # the longer side of a picture

    def of(self, num_classes: int) -> tuple[int, int]:
        """Pictures of a class, and their longer side in pixels. Raises CnncliError if they make no picture."""
        few = num_classes <= _FEW_CLASSES
        across = self.count or (_ACROSS if few else _ACROSS_OF_MANY)
        side = self.side_px or (_PX if few else _PX_OF_MANY)
        what = f"{num_classes:,} classes with {across} images of {side} pixels"
        check_pixels(num_classes * across * side * side, what, "fewer or smaller images, or some of the classes")
        return across, side


def data_sheet(
    dataset: Dataset,
    examples: Iterable[Example],
    progress: Callable[[int, int | None], None],
    style: Style | None = None,
    failed: Callable[[Example, str], None] = lambda example, reason: None,
) -> Image.Image:
    """The sheet of some examples, mode `RGB`: a row for each class that has any. The same data give the same sheet.

    `failed` hears of images that cannot be read, and why. Raises CnncliError if there is nothing to show, or too much.
    """
    by_class: defaultdict[int, list[Example]] = defaultdict(list)
    for example in examples:
        by_class[example.label].append(example)
    across, side = (style or Style()).of(len(by_class))
    rows = []
    for done, label in enumerate(sorted(by_class), 1):
        name = printable(dataset.classes[label].words)
        rows.append((name, list(_thumbnails(thinned(by_class[label], across), side, failed))))
        progress(done, len(by_class))
    shown = [row for row in rows if row[1]]
    if not shown:
        raise DataError(f"{dataset.name}: none of the chosen images can be read")
    return class_sheet(shown)


def _thumbnails(
    examples: Iterable[Example], side: int, failed: Callable[[Example, str], None]
) -> Iterator[Image.Image]:
    for example in examples:
        try:
            yield thumbnail(example, side)
        except ImageError as problem:
            failed(example, str(problem))


def chosen(dataset: Dataset, split: Split | None, classes: Sequence[str]) -> list[Example]:
    """The examples of a split (None: all) and of some classes by label or id (none: all).

    Raises CnncliError for a split or class that the data set does not have.
    """
    if split is not None and split not in dataset.splits:
        raise DataError(f"{dataset.name}: it has no split {split!r}; expected {' or '.join(dataset.splits)}")
    labels = {class_index(dataset.classes, name, dataset.name) for name in classes} or set(range(len(dataset.classes)))
    splits = [dataset.splits[split]] if split is not None else dataset.splits.values()
    return [example for examples in splits for example in examples if example.label in labels]


def check_place(path: Path, dataset: Dataset) -> None:
    """Raises OutputError if a sheet at `path` would become a part of the data set, or replace one of its images."""
    if lies_inside(path, dataset):
        raise OutputError(f"-o {path}: lies inside the data set and would become a part of it; give another place")
    every = (example for examples in dataset.splits.values() for example in examples)
    if path.exists() and any(example.path and path.samefile(example.path) for example in every):
        raise OutputError(f"-o {path}: this is an image of the data set, which is never written over")


def lies_inside(path: Path, dataset: Dataset) -> bool:
    """Whether a file would lie in the folder that is the data set."""
    root = Path(dataset.name).resolve()
    return root.is_dir() and path.resolve().is_relative_to(root)


def thinned(items: Sequence[Item], count: int) -> Sequence[Item]:
    """At most `count` of them at equal distances."""
    if len(items) <= count:
        return items
    return [items[number * len(items) // count] for number in range(count)]


def thumbnail(example: Example, side: int) -> Image.Image:
    """The image at most `side` pixels high and wide; a small one enlarged by a whole number, pixel by pixel.

    Raises ImageError.
    """
    if example.pixels is not None:
        image = Image.fromarray(example.pixels)
    else:
        image = images.read(source_of(example), shorter_side_px=side).image
    return fitted(image, (side, side))
