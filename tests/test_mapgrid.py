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


def test_a_grid_in_the_middle_is_that_of_the_mirror_image_too() -> None:
    grid = MapGrid((4, 8), (4, 8))  # of 3 columns in 16 pixels: at 4, 8 and 12
    assert grid.centred(3, 16) == grid
    leaning = MapGrid((6, 8), (4, 8))  # at 6, 10 and 14; those of the mirror image at 2, 6 and 10
    assert leaning.centred(3, 16) == grid


def test_maps_on_a_shifted_grid_are_even_between_the_cells_and_the_same_beyond() -> None:
    values, grid = np.array([[[1, 3, 11], [0, 0, 4]]], np.float32), MapGrid((6, 8), (4, 8))
    assert grid.shifted(values, grid).tolist() == values.tolist()
    left = grid.shifted(values, MapGrid((5, 8), (4, 8)))
    assert left.tolist() == [[[1, 2.5, 9], [0, 0, 3]]] and left.dtype == np.float32
    assert grid.shifted(values, MapGrid((8, 8), (4, 8))).tolist() == [[[2, 7, 11], [0, 2, 4]]]


def test_a_part_of_the_input_shows_a_part_of_the_map() -> None:
    values = np.array([[0, 1], [0, 1]], np.float32)
    half = even_grid(2, 2, (8, 8)).sampled(values, (4, 0, 8, 8), (4, 8))
    assert half.shape == (8, 4) and half[0, -1] == 1 and half[0, 0] == pytest.approx(0.625)
