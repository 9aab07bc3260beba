"""Kernels as people read them: a card for one, a line each for the catalogue. Plain text, standard library only."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from fractions import Fraction

from cnncli.kernels import Kernel, Matrix, flipped
from cnncli.layout import WIDTH, indented, matrix_block, number
from cnncli.text import printable


def range_rule(total: Fraction) -> str:
    """What `--range auto` does with the result of a kernel with this sum."""
    if total == 0:
        return "sum 0: it finds changes; --range auto shows |v|, clipped"
    if total == 1:
        return "sum 1: it keeps the brightness; --range auto clips"
    return f"sum {number(total)}: --range auto divides by it, then clips"


def kernel_card(kernel: Kernel) -> str:
    """A kernel's card: matrix, sum, what it shows, what turning it changes, source."""
    channels = f", {len(kernel.planes)} channels" if len(kernel.planes) > 1 else ""
    lines = [f"{printable(kernel.name)}: {kernel.height}x{kernel.width}{channels}", ""]
    for plane in kernel.planes:
        lines += [*indented(matrix_block(plane, exact=_reads_well(plane))), ""]
    facts = [
        ("range", range_rule(kernel.sum)),
        ("shows", kernel.shows),
        ("--flip", _flip_rule(kernel)),
        ("source", kernel.source),
    ]
    for name, text in facts:
        if text:
            lines += textwrap.wrap(f"{name + ':':9}{printable(text)}", WIDTH, subsequent_indent=" " * 9)
    return "\n".join(lines) + "\n"


def _reads_well(plane: Matrix) -> bool:
    """Whether its numbers are short as fractions: 1/16 as in the catalogue, not 689/1000, nor those of a Gaussian."""
    return all(value.denominator <= 256 for row in plane for value in row)


def _flip_rule(kernel: Kernel) -> str:
    turned = flipped(kernel).planes
    if turned == kernel.planes:
        return "no difference: turned by 180 degrees it is the same"
    if turned == tuple(tuple(tuple(-value for value in row) for row in plane) for plane in kernel.planes):
        return "changes the sign only: turned by 180 degrees it is its own negative"
    return "makes a difference: turned by 180 degrees it is another kernel"


def catalogue(kernels: Iterable[Kernel]) -> str:
    """A line for each kernel: name, size, sum, what it shows."""
    rows = [(k.name, f"{k.height}x{k.width}", number(k.sum), k.shows) for k in kernels]
    name, size, total = (max(len(row[column]) for row in rows) for column in range(3))
    indent = name + size + total + 6
    lines = []
    for row in rows:
        start = f"{row[0]:{name}}  {row[1]:>{size}}  {row[2]:>{total}}  "
        lines += textwrap.wrap(row[3], WIDTH, initial_indent=start, subsequent_indent=" " * indent) or [start]
    return "\n".join(lines) + "\n"
