"""Claimed results against true ones: which numbers are wrong, and what would have given them. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product as combinations
from typing import Literal

from cnncli.claims import Claim, is_rounded, truncated
from cnncli.explanations import Exercise, explain, settings_of_size
from cnncli.kernels import Matrix
from cnncli.recovery import Recovered, can_solve, recover
from cnncli.setting import Pair, Pool
from cnncli.worked import by, formula, positions, shape

Reading = Literal["exact", "rounded", "truncated"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A cell, counted from 1, with what is claimed and what is true."""

    row: int
    column: int
    claimed: Fraction
    true: Fraction


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a claim is worth.

    A claim with decimals may be rounded or truncated to as many as it has: that agrees, and `reading` says it. Whole
    numbers must be exact. A claim of another size never agrees.
    """

    claim: Claim
    true: Matrix
    reading: Reading
    wrong: tuple[Wrong, ...]  # by this reading, in the top left part that both have
    kernel: Recovered | None = None  # what would have produced the claim; None where that was not asked
    explanations: tuple[str, ...] = ()  # each would make the claim right
    sizes: tuple[str, ...] = ()  # what one change would give the claimed size
    impossible: str | None = None  # why no input at all pools to the claim

    @property
    def fits(self) -> bool:
        """Whether the claim has the size of the true map."""
        return self.claim.shape == shape(self.true)

    @property
    def agrees(self) -> bool:
        return self.fits and not self.wrong


def compare(claim: Claim, exercise: Exercise) -> Verdict:
    """A claimed result against the true one and, where it is wrong, what would explain it.

    Raises ShapeError and KernelError where the exercise has no result.
    """
    true = exercise.result
    reading, wrong = _read(claim, true)
    verdict = Verdict(claim, true, reading, wrong)
    if verdict.agrees:
        return verdict
    kernel = exercise.kernel
    if not verdict.fits:
        verdict = replace(verdict, sizes=settings_of_size(exercise, claim.shape))
    elif kernel is not None and not exercise.pools and can_solve(claim.shape, (kernel.height, kernel.width)):
        found = recover(exercise.matrix, claim, (kernel.height, kernel.width), exercise.setting)
        verdict = replace(verdict, kernel=found)
    if exercise.pools and exercise.pools[-1].kind == "max" and verdict.fits and (whole := claim.matrix):
        before = replace(exercise, pools=exercise.pools[:-1])
        verdict = replace(verdict, impossible=possible_max_pool(whole, before.shape, exercise.pools[-1]))
    return replace(verdict, explanations=explain(exercise, true, claim))


def _read(claim: Claim, true: Matrix) -> tuple[Reading, tuple[Wrong, ...]]:
    """The reading that leaves the fewest cells wrong, and those cells."""
    readings: dict[Reading, Callable[[Wrong], bool]] = {"exact": lambda cell: cell.claimed == cell.true}
    if decimals := claim.decimals:
        readings["rounded"] = lambda cell: is_rounded(cell.claimed, cell.true, decimals)
        readings["truncated"] = lambda cell: cell.claimed in (cell.true, truncated(cell.true, decimals))
    height, width = shape(true)
    cells = [
        Wrong(row, column, given, true[row - 1][column - 1])
        for (row, column), given in claim.known.items()
        if row <= height and column <= width
    ]
    wrong = {reading: tuple(cell for cell in cells if not agrees(cell)) for reading, agrees in readings.items()}
    best = min(wrong, key=lambda reading: len(wrong[reading]))
    return best, wrong[best]


def possible_max_pool(claimed: Matrix, input_shape: Pair, pooling: Pool) -> str | None:
    """Why no input of that `(height, width)` has these maxima, or None if one has. Raises ShapeError.

    A pixel is at most the least maximum of the windows that cover it. If a window does not reach its maximum with all
    pixels at these bounds, it never does: in every other input some pixels are smaller and none is larger.
    """
    down, across = pooling.places(input_shape)
    if (down.output, across.output) != shape(claimed):
        sizes = f"{formula(down)} rows, {formula(across)} columns"
        return f"a {by(input_shape)} input gives {by((down.output, across.output))}, not {by(shape(claimed))}: {sizes}"
    covers: dict[Pair, set[Pair]] = {}  # the pixels of each window
    covered: dict[Pair, list[Pair]] = {}  # the windows over each pixel
    for window in combinations(range(down.output), range(across.output)):
        covers[window] = set(combinations(positions(down)[window[0]], positions(across)[window[1]]))
        covers[window] &= set(combinations(range(input_shape[0]), range(input_shape[1])))
        for pixel in covers[window]:
            covered.setdefault(pixel, []).append(window)
    for window, pixels in covers.items():
        least = {min(covered[pixel], key=lambda at: claimed[at[0]][at[1]]) for pixel in pixels}
        if all(claimed[at[0]][at[1]] < claimed[window[0]][window[1]] for at in least):
            others = " and ".join(_cell(claimed, at) for at in sorted(least))
            return f"{_cell(claimed, window)} shares each of its pixels with a window of smaller maximum: {others}"
    return None


def _cell(claimed: Matrix, at: Pair) -> str:
    return f"({at[0] + 1},{at[1] + 1}) = {claimed[at[0]][at[1]]}"
