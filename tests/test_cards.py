"""Kernels as people read them: cards and the catalogue."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cnncli.cards import catalogue, kernel_card, range_rule
from cnncli.kernels import CATALOGUE, Kernel, find, matrix, normalised
from cnncli.ranges import resolve

ALL = pytest.mark.parametrize("kernel", CATALOGUE.values(), ids=lambda kernel: kernel.name)


def test_a_card_shows_matrix_range_use_flip_and_source() -> None:
    assert kernel_card(find("scharr-h")) == (
        "scharr-h: 3x3\n"
        "\n"
        "    -3 -10  -3\n"
        "     0   0   0\n"
        "     3  10   3\n"
        "\n"
        "range:   sum 0: it finds changes; --range auto shows |v|, clipped\n"
        "shows:   horizontal edges, its strength depending less on their angle than\n"
        "         Sobel's\n"
        "--flip:  changes the sign only: turned by 180 degrees it is its own negative\n"
        "source:  H. Scharr, Optimale Operatoren in der Digitalen Bildverarbeitung, 2000\n"
    )


@ALL
def test_a_card_has_the_exact_weights_and_80_columns(kernel: Kernel) -> None:
    lines = kernel_card(kernel).splitlines()
    shown = matrix(";".join(line.strip() for line in lines[2 : 2 + kernel.height]))
    assert shown == kernel.planes[0]
    assert max(map(len, lines)) <= 80
    assert {line.split(":")[0] for line in lines if not line.startswith(" ")} >= {"range", "shows", "--flip", "source"}


@ALL
def test_a_card_says_what_the_range_step_will_do(kernel: Kernel) -> None:
    found, rule = resolve("auto", kernel.sum), range_rule(kernel.sum)
    assert ("|v|" in rule) == (found.mode == "abs")
    assert ("divides" in rule) == (found.divisor != 1)


@pytest.mark.parametrize(
    ("total", "text"),
    [
        (Fraction(0), "sum 0: it finds changes"),
        (Fraction(1), "sum 1: it keeps the brightness"),
        (Fraction(3, 5), "sum 0.6: --range auto divides by it"),
        (Fraction(-7), "sum -7: --range auto divides by it"),
    ],
)
def test_range_rule_depends_on_the_sum_alone(total: Fraction, text: str) -> None:
    assert range_rule(total).startswith(text)


@pytest.mark.parametrize(
    ("spec", "text"),
    [("blur", "no difference"), ("sobel-v", "changes the sign only"), ("tri-lower", "makes a difference")],
)
def test_a_card_says_what_turning_changes(spec: str, text: str) -> None:
    assert f"--flip:  {text}" in kernel_card(find(spec))


def test_a_gaussian_is_shown_in_decimals_and_a_box_in_fractions() -> None:
    assert "0.2042" in kernel_card(find("gaussian:3:1"))
    for spec in ("gaussian:3:1", "random:4x4"):
        assert "/" not in kernel_card(find(spec)).split("range:")[0]
    assert "1/9 1/9 1/9" in kernel_card(normalised(find("box-3")))


def test_a_card_of_several_channels_shows_each() -> None:
    kernel = Kernel("learned", (matrix("1 2;3 4"), matrix("5 6;7 8"), matrix("9 0;1 2")))
    card = kernel_card(kernel)
    assert card.startswith("learned: 2x2, 3 channels\n")
    assert all(row in card for row in ("   1 2\n   3 4\n", "   5 6\n   7 8\n", "   9 0\n   1 2\n"))
    assert "shows:" not in card and "source:" not in card


def test_a_card_does_not_pass_control_characters_on() -> None:
    assert "\x1b" not in kernel_card(Kernel("\x1b[31mred", (matrix("1"),), "\x1b[0m", "\x1b[1m"))


def test_catalogue_has_a_line_for_each_kernel_and_its_sum() -> None:
    text = catalogue(CATALOGUE.values())
    rows = [line.split() for line in text.splitlines() if not line.startswith(" ")]
    assert [(name, size, Fraction(total)) for name, size, total, *_ in rows] == [
        (kernel.name, f"{kernel.height}x{kernel.width}", kernel.sum.limit_denominator(1))
        if kernel.sum.denominator == 1
        else (kernel.name, f"{kernel.height}x{kernel.width}", Fraction(f"{float(kernel.sum):.4f}"))
        for kernel in CATALOGUE.values()
    ]
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(text.split()).count("identity 3x3 1 the picture as it is") == 1
