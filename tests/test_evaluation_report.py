"""The HTML report of evaluations: what stands in it is what was measured, and nothing in it leads anywhere else."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli.backbones import ImageClass, InputSpec
from cnncli.datasets.dataset import Example
from cnncli.datasets.pixels import Failure
from cnncli.errors import CnncliError
from cnncli.evaluation import report, report_charts, report_model
from cnncli.evaluation.comparison import compare
from cnncli.evaluation.evaluation import Answer, Columns, Evaluation
from cnncli.evaluation.matching import match
from cnncli.history import EpochRow
from cnncli.inference.pipeline import best

VOID = {"meta", "link", "img", "input", "source", "wbr"}
NASTY = "<script>alert('1')</script>\"&\u202e\x1b]0;x\x07\udcff\n</title></style>"


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str, class_: str | None = None) -> list[Node]:
        """The elements below, in order."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag and (class_ is None or class_ in (child.attributes.get("class") or "").split()):
                    found.append(child)
                found += child.all(tag, class_)
        return found

    def one(self, tag: str, class_: str | None = None) -> Node:
        [node] = self.all(tag, class_)
        return node


class Parser(HTMLParser):
    """Builds the tree, and refuses end tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.attributes) == len(attrs), f"an attribute twice in <{tag}>"
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    parser = Parser()
    parser.feed(html)
    parser.close()
    [root] = parser.open
    return root


def evaluation(
    classes: Sequence[str] = ("cat", "dog", "eel"),
    *,
    each: int = 8,
    model: str = "net",
    seed: int = 0,
    skill: float = 1.5,
    folder: Path | None = None,
    absent: int = 0,
    top: int = 2,
) -> Evaluation:
    """A model that is often right on `each` images of every class but the last `absent` ones."""
    rng = np.random.default_rng(seed)
    known = tuple(ImageClass(name, name) for name in classes)
    num, present = len(known), len(known) - absent
    truth = np.repeat(np.arange(present, dtype=np.int32), each)
    logits = rng.normal(size=(len(truth), num))
    logits[np.arange(len(truth)), truth] += skill
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    examples = tuple(
        Example(f"{row}.png", int(label), pixels=np.full((8, 6, 3), row % 250, np.uint8))
        if folder is None
        else Example(f"{folder}/{row}.png", int(label), path=folder / f"{row}.png")
        for row, label in enumerate(truth)
    )
    ranks = (np.argsort(-scores, kind="stable") == truth[:, None]).argmax(axis=1) + 1
    truth_scores = scores[np.arange(len(truth)), truth]
    columns = Columns(
        np.arange(len(truth)), truth, scores.argmax(axis=1).astype(np.int32), scores.max(axis=1).astype(np.float32),
        ranks.astype(np.int32), truth_scores.astype(np.float32),
    )  # fmt: skip
    wrong = sorted(np.flatnonzero(ranks > 1).tolist(), key=lambda row: -scores[row].max())
    mistakes = tuple(
        Answer(examples[row], int(truth[row]), int(ranks[row]), float(truth_scores[row]), best(scores[row], known, 3))
        for row in wrong[:6]
    )
    matches = match(known[:present], known)
    return Evaluation(
        model, "photos", "test", known, InputSpec(8, 8), top, False, matches, 0, examples, columns, (), mistakes, 0, 1.0
    )


def page(*evaluations: Evaluation, history: Sequence[EpochRow] = (), made: str = "made by hand") -> Node:
    first, *others = evaluations
    comparisons = [compare(first, other) for other in others]
    return parse(report.page(evaluations, comparisons, {first.model: history} if history else {}, made=made))


def epochs(count: int, *, validation: bool = True) -> list[EpochRow]:
    """Training that gets better for ever, validation only up to the epoch before the last one."""
    rows = []
    for e in range(1, count + 1):
        held = 0.5 + 0.1 * min(e, count - 1) / count - 0.05 * (e == count)
        rows.append(EpochRow(e, 2 / e, 1 - 0.5 / e, *((2.2 / e, held) if validation else (None, None)), 0.01, 1.0))
    return rows


def cells(node: Node) -> list[list[str]]:
    """The text of a table's body."""
    rows = node.one("tbody").all("tr")
    return [[cell.text for cell in row.children if isinstance(cell, Node)] for row in rows]


def tiles(node: Node) -> dict[str, str]:
    return {tile.one("dt").text: tile.one("dd", "figure").text for tile in node.one("dl", "tiles").all("div")}


def decoded(image: Node) -> Image.Image:
    content = str(image.attributes["src"]).partition(";base64,")[2]
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_report_shows_the_figures_of_the_evaluation() -> None:
    one = replace(evaluation(), failures=(Failure("broken.jpg", "the file is empty"),), left_out=7, seen_in_training=3)
    root = page(one)
    shown = [share.text for share in root.all("p", "accuracy")]
    assert shown == [f"{one.columns.right.mean():.1%}", f"{(one.columns.truth_rank <= 2).mean():.1%}"]
    low, high = one.interval()
    assert root.all("p", "interval")[0].text == f"95% interval {100 * low:.1f}\u2013{100 * high:.1f}%"
    assert tiles(root) == {
        "F1, macro": f"{one.macro.f1:.3f}",
        "F1, weighted": f"{one.weighted.f1:.3f}",
        "loss": f"{-np.log(one.columns.truth_score).mean():.3f}",
        "calibration error": f"{one.calibration_error:.3f}",
        "images": "24",
        "unreadable": "1",
        "left out": "7",
        "seen in training": "3",
    }
    assert "3 of these images were trained on" in root.one("p", "warning").text
    assert "broken.jpg: the file is empty" in root.text


def test_report_warns_of_training_images_only_where_there_are_some() -> None:
    assert page(evaluation()).all("p", "warning") == []


def test_matrix_holds_the_counts_of_the_classes() -> None:
    one = evaluation(("a", "b", "c", "d"), each=9)
    rows = cells(page(one).one("table", "matrix"))
    assert [row[0] for row in rows] == ["a", "b", "c", "d"]
    assert [[int(cell) for cell in row[1:]] for row in rows] == [[*row, sum(row)] for row in one.confusion.tolist()]


def test_pairs_come_with_the_most_confused_first() -> None:
    one = evaluation(("a", "b", "c"), each=30, skill=0.5)
    off_diagonal = {(i, j): int(one.confusion[i, j]) for i in range(3) for j in range(3) if i != j}
    rows = cells(page(one).one("div", "pairs").one("table"))
    (i, j), count = max(off_diagonal.items(), key=lambda item: item[1])
    assert rows[0] == ["abc"[i], "abc"[j], f"{count} of 30", f"{count / 30:.1%}"]
    assert [int(row[2].split()[0]) for row in rows] == sorted(off_diagonal.values(), reverse=True)


def test_class_table_has_every_class_the_weakest_first_and_what_is_undefined_last() -> None:
    one = evaluation([f"class {i}" for i in range(30)], each=6, absent=5)
    rows = cells(page(one).one("div", "classes").one("table"))
    assert sorted(row[0] for row in rows) == sorted(f"class {i}" for i in one.shown)
    scores = one.per_class
    for name, support, recall, precision, f1, _ in rows:
        at = int(name.split()[1])
        assert int(support) == scores.support[at]
        assert recall == (f"{scores.recall[at]:.1%}" if scores.support[at] else "\u2013")
        assert precision == (f"{scores.precision[at]:.1%}" if scores.predicted[at] else "\u2013")
        assert f1 == (f"{scores.f1[at]:.3f}" if scores.support[at] else "\u2013")
    known = [float(row[4]) for row in rows if row[4] != "\u2013"]
    assert known == sorted(known) and len(known) == 25
    assert all(row[4] == "\u2013" for row in rows[25:])


def test_many_classes_have_a_map_with_its_cells_and_a_table_of_the_most_confused() -> None:
    one = evaluation([f"class {i}" for i in range(40)], each=5, absent=10, skill=2.5)
    root = page(one)
    heat = root.one("figure", "heat")
    values = json.loads(heat.one("script").text)
    assert values["names"] == [f"class {i}" for i in range(30)] and values["block"] == 1
    inside = one.confusion[:30, :30]
    assert {(row, column): count for row, column, count in values["cells"]} == {
        (i, j): int(inside[i, j]) for i in range(30) for j in range(30) if inside[i, j]
    }
    assert f"{150 - inside.sum()} images that were called a class that the data does not have" in heat.text
    pixels = np.asarray(decoded(heat.one("img"))).astype(int)
    assert pixels.shape == (30, 30, 3)
    marked = (pixels != pixels.reshape(-1, 3).max(axis=0)).any(axis=-1)
    assert (marked == (inside > 0)).all()
    blue = pixels[..., 2] > pixels[..., 0] + 20
    assert (blue == np.diag(np.diag(inside) > 0)).all()  # only the diagonal is
    rows = cells(root.one("table", "matrix"))
    assert 2 <= len(rows) <= 14
    for row in rows:
        at = int(row[0].split()[1])
        assert sum(map(int, row[1:-1])) == int(row[-1]) == one.per_class.support[at]


def test_map_of_very_many_classes_keeps_every_mistake_in_fewer_pixels() -> None:
    one = evaluation([f"class {i}" for i in range(800)], each=1, skill=6)
    heat = page(one).one("figure", "heat")
    pixels = np.asarray(decoded(heat.one("img"))).astype(int)
    block = json.loads(heat.one("script").text)["block"]
    assert block == 3 and pixels.shape == (267, 267, 3)
    marked = (pixels != pixels.reshape(-1, 3).max(axis=0)).any(axis=-1)
    assert {tuple(at) for at in np.argwhere(marked)} == {tuple(at) for at in np.argwhere(one.confusion) // block}


def test_reliability_diagram_has_a_bar_and_a_count_for_each_bin_that_has_images() -> None:
    one = evaluation(each=40)
    filled = [each for each in one.reliability if each.count]
    root = page(one)
    [chart] = root.all("svg")
    assert [text.text for text in chart.all("text", "count")] == [str(each.count) for each in filled]
    heights = [float(str(bar.attributes["height"])) for bar in chart.all("rect", "bar")]
    assert np.corrcoef(heights, [each.accuracy for each in filled])[0, 1] == pytest.approx(1, abs=1e-4)
    assert [row[1] for row in cells(root.all("details")[-1])] == [str(each.count) for each in filled]


def test_training_curves_are_there_only_for_a_run() -> None:
    assert "Training" not in [head.text for head in page(evaluation()).all("h3")]
    root = page(evaluation(), history=epochs(5))
    assert "Training" in [head.text for head in root.all("h3")]
    loss, accuracy, _ = root.all("svg")
    assert [len(chart.all("polyline")) for chart in (loss, accuracy)] == [2, 2]
    assert len(loss.all("path", "diamond")) == len(accuracy.all("path", "diamond")) == 1
    assert "that of epoch 4 of 5" in root.text and "validation loss 0.550, accuracy 58.0%" in root.text
    without = page(evaluation(), history=epochs(5, validation=False))
    assert [len(chart.all("polyline")) for chart in without.all("svg")[:2]] == [1, 1]
    assert "that of epoch 5 of 5" in without.text


def test_curves_rise_and_fall_with_their_figures() -> None:
    rows = epochs(6)
    for what, chart in ((w, parse(report_charts.curves(rows, w, 5))) for w in ("loss", "accuracy")):
        line = chart.one("polyline", "train")
        heights = [-float(point.split(",")[1]) for point in str(line.attributes["points"]).split()]
        values = [getattr(row, what) for row in rows]
        assert np.corrcoef(heights, values)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "rows",
    [
        epochs(1),
        epochs(300),
        [EpochRow(e, 10.0**-e, 1.0, None, None, 0.1, 1) for e in range(1, 9)],  # a logarithmic scale
        [EpochRow(1, 0.0, 0.0, 0.0, 0.0, 0.1, 1)],
        [EpochRow(1, float("nan"), 0.1, float("inf"), 0.1, 0.1, 1)],
    ],
    ids=["one", "many", "steep", "zero", "nan"],
)
def test_curves_of_odd_histories_stay_inside_their_picture(rows: list[EpochRow]) -> None:
    root = page(evaluation(), history=rows)
    for chart in root.all("svg")[:2]:
        points = [p for line in chart.all("polyline") for p in str(line.attributes["points"]).split()]
        for x, y in (map(float, point.split(",")) for point in points):
            assert 0 <= x <= 420 and 0 <= y <= 280


def test_ticks_are_round_numbers_inside_the_range() -> None:
    assert report_charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert report_charts.ticks(0.5, 10.5) == [2, 4, 6, 8, 10]
    assert report_charts.ticks(0.913, 0.937) == [0.915, 0.92, 0.925, 0.93, 0.935]


def test_best_epoch_is_that_of_the_best_validation_or_the_last() -> None:
    assert report_model.best_epoch(epochs(5)) == 4
    assert report_model.best_epoch(epochs(5, validation=False)) == 5


def test_gallery_shows_each_mistake_with_its_picture_and_three_predictions() -> None:
    one = evaluation(("a", "b", "c", "d"), each=10)
    cards = page(one).one("ul", "gallery").all("figure")
    assert len(cards) == len(one.mistakes) == 6
    for card, answer in zip(cards, one.mistakes, strict=True):
        assert f"is {'abcd'[answer.truth]}" in card.one("p", "truth").text
        bars = card.one("ol").all("li")
        assert [bar.one("span", "n").text for bar in bars] == [f"{p.score:.1%}" for p in answer.predictions]
        assert [bar.one("bdi").text for bar in bars] == [p.image_class.label for p in answer.predictions]
        with decoded(card.one("img")) as image:
            assert (image.format, image.size) == ("JPEG", (168, 224))  # a portrait, enlarged 28 times
            assert image.getpixel((9, 9)) == pytest.approx((int(answer.example.name[:-4]),) * 3, abs=2)


def test_image_that_is_gone_leaves_its_place(tmp_path) -> None:
    one = evaluation(folder=tmp_path)
    gone, kept = one.mistakes[:2]
    Image.new("RGB", (400, 100), "red").save(kept.example.path)
    cards = page(one).one("ul", "gallery").all("figure")
    assert cards[0].one("div", "gone").text == "this image cannot be read any more"
    assert cards[0].all("img") == [] and gone.example.name in cards[0].text
    with decoded(cards[1].one("img")) as image:
        assert image.size == (224, 56)


def test_comparison_tells_in_words_whether_one_model_is_better() -> None:
    weak, strong = evaluation(each=40, model="weak", skill=0.2), evaluation(each=40, model="strong", seed=1, skill=3)
    found = compare(weak, strong)
    root = page(weak, strong)
    assert root.one("article").one("h3").text == "Is strong better than weak?"
    assert found.better == "strong" and root.one("p", "verdict").text.startswith("strong is better. Of 120 images")
    square = root.one("article").one("table")
    assert cells(square) == [
        ["weak right", str(found.both_right), str(found.only_a)],
        ["weak wrong", str(found.only_b), str(found.both_wrong)],
    ]
    gallery = root.one("article").one("ul", "gallery")
    assert len(gallery.all("figure")) == 24
    assert all(len(card.all("dd", "right")) == 1 for card in gallery.all("figure"))  # those that tell most
    models = cells(root.all("table")[0])
    assert [row[:2] for row in models] == [[one.model, f"{one.accuracy:.1%}"] for one in (weak, strong)]
    assert {link.attributes["href"] for link in root.all("a")} == {"#comparison", "#model-1", "#model-2"}
    assert {node.attributes.get("id") for node in root.all("section")} >= {"comparison", "model-1", "model-2"}


def test_comparison_of_a_model_with_itself_shows_no_difference() -> None:
    root = page(evaluation(model="a"), evaluation(model="b"))
    assert root.one("p", "verdict").text.startswith("No difference is shown.")
    assert "p = 1;" in root.one("p", "verdict").text
    assert "They call every image by the same name." in root.one("article").text


def test_one_model_has_no_comparison() -> None:
    assert page(evaluation()).all("article") == []


def test_page_leads_nowhere_and_forbids_every_request() -> None:
    two = evaluation([f"http://example.org/{i}" for i in range(25)]), evaluation([f"{i}" for i in range(25)])
    html = report.page(two, [], {"net": epochs(3)}, made="made")
    root = parse(html)
    [policy] = [meta for meta in root.all("meta") if "http-equiv" in meta.attributes]
    assert str(policy.attributes["content"]).startswith("default-src 'none'; img-src data:;")
    assert root.all("iframe") == root.all("object") == root.all("form") == root.all("base") == []
    for tag in ("img", "source", "a", "link", "script"):
        for node in root.all(tag):
            for name in ("src", "srcset", "href"):
                assert str(node.attributes.get(name, "#")).startswith(("data:", "#"))
    style, script = root.one("style").text, root.all("script")[-1].text
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch|XMLHttp|import\(|innerHTML|eval", style + script)


@pytest.mark.parametrize("many", [False, True])
def test_names_are_text_whatever_is_in_them(many: bool) -> None:
    classes = [NASTY, "\u05d0\u05d1", "a" * 300, *(f"class {i}" for i in range(30 * many))]
    one = evaluation(classes, model=NASTY, each=5, skill=0.5)
    odd = replace(one.mistakes[0], example=replace(one.mistakes[0].example, name=NASTY))
    one = replace(one, data=NASTY, mistakes=(odd, *one.mistakes[1:]), failures=(Failure(NASTY, NASTY),))
    other = evaluation(classes, model="b", each=5, seed=1, skill=0.5)
    root = page(one, other, made=NASTY)
    assert len(root.all("script")) == 1 + 2 * many  # the page's own, and the data of each map
    shown = "<script>alert('1')</script>\"&\\u202e\\x1b]0;x\\x07\\xff\\x0a</title></style>"
    assert root.one("footer").text == shown
    assert root.all("title")[0].text == f"2 models on {shown}"
    assert root.all("h2")[1].text == shown
    for character in NASTY:
        assert character.isprintable() or character == "\n" or character not in root.text


def test_report_is_the_same_bytes_each_time_and_replaces_an_old_one(tmp_path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    written = []
    for _ in range(2):
        report.write(path, [evaluation()], [], {"net": epochs(4)}, made="made")
        written.append(path.read_bytes())
    assert written[0] == written[1] and written[0].startswith(b"<!doctype html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_report_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path) -> None:
    for path in (tmp_path / "none" / "report.html", tmp_path, tmp_path / "a\0b.html"):
        with pytest.raises(CnncliError, match="cannot be written"):
            report.write(path, [evaluation()], [], {}, made="made")


def test_report_of_a_perfect_model_and_of_no_images_is_whole() -> None:
    perfect = evaluation(skill=50)
    root = page(perfect)
    assert root.all("p", "accuracy")[0].text == "100.0%"
    assert "No class was taken for another." in root.text and "every image is called right" in root.text
    nothing = np.array([], np.int32)
    empty = replace(
        perfect, columns=Columns(nothing.astype(np.int64), nothing, nothing, nothing.astype(np.float32), nothing,
        nothing.astype(np.float32)), examples=(),
    )  # fmt: skip
    assert page(empty).all("p", "accuracy")[0].text == "0.0%"


def test_page_can_be_read_without_script_and_by_a_screen_reader() -> None:
    html = report.page([evaluation()], [], {"net": epochs(3)}, made="made")
    root = parse(html)
    assert root.one("html").attributes["lang"] == "en" and len(root.all("h1")) == 1 and len(root.all("main")) == 1
    heads = root.one("div", "classes").one("thead").all("th")
    assert [head.attributes.get("aria-sort") for head in heads] == [None, None, None, None, "ascending", None]
    assert root.all("button") == []  # nothing that does nothing: the script makes them
    assert all(chart.all("title")[0].text for chart in root.all("svg"))
    assert all(box.attributes["tabindex"] == "0" and box.attributes["aria-label"] for box in root.all("div", "scroll"))
    assert all(image.attributes.get("alt") for image in root.all("img"))
