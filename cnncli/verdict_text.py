"""Verdicts on claimed results as plain text: which numbers are wrong, and what would have given them."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from fractions import Fraction

from cnncli.claims import UNKNOWN, Claim, is_rounded, truncated
from cnncli.explanations import Exercise, formulas
from cnncli.kernels import Matrix
from cnncli.layout import beside, block, indented, matrix_block, number, wrapped
from cnncli.recovery import Impossible, Recovered, Undetermined
from cnncli.verdicts import Verdict
from cnncli.worked import by, flat, shape, weights_of

_MOST_NAMED = 12  # wrong numbers in words
_MOST_SHOWN = 16  # rows and columns of maps that are shown side by side
_MOST_WEIGHTS = 4  # that differ in another kernel, in words


def verdict_lines(verdict: Verdict, exercise: Exercise, exact: bool = False) -> Iterator[str]:
    """Whether the expected result agrees; if not, where it is wrong and what would have given it."""
    claim = verdict.claim
    cells = claim.shape[0] * claim.shape[1]
    open_cells = f", {cells - len(claim.known)} left open" if len(claim.known) < cells else ""
    if verdict.agrees:
        yield from wrapped(f"expected: agrees, {_numbers(len(claim.known))}{open_cells}{_reading(verdict)}")
        return
    if verdict.fits:
        count = f"{len(verdict.wrong)} of {_numbers(len(claim.known))}"
        yield from wrapped(f"expected: differs in {count}{open_cells}{_reading(verdict)}")
    else:
        yield from wrapped(
            f"expected: {by(claim.shape)} is claimed, {by(shape(verdict.true))} is right: {formulas(exercise)}"
        )
        for text in verdict.sizes:
            yield from wrapped(f"{by(claim.shape)} would take {text}")
        if not verdict.wrong and all(map(operator.le, claim.shape, shape(verdict.true))):
            yield f"the claimed numbers are those of the top left {by(claim.shape)} of the map"
        elif claim.shape[0] == 1 and cells == len(flat(verdict.true)):
            yield "rows are separated by ';'"
    yield from _wrong_lines(verdict, exact)
    for text in verdict.explanations:
        yield from wrapped(f"the claim would be right with {text}")
    if exercise.kernel is not None and verdict.kernel is not None:
        yield from _kernel_lines(verdict.kernel, weights_of(exercise.kernel), claim, exact)
    if verdict.impossible:
        yield from wrapped(f"no input at all has these maxima: {verdict.impossible}")


def _numbers(count: int) -> str:
    return f"{count} number" + ("s" if count != 1 else "")


def _reading(verdict: Verdict) -> str:
    """How decimals were taken, with a number that shows it."""
    decimals = verdict.claim.decimals
    if verdict.reading != "truncated":
        return f", rounded to {decimals} decimals" if verdict.reading == "rounded" else ""
    example = next(value for value in flat(verdict.true) if not is_rounded(truncated(value, decimals), value, decimals))
    cut = number(truncated(example, decimals))
    return f", truncated to {decimals} decimals, not rounded: {example} is given as {cut}"


def _wrong_lines(verdict: Verdict, exact: bool) -> Iterator[str]:
    """The claim with its wrong numbers in brackets beside the true map, unless they are large, and these in words."""
    if not verdict.wrong:
        return
    if max(*verdict.claim.shape, *shape(verdict.true)) <= _MOST_SHOWN:
        claimed = ["claimed, [wrong]", *block(_bracketed(verdict, exact))]
        yield from indented(beside(claimed, ["true", *matrix_block(verdict.true, exact)]))
    for cell in verdict.wrong[:_MOST_NAMED]:
        values = f"{number(cell.claimed, exact)} is claimed, {number(cell.true, exact)} is true"
        yield f"row {cell.row}, column {cell.column}: {values}"
    if len(verdict.wrong) > _MOST_NAMED:
        yield f"and {len(verdict.wrong) - _MOST_NAMED} more"


def _bracketed(verdict: Verdict, exact: bool) -> list[list[str]]:
    wrong = {(cell.row, cell.column) for cell in verdict.wrong}
    return [
        [
            f"[{_cell(value, exact)}]" if (row, column) in wrong else f"{_cell(value, exact)} "
            for column, value in enumerate(values, start=1)
        ]
        for row, values in enumerate(verdict.claim.cells, start=1)
    ]


def _cell(value: Fraction | None, exact: bool) -> str:
    return UNKNOWN if value is None else number(value, exact)


def _kernel_lines(found: Recovered, weights: Matrix, claim: Claim, exact: bool) -> Iterator[str]:
    size = by(shape(weights))
    if isinstance(found, Impossible):
        rounded = " to the last digit, but its numbers may be rounded" if claim.decimals else ""
        yield from wrapped(f"no {size} kernel gives the claim with this matrix and setting{rounded}")
    elif isinstance(found, Undetermined):
        yield from wrapped(
            f"more than one {size} kernel gives the claim: the windows tell only {found.rank} of {found.weights} "
            "weights apart"
        )
    else:
        yield f"the claim is the map of this kernel, and of no other {size} one:"
        yield from indented(matrix_block(found, exact))
        pairs = enumerate(zip(flat(found), flat(weights), strict=True))
        differ = [(at, has, had) for at, (has, had) in pairs if has != had]
        for at, has, had in differ if len(differ) <= _MOST_WEIGHTS else ():
            place = f"row {at // len(weights[0]) + 1}, column {at % len(weights[0]) + 1}"
            yield f"{place}: {number(has, exact)} in place of {number(had, exact)}"
        if (count := len(claim.known)) == len(flat(weights)):
            yield from wrapped(f"(but {count} equations for {count} weights have such a solution whatever is claimed)")
