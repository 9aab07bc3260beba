"""Explanations as text: for people, for pipes, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cnncli.formats import SCHEMA, SCORE_DIGITS
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.inference.faithfulness import Faithfulness
    from cnncli.inference.saliency import Explainer, Explanation, HeatMap

_DIGITS = 4  # of an area: maps of chance differ in the second one


def lines(explanation: Explanation) -> Iterator[str]:
    """What a person reads: the heat maps of one photo, two lines each."""
    yield f"{printable(explanation.source.name)}: {printable(explanation.model)}, {explanation.method}"
    for found in explanation.heat_maps:
        prediction = found.prediction
        place = "no place speaks for it" if found.peak is None else "hottest at x {}, y {}".format(*found.peak)
        yield f"  {prediction.score:6.1%}  {printable(prediction.image_class.words)}, {place}"
        if found.faithfulness is not None:
            yield f"          {_checked(found.faithfulness)}"


def _checked(found: Faithfulness) -> str:
    return (
        f"hidden first {found.deletion:.3f} (chance {found.random_deletion:.3f}), "
        f"shown first {found.insertion:.3f} (chance {found.random_insertion:.3f})"
    )


def as_tabs(explanation: Explanation) -> str:
    """A line for each heat map, its fields separated by tabs: path, rank, score, label, class id, x, y, deletion and
    insertion with those of chance after each.
    """
    return "".join("\t".join(_fields(explanation, found)) + "\n" for found in explanation.heat_maps)


def _fields(explanation: Explanation, found: HeatMap) -> tuple[str, ...]:
    prediction, checked = found.prediction, found.faithfulness
    figures = (
        (checked.deletion, checked.random_deletion, checked.insertion, checked.random_insertion) if checked else ()
    )
    return (
        printable(explanation.source.name, keep_bytes=True),
        str(prediction.rank),
        f"{prediction.score:.{_DIGITS}f}",
        printable(prediction.image_class.label),
        printable(prediction.image_class.id),
        *("" if found.peak is None else str(at) for at in found.peak or (0, 0)),
        *(f"{figure:.{_DIGITS}f}" for figure in figures),
    )


def as_json(explanation: Explanation) -> str:
    """One photo: what of it the network sees, in its own pixels, and for each class the score and the hottest place.

    A line of JSON, ASCII, so that any path survives any encoding.
    """
    found = {
        "schema": SCHEMA,
        "path": explanation.source.name,
        "model": explanation.model,
        "method": explanation.method,
        "width": explanation.view.photo[0],
        "height": explanation.view.photo[1],
        "seen": [round(at, 2) for at in explanation.view.seen],
        "classes": [_class(found) for found in explanation.heat_maps],
        "error": None,
    }
    return json.dumps(found)


def failure_json(path: str, explainer: Explainer, error: str) -> str:
    """The same line for a photo that could not be explained: `classes` is empty, and `error` says why."""
    found = {"schema": SCHEMA, "path": path, "model": explainer.model.name, "method": explainer.method}
    return json.dumps({**found, "width": None, "height": None, "seen": None, "classes": [], "error": error})


def _class(found: HeatMap) -> dict[str, Any]:
    prediction, checked = found.prediction, found.faithfulness
    return {
        "rank": prediction.rank,
        "index": prediction.index,
        "class_id": prediction.image_class.id,
        "label": prediction.image_class.label,
        "score": round(prediction.score, SCORE_DIGITS),
        "maximum": None if found.peak is None else {"x": found.peak[0], "y": found.peak[1]},
        "deletion": None if checked is None else round(checked.deletion, _DIGITS),
        "insertion": None if checked is None else round(checked.insertion, _DIGITS),
        "random_deletion": None if checked is None else round(checked.random_deletion, _DIGITS),
        "random_insertion": None if checked is None else round(checked.random_insertion, _DIGITS),
    }
