"""The report's confusion matrix: a table of few classes; of many a map, and a table of those confused most."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.evaluation.evaluation import Evaluation
from cnncli.evaluation.markup import Markup, class_name, element, joined, scrolling, table
from cnncli.text import printable

MOST_IN_TABLE = 20  # classes
_MOST_CONFUSED = 14  # classes of many that have a table of their own
_PAIRS = 15
_MAP_PX = 360  # of a larger map neighbouring classes share a pixel
# From these parts of a row on, the first one on dark paper, a cell is so strong that its figure needs another ink
_WARM, _HOT = 0.55, 0.72
# Paper, right, wrong: as in report.css
_LIGHT, _DARK = ("#f4f6f8", "#00598c", "#b34700"), ("#1d242c", "#7cc7f2", "#ffa566")

Counts = npt.NDArray[np.int64]


def section(evaluation: Evaluation) -> Markup:
    """The matrix and the pairs of classes that are confused most."""
    shown = evaluation.shown
    if len(shown) <= MOST_IN_TABLE:
        told = (
            "A row for each true class, a column for what its images were called: blue are the right ones, orange the "
            "mistakes, the stronger the larger their part of the row."
        )
        both = element("div", _matrix(evaluation, shown), _pairs(evaluation), class_="flow")
        return joined([element("p", told, class_="note"), both])
    return joined([element("div", _map(evaluation), _pairs(evaluation), class_="flow"), _subset(evaluation)])


def _subset(evaluation: Evaluation) -> Markup:
    """A matrix of those of many classes that are confused most."""
    chosen: dict[int, None] = {}
    for pair in evaluation.confused(_MOST_CONFUSED):
        if len(chosen | {pair.truth: None, pair.predicted: None}) <= _MOST_CONFUSED:
            chosen |= {pair.truth: None, pair.predicted: None}
    if not chosen:
        return Markup("")
    return joined(
        [
            element("h4", f"The {len(chosen)} classes that are confused most"),
            _matrix(evaluation, sorted(chosen)),
        ]
    )


def _matrix(evaluation: Evaluation, shown: Sequence[int]) -> Markup:
    """Counts of `shown` classes; what was called something else is summed in a last column."""
    classes, support = evaluation.classes, evaluation.per_class.support
    counts = evaluation.confusion[np.ix_(shown, shown)]
    others = support[list(shown)] - counts.sum(axis=1)
    heads = [_column(element("bdi", classes[at].words)) for at in shown]
    if others.any():
        heads.append(_column("other classes"))
    rows = []
    for row, truth in enumerate(shown):
        total = int(support[truth])
        if not total:
            continue
        cells = [_cell(int(count), total, right=row == column) for column, count in enumerate(counts[row])]
        if others.any():
            cells.append(_cell(int(others[row]), total, right=False))
        name = element("th", element("bdi", classes[truth].words), scope="row")
        rows.append(element("tr", name, *cells, element("td", f"{total:,}", class_="sum")))
    corner = element("th", "true class \u2193 called \u2192", class_="corner", scope="col")
    head = element("tr", corner, *heads, _column("images"))
    return scrolling(
        "Confusion matrix", element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    )


def _column(name: str) -> Markup:
    """The head of a column, to be read from below."""
    return element("th", element("span", name), scope="col")


def _cell(count: int, total: int, *, right: bool) -> Markup:
    share = count / max(1, total)
    strong = "hot" if share > _HOT else "warm" if share > _WARM else ""
    kinds = ("right" if right else "wrong", strong, "" if count else "zero")
    return element("td", f"{count:,}", class_=" ".join(filter(None, kinds)), style=f"--share:{share:.3f}")


def _map(evaluation: Evaluation) -> Markup:
    """The matrix of all classes that have images as a picture, which names its cells under the pointer."""
    support = evaluation.per_class.support
    present = np.flatnonzero(support)
    counts = evaluation.confusion[np.ix_(present, present)]
    shares = counts / np.maximum(1, support[present])[:, None]
    block = max(1, math.ceil(len(present) / _MAP_PX))
    light, dark = (data_uri(_painted(shares, block, colours), "PNG") for colours in (_LIGHT, _DARK))
    elsewhere = evaluation.images - int(counts.sum())
    told = (
        f"Rows are the {len(present):,} classes of the data from top to bottom, columns what they were called; a model "
        "without mistakes leaves only the blue diagonal. Orange are mistakes; colours grow with the square root of the "
        "part of a row, so that rare ones show."
    )
    if elsewhere:
        told += f" Not in it: {elsewhere:,} images that were called a class that the data does not have."
    image = element(
        "picture",
        element("source", media="(prefers-color-scheme: dark)", srcset=dark),
        element("img", src=light, alt=f"Confusion matrix of {len(present):,} classes", class_="map"),
    )
    names = [printable(evaluation.classes[at].words) for at in present]
    return element(
        "figure",
        image,
        element("output", class_="readout"),
        element("figcaption", told, class_="note"),
        _data({"names": names, "block": block, "cells": _sparse(counts)}),
        class_="heat",
    )


def _sparse(counts: Counts) -> list[list[int]]:
    """`[row, column, count]` of every cell that is not empty."""
    rows, columns = np.nonzero(counts)
    cells: list[list[int]] = np.stack([rows, columns, counts[rows, columns]], axis=1).tolist()
    return cells


def _data(values: dict[str, Any]) -> Markup:
    """Values for the page's script. No text in them can end the element."""
    text = json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(f'<script type="application/json">{text}</script>')


def _painted(shares: npt.NDArray[np.float64], block: int, colours: tuple[str, str, str]) -> Image.Image:
    """A pixel for each cell, or for the largest of `block` x `block`: blue on the diagonal, else orange."""
    right = np.where(np.eye(len(shares), dtype=bool), shares, 0)
    paper, blue, orange = (np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) for text in colours)
    of_right, of_wrong = (np.sqrt(_largest(part, block))[..., None] for part in (right, shares - right))
    pixels = np.where(of_right > 0, paper + of_right * (blue - paper), paper + of_wrong * (orange - paper))
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _largest(shares: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    side = math.ceil(len(shares) / block)
    padded = np.zeros((side * block, side * block))
    padded[: len(shares), : len(shares)] = shares
    largest: npt.NDArray[np.float64] = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return largest


def data_uri(image: Image.Image, form: str, **options: Any) -> Markup:
    """A picture as an address that holds all of it."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return Markup(f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}")


def _pairs(evaluation: Evaluation) -> Markup:
    pairs = evaluation.confused(_PAIRS)
    if not pairs:
        return element("p", "No class was taken for another.")
    rows = [
        (
            class_name(evaluation.classes[pair.truth]),
            class_name(evaluation.classes[pair.predicted]),
            f"{pair.count:,} of {pair.support:,}",
            f"{pair.count / pair.support:.1%}",
        )
        for pair in pairs
    ]
    heads = ("true class", "called", "images", "part")
    title = "Pairs that are confused most"
    return element("div", element("h4", title), scrolling(title, table(heads, rows, names=2)), class_="pairs")
