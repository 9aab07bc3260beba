"""An evaluation in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from evaluations_for_tests import evaluation
from rich.cells import cell_len
from rich.console import Console, RenderableType

from cnncli.backbones import ImageClass
from cnncli.datasets.pixels import Failure
from cnncli.evaluation import tables
from cnncli.evaluation.comparison import compare
from cnncli.evaluation.evaluation import Evaluation
from cnncli.evaluation.matching import match

MANY = [f"class number {number}" for number in range(1000)]


def shown(renderable: RenderableType, width: int, *, colour: bool = False) -> str:
    screen = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def lines_of(e: Evaluation, width: int = 80) -> list[str]:
    return [line.rstrip() for line in shown(tables.evaluation_tables(e, width), width).splitlines()]


def section(lines: list[str], title: str) -> list[str]:
    """The lines below a title."""
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    return lines[start + 1 : lines.index("", start) if "" in lines[start:] else None]


def test_summary_gives_the_figures_with_their_intervals() -> None:
    given = evaluation(["cat", "dog", "owl", "emu"], failures=(Failure("bad.png", "cut off"),), seen_in_training=7)
    lines = lines_of(given)
    low, high = given.interval()
    facts = {line.split()[0]: line for line in lines[1:8]}
    assert lines[0] == "runs/one on photos, test split"
    assert facts["images"].endswith("200 in 12 s, 7 of them seen in training; 1 could not be read")
    assert facts["classes"].endswith("4 of the model's 4, matched by id")
    assert (
        f" {given.accuracy:.1%} " in facts["accuracy"]
        and f"{low:.1%} to {high:.1%} (95% interval)" in facts["accuracy"]
    )
    assert f" {given.top_k(3):.1%} " in facts["top-3"]
    assert f"{given.macro.f1:.1%} macro" in facts["F1"] and f"{given.weighted.f1:.1%} weighted" in facts["F1"]
    assert facts["loss"].endswith(f"{given.loss:.4f} nats")
    assert f"{given.calibration_error:.1%} error (ECE)" in facts["calibration"]


@pytest.mark.parametrize(
    ("shift", "words"),
    [(0.2, "points too high"), (-0.2, "points too low"), (0.0, "on average scores are as high as they should be")],
)
def test_calibration_is_said_in_plain_words(shift: float, words: str) -> None:
    given = evaluation()
    honest = np.full(200, given.accuracy + shift, np.float32)
    text = " ".join(lines_of(replace(given, columns=replace(given.columns, score=honest))))
    assert words in text and (not shift or "20.0 points" in text)


def test_top_k_that_can_only_be_everything_is_left_out() -> None:
    assert not any("top-" in line for line in lines_of(evaluation(["cat", "dog"])))


def test_folders_that_are_matched_by_label_are_listed() -> None:
    names = ["crane", *(f"bird {number}" for number in range(11))]
    given = evaluation(names)
    folders = [ImageClass(name, name) for name in names]
    lines = lines_of(replace(given, matches=match(folders, given.classes)))
    assert "matched by label" in lines[2]
    assert [line.strip() for line in lines[3:6]] == ["crane -> crane", "bird 0 -> bird 0", "bird 1 -> bird 1"]
    assert lines[11].strip() == "and 4 more, which --format json shows"


def test_confusion_matrix_is_shown_where_it_fits_with_numbers_for_columns() -> None:
    given = evaluation(["cat", "dog", "owl"])
    head, *found = section(lines_of(given), "confusion matrix")
    assert head.split() == ["1", "2", "3"]
    cells = [line.replace("-", "0").split() for line in found]
    assert [row[:2] for row in cells] == [["1", "cat"], ["2", "dog"], ["3", "owl"]]
    assert [list(map(int, row[2:])) for row in cells] == given.confusion.tolist()


@pytest.mark.parametrize(
    ("classes", "width", "fits"), [(10, 60, True), (20, 80, True), (20, 60, False), (40, 80, False)]
)
def test_confusion_matrix_that_does_not_fit_is_not_shown_but_where_to_get_it(
    classes: int, width: int, fits: bool
) -> None:
    lines = lines_of(evaluation([f"class {number}" for number in range(classes)], images=800), width)
    text = " ".join(lines)
    assert ("--confusion FILE.png" in text) != fits and ("a row is a truth" in text) == fits


def test_cells_are_tinted_by_share_with_ink_and_paper_both_set() -> None:
    text = shown(tables.evaluation_tables(evaluation(["cat", "dog"], skill=1.0), 80), 80, colour=True)
    head = text.index("confusion matrix")
    first = next(line for line in text[head:].splitlines() if "cat" in line)
    assert "38;2;255;255;255;48;2;" in first  # right: white on blue
    assert "48;2;240;154;90" in first or "48;2;166;61;0" in first  # wrong: orange


def test_few_classes_are_all_in_the_table_with_their_figures() -> None:
    given = evaluation(["cat", "dog", "owl"])
    head, *found = section(lines_of(given), "classes")
    assert head.split() == ["class", "images", "precision", "recall", "F1"]
    of = given.per_class
    for index, line in enumerate(found):
        figures = [f"{of.precision[index]:.1%}", f"{of.recall[index]:.1%}", f"{of.f1[index]:.1%}"]
        assert [cell for cell in line.split() if "\u2588" not in cell][2:] == figures


def test_class_without_images_or_predictions_has_dashes_for_what_is_not_defined() -> None:
    given = evaluation(["cat", "dog", "owl"])
    column = given.columns
    given = replace(
        given, columns=replace(column, truth=np.minimum(column.truth, 1), predicted=np.full(200, 2, np.int32))
    )
    cat, _, owl, note = section(lines_of(given, 60), "classes")[1:]
    assert cat.split() == ["cat", "67", "-", "0.0%", "0.0%"]
    assert owl.split() == ["owl", "0", "0.0%", "-", "-"]
    assert note.strip() == "200 images were called classes that have no images here"


def test_of_many_classes_the_worst_and_the_best_are_shown_and_where_all_are() -> None:
    given = evaluation(MANY[:100], images=3000)
    found = section(lines_of(given), "classes")
    order = sorted(range(100), key=lambda index: given.per_class.f1[index])
    labels = [line[2:].split("  ")[0] for line in found[1:21]]
    assert set(labels[:10]) <= {MANY[index] for index in order[:20]}
    assert labels[-1] == MANY[given.by_f1()[-1]]
    assert given.per_class.f1[MANY.index(labels[-1])] == given.per_class.f1.max()
    assert found[-1].strip() == "--format csv and --report FILE.html show all"


def test_classes_of_one_name_are_told_apart_by_their_ids() -> None:
    found = section(lines_of(evaluation(["crane", "crane", "owl"])), "classes")
    assert [line.split()[1] for line in found[1:3]] == ["(n0)", "(n1)"]


def test_most_confused_pairs_are_listed_with_their_counts() -> None:
    given = evaluation(["cat", "dog", "owl"])
    found = section(lines_of(given), "most confused")
    names = ("cat", "dog", "owl")
    assert [line.split() for line in found] == [
        [names[pair.truth], names[pair.predicted], str(pair.count), "of", str(pair.support)]
        for pair in given.confused(8)
    ]


def test_most_confident_mistakes_come_first_with_their_images() -> None:
    given = evaluation(["cat", "dog", "owl"])
    found = section(lines_of(given), "most confident mistakes")
    assert [line.split() for line in found] == [
        [
            f"{each.predictions[0].score:.1%}",
            each.predictions[0].image_class.label,
            given.classes[each.truth].label,
            each.example.name,
        ]
        for each in given.mistakes[:5]
    ]


def test_long_paths_are_cut_in_the_middle_so_that_the_file_name_stays() -> None:
    path = "/data/user/" + "a/" * 100 + "00042.png"
    cut = tables._middle_cut(path, 30)
    assert cell_len(cut) == 30 and cut.startswith("/data/use...") and cut.endswith("/a/a/00042.png")


def test_reliability_shows_the_bins_that_hold_images() -> None:
    given = evaluation(["cat", "dog"])
    _, *found = section(lines_of(given, 60), "reliability")
    bins = [each for each in given.reliability if each.count]
    assert [line.split() for line in found] == [
        [f"{each.low:.0%}", "to", f"{each.high:.0%}", f"{each.count}", f"{each.score:.1%}", f"{each.accuracy:.1%}"]
        for each in bins
    ]


def test_bar_has_a_mark_where_it_should_end() -> None:
    assert tables._marked_bar(0.5, 0.75).plain == "\u2588" * 10 + " " * 5 + "|" + " " * 4
    assert tables._marked_bar(1.0, 1.0).plain == "\u2588" * 19 + "|"
    assert tables._marked_bar(0.0, 0.0).plain == "|" + " " * 19


def test_no_mistake_leaves_out_what_would_be_empty() -> None:
    lines = lines_of(evaluation(["cat", "dog"], skill=90.0))
    assert not any(line.startswith("most conf") for line in lines)
    assert any("100.0%" in line for line in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 250])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_every_line_fits_the_terminal(classes: int, width: int) -> None:
    a = evaluation(MANY[:classes], images=1500, skill=4.0)
    b = replace(evaluation(MANY[:classes], images=1500, skill=3.0, seed=1), model="/data/user/" + "runs/" * 20)
    for renderable in (tables.evaluation_tables(a, width), tables.comparison_tables([a, b], [compare(a, b)], width)):
        assert all(cell_len(line) <= width for line in shown(renderable, width).splitlines())


@pytest.mark.parametrize(("classes", "most"), [(2, 40), (10, 66), (1000, 66)])
def test_output_stays_short(classes: int, most: int) -> None:
    assert len(lines_of(evaluation(MANY[:classes], images=3000))) <= most


@pytest.mark.parametrize("width", [60, 120])
def test_names_of_users_are_taken_literally(width: int) -> None:
    names = ["[red]x[/b]", "\x1b]0;pwn\x07", "東京タワー", ":smile:", "b\udcff"]
    given = evaluation(names, model="[/m]", data="\x1b[31mdata")
    other = replace(evaluation(names, seed=1), model="\x1b[2J")
    text = shown(tables.evaluation_tables(given, width), width)
    text += shown(tables.comparison_tables([given, other], [compare(given, other)], width), width)
    assert "\x1b" not in text and "\x07" not in text
    for literal in ("[red]x[/b]", "\\x1b]0;pwn\\x07", "東京タワー", ":smile:", "b\\xff", "[/m] on \\x1b[31mdata"):
        assert literal in text


# -- several models ----------------------------------------------------------------------------------------------------


def compared(a: Evaluation, b: Evaluation, width: int = 80) -> list[str]:
    renderable = tables.comparison_tables([a, b], [compare(a, b)], width)
    return [line.rstrip() for line in shown(renderable, width).splitlines()]


def test_models_stand_side_by_side_with_a_star_at_the_best_figures() -> None:
    a, b = evaluation(skill=3.0), evaluation(skill=1.0, seed=1, model="runs/two", seconds=2.0)
    head, one, two = section(compared(a, b), "models")
    assert head.split() == ["model", "accuracy", "top-3", "F1", "macro", "loss", "ECE", "time"]
    assert one.split()[:3] == ["runs/one", f"{a.accuracy:.1%}*", "100.0%*"]
    assert two.split()[:3] == ["runs/two", f"{b.accuracy:.1%}", "100.0%*"]
    assert f"{a.loss:.3f}*" in one and f"{b.loss:.3f}*" not in two
    assert one.endswith("12 s") and two.endswith("2 s*")


def test_better_model_is_named_with_the_chance_of_such_a_difference() -> None:
    a, b = evaluation(skill=3.0), evaluation(skill=1.0, seed=1, model="runs/two")
    found = compare(a, b)
    text = " ".join(line.strip() for line in compared(a, b))
    for name, count in (
        ("both right", found.both_right),
        ("only runs/one", found.only_a),
        ("only runs/two", found.only_b),
        ("both wrong", found.both_wrong),
    ):
        assert f"{name} {count} " in " ".join(text.split())
    assert f"runs/one is better: {found.only_a - found.only_b} images more right;" in text
    assert "between equally good models has p < 0.0001 (McNemar)" in text


def test_models_that_differ_by_chance_are_not_ranked() -> None:
    a, b = evaluation(seed=1), evaluation(seed=2, model="runs/two")
    assert compare(a, b).p_value > 0.05
    text = " ".join(line.strip() for line in compared(a, b))
    assert "no difference beyond chance; a difference this large between equally good models has p = " in text
    assert "is better" not in text


def test_images_on_which_models_differ_are_shown_with_what_each_says() -> None:
    a, b = evaluation(["cat", "dog", "owl"]), evaluation(["cat", "dog", "owl"], seed=1, model="runs/two")
    head, *found = section(compared(a, b), "what they differ on")
    assert head.split() == ["it", "is", "runs/one", "runs/two", "image"]
    telling = [each for each in compare(a, b).differences if each.a_right != each.b_right]
    shown = [telling[number * len(telling) // 10] for number in range(10)]
    assert [line.split() for line in found] == [
        [each.truth.label, each.a.label, each.b.label, each.example.name] for each in shown
    ]


def test_the_same_model_twice_differs_on_nothing() -> None:
    lines = compared(evaluation(), evaluation())
    assert not any("differ on" in line for line in lines)
    assert any("equally good: each has 0 right that the other has not" in line for line in lines)
