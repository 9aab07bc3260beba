"""Output sizes: hand-worked cases here, Keras as the oracle for the rest."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cnncli.errors import ShapeError
from cnncli.shapes import Padding, Window, place, place_transposed


@pytest.mark.parametrize(
    ("size", "window", "padding", "output"),
    [
        (7, Window(3), "valid", 5),
        (7, Window(3), 1, 7),
        (7, Window(5), "valid", 3),
        (9, Window(3, stride=2), "valid", 4),
        (227, Window(11, stride=4), "valid", 55),
        (5, Window(2, stride=2), "same", 3),
        (7, Window(3, dilation=3), "valid", 1),
        (4, Window(2), (0, 1), 4),
    ],
)
def test_place_gives_the_size_worked_by_hand(size: int, window: Window, padding: Padding, output: int) -> None:
    assert place(size, window, padding).output == output


def test_place_keeps_the_fraction_and_what_the_floor_cuts_off() -> None:
    found = place(224, Window(11, stride=4))
    assert (found.exact, found.output, found.unused) == (Fraction(217, 4), 54, 1)


def test_place_same_puts_the_odd_element_of_padding_at_the_end() -> None:
    found = place(8, Window(3, stride=2), "same")
    assert (found.before, found.after, found.output) == (0, 1, 4)


def test_place_ceil_keeps_the_partial_window_that_begins_inside() -> None:
    assert place(7, Window(2, stride=2), ceil=True).output == 4
    assert place(2, Window(1, stride=3), 1, ceil=True).output == 1


@pytest.mark.parametrize(
    ("size", "window", "padding"), [(2, Window(3), "valid"), (5, Window(3, dilation=3), 0), (0, Window(1), 0)]
)
def test_place_refuses_what_no_window_fits(size: int, window: Window, padding: Padding) -> None:
    with pytest.raises(ShapeError, match=r"larger than its input|expected 1 or more"):
        place(size, window, padding)


def test_window_refuses_zero_stride() -> None:
    with pytest.raises(ShapeError, match="stride 0: expected 1 or more"):
        Window(3, stride=0)


@pytest.mark.parametrize(
    ("size", "window", "padding", "output"),
    [
        (5, Window(3, stride=2), "valid", 11),
        (5, Window(3, stride=2), "same", 10),
        (5, Window(3, stride=2), 1, 9),
        (5, Window(2, stride=3), "valid", 15),
        (4, Window(3, dilation=2), "valid", 8),
        (1, Window(4), 1, 2),
    ],
)
def test_place_transposed_gives_the_size_worked_by_hand(
    size: int, window: Window, padding: Padding, output: int
) -> None:
    assert place_transposed(size, window, padding).output == output


def test_place_transposed_undoes_what_place_does_to_a_size() -> None:
    for size in range(3, 30):
        for window in (Window(3), Window(3, stride=2), Window(4, stride=2), Window(3, dilation=2)):
            if window.extent <= size and place(size, window).exact.denominator == 1:
                assert place_transposed(place(size, window).output, window).output == size


@pytest.mark.parametrize("window", [Window(k, s, d) for k in (1, 2, 3, 5, 6) for s in (1, 2, 3, 4) for d in (1, 2, 3)])
def test_overlap_of_a_transposed_convolution_is_that_of_every_output_counted(window: Window) -> None:
    spread = place_transposed(40, window, 0)
    seen: dict[int, list[int]] = {}
    for element in range(spread.size):
        for tap in range(window.kernel):
            seen.setdefault(element * window.stride + tap * window.dilation, []).append(element)
    assert spread.overlap == max(max(inputs) - min(inputs) + 1 for inputs in seen.values())


def test_place_transposed_refuses_padding_that_leaves_nothing() -> None:
    with pytest.raises(ShapeError, match=r"padding 2\+2 leaves nothing of 3"):
        place_transposed(1, Window(3), 2)
