"""Results as machines read them: JSON, JSON Lines, CSV and tab-separated text, schema 1."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cnncli.text import csv_lines, printable

if TYPE_CHECKING:
    from cnncli.backbones import Backbone, ImageClass, Normalisation
    from cnncli.inference.compiled import Compiled
    from cnncli.inference.inventory import Bundled, Holding
    from cnncli.inference.pipeline import Result
    from cnncli.modelcard import ModelCard

SCHEMA = 1
CSV_HEADER = ("path", "model", "rank", "index", "class_id", "label", "score", "error")
SCORE_DIGITS = 6
_NOTE_COLUMNS = 100  # of a card's notes, which are sentences


def as_object(result: Result) -> dict[str, Any]:
    """One result as the JSON object of schema 1."""
    return {
        "schema": SCHEMA,
        "path": result.source.name,
        "model": result.model,
        "predictions": [
            {
                "rank": answer.rank,
                "index": answer.index,
                "class_id": answer.image_class.id,
                "label": answer.image_class.label,
                "score": round(answer.score, SCORE_DIGITS),
            }
            for answer in result.predictions
        ],
        "error": result.error,
        **({} if result.fallback_from is None else {"fallback_from": result.fallback_from}),
    }


def as_json(result: Result) -> str:
    """One result as a line of JSON. ASCII, so that any path survives any encoding."""
    return json.dumps(as_object(result))


def as_csv(result: Result) -> str:
    """One result as CSV lines: one for each prediction, one for a failed file."""
    start = (result.source.name, result.model)
    rows: list[tuple[object, ...]] = [
        (*start, a.rank, a.index, a.image_class.id, a.image_class.label, score(a.score), "") for a in result.predictions
    ]
    if result.error is not None:
        rows.append((*start, "", "", "", "", "", result.error))
    return csv_lines(rows)


def as_tabs(result: Result) -> str:
    """One result as the table's columns, separated by tabs, nothing cut: path, rank, score, label, class id."""
    rows = [(str(a.rank), score(a.score), a.image_class.label, a.image_class.id) for a in result.predictions] or [
        ("", "", f"error: {result.error}" if result.error else "", "")
    ]
    return "".join(_tabs((result.source.name, *row)) for row in rows)


def _tabs(row: Iterable[str]) -> str:
    return "\t".join(printable(field, keep_bytes=True) for field in row) + "\n"


def tab_lines(rows: Iterable[Iterable[str]]) -> str:
    """Rows as lines of tab-separated text, nothing cut."""
    return "".join(map(_tabs, rows))


def score(value: float) -> str:
    """A score as text: a point and fixed digits in every locale."""
    return f"{value:.{SCORE_DIGITS}f}"


def inventory_object(holdings: list[Holding], own: Bundled, others: list[Compiled]) -> dict[str, Any]:
    """What `models list` shows, as a JSON object."""
    return {
        "schema": SCHEMA,
        "models": [
            {
                "name": held.row.name,
                "input_size": [held.row.input_px, held.row.input_px],
                "parameters": held.row.parameters,
                "weights_bytes": held.row.weights_bytes,
                "top1": held.row.top1,
                "top5": held.row.top5,
                "cached": held.weights_bytes > 0,
                "compiled": bool(held.compiled),
                "disk_bytes": held.disk_bytes,
            }
            for held in holdings
        ],
        "bundled": {
            "name": own.name,
            "input_size": [own.input_px, own.input_px],
            "parameters": own.parameters,
            "disk_bytes": own.disk_bytes,
        },
        "compiled_files": [
            {"name": entry.name, "source": entry.source, "disk_bytes": entry.size_bytes} for entry in others
        ],
    }


def inventory_rows(holdings: list[Holding], own: Bundled, others: list[Compiled]) -> list[tuple[str, ...]]:
    """What `models list` shows, as rows of text without units: INVENTORY_COLUMNS names the columns."""
    rows: list[tuple[str, ...]] = [
        (
            held.row.name,
            str(held.row.input_px),
            f"{held.row.parameters / 1e6:.1f}",
            f"{held.row.weights_bytes / 1e6:.0f}",
            f"{held.row.top1:.1%}",
            f"{held.row.top5:.1%}" if held.row.top5 else "-",
            "yes" if held.weights_bytes else "-",
            "yes" if held.compiled else "-",
            f"{held.disk_bytes / 1e6:.0f}" if held.disk_bytes else "-",
        )
        for held in holdings
    ]
    rows.append(
        (
            own.name,
            str(own.input_px),
            f"{own.parameters / 1e6:.1f}",
            f"{own.disk_bytes / 1e6:.0f}",
            "-",
            "-",
            "bundled",
            "yes",
            f"{own.disk_bytes / 1e6:.0f}",
        )
    )
    files = [(entry.name, "-", "-", "-", "-", "-", "own", "yes", f"{entry.size_bytes / 1e6:.0f}") for entry in others]
    return rows + files


INVENTORY_COLUMNS = ("name", "px", "params M", "MB", "top-1", "top-5", "cached", "compiled", "disk MB")


def inventory_tabs(holdings: list[Holding], own: Bundled, others: list[Compiled]) -> str:
    """`inventory_rows` with a line of column names, tab-separated."""
    return tab_lines([INVENTORY_COLUMNS, *inventory_rows(holdings, own, others)])


def card_object(card: ModelCard, row: Backbone | None) -> dict[str, Any]:
    """A model's card as a JSON object, with what the table says of a pretrained network."""
    about = {} if row is None else {"normalisation": row.normalisation, **_published(row)}
    return {**card.to_json(), **about}


def _published(row: Backbone) -> dict[str, Any]:
    return {
        "parameters": row.parameters,
        "top1": row.top1,
        "top5": row.top5,
        "paper": row.paper,
        "weights_path": str(row.weights_path),
        "url": row.url,
        "digest": row.digest,
    }


def card_text(
    card: ModelCard, row: Backbone | None, normalisations: Mapping[Normalisation, str], most_classes: int | None = None
) -> str:
    """A model's card for people: `name: value` lines, then a line for each class, at most `most_classes` of them."""
    spec = card.input
    facts: dict[str, object] = {
        "name": card.name,
        "description": card.description,
        "input": f"{spec.height}x{spec.width} {spec.color}, pixels 0..255; photos are resized by {spec.resize}",
    }
    if row is not None:
        facts["normalisation"] = f"{row.normalisation}: {normalisations[row.normalisation]}"
        facts["parameters"] = f"{row.parameters:,}"
        facts["ImageNet top-1"] = f"{row.top1:.1%}"
        facts["ImageNet top-5"] = f"{row.top5:.1%}" if row.top5 else None
        facts["weights"] = row.weights_path
        facts["published at"] = row.url
        facts["hash"] = row.digest or "none is published; layer names, shapes and values are checked"
    if card.mirrored:
        facts["shown"] = "the photo and its mirror image; scores are the mean of both answers"
    facts["licence"] = card.licence
    facts["training data"] = card.data_fingerprint
    facts.update({f"metric {name}": f"{value:.6g}" for name, value in card.metrics.items()})
    facts.update({f"made by {software}": version for software, version in card.versions.items()})
    facts["sha256"] = card.sha256
    lines = [
        f"{printable(name) + ':':20} {printable(str(value))}" for name, value in facts.items() if value is not None
    ]
    for note in card.notes:
        lines += textwrap.wrap(f"{'note:':20} {printable(note)}", _NOTE_COLUMNS, subsequent_indent=" " * 21)
    if card.training:
        lines.append("how it was made, as its card says:")
    for what, text in card.training.items():
        first, *further = map(printable, text.splitlines() or [""])
        lines += [f"  {printable(what) + ':':18} {first}", *(f"{'':20} {line}" for line in further)]
    shown = card.classes[:most_classes]
    classes = [f"  {number:>4}  {_class_text(of_image)}" for number, of_image in enumerate(shown)]
    if more := len(card.classes) - len(shown):
        classes.append(f"        and {more} more, which a pipe and --format json show")
    columns = "index, id, label" if any(c.id != c.label for c in card.classes) else "index, label"
    return "\n".join([*lines, f"{'classes:':20} {len(card.classes)} ({columns})", *classes]) + "\n"


def _class_text(image_class: ImageClass) -> str:
    if image_class.id == image_class.label:
        return printable(image_class.label)
    return f"{printable(image_class.id)}  {printable(image_class.label)}"
