"""The report's comparison of models: side by side, and whether a difference is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnncli.evaluation import report_gallery
from cnncli.evaluation.comparison import SIGNIFICANT, Comparison
from cnncli.evaluation.evaluation import Evaluation
from cnncli.evaluation.markup import Markup, element, interval, joined, scrolling, table


def section(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> Markup:
    """All models in a table, then each of the later ones against the first."""
    return element(
        "section",
        element("h2", "Comparison"),
        _side_by_side(evaluations),
        *map(_pair, comparisons),
        id="comparison",
    )


def _side_by_side(evaluations: Sequence[Evaluation]) -> Markup:
    top = evaluations[0].top
    figures: list[tuple[str, Callable[[Evaluation], str]]] = [
        ("accuracy", lambda one: f"{one.accuracy:.1%}"),
        ("95% interval", lambda one: interval(one.interval())),
        (f"top-{top}", lambda one: f"{one.top_k(top):.1%}"),
        ("F1, macro", lambda one: f"{one.macro.f1:.3f}"),
        ("F1, weighted", lambda one: f"{one.weighted.f1:.3f}"),
        ("loss", lambda one: f"{one.loss:.3f}"),
        ("calibration error", lambda one: f"{one.calibration_error:.3f}"),
        ("images", lambda one: f"{one.images:,}"),
    ]
    if top == 1:
        del figures[2]
    rows = [(element("bdi", one.model), *(figure(one) for _, figure in figures)) for one in evaluations]
    return scrolling("Models side by side", table(["model", *(name for name, _ in figures)], rows))


def _pair(comparison: Comparison) -> Markup:
    a, b = element("bdi", comparison.a), element("bdi", comparison.b)
    return element(
        "article",
        element("h3", "Is ", b, " better than ", a, "?"),
        _verdict(comparison),
        element("div", _two_by_two(comparison), _explanation(), class_="flow"),
        _differences(comparison),
    )


def _verdict(comparison: Comparison) -> Markup:
    """The answer in words."""
    one_sided = comparison.only_a + comparison.only_b
    chance = element("strong", comparison.chance)
    if comparison.better is None:
        answer = element("strong", "No difference is shown. ")
    else:
        answer = element("strong", element("bdi", comparison.better), " is better. ")
    return element(
        "p",
        answer,
        f"Of {comparison.images:,} images, {one_sided:,} are called right by one of the two alone: ",
        *("by ", element("bdi", comparison.a), f" {comparison.only_a:,}, "),
        *("by ", element("bdi", comparison.b), f" {comparison.only_b:,}. "),
        "Two equally good models would differ at least so much by chance with ",
        chance,
        f"; below {SIGNIFICANT:g} a difference is taken for real.",
        class_="verdict",
    )


def _two_by_two(comparison: Comparison) -> Markup:
    rows = [
        (joined([element("bdi", comparison.a), " right"]), f"{comparison.both_right:,}", f"{comparison.only_a:,}"),
        (joined([element("bdi", comparison.a), " wrong"]), f"{comparison.only_b:,}", f"{comparison.both_wrong:,}"),
    ]
    b = element("bdi", comparison.b)
    return scrolling(
        "Images that both models have right or wrong", table(["", joined([b, " right"]), joined([b, " wrong"])], rows)
    )


def _explanation() -> Markup:
    return element(
        "p",
        "McNemar\u2019s test looks only at images that one model has right and the other wrong: were the models "
        "equally good, each of these would be a toss of a coin. It sees differences that two overlapping intervals "
        "hide, because both models saw the same images.",
        class_="note",
    )


def _differences(comparison: Comparison) -> Markup:
    found, shown = len(comparison.differences), report_gallery.num_shown(comparison)
    if not found:
        return element("p", "They call every image by the same name.")
    told = (
        f"They call {found:,} images by different names; of these one of the two has "
        f"{comparison.only_a + comparison.only_b:,} right. "
        + (f"Here are {shown}, spread over the data." if shown < found else "")
    )
    return joined(
        [element("h4", "Images on which they differ"), element("p", told), report_gallery.differences(comparison)]
    )
