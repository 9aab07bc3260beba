"""What is wrong, or may be, with a data set: unreadable files, duplicates, odd sizes and names, uneven classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from cnncli.datasets.dataset import SPLITS, Dataset, Split
from cnncli.datasets.fingerprint import Copy, Duplicates, duplicates
from cnncli.datasets.inspection import Inspected, contents, readable

TINY_PX = 32  # a shorter side below this shows a network little
IMBALANCE = 10  # times as many images in the largest class as in the smallest
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif"},
    "HEIF": {".heic", ".heif", ".hif"},
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of trouble, and every case of it. Unreadable files are an error, the rest are warnings."""

    kind: str
    about: str  # what it means and what to do
    cases: tuple[str, ...]  # names of files and what is the matter with each; empty where it is about all of the data
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """What a data set holds: of the images that can be read, except `num_images`."""

    name: str
    classes: tuple[str, ...]  # labels
    splits: tuple[Split, ...]
    counts: tuple[tuple[int, ...], ...]  # by class, then by split
    num_images: int
    num_unreadable: int
    sizes: tuple[tuple[int, int], tuple[int, int]] | None  # the smallest and largest `(height, width)`, by pixels
    num_sizes: int
    num_gray: int

    @property
    def totals(self) -> tuple[int, ...]:
        """Images by split."""
        return tuple(map(sum, zip(*self.counts, strict=True)))


def overview(dataset: Dataset, seen: list[Inspected]) -> Overview:
    """Counts, sizes and colours of what was inspected."""
    splits = tuple(split for split in SPLITS if split in dataset.splits)
    good = list(readable(seen))
    counted = Counter((one.example.label, one.split) for one in good)
    sizes = {(one.height, one.width) for one in good}
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return Overview(
        name=dataset.name,
        classes=tuple(image_class.label for image_class in dataset.classes),
        splits=splits,
        counts=tuple(tuple(counted[label, split] for split in splits) for label in range(len(dataset.classes))),
        num_images=len(seen),
        num_unreadable=len(seen) - len(good),
        sizes=(ordered[0], ordered[-1]) if ordered else None,
        num_sizes=len(sizes),
        num_gray=sum(one.gray for one in good),
    )


def findings(dataset: Dataset, seen: list[Inspected]) -> list[Finding]:
    """What is wrong or may be, the worst first; only kinds that occur."""
    labels = [image_class.label for image_class in dataset.classes]
    groups = duplicates(contents(seen))
    good = list(readable(seen))
    found = [
        Finding(
            "unreadable",
            "these files are left out of training; repair or remove them",
            tuple(f"{one.example.name}: {one.fault}" for one in seen if one.fault is not None),
            is_error=True,
        ),
        Finding(
            "one picture in two classes",
            "the same file content under different labels: at most one of them is right",
            _cases((group for group in groups if group.across_classes), lambda copy: f" ({labels[copy.label]})"),
        ),
        Finding(
            "duplicates across splits",
            "a network is scored on what it has learned by heart; keep each in one split",
            _cases((group for group in groups if group.across_splits), lambda copy: f" ({copy.split})"),
        ),
        Finding(
            "duplicates",
            "the same file content more than once in a class",
            _cases((group for group in groups if not (group.across_classes or group.across_splits)), lambda copy: ""),
        ),
        Finding(
            "tiny",
            f"the shorter side is below {TINY_PX} pixels: enlarged, they show a network little",
            tuple(f"{one.example.name}: {one.width}x{one.height}" for one in _tiny(good)),
        ),
        Finding(
            "wrong extension",
            "they are read by what they hold; other programs may fail",
            tuple(f"{one.example.name}: holds {one.format}" for one in good if _misnamed(one)),
        ),
        *_imbalance(labels, good),
    ]
    return [finding for finding in found if finding.cases]


def _cases(groups: Iterable[Duplicates], remark: Callable[[Copy], str]) -> tuple[str, ...]:
    """A line for each group of images with the same content."""
    return tuple(" = ".join(f"{copy.name}{remark(copy)}" for copy in group.copies) for group in groups)


def _tiny(good: list[Inspected]) -> Iterable[Inspected]:
    """Those that are small for their data set: where all have one size, as in MNIST, that is as it should be."""
    if len({(one.height, one.width) for one in good}) < 2:
        return []
    return (one for one in good if min(one.height, one.width) < TINY_PX)


def _misnamed(one: Inspected) -> bool:
    suffix = PurePath(one.example.name).suffix.lower()
    return one.format is not None and suffix not in _SUFFIXES[one.format]


def _imbalance(labels: list[str], good: list[Inspected]) -> Iterator[Finding]:
    """Whether some classes of the training images are far larger than others."""
    counts = Counter(one.example.label for one in good if one.split == "train")
    largest = max(counts.values(), default=0)
    small = [(counts[label], label) for label in range(len(labels)) if counts[label] * IMBALANCE <= largest]
    yield Finding(
        "uneven classes",
        f"{IMBALANCE} times fewer training images than the largest class, which has {largest:,}; "
        "consider 'train --class-weights auto'",
        tuple(f"{labels[label]}: {number:,}" for number, label in sorted(small)),
    )
