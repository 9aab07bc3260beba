"""Splits that the images' content decides, the fingerprint of a data set, and its duplicates."""

from __future__ import annotations

import random
from hashlib import sha256

import numpy as np
import pytest

from cnncli.backbones import ImageClass
from cnncli.datasets.fingerprint import Copy, duplicates, fingerprint
from cnncli.datasets.pixels import Pixels
from cnncli.datasets.splitting import split_by_content
from cnncli.errors import DataError

CLASSES = tuple(ImageClass(name, name) for name in ("cat", "dog", "emu"))
SHARES = (0.8, 0.1, 0.1)


def digests(number: int, first: int = 0) -> list[bytes]:
    """The hashes of as many different images."""
    return [sha256(b"%d" % index).digest() for index in range(first, first + number)]


def split(images: list[bytes], labels: list[int], shares: tuple[float, ...] = SHARES, **options: str) -> list[set[int]]:
    parts = split_by_content(images, labels, shares, classes=CLASSES, **options)
    assert sorted(row for part in parts for row in part) == list(range(len(images)))  # each in exactly one
    assert all(part == sorted(part) for part in parts)
    return [set(part) for part in parts]


def contents(images: list[bytes], rows: set[int]) -> set[bytes]:
    return {images[row] for row in rows}


def test_each_part_has_its_share_of_each_class() -> None:
    images, labels = digests(9000), [index % 3 for index in range(9000)]
    for part, share in zip(split(images, labels), SHARES, strict=True):
        for label in range(3):
            in_part = sum(labels[row] == label for row in part)
            assert in_part == pytest.approx(3000 * share, abs=5 * (3000 * share * (1 - share)) ** 0.5)  # 5 sigma


def test_adding_images_moves_no_other() -> None:
    few, many = digests(300), digests(3000)
    random.Random(1).shuffle(many)
    before = [contents(few, part) for part in split(few, [0] * 300)]
    after = [contents(many, part) for part in split(many, [0] * 3000)]
    assert all(one <= other for one, other in zip(before, after, strict=True))


def test_larger_share_keeps_what_a_smaller_one_had() -> None:
    images = digests(1000)
    small, large = (split(images, [0] * 1000, (share, 1 - share))[0] for share in (0.1, 0.3))
    assert small < large


def test_exact_duplicates_stay_together() -> None:
    images = digests(50) * 4
    for part in split(images, [0] * 200):
        assert {row % 50 for row in part} == {row for row in part if row < 50}
        assert len(part) == 4 * len({row % 50 for row in part})


def test_splits_for_two_purposes_are_independent() -> None:
    images = digests(4000)
    one, other = (split(images, [0] * 4000, (0.5, 0.5), purpose=purpose)[0] for purpose in ("split", "val-split"))
    assert len(one & other) == pytest.approx(1000, abs=140)  # 5 sigma of a binomial distribution


@pytest.mark.parametrize("first", range(0, 400, 40))
def test_class_with_as_many_images_as_parts_has_one_in_each(first: int) -> None:
    images = digests(40, first)
    labels = [0] * 34 + [1] * 3 + [2] * 3
    for part in split(images, labels):
        assert {labels[row] for row in part} == {0, 1, 2}


def test_images_nearest_to_the_boundary_fill_an_empty_part() -> None:
    """The numbers are worked out here again, from the docstring."""

    def number(image: bytes) -> float:
        return int.from_bytes(sha256(b"split\0" + image).digest(), "big") / 2**256

    low = [image for image in digests(200) if number(image) < 0.8][:10]
    train, val, test = split(low, [0] * 10)
    ranked = sorted(range(10), key=lambda row: number(low[row]))
    assert (train, val, test) == (set(ranked[:8]), {ranked[8]}, {ranked[9]})
    high = [image for image in digests(200) if number(image) > 0.9][:10]
    ranked = sorted(range(10), key=lambda row: number(high[row]))
    assert split(high, [0] * 10) == [{ranked[0]}, {ranked[1]}, set(ranked[2:])]


def test_part_with_no_share_stays_empty() -> None:
    train, val, test = split(digests(100), [0] * 100, (0.5, 0.5, 0))
    assert test == set()
    assert 30 < len(train) < 70
    assert 30 < len(val) < 70
    assert split(digests(1), [0], (1.0, 0.0)) == [{0}, set()]


@pytest.mark.parametrize(
    ("copies", "found"), [(1, "class dog has 2 different images"), (5, "class dog has 2 different images")]
)
def test_class_too_small_is_named_with_its_count(copies: int, found: str) -> None:
    images, labels = digests(10) + digests(2, 100) * copies, [0] * 10 + [1] * 2 * copies
    with pytest.raises(DataError, match=f"{found}, too few for 3 parts; add images to it"):
        split(images, labels)
    with pytest.raises(DataError, match="class cat has 1 image, too few for 2 parts"):
        split(digests(1), [0], (0.9, 0.1))


# --- fingerprint and duplicates --------------------------------------------------------------------------------------


def pixels(*images: tuple[str, int, int]) -> Pixels:
    """Pixels of which only name, label and content (a number) matter."""
    hashes = tuple(sha256(b"%d" % content).digest() for _, _, content in images)
    labels = np.array([label for _, label, _ in images], np.int32)
    return Pixels(np.zeros((len(images), 1, 1, 1), np.uint8), labels, hashes, tuple(i[0] for i in images), ())


def test_fingerprint_does_not_depend_on_order_and_names() -> None:
    one = fingerprint(CLASSES, {"train": pixels(("a", 0, 1), ("b", 1, 2)), "test": pixels(("c", 0, 3))})
    other = fingerprint(CLASSES, {"test": pixels(("z", 0, 3)), "train": pixels(("y", 1, 2), ("x", 0, 1))})
    assert one == other
    assert len(one) == 64


@pytest.mark.parametrize(
    "train",
    [
        pixels(("a", 0, 1), ("b", 1, 9)),
        pixels(("a", 0, 1), ("b", 2, 2)),
        pixels(("a", 0, 1)),
        pixels(("a", 0, 1), ("b", 1, 2), ("b", 1, 2)),
    ],
    ids=["another image", "another class", "an image less", "an image twice"],
)
def test_fingerprint_depends_on_content_and_class(train: Pixels) -> None:
    before = pixels(("a", 0, 1), ("b", 1, 2))
    assert fingerprint(CLASSES, {"train": train}) != fingerprint(CLASSES, {"train": before})
    assert fingerprint(CLASSES, {"test": before}) != fingerprint(CLASSES, {"train": before})


def test_fingerprint_takes_class_names_that_are_not_utf8() -> None:
    assert len(fingerprint((ImageClass("\udcff", "\udcff"),), {"train": pixels(("a", 0, 1))})) == 64


def test_duplicates_are_found_within_and_across_splits_and_classes() -> None:
    train = pixels(("a", 0, 1), ("b", 0, 2), ("c", 0, 1), ("d", 1, 3), ("e", 0, 4))
    within, two_classes, across = duplicates({"train": train, "val": pixels(("f", 0, 4), ("g", 0, 5), ("h", 0, 3))})
    assert within.copies == (Copy("train", 0, "a"), Copy("train", 0, "c"))
    assert (within.across_splits, within.across_classes) == (False, False)
    assert two_classes.copies == (Copy("train", 1, "d"), Copy("val", 0, "h"))
    assert (two_classes.across_splits, two_classes.across_classes) == (True, True)
    assert across.copies == (Copy("train", 0, "e"), Copy("val", 0, "f"))
    assert (across.across_splits, across.across_classes) == (True, False)
    assert duplicates({"train": pixels(("a", 0, 1), ("b", 0, 2))}) == ()
