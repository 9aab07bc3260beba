"""The picture of a training run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnncli import curves
from cnncli.errors import CnncliError
from cnncli.history import EpochRow

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)  # training, validation


def rows(epochs: int, *, validation: bool = True, loss: float = 2.0) -> list[EpochRow]:
    """Epochs in which everything gets steadily better, and validation lags behind."""
    return [
        EpochRow(
            e,
            loss / e,
            1 - 0.8 / e,
            1.2 * loss / e if validation else None,
            1 - 0.9 / e if validation else None,
            0.1,
            2,
        )
        for e in range(1, epochs + 1)
    ]


def columns_with(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """The columns of the picture above its legend in which a colour stands."""
    return np.flatnonzero((np.asarray(image)[:-60] == colour).all(axis=-1).any(axis=0))


def panels(image: Image.Image, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The columns in which a colour stands in the left and in the right panel."""
    columns = columns_with(image, colour)
    left, right = np.split(columns, [np.diff(columns).argmax() + 1])
    return left, right


def height_of(image: Image.Image, column: int, colour: tuple[int, int, int]) -> float:
    return float(np.flatnonzero((np.asarray(image)[:-60, column] == colour).all(axis=-1)).mean())


@pytest.mark.parametrize("epochs", [1, 2, 10, 500])
def test_both_panels_show_both_curves_for_any_number_of_epochs(epochs: int) -> None:
    image = curves.picture(rows(epochs), title="lenet", best_epoch=None)
    assert (image.mode, image.size) == ("RGB", (1440, 604))
    for colour in (BLUE, ORANGE):
        left, right = panels(image, colour)
        assert left.max() < 720 < right.min()
        if epochs > 1:  # the curves reach across their panels
            assert np.ptp(left) > 300 and np.ptp(right) > 300


def test_run_without_validation_shows_one_curve() -> None:
    image = curves.picture(rows(10, validation=False), title="lenet", best_epoch=10)
    assert len(columns_with(image, BLUE)) > 1000 and len(columns_with(image, ORANGE)) == 0


def test_loss_falls_and_accuracy_rises_in_the_picture() -> None:
    image = curves.picture(rows(10, validation=False), title="lenet", best_epoch=None)
    loss, accuracy = panels(image, BLUE)
    assert height_of(image, loss[5], BLUE) + 200 < height_of(image, loss[-5], BLUE)  # rows count from the top
    assert height_of(image, accuracy[5], BLUE) > height_of(image, accuracy[-5], BLUE) + 200


def test_loss_over_powers_of_ten_is_drawn_on_a_logarithmic_scale() -> None:
    falling = [EpochRow(e, 10.0**-e, 0.5, None, None, 0.1, 2) for e in range(1, 10)]
    image = curves.picture(falling, title="", best_epoch=None)
    left, _ = panels(image, BLUE)
    heights = [height_of(image, column, BLUE) for column in np.linspace(left[20], left[-20], 9).astype(int)]
    assert np.diff(heights) == pytest.approx(np.full(8, np.diff(heights).mean()), abs=4)  # a straight line


def test_best_epoch_is_marked_by_a_line_at_its_place() -> None:
    plain = np.asarray(curves.picture(rows(11), title="", best_epoch=None)).astype(int)
    for epoch, share in ((1, 0.0), (6, 0.5), (11, 1.0)):
        marked = np.asarray(curves.picture(rows(11), title="", best_epoch=epoch)).astype(int)
        assert (marked != plain).any()
        grey = (marked[:540] == 138).all(axis=-1).sum(axis=0)  # the dotted line
        left, _ = panels(Image.fromarray(marked.astype(np.uint8)), BLUE)
        at = left[0] + share * (left[-1] - left[0])
        found = np.flatnonzero(grey[int(at) - 20 : int(at) + 20] > 60)
        assert len(found) and abs(found.mean() - 20) < 8


def test_title_is_taken_literally_and_control_characters_are_harmless() -> None:
    for title in ("cost $5$ or $6", "$\\frac{", "[red]\x1b]0;x\x07", "x" * 500):
        assert curves.picture(rows(3), title=title, best_epoch=2).size == (1440, 604)


def test_style_of_the_user_changes_nothing() -> None:
    import matplotlib

    plain = curves.picture(rows(3), title="a", best_epoch=2)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "savefig.dpi": 20}):
        assert curves.picture(rows(3), title="a", best_epoch=2).tobytes() == plain.tobytes()
        assert matplotlib.rcParams["font.size"] == 30


def test_curves_are_written_as_png_and_replace_old_ones(tmp_path) -> None:
    path = tmp_path / "curves.png"
    path.write_text("old")
    curves.draw(rows(3), path, title="a", best_epoch=2)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (1440, 604))
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_curves_that_cannot_be_written_are_an_error_that_names_the_file(tmp_path) -> None:
    path = tmp_path / "none" / "curves.png"
    with pytest.raises(CnncliError, match=r"curves\.png: cannot be written"):
        curves.draw(rows(3), path, title="a", best_epoch=2)


def colours_of(image: Image.Image) -> set[str]:
    """The palette's colours that stand above the legend."""
    above = np.asarray(image)[:500].reshape(-1, 3)
    found = {"#{:02X}{:02X}{:02X}".format(*colour) for colour in np.unique(above, axis=0)}
    return found & set(curves.COLOURS)


def test_several_runs_have_a_colour_each_in_both_panels() -> None:
    image = curves.comparison([("one", rows(10)), ("two", rows(20)), ("three", rows(5, validation=False))])
    assert colours_of(image) == set(curves.COLOURS[:3])
    above = Image.fromarray(np.asarray(image)[:560])  # without the legend
    columns = columns_with(above, ORANGE)
    first, last = columns[columns < 720].min(), columns[columns < 720].max()
    for colour, epochs in ((BLUE, 10), ((0, 158, 115), 5)):  # each ends at its last epoch
        columns = columns_with(above, colour)
        assert columns[columns < 720].max() == pytest.approx(first + (epochs - 1) / 19 * (last - first), abs=9)
        assert (columns > 720).any()


def test_best_epoch_of_each_run_is_a_diamond_of_its_colour() -> None:
    worse = [replace(row, val_accuracy=0.1) if row.epoch > 4 else row for row in rows(9)]
    plain = curves.comparison([("one", rows(9)), ("two", worse)])
    moved = curves.comparison(
        [("one", rows(9)), ("two", [replace(row, val_accuracy=0.05) for row in worse[:1]] + worse[1:])]
    )
    assert plain.size == moved.size
    left, _ = panels(plain, ORANGE)
    column = left.min() + round(3 / 8 * np.ptp(left))  # epoch 4 of 9
    white = (np.asarray(plain)[:500, column - 2 : column + 3] == 255).all(axis=-1)
    ink = (np.asarray(plain)[:500, column - 8 : column + 9] == ORANGE).all(axis=-1)
    assert white.any() and ink.sum() > 40


def test_curves_of_a_run_are_the_same_alone_and_compared_in_shape() -> None:
    alone, both = (
        curves.picture(rows(10), title="", best_epoch=None),
        curves.comparison([("a", rows(10)), ("b", rows(10))]),
    )
    for panel in (0, 1):
        assert np.ptp(panels(alone, BLUE)[panel]) == pytest.approx(np.ptp(panels(both, ORANGE)[panel]), rel=0.05)


def test_more_runs_than_colours_are_refused() -> None:
    with pytest.raises(CnncliError, match="8 runs: expected at most 7"):
        curves.comparison([(str(number), rows(2)) for number in range(8)])


def test_names_of_runs_are_printed_literally_and_cut() -> None:
    for name in ("$x_1^2$ $", "a" * 500, "\x1b[31m"):
        assert curves.comparison([(name, rows(3)), ("b", rows(3))]).width == 1440
