"""Worked exercises: the course's figures, SciPy and Keras as oracles, and its errors found by computing."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from cnncli.claims import claim
from cnncli.errors import KernelError, ShapeError
from cnncli.explanations import Exercise
from cnncli.kernels import Kernel, Matrix, matrix
from cnncli.layout import number
from cnncli.matrices import course
from cnncli.recovery import Impossible, Undetermined, recover
from cnncli.setting import Pool, Setting
from cnncli.verdicts import compare, possible_max_pool
from cnncli.worked import (
    correlate,
    feature_map,
    flat,
    im2col,
    orientation,
    pool,
    product,
    shape,
    steps,
    transposed,
    turned,
)
from cnncli.worked_text import spelled

X7, X9, D4, POOL4 = (course()[name].matrix for name in ("x7", "x9", "d4", "pool4"))
NINTHS = {
    "diagonal": "1/9 -1/9 -1/9;-1/9 1/9 -1/9;-1/9 -1/9 1/9",
    "x": "1/9 -1/9 1/9;-1/9 1/9 -1/9;1/9 -1/9 1/9",
}
RING_MAP = """3 4 3 2 3 3 3 / 4 5 5 3 6 5 4 / 2 3 3 2 5 5 5 / 3 3 2 2 4 4 3 / 2 2 2 2 4 5 3 / 4 6 4 2 3 4 4
    / 2 3 2 3 4 3 2"""
DIAGONAL_MAP = """.77 -.11 .11 .33 .55 -.11 .33 / -.11 1.00 -.11 .33 -.11 .11 -.11 / .11 -.11 1.00 -.33 .11 -.11 .55
    / .33 .33 -.33 .55 -.33 .33 .33 / .55 -.11 .11 -.33 1.00 -.11 .11 / -.11 .11 -.11 .33 -.11 1.00 -.11
    / .33 -.11 .55 .33 .11 -.11 .77"""
X_MAP = """.33 -.55 .11 -.11 .11 -.55 .33 / -.55 .55 -.55 .33 -.55 .55 -.55 / .11 -.55 .55 -.77 .55 -.55 .11
    / -.11 .33 -.77 1.00 -.77 .33 -.11 / ? ? ? ? ? ? ? / ? ? ? ? ? ? ? / ? ? ? ? ? ? ?"""


def kernel(text: str) -> Kernel:
    return Kernel("test", (matrix(text),))


def random_matrix(draw: random.Random, height: int, width: int, low: int = -9, high: int = 9) -> Matrix:
    return tuple(tuple(Fraction(draw.randint(low, high)) for _ in range(width)) for _ in range(height))


def array(rows: Matrix) -> np.ndarray:
    return np.array([[float(value) for value in row] for row in rows])


def with_wrong_cell(draw: random.Random, rows: Matrix) -> tuple[Matrix, int, int]:
    """A map in which one number, at a place counted from 1, was changed."""
    row, column = draw.randrange(len(rows)), draw.randrange(len(rows[0]))
    changed = [list(values) for values in rows]
    changed[row][column] += draw.choice([-3, -1, 1, 2])
    return tuple(map(tuple, changed)), row + 1, column + 1


def text_of(rows: Matrix) -> str:
    return ";".join(" ".join(map(str, row)) for row in rows)


# -- figures of the course (ledger, section 1) -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights", "padding", "expected"),
    [
        ("D0-M1", "1 1 1;1 1 1;1 1 1", 0, "6 5 4 6 6 / 3 3 3 6 6 / 3 2 2 4 5 / 3 2 2 4 5 / 6 4 3 4 5"),
        (
            "D0-M2",
            "1 1 1;1 1 1;1 1 1",
            1,
            """4 5 4 2 3 4 4 / 5 6 5 4 6 6 5 / 3 3 3 3 6 6 5 / 3 3 2 2 4 5 4 / 3 3 2 2 4 5 4 / 5 6 4 3 4 5 4
            / 3 4 3 3 4 4 3""",
        ),
        ("D0-M3", "0 1 0;1 1 1;0 1 0", 0, "3 3 2 3 4 / 2 1 3 3 4 / 1 0 1 2 3 / 2 1 1 1 3 / 3 2 2 3 3"),
        ("D0-M4, the printed map", "1 1 1;1 0 1;1 1 1", 1, RING_MAP),
        (
            "D0-M4, the printed kernel",
            "1 1 1;1 -1 1;1 1 1",
            1,
            """2 3 2 2 3 2 2 / 3 4 5 2 6 4 3 / 1 3 3 1 4 4 5 / 3 3 2 2 4 3 2 / 1 1 2 2 4 5 2 / 3 6 4 1 2 3 4
            / 1 2 1 3 4 2 1""",
        ),
        ("D0-M5", "0 1 0;0 1 0;0 1 0", 0, "2 1 2 1 3 / 1 0 2 1 3 / 1 0 1 1 2 / 1 0 1 1 2 / 2 1 1 1 2"),
        ("D0-M6", "0 0 0;1 1 1;0 0 0", 0, "2 2 1 2 2 / 1 1 2 3 2 / 0 0 0 1 2 / 2 1 0 0 1 / 1 1 2 3 2"),
        ("D0-M7", "0 0 1;0 1 1;1 1 1", 0, "3 2 3 5 5 / 0 2 2 4 4 / 2 2 1 2 3 / 2 1 2 4 4 / 3 3 3 3 4"),
        ("D0-M8", "1 1 1;1 1 0;1 0 0", 0, "6 3 2 3 4 / 3 2 2 4 4 / 2 2 2 3 3 / 3 1 0 2 3 / 4 2 2 2 3"),
        (
            "D0-M9",
            "0 0 15;0 15 0;15 0 0",
            0,
            "45 0 15 30 45 / 0 15 15 30 30 / 15 30 15 15 15 / 30 0 0 30 30 / 15 15 30 15 30",
        ),
        (
            "D0-M10",
            "0 10 0;10 10 10;0 10 0",
            0,
            "30 30 20 30 40 / 20 10 30 30 40 / 10 0 10 20 30 / 20 10 10 10 30 / 30 20 20 30 30",
        ),
    ],
)
def test_maps_of_x7_are_those_of_the_course(name: str, weights: str, padding: int, expected: str) -> None:
    exercise = Exercise(X7, kernel(weights), Setting(padding))
    assert exercise.result == matrix(expected), name
    assert compare(claim(expected), exercise).agrees


def test_d0_builds_its_first_map_cell_by_cell() -> None:
    sums = [int(step.sum) for step, _ in zip(steps(X7, kernel("1 1 1;1 1 1;1 1 1"), Setting()), range(4), strict=False)]
    assert sums == [6, 5, 4, 6]


@pytest.mark.parametrize(("name", "printed"), [("diagonal", DIAGONAL_MAP), ("x", X_MAP)])
def test_maps_of_x9_agree_with_the_course_truncated_not_rounded(name: str, printed: str) -> None:
    verdict = compare(claim(printed), Exercise(X9, kernel(NINTHS[name])))
    assert verdict.agrees and verdict.reading == "truncated"
    assert verdict.true[0][0] == {"diagonal": Fraction(7, 9), "x": Fraction(1, 3)}[name]
    assert verdict.true == turned(verdict.true)  # "then mirrored"


@pytest.mark.parametrize(
    ("ceil", "expected"),
    [
        (True, "1.00 .33 .55 .33 / .33 1.00 .33 .55 / .55 .33 1.00 .11 / .33 .55 .11 .77"),
        (False, "1.00 .33 .55 / .33 1.00 .33 / .55 .33 1.00"),
    ],
)
def test_pooled_x9_keeps_or_drops_the_partial_windows(ceil: bool, expected: str) -> None:
    exercise = Exercise(X9, kernel(NINTHS["diagonal"]), pools=(Pool("max", 2, ceil=ceil),))
    verdict = compare(claim(expected), exercise)
    assert verdict.agrees and verdict.reading == "truncated"
    assert exercise.result[0][:3] == (1, Fraction(1, 3), Fraction(5, 9))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pool("avg", 2), "4.25 4.25;4.25 3.5"),
        (Pool("max", 2), "9 7;8 6"),
        (Pool("max"), "9"),
        (Pool("avg"), "4.0625"),
    ],
)
def test_pooled_4x4_is_that_of_the_course(pooling: Pool, expected: str) -> None:
    assert pool(POOL4, pooling) == matrix(expected)


def test_d2_average_map_comes_from_whole_numbers_and_its_size_from_a_4x4() -> None:
    sums = [value * 4 for value in flat(matrix("127 138.75 86.5;98.75 114.25 67.75;107.25 138.75 147.75"))]
    assert sums == [508, 555, 346, 395, 457, 271, 429, 555, 591]
    assert shape(correlate(POOL4, kernel("1 1;1 1"), Setting())) == (3, 3)


def test_d4_map_and_its_sums_spelled_out_are_those_of_the_course() -> None:
    walked = list(steps(D4, kernel("1 0 1;0 1 0;1 0 1"), Setting()))
    assert [int(step.sum) for step in walked] == [4, 3, 4, 2, 4, 3, 2, 3, 4]
    assert spelled(walked[0]) == ["1*1+0*1+1*1+0*0+1*1+0*1+1*0+0*0+1*1 = 4"]
    assert spelled(walked[1]) == ["1*1+0*1+1*0+0*1+1*1+0*1+1*0+0*1+1*1 = 3"]


def test_im2col_of_the_letters_has_the_patches_of_the_course_as_rows() -> None:
    letters = course()["letters"].matrix
    rows = ["".join(chr(96 + int(value)) for value in row) for row in im2col(letters, (3, 3), Setting())]
    assert (rows[0], rows[1], rows[-1]) == ("abcfghklm", "bcdghilmn", "mnorstwxy")
    assert len(rows) == 9


def test_x7_determines_every_3x3_kernel() -> None:
    """D0-M11: "we don't need to provide the values of kernel matrix manually"."""
    draw = random.Random(11)
    for padding in (0, 1):
        weights = random_matrix(draw, 3, 3)
        output = correlate(X7, Kernel("w", (weights,)), Setting(padding))
        assert recover(X7, output, (3, 3), Setting(padding)) == weights
    assert np.linalg.matrix_rank(array(im2col(X7, (3, 3), Setting()))) == 9


# -- errors of the course, computed (ledger, section 10) ---------------------------------------------------------------


def test_erratum_1_second_cell_of_the_cross_map_is_3() -> None:
    verdict = compare(claim("3 4"), Exercise(X7, kernel("0 1 0;1 1 1;0 1 0")))
    assert [(cell.row, cell.column, cell.claimed, cell.true) for cell in verdict.wrong] == [(1, 2, 4, 3)]
    assert not verdict.fits


@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_cell_of_a_random_map_is_found_and_no_kernel_explains_it(seed: int) -> None:
    draw = random.Random(seed)
    exercise = Exercise(
        random_matrix(draw, 8, 7), Kernel("w", (random_matrix(draw, 3, 3),)), Setting(draw.randint(0, 1))
    )
    claimed, row, column = with_wrong_cell(draw, exercise.result)
    verdict = compare(claim(text_of(claimed)), exercise)
    assert [(cell.row, cell.column) for cell in verdict.wrong] == [(row, column)]
    assert verdict.wrong[0].true == exercise.result[row - 1][column - 1]
    assert verdict.kernel == Impossible()
    assert not verdict.agrees and verdict.explanations == ()


def test_erratum_2_printed_map_belongs_to_centre_0() -> None:
    verdict = compare(claim(RING_MAP), Exercise(X7, kernel("1 1 1;1 -1 1;1 1 1"), Setting(1)))
    assert not verdict.agrees and len(verdict.wrong) == 28  # where X7 has a 1 the centre counts
    assert verdict.kernel == matrix("1 1 1;1 0 1;1 1 1")


@pytest.mark.parametrize("seed", range(5))
def test_the_kernel_behind_a_random_map_is_recovered(seed: int) -> None:
    draw = random.Random(100 + seed)
    given, meant = (random_matrix(draw, 3, 2) for _ in range(2))
    setting = Setting(draw.choice(["same", "valid", 1]), draw.choice(["zero", "edge"]), flip=draw.random() < 0.5)
    rows = random_matrix(draw, 9, 8)
    claimed = correlate(rows, Kernel("meant", (meant,)), setting)
    assert compare(claim(text_of(claimed)), Exercise(rows, Kernel("given", (given,)), setting)).kernel == meant


@pytest.mark.parametrize("seed", range(3))
def test_erratum_15_truncation_and_rounding_are_told_apart_on_random_maps(seed: int) -> None:
    draw = random.Random(200 + seed)
    rows, weights = random_matrix(draw, 6, 6), tuple(tuple(v / 7 for v in row) for row in random_matrix(draw, 3, 3))
    exercise = Exercise(rows, Kernel("sevenths", (weights,)))
    values = [[float(value) for value in row] for row in exercise.result]
    cut = ";".join(
        " ".join(f"{np.trunc(value * 100 + np.sign(value) * 1e-9) / 100:.2f}" for value in row) for row in values
    )
    rounded = ";".join(" ".join(f"{value:.2f}" for value in row) for row in values)
    assert [compare(claim(text), exercise).reading for text in (cut, rounded)] == ["truncated", "rounded"]
    assert compare(claim(cut), exercise).agrees and compare(claim(rounded), exercise).agrees


def test_a_wrong_digit_in_a_truncated_map_is_the_only_wrong_cell() -> None:
    verdict = compare(claim(DIAGONAL_MAP.replace(".77", ".78", 1)), Exercise(X9, kernel(NINTHS["diagonal"])))
    assert [(cell.row, cell.column) for cell in verdict.wrong] == [(1, 1)] and verdict.reading == "truncated"


D2_MAXIMA = matrix("155 254 123;254 254 123;220 255 255")


def test_erratum_18_no_4x4_has_these_maxima_at_stride_1() -> None:
    reason = possible_max_pool(D2_MAXIMA, (4, 4), Pool("max", 2, 1))
    assert reason is not None and "(1,2) = 254" in reason and "(1,1) = 155 and (1,3) = 123" in reason
    assert possible_max_pool(D2_MAXIMA, (6, 6), Pool("max", 2, 2)) is None
    assert possible_max_pool(D2_MAXIMA, (5, 5), Pool("max", 2, 1)) == (
        "a 5x5 input gives 4x4, not 3x3: floor((5 + 0 - 2) / 1) + 1 = 4 rows, floor((5 + 0 - 2) / 1) + 1 = 4 columns"
    )
    verdict = compare(claim(text_of(D2_MAXIMA)), Exercise(POOL4, None, pools=(Pool("max", 2, 1),)))
    assert verdict.impossible == reason


@pytest.mark.parametrize("seed", range(20))
def test_possible_max_pool_agrees_with_trying_every_input(seed: int) -> None:
    draw = random.Random(300 + seed)
    claimed = random_matrix(draw, 2, 2, 0, 2)
    exists = any(
        all(max(x[r : r + 2, c : c + 2].flat) == claimed[r][c] for r in (0, 1) for c in (0, 1))
        for x in (np.array(np.unravel_index(code, (3,) * 9)).reshape(3, 3) for code in range(3**9))
    )
    assert (possible_max_pool(claimed, (3, 3), Pool("max", 2, 1)) is None) == exists


@pytest.mark.parametrize("seed", range(5))
def test_maxima_of_a_random_input_are_possible_until_one_cell_towers_over_its_neighbours(seed: int) -> None:
    draw = random.Random(400 + seed)
    pooling = Pool("max", 2, 1)
    maxima = pool(random_matrix(draw, 6, 5), pooling)
    assert possible_max_pool(maxima, (6, 5), pooling) is None
    row, column = draw.randint(1, 3), draw.randint(1, 2)  # an inner cell: all its pixels are shared
    spoiled = [list(values) for values in maxima]
    spoiled[row][column] = Fraction(100)
    reason = possible_max_pool(tuple(map(tuple, spoiled)), (6, 5), pooling)
    assert reason is not None and reason.startswith(f"({row + 1},{column + 1}) = 100 ")


def test_erratum_19_average_pooling_under_a_max_caption_is_named() -> None:
    verdict = compare(claim("4.25 4.25;4.25 3.5"), Exercise(POOL4, None, pools=(Pool("max", 2),)))
    assert not verdict.agrees and verdict.explanations == ("average pooling",)


def test_erratum_26_printed_formula_is_right_only_where_im2col_is_symmetric() -> None:
    draw = random.Random(26)
    weights = Kernel("w", (random_matrix(draw, 3, 3),))
    lucky = orientation(random_matrix(draw, 5, 5), weights, Setting())
    assert lucky.symmetric and lucky.printed == lucky.right
    bigger = orientation(random_matrix(draw, 6, 6), weights, Setting())
    assert (bigger.windows, bigger.weights, bigger.symmetric, bigger.printed) == (16, 9, False, None)
    strided = orientation(random_matrix(draw, 7, 7), weights, Setting(stride=2))
    assert not strided.symmetric and strided.printed is not None and strided.printed != strided.right


@pytest.mark.parametrize("seed", range(5))
def test_im2col_times_the_weights_is_the_map_of_a_random_matrix(seed: int) -> None:
    draw = random.Random(500 + seed)
    rows, weights = random_matrix(draw, 7, 6), random_matrix(draw, 3, 2)
    setting = Setting(1, "reflect", (2, 1))
    column = transposed((flat(weights),))
    patches = im2col(rows, (3, 2), setting)
    assert flat(product(patches, column)) == flat(correlate(rows, Kernel("w", (weights,)), setting))
    if shape(patches)[0] != shape(patches)[1]:
        with pytest.raises(ShapeError, match=r"a product of 1x6 and \d+x6 does not exist: 6 columns against"):
            product((flat(weights),), patches)


def test_erratum_30_second_picture_gives_another_map() -> None:
    damaged = matrix("1 1 0 1 0;0 1 1 0 0;0 0 1 1 1;0 0 1 1 0;0 1 1 0 0")
    exercise = Exercise(damaged, kernel("1 0 1;0 1 0;1 0 1"))
    assert exercise.result == matrix("3 4 2;2 3 3;2 3 4")
    verdict = compare(claim("4 3 4;2 4 3;2 3 4"), exercise)
    assert [(cell.row, cell.column) for cell in verdict.wrong] == [(1, 1), (1, 2), (1, 3), (2, 2)]


@pytest.mark.parametrize("seed", range(3))
def test_a_changed_pixel_shows_in_the_windows_that_cover_it(seed: int) -> None:
    draw = random.Random(600 + seed)
    rows, ones = random_matrix(draw, 5, 5, 0, 1), kernel("1 1 1;1 1 1;1 1 1")
    damaged, row, column = with_wrong_cell(draw, rows)
    verdict = compare(claim(text_of(correlate(rows, ones, Setting()))), Exercise(damaged, ones))
    covering = {(r, c) for r in (1, 2, 3) for c in (1, 2, 3) if 0 <= row - r <= 2 and 0 <= column - c <= 2}
    assert {(cell.row, cell.column) for cell in verdict.wrong} == covering


def test_conv_arithmetic_printed_the_corner_of_the_stride_1_map() -> None:
    rows = course()["conv-arithmetic"].matrix
    exercise = Exercise(rows, kernel("2 0 1;1 0 0;0 1 1"), Setting(1, stride=2))
    assert exercise.result == matrix("1 5 6;7 8 3;3 10 4")
    verdict = compare(claim("1 6 5;7 10 9;7 10 8"), exercise)
    assert verdict.explanations == ("stride 1 and only the top left 3x3 of the map",)
    assert len(verdict.wrong) == 6


# -- what would explain a claim ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ("true convolution, the kernel flipped", Setting(flip=True)),
        ("padding 1", Setting(1)),
        ("stride 2", Setting(stride=2)),
        ("dilation 2", Setting(dilation=2)),
        ("padding 2 and border wrap", Setting(2, "wrap")),
    ],
)
def test_the_setting_that_explains_a_random_claim_is_named(change: str, setting: Setting, seed: int) -> None:
    draw = random.Random(700 + seed)
    rows, weights = random_matrix(draw, 8, 9), Kernel("w", (random_matrix(draw, 3, 3),))
    claimed = correlate(rows, weights, setting)
    found = compare(claim(text_of(claimed)), Exercise(rows, weights)).explanations
    same = "padding same" if change == "padding 1" else change  # both are right; the simpler name comes first
    assert found == (same,)


def test_a_transposed_kernel_or_input_explains_a_claim() -> None:
    draw = random.Random(8)
    rows, weights = random_matrix(draw, 6, 6), random_matrix(draw, 3, 3)
    exercise = Exercise(rows, Kernel("w", (weights,)))
    for changed in (Exercise(transposed(rows), exercise.kernel), Exercise(rows, Kernel("w", (transposed(weights),)))):
        what = "the input transposed" if changed.matrix != rows else "the kernel transposed"
        assert compare(claim(text_of(changed.result)), exercise).explanations == (what,)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: max(value, Fraction(0)), "ReLU after it, max(0, x)"),
        (abs, "the absolute value of each number"),
        (lambda value: value + 7, "a bias of 7 added to each number"),
        (lambda value: value / 9, "each number multiplied by 1/9"),
    ],
)
def test_what_was_done_after_the_map_explains_a_claim(change, expected: str) -> None:
    draw = random.Random(9)
    exercise = Exercise(random_matrix(draw, 6, 6), Kernel("w", (random_matrix(draw, 3, 3),)))
    claimed = tuple(tuple(change(value) for value in row) for row in exercise.result)
    assert compare(claim(text_of(claimed)), exercise).explanations == (expected,)


def test_integers_for_decimals_do_not_agree_but_are_explained() -> None:
    verdict = compare(claim("4 4;4 3"), Exercise(POOL4, None, pools=(Pool("avg", 2),)))
    assert not verdict.agrees and "the numbers truncated to integers" in verdict.explanations


def test_a_claim_of_another_size_is_told_what_gives_it() -> None:
    verdict = compare(claim("6 5 4;3 3 3;3 2 2"), Exercise(X7, kernel("1 1 1;1 1 1;1 1 1")))
    assert not verdict.agrees and verdict.wrong == ()
    assert "stride 2: floor((7 + 0 - 3) / 2) + 1 = 3" in verdict.sizes
    assert "a 5x5 kernel: floor((7 + 0 - 5) / 1) + 1 = 3" in verdict.sizes
    assert verdict.explanations == ("only the top left 3x3 of the map",)


def test_a_claim_on_a_large_kernel_or_matrix_is_judged_without_trying_every_setting() -> None:
    draw = random.Random(12)
    rows, weights = random_matrix(draw, 4, 4, 0, 1), Kernel("large", (random_matrix(draw, 40, 40, 1, 2),))
    exercise = Exercise(rows, weights, Setting("same"))  # with more padding it is too large to work
    claimed, row, column = with_wrong_cell(draw, exercise.result)
    verdict = compare(claim(text_of(claimed)), exercise)
    assert [(cell.row, cell.column) for cell in verdict.wrong] == [(row, column)] and verdict.explanations == ()
    large = Exercise(random_matrix(draw, 250, 250), kernel("1 2;3 4"), Setting(stride=60))
    assert compare(claim("1 2 3;4 5 6"), large).explanations == ()


def test_open_cells_give_no_equation_and_no_error() -> None:
    exercise = Exercise(X7, kernel("1 2 3;4 5 6;7 8 9"))
    some = [
        [str(value) if (row + column) % 2 else "?" for column, value in enumerate(values)]
        for row, values in enumerate(exercise.result)
    ]
    text = ";".join(" ".join(row) for row in some)
    assert compare(claim(text), exercise).agrees
    assert recover(X7, claim(text), (3, 3), Setting()) == matrix("1 2 3;4 5 6;7 8 9")
    assert recover(X7, claim("22 ? ? ? ?" + ";? ? ? ? ?" * 4), (3, 3), Setting()) == Undetermined(1, 9)


def test_recover_refuses_an_output_of_another_size_and_one_too_large_to_solve() -> None:
    with pytest.raises(
        ShapeError, match=r"the output is 1x2; a 3x3 kernel makes 5x5: floor\(\(7 \+ 0 - 3\) / 1\) \+ 1"
    ):
        recover(X7, matrix("1 2"), (3, 3), Setting())
    large = ((Fraction(1),) * 300,) * 300
    with pytest.raises(ShapeError, match="too many to solve exactly"):
        recover(large, ((Fraction(1),) * 290,) * 290, (11, 11), Setting())


# -- against independent libraries -------------------------------------------------------------------------------------

MODES = {"zero": "constant", "edge": "nearest", "reflect": "mirror", "wrap": "wrap"}
NUMPY_MODES = {"zero": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}
small = st.integers(-9, 9)


@st.composite
def exercises(draw: st.DrawFn) -> Exercise:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    k = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    values = [[Fraction(draw(small)) for _ in range(width)] for _ in range(height)]
    weights = [[Fraction(draw(small), draw(st.integers(1, 4))) for _ in range(k[1])] for _ in range(k[0])]
    setting = Setting(
        draw(st.sampled_from(["same", "valid", 0, 1, 2, 5])),
        draw(st.sampled_from(sorted(MODES))),
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        draw(st.booleans()),
    )
    return Exercise(tuple(map(tuple, values)), Kernel("w", (tuple(map(tuple, weights)),)), setting)


@settings(deadline=None, max_examples=150)
@given(exercises())
def test_correlate_agrees_with_numpy_padding_and_scipy(exercise: Exercise) -> None:
    setting, x, w = exercise.setting, array(exercise.matrix), array(exercise.kernel.planes[0])
    dilated = np.zeros([(size - 1) * d + 1 for size, d in zip(w.shape, setting.dilation, strict=True)])
    dilated[:: setting.dilation[0], :: setting.dilation[1]] = w[::-1, ::-1] if setting.flip else w
    pads = []
    for size, extent, stride in zip(x.shape, dilated.shape, setting.stride, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size) if setting.padding == "same" else 0
        pads.append(
            (total // 2, total - total // 2)
            if setting.padding == "same"
            else (0 if setting.padding == "valid" else setting.padding,) * 2
        )
    padded = np.pad(x, pads, mode=NUMPY_MODES[setting.border])
    if any(extent > size for extent, size in zip(dilated.shape, padded.shape, strict=True)):
        with pytest.raises(ShapeError, match="the kernel is larger than its input"):
            exercise.result  # noqa: B018
        return
    expected = signal.correlate2d(padded, dilated, "valid")[:: setting.stride[0], :: setting.stride[1]]
    np.testing.assert_allclose(array(exercise.result), expected, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(exercises())
def test_same_padding_agrees_with_ndimage_for_every_border(exercise: Exercise) -> None:
    setting = Setting("same", exercise.setting.border, flip=exercise.setting.flip)
    w = array(exercise.kernel.planes[0])
    odd = w[: (w.shape[0] - 1) // 2 * 2 + 1, : (w.shape[1] - 1) // 2 * 2 + 1]  # ndimage puts even ones elsewhere
    expected = (ndimage.convolve if setting.flip else ndimage.correlate)(
        array(exercise.matrix), odd, mode=MODES[setting.border]
    )
    weights = Kernel("w", (tuple(tuple(Fraction(value) for value in row) for row in odd.tolist()),))
    np.testing.assert_allclose(array(correlate(exercise.matrix, weights, setting)), expected, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(exercises())
def test_the_sum_of_each_step_is_the_sum_of_its_products_at_its_place(exercise: Exercise) -> None:
    try:
        result = exercise.result
    except ShapeError:
        return
    for step in steps(exercise.matrix, exercise.kernel, exercise.setting):
        assert step.sum == result[step.patch.row - 1][step.patch.column - 1] == sum(flat(step.products))
        for row, values in zip(step.patch.rows, step.patch.values, strict=True):
            for column, value in zip(step.patch.columns, values, strict=True):
                if 1 <= row <= len(exercise.matrix) and 1 <= column <= len(exercise.matrix[0]):
                    assert value == exercise.matrix[row - 1][column - 1]


def test_pool_agrees_with_keras() -> None:
    from keras import layers

    draw = random.Random(10)
    rows = random_matrix(draw, 7, 9)
    x = array(rows).astype("float32")[None, ..., None]
    for window, stride, padding in [
        ((2, 2), 2, "valid"),
        ((3, 2), 1, "same"),
        ((2, 3), (3, 1), "same"),
        ((3, 3), 2, "same"),
    ]:
        for kind, layer in (("max", layers.MaxPooling2D), ("avg", layers.AveragePooling2D)):
            expected = np.asarray(layer(window, stride, padding)(x))[0, ..., 0]
            np.testing.assert_allclose(array(pool(rows, Pool(kind, window, stride, padding))), expected, atol=1e-5)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(stride=0), "stride 0: expected 1 or more"),
        (Setting(dilation=-1), "dilation -1: expected 1 or more"),
        (Setting(padding=-1), "padding -1: expected 0 or more"),
        (Setting(dilation=4), "the kernel is larger than its input"),
        (Setting(padding=10**9), "exact arithmetic does at most 2,000,000"),
    ],
)
def test_impossible_settings_are_refused_without_work(setting: Setting, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        correlate(X7, kernel("1 1 1;1 1 1;1 1 1"), setting)


def test_a_kernel_of_several_channels_does_not_fit_a_matrix() -> None:
    with pytest.raises(KernelError, match="kernel rgb has 3 channels, a matrix has one"):
        correlate(X7, Kernel("rgb", (matrix("1"),) * 3), Setting())


def test_a_pooling_window_in_the_padding_is_refused() -> None:
    with pytest.raises(ShapeError, match="sees nothing but padding"):
        pool(POOL4, Pool("max", 2, padding=2))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("7/9", "0.7778"),
        ("-1/9", "-0.1111"),
        ("17/4", "4.25"),
        ("3", "3"),
        ("1/3000000", "3.3e-7"),
        ("-199999/100000", "-2"),
    ],
)
def test_numbers_are_short(value: str, shown: str) -> None:
    assert number(Fraction(value)) == shown
    assert number(Fraction(value), exact=True) == value


def test_a_map_without_layers_is_the_matrix() -> None:
    assert feature_map(X7, None, Setting()) == X7
    assert compare(claim("1 1"), Exercise(X7, None)).fits is False
