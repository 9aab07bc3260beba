"""The steps of an exercise as pictures: the right numbers, in the right cells."""

from __future__ import annotations

import numpy as np
import pytest

from cnncli.errors import CnncliError, ShapeError
from cnncli.explanations import Exercise
from cnncli.kernels import find
from cnncli.matrices import course, matrix_argument
from cnncli.palette import DISTINCT
from cnncli.setting import Setting, parse_pool
from cnncli.steps_picture import MOST_STEPS, Scene, pictures, scenes, sheet

D4 = Exercise(course()["d4"].matrix, find("1 0 1;0 1 0;1 0 1"))  # the course's convolution by hand


def words(texts: tuple[tuple[str, ...], ...]) -> str:
    return ";".join(" ".join(cell or "." for cell in row) for row in texts)


def test_result_fills_number_by_number_as_it_is_done_by_hand() -> None:
    found = scenes(D4)
    assert [words(scene.grids[3].texts) for scene in found[:4]] == [
        "4 . .;. . .;. . .", "4 3 .;. . .;. . .", "4 3 4;. . .;. . .", "4 3 4;2 . .;. . ."
    ]  # fmt: skip
    assert words(found[-1].grids[3].texts) == "4 3 4;2 4 3;2 3 4"
    assert found[0].lines == ("row 1, column 1:  1*1+0*1+1*1+0*0+1*1+0*1+1*0+0*0+1*1 = 4",)


def test_window_and_products_are_those_of_the_step() -> None:
    scene = scenes(D4)[5]  # row 2, column 3
    assert scene.grids[0].framed == ((1, 4), (2, 5))
    assert [grid.title for grid in scene.grids] == ["input 5x5", "kernel", "products", "feature map 3x3"]
    assert words(scene.grids[2].texts) == "1 0 0;0 1 0;1 0 0"
    marked = [
        (y, x) for y, row in enumerate(scene.grids[0].fills) for x, fill in enumerate(row) if fill == (255, 224, 178)
    ]
    assert marked == [(y, x) for y in (1, 2, 3) for x in (2, 3, 4)]


def test_padding_is_shown_around_the_matrix_with_what_it_holds() -> None:
    for border, corner in (("zero", "0"), ("edge", "1")):
        setting = Setting(1, border)  # type: ignore[arg-type]
        texts = scenes(Exercise(D4.matrix, D4.kernel, setting))[0].grids[0].texts
        assert (len(texts), len(texts[0]), texts[0][0], texts[1][1]) == (7, 7, corner, "1")


@pytest.mark.parametrize(
    "setting", [Setting(), Setting(1, "zero", 2), Setting("same", "edge"), Setting(0, "zero", 1, 2), Setting(flip=True)]
)
@pytest.mark.parametrize("pools", [(), ("max:2",), ("avg:2:s1", "gmp")])
def test_last_scene_of_each_layer_holds_its_whole_map(setting: Setting, pools: tuple[str, ...]) -> None:
    kernel = find("1 2 0;0 1 0;-1 0 3")
    for count in range(len(pools) + 1):
        exercise = Exercise(course()["x7"].matrix, kernel, setting, tuple(map(parse_pool, pools[:count])))
        shown = words(scenes(exercise, exact=True)[-1].grids[-1].texts)
        assert matrix_argument(shown).matrix == exercise.result


def test_pooling_without_a_kernel_spells_its_windows() -> None:
    found = scenes(Exercise(course()["pool4"].matrix, None, pools=(parse_pool("avg:2"),)))
    assert found[0].lines[0] == "row 1, column 1:  (2 + 2 + 9 + 4) / 4 = 4.25"
    assert words(found[-1].grids[-1].texts) == "4.25 4.25;4.25 3.5"


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(ShapeError, match=f"196 steps: at most {MOST_STEPS}"):
        scenes(Exercise(course()["digit-b"].matrix, find("cross")))


def grey(side: int) -> str:
    return ";".join(" ".join(str((3 * row * column) % 256) for column in range(side)) for row in range(side))


def test_global_pooling_has_a_line_for_each_row_of_its_window() -> None:
    matrix = matrix_argument(grey(28)).matrix
    for token, (first, last) in {
        "gap": ("row 1, column 1:  (0 + 0", "/ 784 = "), "gmp": ("row 1, column 1:  max(0, 0", ") = 255")
    }.items():  # fmt: skip
        (scene,) = scenes(Exercise(matrix, None, pools=(parse_pool(token),)))
        assert len(scene.lines) == 28 and scene.lines[0].startswith(first) and last in scene.lines[-1]
        numbers = " ".join(scene.lines).split("(")[1].split(")")[0].replace(",", "").replace("+", "").split()
        assert [int(number) for number in numbers] == [int(value) for row in matrix for value in row]
        (image,) = pictures([scene])
        assert image.width < 3200  # one line would take 37,782


def test_pictures_that_take_too_much_memory_are_refused_before_they_are_drawn() -> None:
    found = scenes(Exercise(matrix_argument(grey(60)).matrix, find("cross"), Setting(stride=6)))
    assert len(found) == MOST_STEPS
    with pytest.raises(CnncliError, match=r"100 pictures of [\d,]+x[\d,]+ pixels: more than 100 megapixels; expected"):
        pictures(found)


def test_largest_map_by_hand_is_drawn() -> None:
    assert len(pictures(scenes(Exercise(course()["m10"].matrix, find("cross"), Setting("same"))))) == MOST_STEPS


def drawn(found: list[Scene]) -> list[np.ndarray]:
    return [np.asarray(image) for image in pictures(found)]


def test_frame_moves_with_the_window_by_a_cell() -> None:
    images = drawn(scenes(D4))
    assert len({image.shape for image in images}) == 1
    corners = [np.argwhere((image == DISTINCT[1]).all(axis=-1)).min(axis=0) for image in images]
    step = corners[1][1] - corners[0][1]
    assert step >= 40
    for number, corner in enumerate(corners):
        assert tuple(corner - corners[0]) == (number // 3 * step, number % 3 * step)


def test_sheet_holds_every_picture() -> None:
    frames = pictures(scenes(D4))
    whole = np.asarray(sheet(frames))
    orange = sum(int((np.asarray(frame) == DISTINCT[1]).all(axis=-1).sum()) for frame in frames)
    assert (whole == DISTINCT[1]).all(axis=-1).sum() == orange
