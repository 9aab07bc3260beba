"""Which class of a model each class of a data set is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cnncli.backbones import ImageClass
from cnncli.errors import DataError
from cnncli.text import printable

_SHOWN = 8  # classes in a message


@dataclass(frozen=True, slots=True)
class Match:
    """A class of the data and the model's class that it is."""

    data_class: ImageClass
    index: int | None  # of the model's class; None: the model does not know it
    by: str  # "id" or "label"; "" without a class


def match(data: Sequence[ImageClass], model: Sequence[ImageClass]) -> tuple[Match, ...]:
    """Matches by class id, then by exact label where that is unique on both sides.

    A folder has one name, which is id and label of its class: it matches either.
    """
    by_id = {image_class.id: index for index, image_class in enumerate(model)}
    by_label = {
        label: index
        for index, label in enumerate(image_class.label for image_class in model)
        if sum(other.label == label for other in model) == 1
    }
    labels = Counter(image_class.label for image_class in data)
    found = []
    for image_class in data:
        if image_class.id in by_id:
            found.append(Match(image_class, by_id[image_class.id], "id"))
        elif image_class.label in by_label and labels[image_class.label] == 1:
            found.append(Match(image_class, by_label[image_class.label], "label"))
        else:
            found.append(Match(image_class, None, ""))
    return tuple(found)


def require_all(matches: Sequence[Match], model: Sequence[ImageClass], *, model_name: str, data_name: str) -> None:
    """Raises DataError, with both sides, if the model lacks a class of the data."""
    unknown = [found.data_class for found in matches if found.index is None]
    if unknown:
        raise DataError(
            f"{data_name}: {len(unknown)} of its {len(matches)} classes are none of {model_name}'s {len(model)}; "
            "--allow-missing leaves their images out\n"
            f"  only in the data: {_names(unknown)}\n"
            f"  the model has:    {_names(list(model))}{_nearly(unknown, model)}"
        )


def require_some(matches: Sequence[Match], model: Sequence[ImageClass], *, model_name: str, data_name: str) -> None:
    """Raises DataError if no class of the data is the model's, or if two of them are the same class of the model."""
    known = [found for found in matches if found.index is not None]
    if not known:
        raise DataError(
            f"{data_name}: none of its classes is one of {model_name}'s\n"
            f"  the data has:  {_names([found.data_class for found in matches])}\n"
            f"  the model has: {_names(list(model))}{_nearly([found.data_class for found in matches], model)}"
        )
    for index, count in Counter(found.index for found in known).items():
        if count > 1 and index is not None:
            twice = [found.data_class for found in known if found.index == index]
            raise DataError(
                f"{data_name}: the classes {_names(twice)} are both {model_name}'s {_name(model[index])}; merge them"
            )


def _nearly(unknown: Sequence[ImageClass], model: Sequence[ImageClass]) -> str:
    """A line that names what is spelled almost as a class of the model, if anything is."""
    spelled = {_spelling(image_class): image_class for image_class in model}
    found = [(one, spelled[_spelling(one)]) for one in unknown if _spelling(one) in spelled]
    pairs = [(one, other) for one, other in found if one.label != other.label]  # else the label is not unique
    shown = ", ".join(f"{_name(one)} for {_name(other)}" for one, other in pairs[:_SHOWN])
    return f"\n  spelled otherwise: {shown}; names must be equal, letter by letter" if pairs else ""


def _spelling(image_class: ImageClass) -> str:
    """A label without what people write in different ways: case, spaces, hyphens and underscores."""
    return "".join(character for character in image_class.label.casefold() if character not in " -_")


def _names(classes: Sequence[ImageClass]) -> str:
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return ", ".join(map(_name, classes[:_SHOWN])) + more


def _name(image_class: ImageClass) -> str:
    both = image_class.id if image_class.id == image_class.label else f"{image_class.id} ({image_class.label})"
    return printable(both)
