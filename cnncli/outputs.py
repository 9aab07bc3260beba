"""Where results go: names made from the inputs' names, and pictures written whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.errors import CnncliError, OutputError
from cnncli.files import replacing
from cnncli.listing import same_folder
from cnncli.sources import Source

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_JPEG_QUALITY = 92
_MAX_JPEG_PX = 65_500  # libjpeg's limit for either side
_PNG_LEVEL = 3  # half the time of Pillow's 6 for a file that is a few percent larger
_MAX_WHAT = 60  # characters of a name for what was done
_MAX_STEM_BYTES = 150  # file systems take 255 for a name; "-labels-2.jpg" and what a temporary name adds come on top


class Names:
    """File names for results in one folder: made from the inputs' names, never one twice, never an input."""

    def __init__(self, folder: Path, inputs: Iterable[str]) -> None:
        """`inputs` are the names of files in `folder` that must not be written over."""
        self._folder = folder
        self._taken = {name.casefold() for name in inputs}  # some file systems know no difference in case
        self._next: dict[str, int] = {}  # the number to try for a name that was wanted before

    def path_for(self, source: Source | str, what: str, suffix: str) -> Path:
        """The path of a result: `cat-labels.jpg`, or `cat-labels-2.jpg` if that is taken.

        `source` is the input, or the name of what a result is made from that is no image.
        """
        stem = original_name(source).stem if isinstance(source, Source) else _plain(source) or "result"
        while len(os.fsencode(stem)) > _MAX_STEM_BYTES:
            stem = stem[:-1]
        wanted = f"{stem}-{what}{suffix}".casefold()
        for number in itertools.count(self._next.get(wanted, 1)):
            name = f"{stem}-{what}{'' if number == 1 else f'-{number}'}{suffix}"
            if name.casefold() not in self._taken:
                break
        self._next[wanted] = number + 1
        self._taken.add(name.casefold())
        return self._folder / name


class Destination:
    """Where a run's results go: `-o` names a file, a folder or `-` for standard output; else the current folder."""

    def __init__(self, output: str | None, *, several: bool, inputs_in: Callable[[Path], Iterable[str]]) -> None:
        """`inputs_in` gives the names of a folder's files that are inputs. Raises OutputError if `several` results
        cannot all go to `output`.
        """
        self.is_stdout = output == "-"
        self.folder: Path | None = None  # of the results; None: standard output
        folder = Path(output or ".")
        self._file: Path | None = None
        if output is not None and not self.is_stdout and not (output.endswith("/") or folder.is_dir()):
            self._file, folder = folder, folder.parent
        if several and (self.is_stdout or self._file):
            raise OutputError(f"-o {output}: there are several results; expected a folder, which exists or ends in /")
        if not self.is_stdout:
            _make(folder)
            self.folder = folder
            self._names = Names(folder, inputs_in(folder))

    @property
    def suffix(self) -> str | None:
        """The suffix of the file that was asked for, in small letters, or None."""
        return None if self._file is None else self._file.suffix.lower()

    def path_for(self, source: Source | str, what: str, suffix: str) -> Path:
        """Where a result goes that does not go to standard output: `source` is as for `Names.path_for`.

        Raises OutputError if that is the input.
        """
        path = self._file or self._names.path_for(source, what, suffix)
        original = source.path if isinstance(source, Source) else None
        if original is not None and path.exists() and path.samefile(original):
            raise OutputError(f"-o {path}: this is the input, which is never written over; give another name")
        return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"-o {folder}: cannot be used as a folder ({problem.strerror})") from problem


def check_apart(option: str, folder: Path, inputs: Iterable[str]) -> None:
    """Raises OutputError if `folder`, where `option` puts results, is an IMAGE argument, too.

    Results would be inputs when the same command is run again.
    """
    if any(os.path.isdir(name) and same_folder(folder, Path(name)) for name in inputs):  # noqa: PTH112 - never raises
        raise OutputError(f"{option} {folder}: its photos are the input; give the results a folder of their own")


def original_name(source: Source) -> Path:
    """The path of an input, or a file name for one that came from an address or from standard input."""
    if source.path is not None:
        return source.path
    last = unquote(urlsplit(source.name).path).rstrip("/").rpartition("/")[2]
    return Path(_plain(last) or "stdin")


def _plain(name: str) -> str:
    """A name without what file systems or shells might trip over; empty if nothing is left."""
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip("-. ")


Content = Image.Image | npt.NDArray[Any]  # an array is written as .npy


def suffix_of(content: Content) -> str:
    """The suffix of a result whose name nobody chose."""
    return ".png" if isinstance(content, Image.Image) else ".npy"


def safe_name(text: str) -> str:
    """A part of a file name for what a user typed: `random:5x5` becomes `random-5x5`, rows of numbers `kernel`."""
    words = re.findall(r"[\w.]+", text)
    return "-".join(words)[:_MAX_WHAT].strip(".-") if any(c.isalpha() for c in text) and words else "kernel"


def save(content: Content, path: Path, *, icc_profile: bytes | None = None, quality: int = _JPEG_QUALITY) -> None:
    """Writes a result atomically in the format that the path's suffix names; raises CnncliError where that fails."""
    with saving(path) as file:
        try:
            write(content, file, FORMATS.get(path.suffix.lower(), "NPY"), icc_profile=icc_profile, quality=quality)
        except ValueError as problem:
            raise CnncliError(f"{path}: cannot be written ({problem})") from problem


@contextlib.contextmanager
def saving(path: Path) -> Iterator[BinaryIO]:
    """Opens the file of a result, which is at `path` once it is whole; raises CnncliError where that fails."""
    if "\0" in str(path):
        raise CnncliError(f"{path}: cannot be written (no name holds a null character)")
    try:
        with replacing(path) as file:
            yield file
    except OSError as problem:
        if problem.filename is not None and Path(problem.filename).parent != path.parent:
            raise  # another file is meant
        raise CnncliError(f"{path}: cannot be written ({problem.strerror or problem})") from problem


def write(
    content: Content,
    file: BinaryIO,
    form: str | None = None,
    *,
    icc_profile: bytes | None = None,
    quality: int = _JPEG_QUALITY,
) -> None:
    """Writes a result to an open file, by default as PNG or `.npy`.

    A JPEG has neither transparency, which is laid on white, nor sides beyond 65 500 pixels; only PNG and TIFF have 16
    bits.
    """
    if not isinstance(content, Image.Image):
        np.save(file, content, allow_pickle=False)
        return
    form = form or "PNG"
    image = _fitting(content, form)
    options: dict[str, Any] = {"icc_profile": icc_profile} if _describes(icc_profile, image) else {}
    if form == "PNG":
        options["compress_level"] = _PNG_LEVEL
    elif form == "WEBP":
        options["lossless"] = True
    elif form == "JPEG":
        options["quality"] = quality
    if form == "JPEG" and max(image.size) > _MAX_JPEG_PX:
        image = image.copy()
        image.thumbnail((_MAX_JPEG_PX, _MAX_JPEG_PX))
    image.save(file, form, **options)


def _describes(icc_profile: bytes | None, image: Image.Image) -> bool:
    """Whether there is a colour profile and it is for the picture: one for colours says nothing about grey."""
    space = b"RGB " if image.mode.startswith("RGB") else b"GRAY"
    return icc_profile is not None and icc_profile[16:20] == space


def _fitting(image: Image.Image, form: str) -> Image.Image:
    """A picture in a mode that the format holds."""
    if image.mode == "I;16" and form not in ("PNG", "TIFF"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA") and form in ("JPEG", "BMP"):
        canvas = Image.new("RGB" if image.mode == "RGBA" else "L", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    return image
