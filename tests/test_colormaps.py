"""Colours for numbers, compared with those of Matplotlib."""

from __future__ import annotations

import matplotlib
import numpy as np

from cnncli.colormaps import diverging, sequential, strip


def test_sequential_colours_are_those_of_inferno() -> None:
    values = np.linspace(0, 1, 256)
    expected = 255 * matplotlib.colormaps["inferno"](values)[:, :3]
    assert np.abs(sequential(values) - expected).max() < 8  # between the 17 steps that are stored
    assert (sequential(np.array([-3.0, 7.0, np.nan])) == sequential(np.array([0.0, 1.0, 0.0]))).all()


def test_diverging_colours_are_those_of_rdbu_from_blue_to_red() -> None:
    values = np.linspace(-1, 1, 256)
    expected = 255 * matplotlib.colormaps["RdBu_r"]((values + 1) / 2)[:, :3]
    assert np.abs(diverging(values) - expected).max() < 3
    assert (diverging(np.array(0.0)) == 247).all()


def test_strips_go_from_the_lowest_to_the_highest() -> None:
    assert np.asarray(strip("gray", 256, 2))[0, :, 0].tolist() == list(range(256))
    assert (np.asarray(strip("diverging", 9, 2))[1] == diverging(np.linspace(-1, 1, 9))).all()
    assert (np.asarray(strip("sequential", 9, 2))[1] == sequential(np.linspace(0, 1, 9))).all()
