"""Where results go: names made from the inputs' names, and pictures written whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from PIL import Image

from cnncli.errors import CnncliError, OutputError
from cnncli.files import replacing
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
_MAX_STEM_BYTES = 150  # file systems take 255 for a name; "-labels-2.jpg" and what a temporary name adds come on top


class Names:
    """File names for results in one folder: made from the inputs' names, never one twice, never an input."""

    def __init__(self, folder: Path, inputs: Iterable[str]) -> None:
        """`inputs` are the names of files in `folder` that must not be written over."""
        self._folder = folder
        self._taken = {name.casefold() for name in inputs}  # some file systems know no difference in case
        self._next: dict[str, int] = {}  # the number to try for a name that was wanted before

    def path_for(self, source: Source, what: str, suffix: str) -> Path:
        """The path of a result for an input: `cat-labels.jpg`, or `cat-labels-2.jpg` if that is taken."""
        stem = original_name(source).stem
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
        folder = Path(output or ".")
        self._file: Path | None = None
        if output is not None and not self.is_stdout and not (output.endswith("/") or folder.is_dir()):
            self._file, folder = folder, folder.parent
        if several and (self.is_stdout or self._file):
            raise OutputError(f"-o {output}: there are several results; expected a folder, which exists or ends in /")
        if not self.is_stdout:
            _make(folder)
            self._names = Names(folder, inputs_in(folder))

    @property
    def suffix(self) -> str | None:
        """The suffix of the file that was asked for, in small letters, or None."""
        return None if self._file is None else self._file.suffix.lower()

    def path_for(self, source: Source, what: str, suffix: str) -> Path:
        """Where a result goes that does not go to standard output. Raises OutputError if that is the input."""
        path = self._file or self._names.path_for(source, what, suffix)
        if source.path is not None and path.exists() and path.samefile(source.path):
            raise OutputError(f"-o {path}: this is the input, which is never written over; give another name")
        return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"-o {folder}: cannot be used as a folder ({problem.strerror})") from problem


def original_name(source: Source) -> Path:
    """The path of an input, or a file name for one that came from an address or from standard input."""
    if source.path is not None:
        return source.path
    last = unquote(urlsplit(source.name).path).rstrip("/").rpartition("/")[2]
    return Path("".join(c if c.isalnum() or c in "-_. " else "_" for c in last).strip("-. ") or "stdin")


def save(image: Image.Image, path: Path, *, icc_profile: bytes | None = None, quality: int = _JPEG_QUALITY) -> None:
    """Writes a picture atomically in the format that the path's suffix names; raises CnncliError where that fails."""
    try:
        with replacing(path) as file:
            write(image, file, FORMATS[path.suffix.lower()], icc_profile=icc_profile, quality=quality)
    except (OSError, ValueError) as problem:
        raise CnncliError(f"{path}: cannot be written ({getattr(problem, 'strerror', None) or problem})") from problem


def write(image: Image.Image, file: BinaryIO, form: str, *, icc_profile: bytes | None, quality: int) -> None:
    """Writes a picture to an open file. A JPEG has neither transparency nor sides beyond 65 500 pixels."""
    options: dict[str, Any] = {"icc_profile": icc_profile} if icc_profile else {}
    if form == "JPEG":
        image.thumbnail((_MAX_JPEG_PX, _MAX_JPEG_PX))
        options["quality"] = quality
    elif form == "WEBP":
        options["lossless"] = True
    image.save(file, form, **options)
