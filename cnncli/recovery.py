"""Which kernel made this output? Linear equations, solved exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from cnncli.claims import Claim
from cnncli.errors import ShapeError
from cnncli.kernels import Matrix
from cnncli.setting import Pair, Setting
from cnncli.worked import by, formula, im2col, reshaped, shape, turned

MAX_OPERATIONS = 2_000_000  # of the elimination: some seconds


@dataclass(frozen=True, slots=True)
class Undetermined:
    """Several kernels give this output: the windows tell only `rank` of the `weights` apart."""

    rank: int
    weights: int


@dataclass(frozen=True, slots=True)
class Impossible:
    """No kernel of this size gives this output."""


Recovered = Matrix | Undetermined | Impossible


def recover(matrix: Matrix, output: Matrix | Claim, kernel_shape: Pair, setting: Setting) -> Recovered:
    """The only kernel of `(height, width)` that makes `output` out of `matrix`, if there is exactly one.

    Solves `im2col(matrix) @ w = output` by Gaussian elimination over the fractions; open cells of a claim give no
    equation. Raises ShapeError if `output` has another size than such a kernel gives.
    """
    cells = output if isinstance(output, Claim) else Claim(output, 0)
    vertical, horizontal = setting.places(shape(matrix), kernel_shape)
    if (right := (vertical.output, horizontal.output)) != cells.shape:
        raise ShapeError(
            f"the output is {by(cells.shape)}; a {by(kernel_shape)} kernel makes {by(right)}: "
            f"{formula(vertical)} rows, {formula(horizontal)} columns"
        )
    weights = kernel_shape[0] * kernel_shape[1]
    if not can_solve(cells.shape, kernel_shape):
        raise ShapeError(f"{by(cells.shape)} windows and {weights} weights are too many to solve exactly")
    values = (value for row in cells.cells for value in row)
    equations = [
        [*row, value]
        for row, value in zip(im2col(matrix, kernel_shape, setting), values, strict=True)
        if value is not None
    ]
    solved = _solve(equations, weights)
    if isinstance(solved, tuple):
        found = reshaped(solved, kernel_shape[1])
        return turned(found) if setting.flip else found
    return solved


def can_solve(output_shape: Pair, kernel_shape: Pair) -> bool:
    """Whether so many equations and weights can be solved exactly in some seconds."""
    windows, weights = math.prod(output_shape), math.prod(kernel_shape)
    return windows * weights * min(windows, weights) <= MAX_OPERATIONS


def _solve(equations: list[list[Fraction]], unknowns: int) -> tuple[Fraction, ...] | Undetermined | Impossible:
    """Gauss and Jordan: each equation is a row of coefficients with the right side as its last number."""
    rank = 0
    for column in range(unknowns):
        pivot = next((at for at in range(rank, len(equations)) if equations[at][column]), None)
        if pivot is None:
            continue
        equations[rank], equations[pivot] = equations[pivot], equations[rank]
        lead = equations[rank][column]
        equations[rank] = [value / lead for value in equations[rank]]
        for at, row in enumerate(equations):
            if at != rank and (factor := row[column]):
                equations[at] = [value - factor * top for value, top in zip(row, equations[rank], strict=True)]
        rank += 1
    if any(row[-1] for row in equations[rank:]):
        return Impossible()
    if rank < unknowns:
        return Undetermined(rank, unknowns)
    return tuple(row[-1] for row in equations[:rank])
