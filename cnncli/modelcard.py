"""The model card: what a model is, as every model file of ours carries it. Reading one trusts nothing in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cnncli.backbones import RESIZES, ImageClass, InputSpec
from cnncli.errors import ModelError

CARD_SCHEMA = 1
MAX_INPUT_PX = 4096
_MAX_NOTES_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is. Scores are probabilities of `classes`, in their order."""

    name: str
    classes: tuple[ImageClass, ...]
    input: InputSpec
    licence: str | None = None
    description: str | None = None
    data_fingerprint: str | None = None  # of the training images
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)  # of the software that made it
    mirrored: bool = False  # the network is shown a photo and its mirror image, and the mean of its answers counts
    training: Mapping[str, str] = field(default_factory=dict)  # how it was made: command, seed, log, ...
    notes: tuple[str, ...] = ()  # what a user should know of it
    sha256: str | None = None  # of the model's bytes; None until it is written

    @property
    def views(self) -> int:
        """How many images of each photo the network is shown."""
        return 2 if self.mirrored else 1

    def to_json(self) -> dict[str, Any]:
        """The card as it is stored: plain JSON values."""
        values = asdict(self)
        spec = values.pop("input")
        classes = values.pop("classes")
        return {
            "schema": CARD_SCHEMA,
            **values,
            "notes": list(self.notes),
            "input_size": [spec["height"], spec["width"]],
            "color": spec["color"],
            "resize": spec["resize"],
            "class_ids": [c[0] for c in classes],
            "labels": [c[1] for c in classes],
        }


def card_from_json(values: object, file: str) -> ModelCard:
    """The card that `to_json` stored; raises ModelError naming the field that does not fit."""
    try:
        return _card(values)
    except (TypeError, ValueError, OverflowError) as problem:
        raise ModelError(f"{file}: its model card is not valid ({problem})") from problem


def _card(values: object) -> ModelCard:
    if not isinstance(values, dict):
        raise TypeError("expected an object")
    if values.get("schema") != CARD_SCHEMA:
        raise ValueError(f"schema {values.get('schema')!r}; this cnncli reads {CARD_SCHEMA}")
    return ModelCard(
        name=_text(values, "name") or "model",
        classes=_classes(values),
        input=_input(values),
        licence=_text(values, "licence"),
        description=_text(values, "description"),
        data_fingerprint=_text(values, "data_fingerprint"),
        metrics=_metrics(values),
        versions=_entries(values, "versions", (str,), "texts"),
        mirrored=_flag(values, "mirrored"),
        training=_entries(values, "training", (str,), "texts"),
        notes=_notes(values),
        sha256=_text(values, "sha256"),
    )


def _metrics(values: dict[str, Any]) -> dict[str, float]:
    found = {name: float(value) for name, value in _entries(values, "metrics", (int, float), "numbers").items()}
    if not all(map(math.isfinite, found.values())):
        raise ValueError("metrics that are not finite")
    return found


def _notes(values: dict[str, Any]) -> tuple[str, ...]:
    found = tuple(_texts(values, "notes")) if "notes" in values else ()
    if sum(map(len, found)) > _MAX_NOTES_CHARACTERS:  # to break much text into lines takes minutes
        raise ValueError(f"notes of more than {_MAX_NOTES_CHARACTERS:,} characters")
    return found


def _flag(values: dict[str, Any], key: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise TypeError(f"{key} is neither true nor false")
    return value


def _classes(values: dict[str, Any]) -> tuple[ImageClass, ...]:
    ids, labels = _texts(values, "class_ids"), _texts(values, "labels")
    if len(ids) != len(labels) or not ids or len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids)} class_ids and {len(labels)} labels; expected as many, the ids distinct")
    return tuple(map(ImageClass, ids, labels))


def _input(values: dict[str, Any]) -> InputSpec:
    size = values.get("input_size")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n <= MAX_INPUT_PX for n in size)):
        raise ValueError(f"input_size {size!r}; expected [height, width], each 1 to {MAX_INPUT_PX}")
    color, resize = values.get("color"), values.get("resize")
    if color not in ("rgb", "gray"):
        raise ValueError(f"color {color!r}; expected rgb or gray")
    if resize not in RESIZES:
        raise ValueError(f"resize {resize!r}; expected one of {', '.join(RESIZES)}")
    return InputSpec(size[0], size[1], color, resize)


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{key} is not text")
    return value


def _texts(values: dict[str, Any], key: str) -> list[str]:
    items = values.get(key)
    if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
        raise TypeError(f"{key} is not a list of texts")
    return items


def _entries(values: dict[str, Any], key: str, kinds: tuple[type, ...], expected: str) -> dict[str, Any]:
    entries = values.get(key) or {}
    if not (isinstance(entries, dict) and all(type(value) in kinds for value in entries.values())):
        raise TypeError(f"{key} is not an object of {expected}")
    return entries
