"""The report's section on one model: its figures, training, calibration, confusions, classes and mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from cnncli.evaluation import report_charts, report_gallery, report_matrix
from cnncli.evaluation.evaluation import Evaluation
from cnncli.evaluation.markup import Markup, class_name, details, element, interval, joined, scrolling, table
from cnncli.evaluation.metrics import Interval
from cnncli.evaluation.mistake_maps import MistakeMaps
from cnncli.history import EpochRow, best_epoch

_MOST_FAILURES = 50  # that are named


def section(evaluation: Evaluation, history: Sequence[EpochRow], number: int, maps: MistakeMaps) -> Markup:
    """All that is known of a model; `history` is empty unless it is a run, `maps` unless they were asked for."""
    parts = [
        ("Training", _training(history) if history else None),
        ("Calibration", _calibration(evaluation)),
        ("Confusion matrix", report_matrix.section(evaluation)),
        ("Classes", _classes(evaluation)),
        ("The most confident mistakes", _mistakes(evaluation, maps)),
    ]
    return element(
        "section",
        element("h2", element("bdi", evaluation.model)),
        *_warnings(evaluation),
        _figures(evaluation),
        _left_out(evaluation),
        *(element("section", element("h3", name), content) for name, content in parts if content is not None),
        id=f"model-{number}",
        class_="model",
    )


def _warnings(evaluation: Evaluation) -> Iterator[Markup]:
    if evaluation.seen_in_training:
        yield element(
            "p",
            element("strong", f"{evaluation.seen_in_training:,} of these images were trained on. "),
            "A model knows such images by heart: the figures say less about images that it has never seen.",
            class_="warning",
        )
    if evaluation.only_present:
        yield element(
            "p",
            f"The model chose among the {_num_choices(evaluation):,} classes that the data has, not among all "
            f"{len(evaluation.classes):,} that it knows.",
        )


def _count(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


def _num_choices(evaluation: Evaluation) -> int:
    """How many classes the model could answer with."""
    if not evaluation.only_present:
        return len(evaluation.classes)
    return len({found.index for found in evaluation.matches if found.index is not None})


def _figures(evaluation: Evaluation) -> Markup:
    """The accuracy, large, and a tile for each of the other figures, with a sentence on what it is."""
    choices = _num_choices(evaluation)
    by_chance = f"One that guesses among {choices:,} classes has {math.log(choices):.3f}."
    tiles = [
        ("F1, macro", f"{evaluation.macro.f1:.3f}", "Precision and recall in one figure; every class counts alike."),
        ("F1, weighted", f"{evaluation.weighted.f1:.3f}", "The same; a class counts as often as it has images."),
        ("loss", f"{evaluation.loss:.3f}", f"Cross-entropy: how surprised the model is by the truth. {by_chance}"),
        (
            "calibration error",
            f"{evaluation.calibration_error:.3f}",
            "How far its scores are from how often it is right (ECE).",
        ),
        ("images", f"{evaluation.images:,}", "Labelled images that the figures are about."),
        ("unreadable", f"{len(evaluation.failures):,}", "Images that could not be read; in no other figure."),
        ("left out", f"{evaluation.left_out:,}", "Images of classes that the model does not know."),
        ("seen in training", _count(evaluation.seen_in_training), "Images that the model learned from."),
    ]
    return element(
        "div", _accuracy(evaluation), element("dl", *(_tile(*tile) for tile in tiles), class_="tiles"), class_="figures"
    )


def _accuracy(evaluation: Evaluation) -> Markup:
    """The accuracy and the top-k accuracy with their intervals."""
    explained = (
        f"{evaluation.num_right:,} of {evaluation.images:,} images are called right. With 95% confidence the accuracy "
        "on other images like these is in this interval (Wilson\u2019s): the more images, the narrower."
    )
    top = evaluation.top
    shares = [(1, "accuracy", explained)]
    if top > 1:
        shares.append((top, f"top-{top} accuracy", f"The true class is among the model\u2019s {top} best answers."))
    return element("div", *(_large(evaluation, *share) for share in shares), class_="hero")


def _large(evaluation: Evaluation, top: int, name: str, explained: str) -> Markup:
    """A proportion in large figures, with its interval as a band on a line from 0 to 1."""
    value, bounds = evaluation.top_k(top), evaluation.interval(top)
    return element(
        "div",
        element("p", name, class_="what"),
        element("p", f"{value:.1%}", class_="accuracy"),
        _scale(value, bounds),
        element("p", "95% interval ", element("strong", interval(bounds)), class_="interval"),
        element("p", explained, class_="note"),
    )


def _scale(value: float, bounds: Interval) -> Markup:
    """A line from 0 to 1 with the interval and the value in it."""
    band = element("span", class_="band", style=f"left:{bounds[0]:.2%};width:{bounds[1] - bounds[0]:.2%}")
    return element(
        "div", band, element("span", class_="point", style=f"left:{value:.2%}"), class_="scale", aria_hidden="true"
    )


def _tile(name: str, figure: str, explained: str) -> Markup:
    return element(
        "div", element("dt", name), element("dd", figure, class_="figure"), element("dd", explained, class_="note")
    )


def _left_out(evaluation: Evaluation) -> Markup:
    """The classes that the model does not know, and the images that could not be read, by name."""
    unknown = [found.data_class for found in evaluation.matches if found.index is None]
    parts = []
    if unknown:
        names = (element("li", class_name(image_class)) for image_class in unknown)
        parts.append(
            details(f"Classes of the data that the model does not know: {len(unknown):,}", element("ul", *names))
        )
    if evaluation.failures:
        shown = evaluation.failures[:_MOST_FAILURES]
        more = len(evaluation.failures) - len(shown)
        lines = [element("li", element("bdi", each.name), f": {each.reason}") for each in shown]
        lines += [element("li", f"and {more:,} more")] if more else []
        parts.append(details(f"Images that could not be read: {len(evaluation.failures):,}", element("ul", *lines)))
    return joined(parts)


def _training(history: Sequence[EpochRow]) -> Markup:
    best = best_epoch(history)
    row = next(row for row in history if row.epoch == best)
    validated = row.val_loss is not None and row.val_accuracy is not None
    loss, accuracy = (row.val_loss, row.val_accuracy) if validated else (row.loss, row.accuracy)
    kept = f"The model is that of epoch {best:,} of {len(history):,} (\u25c7)"
    told = f"{kept}: {'validation' if validated else 'training'} loss {loss:.3f}, accuracy {accuracy:.1%}."
    legend = [element("span", "training", class_="key train")]
    legend += [element("span", "validation", class_="key val")] if validated else []
    charts = (
        element("figure", element("figcaption", what), report_charts.curves(history, what, best))
        for what in ("loss", "accuracy")
    )
    return joined(
        [
            element("p", told),
            element("p", *legend, class_="legend"),
            element("div", *charts, class_="beside"),
            details("The figures of every epoch", scrolling("Epochs", _epochs(history), class_="scroll tall")),
        ]
    )


def _epochs(history: Sequence[EpochRow]) -> Markup:
    rows = [
        (f"{row.epoch}", f"{row.loss:.4f}", f"{row.accuracy:.2%}", _optional(row.val_loss, ".4f"),
         _optional(row.val_accuracy, ".2%"), f"{row.learning_rate:.3g}")
        for row in history
    ]  # fmt: skip
    heads = ("epoch", "loss", "accuracy", "validation loss", "validation accuracy", "learning rate")
    return table(heads, rows)


def _optional(value: float | None, form: str) -> str:
    return "\u2013" if value is None else format(value, form)


def _calibration(evaluation: Evaluation) -> Markup:
    score = float(np.mean(evaluation.columns.score)) if evaluation.images else 0.0
    low, high = evaluation.interval()
    verdict = (
        "it is overconfident" if score > high else "it is underconfident" if score < low else "they are fair on average"
    )
    told = (
        f"Its answers have a score of {score:.1%} on average, and {evaluation.accuracy:.1%} of them are right "
        f"({interval((low, high))}): {verdict}."
    )
    explained = (
        "Of a hundred answers with a score of 70%, seventy should be right: bars and marks should meet on the "
        "diagonal. The expected calibration error (ECE) is the mean distance of marks and bars, weighted by images."
    )
    rows = [
        (f"{each.low:.1%} to {each.high:.1%}", f"{each.count:,}", f"{each.score:.1%}", f"{each.accuracy:.1%}")
        for each in evaluation.reliability
        if each.count
    ]
    words = joined(
        [
            element("p", told),
            element(
                "p",
                element("span", "how often it is right", class_="key bar"),
                element("span", "its mean score", class_="key said"),
                class_="legend",
            ),
            element("p", explained, class_="note"),
            element("p", "Calibration error: ", element("strong", f"{evaluation.calibration_error:.3f}")),
            details(
                "The figures of every bar", scrolling("Bars", table(("score", "images", "mean score", "right"), rows))
            ),
        ]
    )
    chart = element("figure", report_charts.reliability(evaluation.reliability))
    return element("div", chart, element("div", words), class_="beside")


def _classes(evaluation: Evaluation) -> Markup:
    """A row for each class, the weakest first; the page's script sorts and filters them."""
    scores = evaluation.per_class
    shown = sorted(evaluation.shown, key=lambda at: (scores.support[at] == 0, scores.f1[at]))
    heads = (
        ("class", None, "ascending"), ("images", "n", "descending"), ("recall", "n", "ascending"),
        ("precision", "n", "ascending"), ("F1", "n", "ascending"), ("most often taken for", None, "ascending"),
    )  # fmt: skip
    row = element(
        "tr",
        *(
            element(
                "th", name, scope="col", class_=kind, data_first=first, aria_sort="ascending" if name == "F1" else None
            )
            for name, kind, first in heads
        ),
    )
    body = element("tbody", *(_class_row(evaluation, at) for at in shown))
    explained = (
        "Recall: of the images of a class, the part that is called so. Precision: of the images that are called "
        "so, the part that is. F1: the harmonic mean of both, high only where both are. The weakest classes come first."
    )
    return element(
        "div",
        element("p", explained, class_="note"),
        scrolling("Classes", element("table", element("thead", row), body), class_="scroll tall"),
        class_="classes",
    )


def _class_row(evaluation: Evaluation, at: int) -> Markup:
    scores = evaluation.per_class
    support, predicted = int(scores.support[at]), int(scores.predicted[at])
    wrong = evaluation.confusion[at].copy()
    wrong[at] = 0
    other, count = int(wrong.argmax()), int(wrong.max())
    taken_for = joined([class_name(evaluation.classes[other]), f" {count:,}\u00d7"]) if count else ""
    return element(
        "tr",
        element("th", class_name(evaluation.classes[at]), scope="row"),
        element("td", f"{support:,}", class_="n", data_value=support),
        _share(float(scores.recall[at]), known=support > 0),
        _share(float(scores.precision[at]), known=predicted > 0),
        _share(float(scores.f1[at]), known=support > 0, form=".3f"),
        element("td", taken_for),
    )


def _share(value: float, *, known: bool, form: str = ".1%") -> Markup:
    """A cell with a bar behind its figure; a dash where the figure is not defined."""
    if not known:
        return element("td", "\u2013", class_="n", data_value="")
    return element("td", format(value, form), class_="n share", data_value=f"{value:.9g}", style=f"--share:{value:.3f}")


def _mistakes(evaluation: Evaluation, maps: MistakeMaps) -> Markup:
    if not evaluation.mistakes:
        return element("p", "There are none: every image is called right.")
    wrong = evaluation.images - evaluation.num_right
    told = (
        f"Of {wrong:,} images that are called wrong, the {len(evaluation.mistakes):,} of which the model was surest, "
        "with its best answers. Look here for wrong labels, too."
    )
    if maps:
        told += " Bright places speak for the class below each heat map; dark, hatched ones the model does not see."
    return joined([element("p", told, class_="note"), report_gallery.mistakes(evaluation, maps)])
