"""Grids of numbers: every cell has its colour and a number that can be read on it."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.numbergrid import cell_px, ink_on, luminance, number_grid

TEXTS = [["0", "255"], ["17", "128"], ["3", "4"]]


def fills(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 2, 3), np.uint8)


def test_luminance_is_that_of_the_standard() -> None:
    assert luminance((0, 0, 0)) == 0 and luminance((255, 255, 255)) == pytest.approx(1)
    assert luminance((255, 0, 0)) == pytest.approx(0.2126)
    assert luminance((119, 119, 119)) == pytest.approx(0.184, abs=1e-3)  # the grey that has 4.5 to white


@pytest.mark.parametrize("colour", np.random.default_rng(1).integers(0, 256, (50, 3)).tolist())
def test_ink_has_a_contrast_of_at_least_4_5_to_1_on_any_colour(colour: list[int]) -> None:
    one, other = sorted((luminance(colour), luminance(ink_on(colour))))
    assert (other + 0.05) / (one + 0.05) >= 4.5  # WCAG's level AA


def test_every_cell_is_a_square_of_its_colour_with_ink_in_it() -> None:
    colours, side = fills(), cell_px(TEXTS)
    picture = np.asarray(number_grid(TEXTS, colours))
    assert picture.shape == (3 * side + 1, 2 * side + 1, 3)
    for y in range(3):
        for x in range(2):
            cell = picture[y * side + 1 : (y + 1) * side, x * side + 1 : (x + 1) * side]
            assert (cell[:4] == colours[y, x]).all() and (cell[-4:] == colours[y, x]).all()
            assert np.abs(cell.astype(int) - ink_on(colours[y, x])).max(axis=-1).min() < 60  # thin strokes are blended


def test_labels_stand_outside_of_the_cells() -> None:
    colours, side = fills(), cell_px(TEXTS)
    plain = np.asarray(number_grid(TEXTS, colours))
    labelled = np.asarray(number_grid(TEXTS, colours, columns=["7", "8"], rows=["1", "2", "3"]))
    assert (labelled[side:, side:] == plain).all()
    assert (labelled[:side, side:] < 200).any() and (labelled[side:, :side] < 200).any()
    assert (labelled[:side, :side] == 255).all()
