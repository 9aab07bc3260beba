"""Splitting images by their content: the same image always falls into the same part, whatever else there is."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate, pairwise

from cnncli.backbones import ImageClass
from cnncli.errors import DataError
from cnncli.text import printable


def split_by_content(
    digests: Sequence[bytes],
    labels: Sequence[int],
    fractions: Sequence[float],
    *,
    classes: Sequence[ImageClass],
    purpose: str = "split",
) -> list[list[int]]:
    """The indices of the images in each part, in order. `fractions` are the parts' shares; one of 0 stays empty.

    The sha256 of an image and of `purpose` is a number from 0 to 1, and that number decides: adding images moves no
    others, and exact duplicates in one class stay together. So each part has about its share of each class; splits for
    another purpose are independent of this one. Only where a class would have no image in a part, those of its images
    whose numbers are nearest to the boundary move there, until it has one. Raises DataError for a class with fewer
    distinct images than there are parts.
    """
    rows_by_class: dict[int, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (digest, label) in enumerate(zip(digests, labels, strict=True)):
        rows_by_class[int(label)][_number(digest, purpose)].append(row)
    parts: list[list[int]] = [[] for _ in fractions]
    wanted = [part for part, fraction in zip(parts, fractions, strict=True) if fraction > 0]
    shares = [fraction for fraction in fractions if fraction > 0]
    for label, rows in sorted(rows_by_class.items()):
        numbers = sorted(rows)
        if len(numbers) < len(wanted):
            raise _too_small(classes[label], len(numbers), len(wanted))
        for part, (begin, end) in zip(wanted, pairwise(_cuts(numbers, shares)), strict=True):
            part.extend(row for number in numbers[begin:end] for row in rows[number])
    return [sorted(part) for part in parts]


def _number(digest: bytes, purpose: str) -> float:
    """The number of an image, 0 up to 1."""
    return int.from_bytes(sha256(purpose.encode() + b"\0" + digest).digest()[:8], "big") / 2**64


def _cuts(numbers: Sequence[float], shares: Sequence[float]) -> list[int]:
    """Where the parts of the sorted `numbers` begin and end, one image at least in each."""
    cuts = [bisect_left(numbers, share / sum(shares)) for share in accumulate(shares[:-1])]
    for place in range(len(cuts)):
        cuts[place] = max(cuts[place], cuts[place - 1] + 1 if place else 1)
    for place in reversed(range(len(cuts))):
        cuts[place] = min(cuts[place], (cuts[place + 1] if place + 1 < len(cuts) else len(numbers)) - 1)
    return [0, *cuts, len(numbers)]


def _too_small(of: ImageClass, num_images: int, num_parts: int) -> DataError:
    images = "1 image" if num_images == 1 else f"{num_images} different images"
    return DataError(
        f"class {printable(of.label)} has {images}, too few for {num_parts} parts; add images to it, leave the class "
        "out, or give splits of your own (folders train and val, or a manifest)"
    )
