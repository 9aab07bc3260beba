"""Convolution and pooling worked exactly, in fractions, on matrices that one can read. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from cnncli.errors import KernelError, ShapeError
from cnncli.kernels import Kernel, Matrix
from cnncli.setting import Border, Pair, Pool, Setting
from cnncli.shapes import Placement

MAX_PRODUCTS = 2_000_000  # some seconds of exact arithmetic, far more than anyone reads


@dataclass(frozen=True, slots=True)
class Patch:
    """What the kernel sees at one place. Everything is counted from 1; rows and columns outside are padding."""

    row: int  # of the output
    column: int
    rows: tuple[int, ...]  # of the input, one for each row of the kernel
    columns: tuple[int, ...]
    values: Matrix


@dataclass(frozen=True, slots=True)
class Step:
    """One number of the feature map: a patch, the weights as they lie on it, their products and the sum."""

    patch: Patch
    weights: Matrix
    products: Matrix
    sum: Fraction


@dataclass(frozen=True, slots=True)
class PoolStep:
    """One number of a pooled map. Everything is counted from 1; there is no padding among the values."""

    row: int  # of the output
    column: int
    rows: tuple[int, ...]  # of the input
    columns: tuple[int, ...]
    values: tuple[Fraction, ...]
    value: Fraction


@dataclass(frozen=True, slots=True)
class Orientation:
    """What becomes of `W x im2col(x)`, a formula often printed, where the rows of im2col(x) are patches."""

    windows: int  # rows of im2col(x)
    weights: int  # its columns
    symmetric: bool  # im2col(x) equals its transpose, so that the formula is right by luck
    right: Matrix  # im2col(x) @ w, as a row
    printed: Matrix | None  # W x im2col(x), as a row; None where the product does not exist


def shape(matrix: Matrix) -> Pair:
    """`(height, width)`."""
    return len(matrix), len(matrix[0])


def by(sizes: Pair) -> str:
    """`7x5` for 7 rows and 5 columns."""
    return "{}x{}".format(*sizes)


def formula(placement: Placement) -> str:
    """The size formula with its numbers: `floor((7 + 2 - 3) / 2) + 1 = 4`."""
    padding = placement.before + placement.after
    exact = f"({placement.size} + {padding} - {placement.window.extent}) / {placement.window.stride}"
    kept = "floor" if placement.output <= placement.exact else "ceil"
    return f"{kept}({exact}) + 1 = {placement.output}"


def flat(matrix: Matrix) -> tuple[Fraction, ...]:
    """The numbers of a matrix, row by row."""
    return tuple(value for row in matrix for value in row)


def reshaped(values: tuple[Fraction, ...], width: int) -> Matrix:
    """Numbers in rows of `width`."""
    return tuple(values[start : start + width] for start in range(0, len(values), width))


def transposed(matrix: Matrix) -> Matrix:
    """Rows as columns."""
    return tuple(zip(*matrix, strict=True))


def turned(matrix: Matrix) -> Matrix:
    """The matrix turned by 180 degrees: the difference between correlation and true convolution."""
    return tuple(row[::-1] for row in matrix[::-1])


def weights_of(kernel: Kernel) -> Matrix:
    """The weights of a kernel for one channel. Raises KernelError for one of several channels."""
    if len(kernel.planes) != 1:
        raise KernelError(f"kernel {kernel.name} has {len(kernel.planes)} channels, a matrix has one")
    return kernel.planes[0]


def correlate(matrix: Matrix, kernel: Kernel, setting: Setting) -> Matrix:
    """The feature map, exactly as a convolution layer computes it (correlation unless `setting.flip`).

    Raises ShapeError if the kernel fits nowhere, KernelError if it has several channels.
    """
    sums = tuple(step.sum for step in steps(matrix, kernel, setting))
    return reshaped(sums, setting.places(shape(matrix), (kernel.height, kernel.width))[1].output)


def steps(matrix: Matrix, kernel: Kernel, setting: Setting) -> Iterator[Step]:
    """The feature map, one number after the other, row by row. Raises as `correlate`."""
    weights = turned(weights_of(kernel)) if setting.flip else weights_of(kernel)
    for patch in patches(matrix, shape(weights), setting):
        yield step_of(patch, weights)


def step_of(patch: Patch, weights: Matrix) -> Step:
    """A patch times the weights that lie on it, and the sum of the products."""
    products = tuple(
        tuple(weight * value for weight, value in zip(*rows, strict=True))
        for rows in zip(weights, patch.values, strict=True)
    )
    return Step(patch, weights, products, sum(flat(products), Fraction(0)))


def patches(matrix: Matrix, kernel_shape: Pair, setting: Setting) -> Iterator[Patch]:
    """What a kernel of that `(height, width)` sees, place by place, row by row. Raises ShapeError."""
    vertical, horizontal = setting.places(shape(matrix), kernel_shape)
    products = vertical.output * horizontal.output * kernel_shape[0] * kernel_shape[1]
    if products > MAX_PRODUCTS:
        raise ShapeError(
            f"{vertical.output}x{horizontal.output} windows of {by(kernel_shape)} take {products:,} "
            f"multiplications: exact arithmetic does at most {MAX_PRODUCTS:,}; filter it as an image"
        )
    for row, rows in enumerate(positions(vertical), start=1):
        for column, columns in enumerate(positions(horizontal), start=1):
            values = tuple(tuple(_value(matrix, at_row, at, setting.border) for at in columns) for at_row in rows)
            yield Patch(row, column, tuple(at + 1 for at in rows), tuple(at + 1 for at in columns), values)


def im2col(matrix: Matrix, kernel_shape: Pair, setting: Setting) -> Matrix:
    """The patch matrix, `(windows, weights)`: each row is a patch, row by row. Raises ShapeError.

    `im2col(x) @ w` is the feature map, w being the kernel row by row (turned if `setting.flip`).
    """
    return tuple(flat(patch.values) for patch in patches(matrix, kernel_shape, setting))


def product(left: Matrix, right: Matrix) -> Matrix:
    """The matrix product. Raises ShapeError if the columns of one are not the rows of the other."""
    if shape(left)[1] != shape(right)[0]:
        columns_rows = f"{shape(left)[1]} columns against {shape(right)[0]} rows"
        raise ShapeError(f"a product of {by(shape(left))} and {by(shape(right))} does not exist: {columns_rows}")
    columns = transposed(right)
    return tuple(
        tuple(sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0)) for column in columns) for row in left
    )


def orientation(matrix: Matrix, kernel: Kernel, setting: Setting) -> Orientation:
    """What the printed formula `W x im2col(x)` gives for this matrix, beside `im2col(x) @ w`. Raises as `correlate`."""
    weights = turned(weights_of(kernel)) if setting.flip else weights_of(kernel)
    rows = im2col(matrix, shape(weights), setting)
    flattened = (flat(weights),)  # W: one filter, one row
    possible = len(rows) == len(flattened[0])
    return Orientation(
        windows=len(rows),
        weights=len(flattened[0]),
        symmetric=possible and rows == transposed(rows),
        right=transposed(product(rows, transposed(flattened))),
        printed=product(flattened, rows) if possible else None,
    )


def pool(matrix: Matrix, pooling: Pool) -> Matrix:
    """The pooled map. Padding takes part in neither the maximum nor the average, as in Keras. Raises ShapeError."""
    values = tuple(step.value for step in pool_steps(matrix, pooling))
    return reshaped(values, pooling.places(shape(matrix))[1].output)


def pool_steps(matrix: Matrix, pooling: Pool) -> Iterator[PoolStep]:
    """The pooled map, one number after the other, row by row. Raises ShapeError."""
    height, width = shape(matrix)
    vertical, horizontal = pooling.places((height, width))
    for row, rows in enumerate(_within(positions(vertical), height), start=1):
        for column, columns in enumerate(_within(positions(horizontal), width), start=1):
            values = tuple(matrix[at_row][at] for at_row in rows for at in columns)
            if not values:
                raise ShapeError("a pooling window sees nothing but padding: padding must be less than the window")
            value = max(values) if pooling.kind == "max" else sum(values, Fraction(0)) / len(values)
            yield PoolStep(row, column, tuple(at + 1 for at in rows), tuple(at + 1 for at in columns), values, value)


def feature_map(matrix: Matrix, kernel: Kernel | None, setting: Setting, pools: tuple[Pool, ...] = ()) -> Matrix:
    """The matrix after a kernel (None: none) and any pooling layers, in this order. Raises ShapeError, KernelError."""
    result = matrix if kernel is None else correlate(matrix, kernel, setting)
    for pooling in pools:
        result = pool(result, pooling)
    return result


def _within(windows: list[tuple[int, ...]], size: int) -> list[tuple[int, ...]]:
    """Windows without their elements in the padding."""
    return [tuple(at for at in window if 0 <= at < size) for window in windows]


def positions(placement: Placement) -> list[tuple[int, ...]]:
    """Where the elements of each window lie along the axis, counted from 0; outside of the size is padding."""
    window = placement.window
    starts = (number * window.stride - placement.before for number in range(placement.output))
    return [tuple(start + window.dilation * number for number in range(window.kernel)) for start in starts]


def _value(matrix: Matrix, row: int, column: int, border: Border) -> Fraction:
    height, width = shape(matrix)
    if border == "zero" and not (0 <= row < height and 0 <= column < width):
        return Fraction(0)
    return matrix[folded(row, height, border)][folded(column, width, border)]


def folded(position: int, size: int, border: Border) -> int:
    """The element that stands at a position before, in or after `size` of them, for any border but zero."""
    if 0 <= position < size:
        return position
    if border == "edge" or size == 1:
        return min(max(position, 0), size - 1)
    if border == "wrap":
        return position % size
    position %= 2 * (size - 1)  # reflect: there and back again, each end once
    return min(position, 2 * (size - 1) - position)
