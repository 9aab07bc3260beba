"""Matrices to work on: those of the course, those typed in, those in files. Standard library but for `.npy` files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.claims import Claim, claim_of, words
from cnncli.errors import KernelError
from cnncli.kernels import Matrix, number, rectangular

MAX_FILE_BYTES = 1_000_000
PREFIX = "course:"


@dataclass(frozen=True, slots=True)
class NamedMatrix:
    """A matrix and where it comes from."""

    name: str
    matrix: Matrix
    title: str = ""
    source: str = ""
    letters: bool = False  # 1, 2, 3, ... stand for a, b, c, ...


# -- the course -------------------------------------------------------------------------------------------------------

_D0 = 'Statinfer, "Convolutional Neural Networks"'
_D1 = "GreyAtom, D. Kubal, a deck on convolutional networks"
_D2 = '"Deep Learning with Keras and TensorFlow"'

# name -> title, source, rows as they are printed
_COURSE: dict[str, tuple[str, str, str]] = {
    "x7": (
        "the 7x7 picture that filters, padding and depth are explained on",
        _D0,
        """
        1 1 1 0 0 1 1
        1 1 0 1 0 1 1
        1 0 0 1 1 1 0
        0 0 0 0 0 1 1
        1 1 0 0 0 0 1
        1 0 0 1 1 1 0
        1 1 1 0 0 1 1
        """,
    ),
    "digit-b": (
        "a handwritten 6 as a computer sees it: 16x16 numbers from -1 to 1, second printing",
        _D0,
        """
        -1 -1 -1 -1 -1 -1 -1 -1 .9 -0 -1 -1 -1 -1 -1 -1
        -1 -1 -1 -1 -1 -1 -1 .3  1 .3 -1 -1 -1 -1 -1 -1
        -1 -1 -1 -1 -1 -1 -0  1  1 -1 -1 -1 -1 -1 -1 -1
        -1 -1 -1 -1 -1 -1 .8  1 .6 -1 -1 -1 -1 -1 -1 -1
        -1 -1 -1 -1 -1 .5  1 .8 -1 -1 -1 -1 -1 -1 -1 -1
        -1 -1 -1 -1 .1  1 .9 -0 -1 -1 -1 -1 -1 -1 -1 -1
        -1 -1 -1 -0  1  1 -0 -1 -1 -1 -1 -1 -1 -1 -1 -1
        -1 -1 -1 .9  1 .3 -1 -1 -1 -1 .5  1 .9 .1 -1 -1
        -1 -1 .3  1 .9 -1 -1 -1 .1  1  1  1  1  1 -1 -1
        -1 -1 .8  1 .3 -1 -1 .4  1 .7 -0 -0  1  1 -1 -1
        -1 -1  1  1 .1 -1 .1  1 .3 -1 -1 -0  1 .6 -1 -1
        -1 -1  1  1 .8 .3  1 .7 -1 -1 -1 .5  1  0 -1 -1
        -1 -1 .8  1  1  1  1 .5 .2 .8 .8  1 .9 -1 -1 -1
        -1 -1 -0 .8  1  1  1  1  1  1  1  1 .1 -1 -1 -1
        -1 -1 -1 -0 .8  1  1  1  1  1  1 .2 -1 -1 -1 -1
        -1 -1 -1 -1 -1 -0 .3 .8  1 .5 -0 -1 -1 -1 -1 -1
        """,
    ),
    "x9": (
        "an X: -1, and 1 on both diagonals of the inner 7x7",
        _D1,
        """
        -1 -1 -1 -1 -1 -1 -1 -1 -1
        -1  1 -1 -1 -1 -1 -1  1 -1
        -1 -1  1 -1 -1 -1  1 -1 -1
        -1 -1 -1  1 -1  1 -1 -1 -1
        -1 -1 -1 -1  1 -1 -1 -1 -1
        -1 -1 -1  1 -1  1 -1 -1 -1
        -1 -1  1 -1 -1 -1  1 -1 -1
        -1  1 -1 -1 -1 -1 -1  1 -1
        -1 -1 -1 -1 -1 -1 -1 -1 -1
        """,
    ),
    "m10": (
        'a binary picture of 10x10, "Image Representation"',
        _D1,
        """
        1 0 1 0 1 1 1 0 1 0
        0 0 0 0 0 1 1 1 1 0
        0 1 1 0 0 0 0 0 1 1
        1 1 0 0 0 0 1 0 1 0
        0 1 1 0 1 0 0 0 0 0
        1 0 1 0 0 1 0 0 1 1
        1 0 1 0 1 0 0 0 1 1
        1 1 0 1 0 0 0 0 1 1
        0 1 1 0 0 1 0 1 0 0
        1 1 1 1 0 1 1 0 1 0
        """,
    ),
    "pool4": ("what average pooling is shown on: 2x2 windows, stride 2", _D2, "2 2 7 3;9 4 6 1;8 5 2 4;3 1 2 6"),
    "letters": (
        "the letters a to y, to see where im2col puts each",
        "notebook deck on image filters with the tfcv helpers",
        "1 2 3 4 5;6 7 8 9 10;11 12 13 14 15;16 17 18 19 20;21 22 23 24 25",
    ),
    "d4": (
        "the 5x5 picture that is convolved by hand",
        "lecture notes on convolutional networks",
        "1 1 1 0 0;0 1 1 1 0;0 0 1 1 1;0 0 1 1 0;0 1 1 0 0",
    ),
    "conv-arithmetic": (
        "the picture of the numerical figure with padding 1 and stride 2, whose printed map is that of stride 1",
        "vdumoulin/conv_arithmetic, figures numerical_padding_strides, issue 17; kernel 2 0 1/1 0 0/0 1 1",
        "2 2 3 3 3;0 1 3 0 3;2 3 0 1 3;3 3 2 1 2;3 3 0 2 3",
    ),
}


def _named(name: str, title: str, source: str, text: str) -> NamedMatrix:
    return NamedMatrix(f"{PREFIX}{name}", _exact(words(text)), title, source, letters=name == "letters")


def course() -> dict[str, NamedMatrix]:
    """The course's matrices by their name, which follows `course:`."""
    return {name: _named(name, *row) for name, row in _COURSE.items()}


def matrix_argument(text: str) -> NamedMatrix:
    """What `--matrix` names: `course:x7`, a file (text, CSV, JSON, .npy), or the numbers themselves.

    A file that exists wins over numbers. Raises KernelError.
    """
    if text.startswith(PREFIX) and (name := text.removeprefix(PREFIX)) in _COURSE:
        return _named(name, *_COURSE[name])
    path = _path(text)
    with _naming(path):
        return NamedMatrix("matrix" if path is None else path.name, _exact(_written(text, path)))


def claim_argument(text: str) -> Claim:
    """What `--expect` names, as `matrix_argument`; `?` is a number that is not known. Raises KernelError."""
    path = _path(text)
    with _naming(path):
        return claim_of(_written(text, path))


def _exact(rows: list[list[str]]) -> Matrix:
    return rectangular([[number(word) for word in row] for row in rows])


@contextlib.contextmanager
def _naming(path: Path | None) -> Iterator[None]:
    """Errors inside name the file, if there is one."""
    try:
        yield
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror or error}") from None
    except KernelError as error:
        raise KernelError(f"{path}: {error}" if path else str(error)) from None


def _written(text: str, path: Path | None) -> list[list[str]]:
    """The numbers that an argument names, as they are written."""
    if path is not None:
        return _read(path)
    if text.startswith(PREFIX):
        if (name := text.removeprefix(PREFIX)) not in _COURSE:
            raise KernelError(f"{text}: no such matrix; there are {', '.join(PREFIX + name for name in _COURSE)}")
        return words(_COURSE[name][2])
    if not text.strip() or set(text) - set("0123456789 \t\r\n,;/.+-eE?"):
        raise KernelError(
            f"{text!r}: no such file, and not a matrix: expected numbers like '1 0;0 1', a .txt, .csv, .json or .npy "
            f"file, or {PREFIX}NAME ({', '.join(_COURSE)})"
        )
    return words(text)


# -- files -------------------------------------------------------------------------------------------------------------


def _path(text: str) -> Path | None:
    """The file or folder of that name, if there is one."""
    try:
        path = Path(text)
        return path if text.strip() and path.exists() else None
    except (OSError, ValueError):  # too long for a file name, or with a zero byte
        return None


def _read(path: Path) -> list[list[str]]:
    if not path.is_file():  # a folder, or a pipe that would never end
        raise KernelError("not a regular file")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise KernelError(f"{size:,} bytes; a matrix file has at most {MAX_FILE_BYTES:,}")
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise KernelError("not text in UTF-8; a NumPy array must be called .npy") from None
    if path.suffix.lower() == ".json":
        return _read_json(text)
    if path.suffix.lower() == ".csv" and "\n" in text.strip():
        text = text.replace(";", " ")  # how spreadsheets separate numbers where the comma is taken
    return words(text)


def _read_json(text: str) -> list[list[str]]:
    """Rows in `[[1, 0], [0, 1]]`. Numbers stay as they are written; fractions are strings."""
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise KernelError(f"not JSON: {error}") from None
    return _rows(found, "JSON")


def _read_npy(path: Path) -> list[list[str]]:
    import tokenize
    import warnings

    import numpy as np

    try:  # mapped: a header that promises more than the file has is refused, not believed
        with warnings.catch_warnings(action="ignore"):  # of old headers
            array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError) as error:  # NumPy parses the header as Python
        raise KernelError(f"not a NumPy array of numbers: {error}") from None
    if array.dtype.kind not in "buif" or not np.isfinite(array).all():
        raise KernelError("expected an array of finite integers or floats")
    numbers = array.astype(int) if array.dtype.kind == "b" else array
    return _rows([[str(value) for value in row] if array.ndim == 2 else None for row in numbers], "an array")


def _rows(found: Any, what: str) -> list[list[str]]:
    if not isinstance(found, list) or not all(_is_row(row) for row in found):
        raise KernelError(f"expected {what} of two dimensions: rows of numbers")
    return found


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and all(isinstance(word, str) for word in row)
