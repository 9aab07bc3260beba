"""Numbers and matrices as plain text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from decimal import Decimal
from fractions import Fraction
from itertools import zip_longest

from cnncli.kernels import Matrix

WIDTH = 80  # columns; only a matrix may be wider
DECIMALS = 4  # shown of a number that has more
_MOST_BITS = 400  # of a number that is written out
_GAP = "   "

Block = list[str]


def number(value: Fraction, exact: bool = False) -> str:
    """A number as short as it is clear: `3`, `4.25`, `-0.1111` (exact: `-1/9`); tiny and huge ones as `1e-7`."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        return _scientific(value)
    if exact or value.denominator == 1:
        return str(value)
    scaled = round(abs(value) * 10**DECIMALS)
    if not scaled:
        return _scientific(value)
    digits = f"{scaled:0{DECIMALS + 1}d}"
    text = f"{digits[:-DECIMALS]}.{digits[-DECIMALS:]}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def _scientific(value: Fraction) -> str:
    return f"{Decimal(value.numerator) / Decimal(value.denominator):.1e}"


def is_cut(value: Fraction) -> bool:
    """Whether `number` shows less than the whole of it."""
    return Fraction(number(value)) != value


def matrix_block(matrix: Matrix, exact: bool = False) -> Block:
    """The lines of a matrix, its numbers below each other by their decimal points."""
    return block([[number(value, exact) for value in row] for row in matrix])


def block(cells: list[list[str]]) -> Block:
    """Texts in columns of one width, decimal points below each other."""
    after = max(len(_decimal_part(text)) for row in cells for text in row)
    padded = [[text + " " * (after - len(_decimal_part(text))) for text in row] for row in cells]
    width = max(len(text) for row in padded for text in row)
    return [" ".join(text.rjust(width) for text in row) for row in padded]


def _decimal_part(text: str) -> str:
    return text[text.find(".") :] if "." in text else ""


def beside(*blocks: Block, gap: str = _GAP) -> list[str]:
    """Blocks side by side; those that would be wider than the terminal begin below, after an empty line."""
    lines: list[str] = []
    row: list[Block] = []
    for one in blocks:
        if row and sum(map(_width, [*row, one])) + len(gap) * len(row) > WIDTH:
            lines += [*_joined(row, gap), ""]
            row = []
        row.append(one)
    return lines + _joined(row, gap)


def _joined(row: list[Block], gap: str) -> list[str]:
    padded = [[line.ljust(_width(one)) for line in one] for one in row]
    empty = [" " * _width(one) for one in row]
    lines = zip_longest(*padded)
    return [gap.join(text or blank for text, blank in zip(line, empty, strict=True)).rstrip() for line in lines]


def _width(one: Block) -> int:
    return max(map(len, one))


def indented(lines: list[str]) -> list[str]:
    """Lines that belong to the one before them."""
    return [f"{_GAP}{line}".rstrip() for line in lines]


def wrapped(text: str) -> list[str]:
    """A sentence in lines that fit."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
