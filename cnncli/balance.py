"""Class weights: how much the loss of an image counts, by its class. Standard library only."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from cnncli.backbones import ImageClass
from cnncli.errors import DataError, GrammarError
from cnncli.text import printable

_FORM = "expected auto, or CLASS=WEIGHT separated by commas, such as cat=2,dog=0.5"
_ENTRY = re.compile(r"(.+?)=([^=,]*)(?:,|$)")  # a name may hold commas and equals signs


def class_weights(labels: Iterable[int], spec: str, classes: Sequence[ImageClass]) -> list[float]:
    """The weight of each class, in the order of `classes`, for training images with these `labels`.

    `auto` is `n / (k n_c)` for `n_c` of `n` images in a class of `k` (King & Zeng 2001, Logistic Regression in Rare
    Events Data; scikit-learn's `balanced`): every class counts the same, and the mean over the images is 1. Otherwise
    `cat=2,dog=0.5` names classes by id or label; the rest weigh 1. Raises GrammarError for a spec that is neither,
    DataError if `auto` meets a class without images.
    """
    if spec == "auto":
        return _balanced(Counter(labels), classes)
    weights = dict.fromkeys(range(len(classes)), 1.0)
    named: set[int] = set()
    for name, number in _entries(spec):
        index = _index(name, classes)
        if index in named:
            raise GrammarError(f"--class-weights: class {name!r} is given twice")
        named.add(index)
        weights[index] = _weight(name, number)
    return list(weights.values())


def told(weights: Sequence[float], classes: Sequence[ImageClass]) -> str:
    """Weights as the user could give them: `cat=0.75,dog=1.5`."""
    return ",".join(f"{printable(entry.id)}={weight:.4g}" for entry, weight in zip(classes, weights, strict=True))


def _balanced(counts: Counter[int], classes: Sequence[ImageClass]) -> list[float]:
    empty = [entry.label for index, entry in enumerate(classes) if not counts[index]]
    if empty:
        raise DataError(
            f"--class-weights auto: class {empty[0]!r} has no training images; "
            "add some, remove the class, or give the weights by name"
        )
    return [counts.total() / (len(classes) * counts[index]) for index in range(len(classes))]


def _entries(spec: str) -> list[tuple[str, str]]:
    """Names and weights as they are written in `cat=2,dog=0.5`."""
    entries = list(_ENTRY.finditer(spec))
    if not entries or "".join(entry[0] for entry in entries) != spec or spec.endswith(","):
        raise GrammarError(f"--class-weights {spec[:80]!r}: {_FORM}")
    return [(entry[1].strip(), entry[2].strip()) for entry in entries]


def _index(name: str, classes: Sequence[ImageClass]) -> int:
    """The class with this id, or else the only one with this label."""
    found = [index for index, entry in enumerate(classes) if entry.id == name]
    found = found or [index for index, entry in enumerate(classes) if entry.label == name]
    if len(found) > 1:
        ids = ", ".join(classes[index].id for index in found)
        raise GrammarError(f"--class-weights: {len(found)} classes have the label {name!r}; name one by its id: {ids}")
    if not found:
        shown = ", ".join(entry.id for entry in classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise GrammarError(f"--class-weights: no class is called {name[:80]!r}; the data has {shown}")
    return found[0]


def _weight(name: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise GrammarError(f"--class-weights {name}={number[:40]}: expected a number above 0; {_FORM}")
    return weight
