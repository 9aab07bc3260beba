"""Kernels: the catalogue, and how one is written down. Standard library only: a kernel's card must be instant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from cnncli.errors import KernelError

Matrix = tuple[tuple[Fraction, ...], ...]  # rows of equal length, at least one number


@dataclass(frozen=True, slots=True)
class Kernel:
    """The weights of one filter, exact. Applied as a convolution layer does: correlation, not flipped."""

    name: str
    planes: tuple[Matrix, ...]  # one: applied to each channel on its own; more: one for each channel, summed
    shows: str = ""  # what it does to a picture, one sentence
    source: str = ""

    @property
    def height(self) -> int:
        return len(self.planes[0])

    @property
    def width(self) -> int:
        return len(self.planes[0][0])

    @property
    def sum(self) -> Fraction:
        """Of all weights: 0 for a kernel that finds changes, 1 for one that keeps the brightness."""
        return sum((weight for plane in self.planes for row in plane for weight in row), Fraction(0))

    @property
    def is_integer(self) -> bool:
        return all(weight.denominator == 1 for plane in self.planes for row in plane for weight in row)


def matrix(text: str) -> Matrix:
    """The matrix in `"0 1 0;1 -4 1;0 1 0"`: rows end at `;`, `/` with spaces around it, or a line end.

    Numbers are separated by spaces, tabs or commas and may be integers, decimals or fractions (`1/9`). Raises
    KernelError.
    """
    rows = [_numbers(row) for row in re.split(r"[;\n]|\s/\s", text.strip()) if row.strip()]
    return rectangular(rows)


def rectangular(rows: list[list[Fraction]]) -> Matrix:
    """Rows as a matrix. Raises KernelError if there are none or their lengths differ."""
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or lengths == {0}:
        found = ", ".join(str(len(row)) for row in rows) or "none"
        raise KernelError(f"expected rows of equal length, found rows of {found} numbers")
    return tuple(tuple(row) for row in rows)


def _numbers(row: str) -> list[Fraction]:
    try:
        return [Fraction(word) for word in re.split(r"[\s,]+", row.strip(" \t\r,")) if word]
    except (ValueError, ZeroDivisionError):
        raise KernelError(f"{row.strip()!r}: expected numbers like 1, -0.25 or 1/9") from None
