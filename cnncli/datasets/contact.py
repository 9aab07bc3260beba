"""A contact sheet of a data set: some images of each class, spread over all that it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from PIL import Image

from cnncli import images
from cnncli.datasets.dataset import Dataset, Example
from cnncli.datasets.inspection import Inspected, readable, source_of
from cnncli.errors import ImageError
from cnncli.sheet import class_sheet, fitted
from cnncli.text import printable

_FEW_CLASSES = 20
_PX, _PX_OF_MANY = 96, 64  # the longer side of a picture on the sheet, with few classes and with many
_ACROSS, _ACROSS_OF_MANY = 10, 5  # pictures of a class

Item = TypeVar("Item")


def data_sheet(dataset: Dataset, seen: list[Inspected], progress: Callable[[int, int | None], None]) -> Image.Image:
    """The sheet, mode `RGB`: a row for each class that has images. The same data give the same sheet."""
    by_class: defaultdict[int, list[Example]] = defaultdict(list)
    for one in readable(seen):
        by_class[one.example.label].append(one.example)
    few = len(by_class) <= _FEW_CLASSES
    side, across = (_PX, _ACROSS) if few else (_PX_OF_MANY, _ACROSS_OF_MANY)
    rows = []
    for done, label in enumerate(sorted(by_class), 1):
        name = printable(dataset.classes[label].label.replace("_", " "))
        shown = (thumbnail(example, side) for example in spread(by_class[label], across))
        rows.append((name, [image for image in shown if image is not None]))
        progress(done, len(by_class))
    return class_sheet([row for row in rows if row[1]])


def spread(items: Sequence[Item], count: int) -> Sequence[Item]:
    """At most `count` of them at equal distances."""
    if len(items) <= count:
        return items
    return [items[number * len(items) // count] for number in range(count)]


def thumbnail(example: Example, side: int) -> Image.Image | None:
    """The image at most `side` pixels high and wide; a small one enlarged by a whole number, pixel by pixel.

    None where only the header could be read.
    """
    try:
        if example.pixels is not None:
            image = Image.fromarray(example.pixels)
        else:
            image = images.read(source_of(example), shorter_side_px=side).image
    except ImageError:
        return None
    return fitted(image, (side, side))
