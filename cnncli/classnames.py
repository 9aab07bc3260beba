"""Which class a user means by a name. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cnncli.backbones import ImageClass
from cnncli.errors import CnncliError


def class_index(classes: Sequence[ImageClass], name: str, owner: str = "the model") -> int:
    """The class that `--class NAME` means: an id, else a label, else either where case, spaces and _ do not matter.

    Raises CnncliError, in which `owner` has the classes, naming all that are called so, or similar ones.
    """
    wanted = _plain(name)
    ways = (
        [index for index, one in enumerate(classes) if one.id == name],
        [index for index, one in enumerate(classes) if one.label == name],
        [index for index, one in enumerate(classes) if wanted in (_plain(one.id), _plain(one.label))],
    )
    found = next(filter(None, ways), [])
    if len(found) > 1:
        ids = ", ".join(classes[index].id for index in found)
        raise CnncliError(f"--class {name}: {len(found)} classes are called so; give the id: {ids}")
    if not found:
        raise CnncliError(f"--class {name}: {owner} has no such class{_similar(classes, wanted)}")
    return found[0]


def _plain(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())


def _similar(classes: Sequence[ImageClass], wanted: str) -> str:
    labels = {_plain(one.label): one.label for one in classes}
    inside = [label for plain, label in labels.items() if wanted and wanted in plain]
    close = inside or [labels[plain] for plain in difflib.get_close_matches(wanted, labels, n=5)]
    if not close and len(labels) <= 10:
        return f"; it has: {', '.join(labels.values())}"
    return f"; did you mean {' or '.join(close[:5])}?" if close else ""
