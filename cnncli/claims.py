"""Results as somebody wrote them down: the numbers, how many decimals they have, and which are left open."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from cnncli.kernels import Matrix, number, rectangular
from cnncli.setting import Pair

UNKNOWN = "?"  # a cell about which a claim says nothing


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed result as it was written: None is a cell that it leaves open."""

    cells: tuple[tuple[Fraction | None, ...], ...]
    decimals: int  # the most that any of its numbers has

    @property
    def shape(self) -> Pair:
        return len(self.cells), len(self.cells[0])

    @property
    def known(self) -> dict[Pair, Fraction]:
        """The claimed numbers by `(row, column)`, counted from 1."""
        return {
            (row, column): value
            for row, values in enumerate(self.cells, start=1)
            for column, value in enumerate(values, start=1)
            if value is not None
        }

    @property
    def matrix(self) -> Matrix | None:
        """The claimed numbers as a matrix, None if some are left open."""
        rows = [[value for value in row if value is not None] for row in self.cells]
        return rectangular(rows) if len(self.known) == self.shape[0] * self.shape[1] else None


def claim(text: str) -> Claim:
    """The claim in `".77 -.11;? 1.00"`: written like a matrix, with `?` for what is not known. Raises KernelError."""
    return claim_of(words(text))


def words(text: str) -> list[list[str]]:
    """The numbers of a matrix as they are written: rows end at `;`, ` / ` or a line end."""
    rows = [row for row in re.split(r"[;\n]|\s/\s", text.strip()) if row.strip(" \t\r,")]
    return [[word for word in re.split(r"[\s,]+", row.strip(" \t\r,")) if word] for row in rows]


def claim_of(rows: list[list[str]]) -> Claim:
    """Written numbers as a claim. Raises KernelError."""
    rectangular([[Fraction(0)] * len(row) for row in rows])
    cells = tuple(tuple(None if word == UNKNOWN else number(word) for word in row) for row in rows)
    return Claim(cells, max(_decimals(word) for row in rows for word in row))


def _decimals(word: str) -> int:
    if word == UNKNOWN or "/" in word:
        return 0
    exponent = Decimal(word).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def truncated(value: Fraction, decimals: int) -> Fraction:
    """`value` cut off, towards 0, after `decimals` digits: 7/9 gives 0.77."""
    scale = int(10**decimals)
    return Fraction(math.trunc(value * scale), scale)


def is_rounded(claimed: Fraction, value: Fraction, decimals: int) -> bool:
    """Whether `claimed` is `value` rounded to so many digits; halves may have gone either way."""
    off: Fraction = abs(claimed - value) * int(10**decimals)
    return off <= Fraction(1, 2)
