"""Where the cells of a map lie in a network's input."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.mapgrid import MapGrid, even_grid


def test_cells_that_divide_the_input_evenly() -> None:
    grid = even_grid(2, 4, (32, 20))
    assert grid == MapGrid((4, 5), (8, 10))
    assert grid.middle(1, 2) == (20, 15)


def test_a_map_is_exact_at_the_middles_and_even_between_them() -> None:
    grid, values = MapGrid((8, 8), (4, 4)), np.arange(25, dtype=np.float32).reshape(5, 5)  # as LeNet's last maps lie
    for row in range(5):
        for column in range(5):
            x, y = grid.middle(row, column)
            assert grid.sampled(values, (x - 0.5, y - 0.5, x + 0.5, y + 0.5), (1, 1)) == values[row, column]
    between = grid.sampled(values, (11.5, 7.5, 12.5, 8.5), (1, 1))
    assert between == pytest.approx(1)
    whole = grid.sampled(values, (0, 0, 32, 32), (64, 64))
    assert whole.shape == (64, 64) and whole[0, 0] == 0 and whole[-1, -1] == 24
    assert (whole[:16, :16] == 0).all()  # nothing is known beyond the outermost middles
    assert whole[0, 24] == pytest.approx(1 + 0.25 / 4)  # a pixel of half a pixel's side, its middle at x 12.25


def test_a_part_of_the_input_shows_a_part_of_the_map() -> None:
    values = np.array([[0, 1], [0, 1]], np.float32)
    half = even_grid(2, 2, (8, 8)).sampled(values, (4, 0, 8, 8), (4, 8))
    assert half.shape == (8, 4) and half[0, -1] == 1 and half[0, 0] == pytest.approx(0.625)
