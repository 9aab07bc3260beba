"""What a worked exercise looks like in a terminal of 80 columns."""

from __future__ import annotations

import re
from itertools import product

import pytest

from cnncli.claims import claim
from cnncli.explanations import Exercise
from cnncli.kernels import Kernel, matrix
from cnncli.matrices import NamedMatrix, course
from cnncli.setting import Pool, Setting
from cnncli.verdicts import compare
from cnncli.worked_text import report

CROSS = Kernel("cross", (matrix("0 1 0;1 1 1;0 1 0"),))
SOBEL = Kernel("sobel-v", (matrix("-1 0 1;-2 0 2;-1 0 1"),))


def text(name: str, kernel: Kernel | None, setting: Setting, expected: str | None = None, **options) -> str:
    named = course()[name]
    exercise = Exercise(named.matrix, kernel, setting, options.pop("pools", ()))
    verdict = compare(claim(expected), exercise) if expected else None
    return "\n".join(report(named, exercise, verdict=verdict, **options))


def test_report_shows_what_is_given_and_the_map_side_by_side() -> None:
    assert text("d4", Kernel("x-binary", (matrix("1 0 1;0 1 0;1 0 1"),)), Setting()) == (
        """\
course:d4, 5x5: the 5x5 picture that is convolved by hand
from lecture notes on convolutional networks
kernel x-binary, 3x3, sum 5
padding valid, stride 1: floor((5 + 0 - 3) / 1) + 1 = 3

matrix      kernel   feature map, 3x3
1 1 1 0 0   1 0 1    4 3 4
0 1 1 1 0   0 1 0    2 4 3
0 0 1 1 1   1 0 1    2 3 4
0 0 1 1 0
0 1 1 0 0"""
    )


def test_steps_show_window_products_and_sum_with_padding_in_parentheses() -> None:
    walked = text("x7", SOBEL, Setting("same", stride=(2, 3)), walk=True).split("\n\n")[2:]
    assert len(walked) == 4 * 3
    assert walked[2] == (
        """\
(1,3)  rows 0..2, columns 6..8
   -1  0  1     (0) (0) (0)      0  0  0
   -2  0  2  x    1   1 (0)  =  -2  0  0
   -1  0  1       1   1 (0)     -1  0  0
   (-1)*0+0*0+1*0+(-2)*1+0*1+2*0+(-1)*1+0*1+1*0 = -3"""
    )


def test_dilated_windows_name_their_rows_one_by_one() -> None:
    assert "(1,1)  rows 1,3,5, columns 1,3,5\n" in text("x7", CROSS, Setting(dilation=2), walk=True)


def test_pooling_alone_is_walked_too() -> None:
    walked = text("pool4", None, Setting(), pools=(Pool("avg", 2),), walk=True)
    assert "average pooling 2x2, stride 2: floor((4 + 0 - 2) / 2) + 1 = 2\n" in walked
    assert "(1,1)  rows 1..2, columns 1..2: (2 + 2 + 9 + 4) / 4 = 4.25\n" in walked
    assert "(1,1)  rows 1..4, columns 1..4: max(2, 2, 7, " in text(
        "pool4", None, Setting(), pools=(Pool("max"),), walk=True
    )


def test_im2col_has_labels_letters_and_the_product() -> None:
    lines = text("letters", CROSS, Setting(), patches=True).splitlines()
    start = lines.index("im2col(x), 9x9: a row for each window, a column for each weight")
    assert lines[start + 1 : start + 5] == [
        "       w1 w2 w3 w4 w5 w6 w7 w8 w9",
        "w       0  1  0  1  1  1  0  1  0",
        "(1,1)   a  b  c  f  g  h  k  l  m  = 35",
        "(1,2)   b  c  d  g  h  i  l  m  n  = 40",
    ]
    assert "only\n  because this im2col(x) happens to be symmetric" in "\n".join(lines)
    assert "impossible: 9 columns\n  against 25 rows" in text("x7", CROSS, Setting(), patches=True)
    assert "is possible here but not the\n  same: -2 1 1" in text("x7", SOBEL, Setting(stride=2), patches=True)


def test_verdict_marks_the_wrong_number_and_names_the_kernel_of_the_claim() -> None:
    printed = "3 4 3 2 3 3 3/4 5 5 3 6 5 4/2 3 3 2 5 5 5/3 3 2 2 4 4 3/2 2 2 2 4 5 3/4 6 4 2 3 4 4/2 3 2 3 4 3 2"
    ring = Kernel("ring", (matrix("1 1 1;1 -1 1;1 1 1"),))
    shown = text("x7", ring, Setting(1), printed.replace("/", ";"))
    assert "expected: differs in 28 of 49 numbers\n" in shown
    assert "   [4]  6   4  [2] [3] [4]  4    3 6 4 1 2 3 4\n" in shown
    assert shown.endswith(
        """\
and 16 more
the claim is the map of this kernel, and of no other 3x3 one:
   1 1 1
   1 0 1
   1 1 1
row 2, column 2: 0 in place of -1"""
    )


@pytest.mark.parametrize(
    ("expected", "last"),
    [
        ("3 3 2 3 4;2 1 3 3 4;1 0 1 2 3;2 1 1 1 3;3 2 2 3 3", "expected: agrees, 25 numbers"),
        ("3 3 ? 3 4;2 1 3 3 4;1 0 1 2 3;2 1 1 1 3;3 2 2 3 3", "expected: agrees, 24 numbers, 1 left open"),
        ("3 3 2;2 1 3", "the claim would be right with only the top left 2x3 of the map"),
        (
            "3 4 2 3 4;2 1 3 3 4;1 0 1 2 3;2 1 1 1 3;3 2 2 3 3",
            "no 3x3 kernel gives the claim with this matrix and setting",
        ),
        ("3 4 ? ? ?" + ";? ? ? ? ?" * 4, "tell only 2 of 9 weights\n  apart"),
    ],
)
def test_verdicts_end_with_what_follows(expected: str, last: str) -> None:
    assert text("x7", CROSS, Setting(), expected).endswith(last)


def test_verdict_on_a_claim_of_another_shape_says_what_separates_rows_and_nothing_false() -> None:
    shown = text("x7", CROSS, Setting(), "3 3 2 3 4 2 1 3 3 4 1 0 1 2 3 2 1 1 1 3 3 2 2 3 9")
    assert "expected: 1x25 is claimed, 5x5 is right" in shown and "rows are separated by ';'" in shown
    assert "those of the top left" not in shown


def test_fractions_are_shown_on_demand_and_their_absence_is_said() -> None:
    ninth = Kernel("box", (matrix("1/9 1/9 1/9;" * 3),))
    assert "7/9" in text("digit-b", ninth, Setting(), exact=True) or "/9" in text("x7", ninth, Setting(), exact=True)
    assert "(shown to 4 decimals; --exact shows the fractions)" in text("x7", ninth, Setting())
    assert "(shown to" not in text("x7", CROSS, Setting())


def test_flipping_says_when_it_makes_no_difference() -> None:
    assert "turned by 180 degrees, which makes no difference" in text("x7", CROSS, Setting(flip=True))
    assert "turned by 180 degrees\n" in text("x7", SOBEL, Setting(flip=True))


@pytest.mark.parametrize("name", course())
def test_every_line_fits_80_columns(name: str) -> None:
    ninth = Kernel("ninths of a cross", (matrix("-1/9 1/9 0;1/9 1/9 1/9;0 1/9 0"),))
    for kernel, padding, exact in product((CROSS, ninth, None), ("same", "valid"), (True, False)):
        pools = () if kernel else (Pool("max", 2, ceil=True),)
        found = text(name, kernel, Setting(padding), "1 2;3 4", walk=True, patches=True, exact=exact, pools=pools)
        lines = found.splitlines()
        too_long = [line for line in lines if len(line) > 80]
        assert all(re.fullmatch(r"[-\d./ ]+", line) for line in too_long)  # rows of a wide map stay whole
        assert too_long == [] or name in ("digit-b", "m10")
        assert [line for line in lines if line != line.rstrip()] == []


def test_names_of_files_cannot_steer_the_terminal() -> None:
    named = NamedMatrix("\x1b[31m.txt", matrix("1"))
    assert next(iter(report(named, Exercise(named.matrix, None)))) == "\\x1b[31m.txt, 1x1"
