"""A folder as a data set: class folders, with or without splits above them, as people and archives lay them out."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cnncli.datasets.dataset import SPLIT_NAMES, Dataset, Split, wanted_splits
from cnncli.datasets.layout import Found, arranged, class_folders, listed, refused, split_folders
from cnncli.errors import DataError
from cnncli.listing import visible_names
from cnncli.sources import Source, counts, is_image, kind, unreadable, walk

Progress = Callable[[int, int | None], None]  # files so far, files in all if they are known

_REPORT_EVERY = 1000  # files
_MOST_NOTES = 8  # on passed-over files, before they are added up


def read_folder(data: str, progress: Progress, *, to_train: bool = True, wanted: str | None = "all") -> Dataset:
    """The data set in a folder. Its subfolders are the classes, or splits with class folders inside.

    It is split when every visible subfolder is called train, val (valid, validation) or test, in any case and also
    as training and testing, train is among them, and each holds class folders. Of a folder with a single folder
    inside, which holds those, that one is read, as archives unpack. Raises DataError drawing the expected layout;
    without `to_train` classes may be few and splits may lack some, as images to score do. Of the splits those are read
    that `wanted_splits` gives.
    """
    return _Reader(data, progress).dataset(to_train=to_train, wanted=wanted)


@dataclass(frozen=True, slots=True)
class _Level:
    """What lies directly in a folder."""

    folders: list[Path]
    image: Path | None  # the first one that lies beside them


class _Reader:
    """Reads one folder and collects what the user should know about it."""

    def __init__(self, data: str, progress: Progress) -> None:
        self._data, self._progress = data, progress
        self._notes: list[str] = []
        self._num_files = 0
        self._passed_over: dict[str, Counter[str]] = defaultdict(Counter)  # by class

    def dataset(self, *, to_train: bool, wanted: str | None) -> Dataset:
        root = self._root(Path(self._data))
        top = self._without_copy(self._level(root))
        found: Found
        if self._is_split(top):
            expected = split_folders(self._data)
            folders = self._split_folders(top)
            splits = wanted_splits(folders, wanted)
            found = {split: self._classes(folders[split], root, expected) for split in splits}
            if not to_train and not any(map(any, (classes.values() for classes in found.values()))):
                others = (split for split in folders if split not in found)
                found |= {split: self._classes(folders[split], root, expected) for split in others}
        else:
            expected = class_folders(self._data)
            found = {"train": self._classes(root, root, expected, top)}
        notes = [*self._notes, *_passed_over_notes(self._passed_over)]
        return arranged(self._data, found, notes, expected, to_train=to_train)

    def _root(self, folder: Path) -> Path:
        """The folder itself, or the one that an archive put around its content."""
        inner = folder
        while (only := self._only_folder(inner)) is not None:
            inner = only
        if inner != folder:
            self._notes.append(f"{folder}: holds a single folder; its classes are those of {inner}")
        return inner

    def _only_folder(self, folder: Path) -> Path | None:
        """The one folder in a folder, if that holds class folders or splits."""
        level = self._level(folder)
        if level.image is not None or len(level.folders) != 1 or _split_of(level.folders[0]):
            return None
        inside = self._level(level.folders[0])
        return level.folders[0] if inside.folders and inside.image is None else None

    def _level(self, folder: Path) -> _Level:
        paths = [folder / name for name in self._names(folder)]
        folders = [path for path in paths if path.is_dir()]
        image = next((path for path in paths if not path.is_dir() and is_image(path)), None)
        return _Level([path for path in folders if not _leads_back(path)], image)

    def _names(self, folder: Path) -> list[str]:
        try:
            return visible_names(folder)
        except OSError as problem:
            raise DataError(f"{folder}: {unreadable(problem)}") from problem

    def _is_split(self, top: _Level) -> bool:
        """Whether the folders at the top are splits. Raises DataError for what is so in part."""
        named = [folder for folder in top.folders if _split_of(folder)]
        names = listed([folder.name for folder in named])
        odd = listed([folder.name for folder in top.folders if folder not in named])
        if not any(self._level(folder).folders for folder in named):
            if named and not odd:
                self._notes.append(f"{self._data}: {names} taken for classes, because there are no folders inside")
            return False
        if odd and len(named) == 1:
            return False
        expected = split_folders(self._data)
        if odd:
            raise refused(self._data, f"{odd} beside the splits {names}; move it out", expected)
        if top.image is not None:
            raise refused(self._data, f"images in no split and no class, such as {top.image.name}", expected)
        return True

    def _split_folders(self, top: _Level) -> dict[Split, Path]:
        by_split: dict[Split, Path] = {}
        for folder in top.folders:
            split = SPLIT_NAMES[folder.name.lower()]
            if split in by_split:
                problem = f"both {by_split[split].name} and {folder.name} are the split {split}"
                raise refused(self._data, problem, split_folders(self._data))
            by_split[split] = folder
        return by_split

    def _classes(self, folder: Path, root: Path, expected: str, level: _Level | None = None) -> dict[str, list[Path]]:
        """The images of each class folder in `folder`, which is `root` or a split in it. Raises DataError."""
        level = level or self._without_copy(self._level(folder))
        if level.image is not None:
            raise refused(str(folder), f"images in no class, such as {level.image.name}", expected)
        if not level.folders:
            raise refused(str(folder), "no images and no folders here", expected)
        split = "" if folder == root else f"{folder.name}/"
        return {one.name: self._images(one, root, split + one.name) for one in level.folders}

    def _images(self, folder: Path, root: Path, class_name: str) -> list[Path]:
        images: list[Path] = []
        for item in walk(folder, without=root):
            if isinstance(item, Source):
                raise DataError(f"{item.name}: {item.fault}; let it be read, or move it out of {self._data}")
            if is_image(item):
                images.append(item)
            else:
                self._passed_over[class_name][kind(item)] += 1
            self._num_files += 1
            if self._num_files % _REPORT_EVERY == 0:
                self._progress(self._num_files, None)
        return images

    def _without_copy(self, level: _Level) -> _Level:
        """A level without a folder that holds all of the others again, as the malaria archive has one.

        There `cell_images` holds Parasitized, Uninfected and a second cell_images with the same two. Raises
        DataError where the files in them differ.
        """
        for folder in level.folders if len(level.folders) > 2 else ():
            others = [other for other in level.folders if other != folder]
            inside = self._level(folder).folders
            if {path.name for path in inside} - {folder.name} != {other.name for other in others}:
                continue
            if not _files(inside) <= _files(others):
                problem = f"holds {listed([other.name for other in others])} again, but with other files"
                raise DataError(f"{folder}: {problem}; give the folder that is meant, or move one of them out")
            self._notes.append(f"{folder}: left out, because all it holds is in the folders beside it as well")
            return _Level(others, level.image)
        return level


def _split_of(folder: Path) -> Split | None:
    return SPLIT_NAMES.get(folder.name.lower())


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _files(folders: Iterable[Path]) -> set[tuple[str, int]]:
    """Path below its class folder's parent, and size in bytes, of every file."""
    return {
        (os.path.relpath(item, folder.parent), item.stat().st_size)
        for folder in folders
        for item in walk(folder)
        if isinstance(item, Path) and item.exists()
    }


def _passed_over_notes(passed_over: dict[str, Counter[str]]) -> list[str]:
    """What was passed over, classes with the same files together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name, kinds in passed_over.items():
        alike[counts(kinds)].append(name)
    if len(alike) > _MOST_NOTES:
        total = sum(passed_over.values(), Counter[str]())
        return [f"passed over {counts(total)} in {len(passed_over)} class folders"]
    each = {text: " each" if len(names) > 1 else "" for text, names in alike.items()}
    return [f"passed over {text}{each[text]} in {listed(names)}" for text, names in alike.items()]
