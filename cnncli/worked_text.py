"""Worked exercises as plain text: what is given, the map, every step, the patch matrix."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from cnncli.explanations import Exercise, formulas
from cnncli.kernels import Matrix
from cnncli.layout import DECIMALS, WIDTH, Block, beside, block, indented, is_cut, matrix_block, number, wrapped
from cnncli.matrices import NamedMatrix
from cnncli.setting import Pair, Pool, Setting, pair
from cnncli.text import printable
from cnncli.verdict_text import verdict_lines
from cnncli.verdicts import Verdict
from cnncli.worked import (
    Orientation,
    Patch,
    PoolStep,
    Step,
    by,
    correlate,
    flat,
    im2col,
    orientation,
    pool,
    pool_steps,
    shape,
    steps,
    turned,
    weights_of,
)


def report(
    named: NamedMatrix,
    exercise: Exercise,
    *,
    walk: bool = False,
    patches: bool = False,
    exact: bool = False,
    verdict: Verdict | None = None,
) -> Iterator[str]:
    """The lines of a worked exercise: what is given, the map, then steps (`walk`), im2col (`patches`) and verdict."""
    result = exercise.result
    yield from _given(named, exercise)
    yield ""
    yield from _maps(named, exercise, exact)
    if not exact and any(map(is_cut, flat(result))):
        yield f"(shown to {DECIMALS} decimals; --exact shows the fractions)"
    kernel = exercise.kernel
    if walk:
        yield from _walk(exercise, exact)
    if patches and kernel is not None:
        yield ""
        yield from im2col_lines(named, exercise, exact)
    if verdict is not None:
        yield ""
        yield from verdict_lines(verdict, exercise, exact)


def _given(named: NamedMatrix, exercise: Exercise) -> Iterator[str]:
    title = f": {named.title}" if named.title else ""
    yield from wrapped(f"{printable(named.name)}, {by(shape(named.matrix))}{title}")
    if named.source:
        yield from wrapped(f"from {named.source}")
    if named.letters:
        yield "its letters count as numbers: a = 1, b = 2, c = 3, ..."
    kernel, setting = exercise.kernel, exercise.setting
    if kernel is not None:
        size = by((kernel.height, kernel.width))
        yield from wrapped(f"kernel {printable(kernel.name)}, {size}, sum {number(kernel.sum, exact=True)}")
        if setting.flip:
            weights = weights_of(kernel)
            same = ", which makes no difference to this one" if weights == turned(weights) else ""
            yield f"true convolution: the kernel is turned by 180 degrees{same}"
    layers = [] if kernel is None else [_setting_text(setting)]
    layers += [_pool_text(pooling) for pooling in exercise.pools]
    for count, text in enumerate(layers, start=1):
        yield from wrapped(f"{text}: {formulas(exercise, count - 1)}")


def _setting_text(setting: Setting) -> str:
    border = f" ({setting.border})" if setting.padding not in ("valid", 0) else ""
    stride, dilation = (_one(value) for value in (setting.stride, setting.dilation))
    return f"padding {setting.padding}{border}, stride {stride}" + (f", dilation {dilation}" if dilation != "1" else "")


def _pool_text(pooling: Pool) -> str:
    kind = {"max": "max", "avg": "average"}[pooling.kind]
    if pooling.window is None:
        return f"global {kind} pooling"
    stride = _one(pooling.window if pooling.stride is None else pooling.stride)
    padding = "" if pooling.padding in ("valid", 0) else f", padding {pooling.padding}"
    return f"{kind} pooling {by(pair(pooling.window))}, stride {stride}{padding}"


def _one(value: int | Pair) -> str:
    vertical, horizontal = pair(value)
    return str(vertical) if vertical == horizontal else by((vertical, horizontal))


def _maps(named: NamedMatrix, exercise: Exercise, exact: bool) -> list[str]:
    """The matrix, the kernel and each layer's map, with titles."""
    current, kernel = exercise.matrix, exercise.kernel
    blocks = [["matrix", *(block(_letters(current)) if named.letters else matrix_block(current, exact))]]
    if kernel is not None:
        current = correlate(current, kernel, exercise.setting)
        blocks.append(["kernel", *matrix_block(weights_of(kernel), exact)])
        blocks.append([f"feature map, {by(shape(current))}", *matrix_block(current, exact)])
    for pooling in exercise.pools:
        current = pool(current, pooling)
        blocks.append([f"pooled, {by(shape(current))}", *matrix_block(current, exact)])
    return beside(*blocks)


def _letters(matrix: Matrix) -> list[list[str]]:
    """Numbers as the letters they count; padding stays 0."""
    return [[chr(ord("a") - 1 + int(value)) if value else "0" for value in row] for row in matrix]


# -- steps -------------------------------------------------------------------------------------------------------------


def _walk(exercise: Exercise, exact: bool) -> Iterator[str]:
    """Every step of the kernel, or of the first pooling layer where there is no kernel."""
    if exercise.kernel is not None:
        for step in steps(exercise.matrix, exercise.kernel, exercise.setting):
            yield ""
            yield from step_lines(step, shape(exercise.matrix), exact)
    for pooling in exercise.pools[:1] if exercise.kernel is None else ():
        yield ""
        for pooled in pool_steps(exercise.matrix, pooling):
            yield pool_line(pooled, pooling, exact)


def step_lines(step: Step, input_shape: Pair, exact: bool = False) -> list[str]:
    """One window: where it is, kernel x window = products, and the sum spelled out. Padding is in parentheses."""
    window = block(
        [[_framed(number(cell, exact), *at, input_shape) for cell, at in row] for row in _placed(step.patch)]
    )
    middle = [""] * ((len(window) - 1) // 2)
    weights, products = matrix_block(step.weights, exact), matrix_block(step.products, exact)
    lines = beside(weights, [*middle, "x"], window, [*middle, "="], products, gap="  ")
    return [_place(step.patch), *indented(lines), *indented(spelled(step, exact))]


def pool_line(pooled: PoolStep, pooling: Pool, exact: bool = False) -> str:
    """One window of a pooling layer: `(1,1)  rows 1..2, columns 1..2: max(2, 2, 9, 4) = 9`."""
    return f"{_place(pooled)}: {' '.join(_pooled_rows(pooled, pooling, exact))}"


def _placed(patch: Patch) -> list[list[tuple[Fraction, Pair]]]:
    """The patch's numbers with their row and column in the input."""
    return [
        [(value, (row, column)) for value, column in zip(values, patch.columns, strict=True)]
        for values, row in zip(patch.values, patch.rows, strict=True)
    ]


def _framed(text: str, row: int, column: int, input_shape: Pair) -> str:
    """In parentheses if it is padding."""
    return text if 1 <= row <= input_shape[0] and 1 <= column <= input_shape[1] else f"({text})"


def _place(at: Patch | PoolStep) -> str:
    return f"({at.row},{at.column})  rows {_range(at.rows)}, columns {_range(at.columns)}"


def spelled(step: Step, exact: bool = False) -> list[str]:
    """The sum spelled out, weight first, as it is done by hand: `1*1+0*1+1*0 = 1`; a line per kernel row if long."""
    rows = [
        "+".join(f"{_factor(weight, exact)}*{_factor(value, exact)}" for weight, value in zip(*pairs, strict=True))
        for pairs in zip(step.weights, step.patch.values, strict=True)
    ]
    whole = f"{'+'.join(rows)} = {number(step.sum, exact)}"
    if len(whole) <= WIDTH - 3:
        return [whole]
    return [f"{row}+" for row in rows[:-1]] + [f"{rows[-1]} = {number(step.sum, exact)}"]


def pool_spelled(pooled: PoolStep, pooling: Pool, exact: bool = False) -> list[str]:
    """How a window is pooled: `max(2, 2, 9, 4) = 9`; a line per row of the window if long."""
    rows = _pooled_rows(pooled, pooling, exact)
    whole = " ".join(rows)
    return [whole] if len(whole) <= WIDTH - 3 else rows


def _pooled_rows(pooled: PoolStep, pooling: Pool, exact: bool) -> list[str]:
    start, between, end = ("max(", ",", ")") if pooling.kind == "max" else ("(", " +", f") / {len(pooled.values)}")
    values = [number(value, exact) for value in pooled.values]
    across = len(pooled.columns)
    rows = [f"{between} ".join(values[at : at + across]) + between for at in range(0, len(values), across)]
    last = f"{rows[-1].removesuffix(between)}{end} = {number(pooled.value, exact)}"
    return [f"{start if at == 0 else ''}{row}" for at, row in enumerate([*rows[:-1], last])]


def _factor(value: Fraction, exact: bool) -> str:
    text = number(value, exact)
    return f"({text})" if value < 0 or "/" in text else text


def _range(positions: tuple[int, ...]) -> str:
    """`1..3`, or `1,3,5` where the dilation leaves gaps."""
    if positions[-1] - positions[0] == len(positions) - 1:
        return f"{positions[0]}..{positions[-1]}" if len(positions) > 1 else str(positions[0])
    return ",".join(map(str, positions))


# -- im2col ------------------------------------------------------------------------------------------------------------


def im2col_lines(named: NamedMatrix, exercise: Exercise, exact: bool = False) -> Iterator[str]:
    """The patch matrix, a row for each window, its product with the weights, and what of the printed formula."""
    kernel = exercise.kernel
    assert kernel is not None
    weights = turned(weights_of(kernel)) if exercise.setting.flip else weights_of(kernel)
    rows = im2col(exercise.matrix, shape(weights), exercise.setting)
    found = orientation(exercise.matrix, kernel, exercise.setting)
    width = exercise.places[0][1].output
    yield f"im2col(x), {by(shape(rows))}: a row for each window, a column for each weight"
    shown = _letters(rows) if named.letters else [[number(value, exact) for value in row] for row in rows]
    header, w = [f"w{at}" for at in range(1, found.weights + 1)], [number(value, exact) for value in flat(weights)]
    labels = ["", *(f"({at // width + 1},{at % width + 1})" for at in range(len(rows)))]
    sums = ["", *(f"= {number(value, exact)}" for value in flat(found.right))]
    table = _labelled(["", "w", *labels[1:]], block([header, w, *shown]), ["", *sums])
    if max(map(len, table)) > WIDTH:  # long weights would widen every column
        table = [*_labelled(labels, block([header, *shown]), sums), *wrapped(f"w  {' '.join(w)}")]
    yield from table
    yield ""
    yield from wrapped(f"im2col(x) @ w: {by(shape(rows))} by {by((found.weights, 1))} is the feature map, row by row")
    yield from wrapped(_printed(found))


def _labelled(labels: list[str], lines: Block, sums: list[str]) -> list[str]:
    longest = max(map(len, labels))
    parts = zip(labels, lines, sums, strict=True)
    return [f"{label:{longest}}  {line}  {total}".rstrip() for label, line, total in parts]


def _printed(found: Orientation) -> str:
    """A sentence on `W x im2col(x)`."""
    text = f"W x im2col(x), as some texts print it, W being 1x{found.weights}, is "
    if found.printed is None:
        return f"{text}impossible: {found.weights} columns against {found.windows} rows"
    if found.symmetric:
        return f"{text}the same here only because this im2col(x) happens to be symmetric"
    same = "happens to be the same for this kernel" if found.printed == found.right else "not the same"
    values = " ".join(number(value) for value in flat(found.printed))
    return f"{text}possible here but {same}: {values}"
