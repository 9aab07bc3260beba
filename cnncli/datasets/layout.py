"""What every data set of files must be: two classes or more, each in every split. Errors draw the layout expected."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from cnncli.backbones import ImageClass, imagenet_classes
from cnncli.datasets.dataset import SPLITS, Dataset, Example, Split
from cnncli.errors import DataError
from cnncli.listing import natural_order
from cnncli.text import printable

Found = dict[Split, dict[str, list[Path]]]  # images by split and class

_CLASSES = """\
a folder for each class, with its images inside:
  {root}/
    cat/   1.jpg 2.jpg ...
    dog/   1.jpg 2.jpg ..."""
_SPLITS = """\
the same class folders in each split; val and test may be missing:
  {root}/
    train/
      cat/   1.jpg 2.jpg ...
      dog/   1.jpg 2.jpg ...
    val/
      cat/   ...
      dog/   ...
    test/
      cat/   ...
      dog/   ..."""
MANIFEST = """\
a line for each image, its path relative to this file; without a split it is for training:
  path,label,split
  photos/1.jpg,cat,train
  photos/2.jpg,dog,train
  photos/3.jpg,dog,test"""
_MOST_NAMES = 5  # in one message


def refused(data: str, problem: str, expected: str) -> DataError:
    """The error for a data set that is not laid out as expected."""
    return DataError(f"{data}: {problem}\nExpected {expected}")


def class_folders(data: str) -> str:
    """The drawing of a folder that is not split."""
    return _CLASSES.format(root=_root(data))


def split_folders(data: str) -> str:
    """The drawing of a folder that is split."""
    return _SPLITS.format(root=_root(data))


def _root(data: str) -> str:
    return printable(Path(data).name or data.rstrip("/"))


def listed(names: Collection[str]) -> str:
    """Names as a message gives them, the first few."""
    shown = ", ".join(printable(name) for name in list(names)[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def arranged(data: str, found: Found, notes: Iterable[str], expected: str, *, to_train: bool) -> Dataset:
    """The data set of the images found. Raises DataError if there are none; `to_train`: if none can be learned from."""
    problem = _problem(found) if to_train else _no_images(found)
    if problem is not None:
        raise refused(data, problem, expected)
    names = sorted(
        {name for classes in found.values() for name, images in classes.items() if images}, key=natural_order
    )
    splits = {
        split: tuple(
            Example(str(path), label, path) for label, name in enumerate(names) for path in found[split].get(name, ())
        )
        for split in SPLITS
        if split in found
    }
    return Dataset(data, _classes(names), splits, tuple(notes))


def _no_images(found: Found) -> str | None:
    there = any(images for classes in found.values() for images in classes.values())
    return None if there else "no image in any class"


def _problem(found: Found) -> str | None:
    """What is wrong with the classes, or None."""
    if "train" not in found:
        return f"there are images for {' and '.join(sorted(found, key=SPLITS.index))} only; nothing to train with"
    train = found["train"]
    if empty := [name for name, images in train.items() if not images]:
        where = " for training" if len(found) > 1 else ""
        return f"no image{where} in {_class(empty)}; fill or remove {'it' if len(empty) == 1 else 'them'}"
    if len(train) == 1:
        return f"one class only ({listed(train)}); a classifier needs two or more"
    for split, classes in found.items():
        images_of = {name for name, images in classes.items() if images}
        if unknown := [name for name in classes if name not in train]:
            return f"{_class(unknown)} in {split}, but not in train; a network cannot learn what it is not shown"
        if lacking := [name for name in train if name not in images_of]:
            return f"{split} lacks images of {_class(lacking)}; every class needs some in every split"
    return None


def _class(names: list[str]) -> str:
    """`class cat`, or `classes cat, dog`."""
    return f"{'class' if len(names) == 1 else 'classes'} {listed(names)}"


def _classes(names: list[str]) -> tuple[ImageClass, ...]:
    """Classes named by their labels; where most of the names are WordNet ids of ImageNet, these are the ids."""
    labels = {known.id: known.label for known in imagenet_classes()}
    if 2 * sum(name in labels for name in names) <= len(names):
        labels = {}
    return tuple(ImageClass(name, labels.get(name, name)) for name in names)
