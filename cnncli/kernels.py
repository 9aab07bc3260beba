"""Kernels: the catalogue, and how one is written down. Standard library only: a kernel's card must be instant."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from cnncli.errors import GrammarError, KernelError

Matrix = tuple[tuple[Fraction, ...], ...]  # rows of equal length, at least one number

MAX_WEIGHTS = 65_536  # of one kernel, all its planes together: 256x256
_MAX_DIGITS = 40  # in one number; a power of ten beyond 3 digits would take for ever to write out exactly


@dataclass(frozen=True, slots=True)
class Kernel:
    """The weights of one filter, exact. Applied as a convolution layer does: correlation, not flipped."""

    name: str
    planes: tuple[Matrix, ...]  # one: applied to each channel on its own; more: one for each channel, summed
    shows: str = ""  # what it does to a picture, one sentence
    source: str = ""

    @property
    def height(self) -> int:
        return len(self.planes[0])

    @property
    def width(self) -> int:
        return len(self.planes[0][0])

    @property
    def sum(self) -> Fraction:
        """Of all weights: 0 for a kernel that finds changes, 1 for one that keeps the brightness."""
        return sum((weight for plane in self.planes for row in plane for weight in row), Fraction(0))

    @property
    def is_integer(self) -> bool:
        return all(weight.denominator == 1 for plane in self.planes for row in plane for weight in row)


def matrix(text: str) -> Matrix:
    """The matrix in `"0 1 0;1 -4 1;0 1 0"`: rows end at `;`, `/` with spaces around it, or a line end.

    Numbers are separated by spaces, tabs or commas and may be integers, decimals or fractions (`1/9`). Raises
    KernelError.
    """
    rows = [_numbers(row) for row in re.split(r"[;\n]|\s/\s", text.strip()) if row.strip()]
    return rectangular(rows)


def rectangular(rows: list[list[Fraction]]) -> Matrix:
    """Rows as a matrix. Raises KernelError if there are none or their lengths differ."""
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or lengths == {0}:
        found = ", ".join(str(len(row)) for row in rows) or "none"
        raise KernelError(f"expected rows of equal length, found rows of {found} numbers")
    return tuple(tuple(row) for row in rows)


def _numbers(row: str) -> list[Fraction]:
    return [number(word) for word in re.split(r"[\s,]+", row.strip(" \t\r,")) if word]


def number(word: str) -> Fraction:
    """The exact value of `1`, `-0.25`, `1e-3` or `1/9`. Raises KernelError."""
    try:
        if len(word) <= _MAX_DIGITS and not re.search(r"e[+-]?\d{4}", word, re.IGNORECASE):
            return Fraction(word)
    except (ValueError, ZeroDivisionError):
        pass
    raise KernelError(f"{word[:_MAX_DIGITS]!r}: expected a number like 1, -0.25 or 1/9")


def flipped(kernel: Kernel) -> Kernel:
    """The kernel turned by 180 degrees: correlating with it is the true convolution with the original."""
    planes = tuple(tuple(row[::-1] for row in plane[::-1]) for plane in kernel.planes)
    return replace(kernel, planes=planes)


def is_symmetric(kernel: Kernel) -> bool:
    """Whether flipping makes no difference, so that convolution and correlation agree."""
    return flipped(kernel).planes == kernel.planes


def normalised(kernel: Kernel) -> Kernel:
    """The kernel divided by its sum, so that it keeps the brightness. Raises KernelError where that is 0."""
    total = kernel.sum
    if total == 0:
        raise KernelError(f"{kernel.name}: its weights sum to 0, so it cannot be normalised: it finds changes")
    planes = tuple(tuple(tuple(weight / total for weight in row) for row in plane) for plane in kernel.planes)
    return replace(kernel, planes=planes)


_SLIDES = "Statinfer, Convolutional Neural Networks"  # the course's documents, as its ledger lists them
_LESSON = "Deep Learning with Keras and TensorFlow"
_DECK = "GreyAtom, D. Kubal, Convolutional Neural Networks"
_NOTEBOOK = "the course's notebook on MNIST and CIFAR-10"
_NOTES = "the course's lecture notes"
_SOBEL = "I. Sobel and G. Feldman, 1968"
_PREWITT = "J. M. S. Prewitt, Object Enhancement and Extraction, 1970"
_SCHARR = "H. Scharr, Optimale Operatoren in der Digitalen Bildverarbeitung, 2000"

_ROWS = (  # name, weights, what it shows, source
    ("sobel-h", "-1 -2 -1; 0 0 0; 1 2 1",
     "horizontal edges: it reacts to changes from top to bottom (the course says in the horizontal direction)",
     f"{_SOBEL}; {_LESSON}"),
    ("sobel-v", "-1 0 1; -2 0 2; -1 0 1",
     "vertical edges: it reacts to changes from left to right", f"{_SOBEL}; {_LESSON}"),
    ("edge-h", "-1 -1 -1; 0 0 0; 1 1 1",
     "horizontal edges, all rows weighted alike (Prewitt)", f"{_PREWITT}; {_NOTEBOOK}"),
    ("edge-v", "-1 0 1; -1 0 1; -1 0 1",
     "vertical edges, all columns weighted alike (Prewitt)", f"{_PREWITT}; {_NOTEBOOK}"),
    ("scharr-h", "-3 -10 -3; 0 0 0; 3 10 3",
     "horizontal edges, its strength depending less on their angle than Sobel's", _SCHARR),
    ("scharr-v", "-3 0 3; -10 0 10; -3 0 3",
     "vertical edges, its strength depending less on their angle than Sobel's", _SCHARR),
    ("laplacian", "0 1 0; 1 -4 1; 0 1 0",
     "edges in every direction and single points: the second derivative", "the five-point stencil"),
    ("outline", "-1 -1 -1; -1 8 -1; -1 -1 -1",
     "outlines: what differs from its eight neighbours", f"{_SLIDES}, Edge detect; {_LESSON}, Outline"),
    ("blur", "1/16 1/8 1/16; 1/8 1/4 1/8; 1/16 1/8 1/16",
     "the picture slightly blurred: the binomial approximation of a Gaussian", _LESSON),
    ("blur-plus", "0 0.2 0; 0.2 0.2 0.2; 0 0.2 0",
     "the picture blurred: the mean of a pixel and its four neighbours", _SLIDES),
    ("box-3", "1 1 1; 1 1 1; 1 1 1",
     "the picture smoothed: divided by 9, the mean of a 3x3 neighbourhood", f"{_SLIDES}, Unweighted smoothing"),
    ("smooth-weighted", "0 1 0; 1 4 1; 0 1 0",
     "the picture smoothed, its centre weighing most; to be divided by 8 (the course calls it Gaussian; it is not)",
     f"{_SLIDES}, Weighted smoothing"),
    ("sharpen", "0 -1 0; -1 5 -1; 0 -1 0", "the picture sharper", _SLIDES),
    ("sharpen-strong", "-1 -1 -1; -1 9 -1; -1 -1 -1", "the picture much sharper, its noise too", _SLIDES),
    ("emboss", "-2 -1 0; -1 1 1; 0 1 2",
     "the picture as a relief that is lit from the upper left", "GIMP's manual, Convolution Matrix"),
    ("motion-blur-h", "0 0 0; 1/3 1/3 1/3; 0 0 0",
     "the picture blurred sideways (the course prints 0.2 each: a sum of 0.6, which darkens it to 60 %)", _SLIDES),
    ("line-h", "0 0 0; 1 1 1; 0 0 0", "horizontal lines three pixels long", _SLIDES),
    ("line-v", "0 1 0; 0 1 0; 0 1 0", "vertical lines three pixels long", _SLIDES),
    ("diag", "1/9 -1/9 -1/9; -1/9 1/9 -1/9; -1/9 -1/9 1/9",
     "how well a neighbourhood of -1 and 1 matches a line from the upper left to the lower right", _DECK),
    ("antidiag", "-1/9 -1/9 1/9; -1/9 1/9 -1/9; 1/9 -1/9 -1/9",
     "how well a neighbourhood of -1 and 1 matches a line from the upper right to the lower left", _DECK),
    ("x", "1/9 -1/9 1/9; -1/9 1/9 -1/9; 1/9 -1/9 1/9",
     "how well a neighbourhood of -1 and 1 matches two crossing diagonals", _DECK),
    ("x-binary", "1 0 1; 0 1 0; 1 0 1", "how many pixels of two crossing diagonals are set", _NOTES),
    ("cross", "0 1 0; 1 1 1; 0 1 0", "how many pixels of an upright cross are set", _SLIDES),
    ("cross-10", "0 10 0; 10 10 10; 0 10 0", "the cross ten times as strong: more than 8 bits hold", _SLIDES),
    ("ring", "1 1 1; 1 0 1; 1 1 1",
     "the eight neighbours without the centre: the kernel behind a map of the course", _SLIDES),
    ("hole", "1 1 1; 1 -1 1; 1 1 1",
     "the eight neighbours less the centre: the kernel as the course prints it beside the map of ring", _SLIDES),
    ("tri-lower", "0 0 1; 0 1 1; 1 1 1", "triangles at the lower right", _SLIDES),
    ("tri-upper", "1 1 1; 1 1 0; 1 0 0", "triangles at the upper left", _SLIDES),
    ("antidiag-15", "0 0 15; 0 15 0; 15 0 0",
     "a line from the upper right to the lower left, fifteen times as strong: more than 8 bits hold", _SLIDES),
    ("identity", "0 0 0; 0 1 0; 0 0 0", "the picture as it is", "the neutral element of convolution"),
)  # fmt: skip

CATALOGUE: dict[str, Kernel] = {
    name: Kernel(name, (matrix(weights),), shows, source) for name, weights, shows, source in _ROWS
}
ALIASES: dict[str, str] = {
    "sobel": "sobel-h",
    "prewitt": "edge-h",
    "prewitt-h": "edge-h",
    "prewitt-v": "edge-v",
    "scharr": "scharr-h",
    "edge": "outline",
    "gaussian": "blur",
    "smooth": "box-3",
    "box": "box-3",
    "motion-blur": "motion-blur-h",
    "diagonal": "diag",
    "diagonals": "x",
}
FORMS = (
    'gaussian:N:SIGMA, box:N, random:HxW, "0 1 0;1 -4 1;0 1 0", a .txt, .csv, .json or .npy file, MODEL.keras:LAYER:N'
)


def find(spec: str, *, seed: int = 0) -> Kernel:
    """The kernel that `spec` names, writes out, or says where to find.

    A name of the catalogue or an alias; `gaussian:N:SIGMA` (SIGMA in pixels), `box:N` and `random:N`, whose N may be
    rectangular as in `3x5` (height first); rows of numbers; a file of them; `MODEL.keras:LAYER:N`, filter N of a
    layer, counted from 0. A name wins over a file: `./blur` is the file. `seed` is for `random`. Raises GrammarError
    for what is none of these, KernelError for a file and ModelError for a model that is refused.
    """
    spec = spec.strip()
    known = CATALOGUE.get(ALIASES.get(spec, spec))
    if known is not None:
        return known
    head, _, arguments = spec.partition(":")
    if head in _FAMILIES:
        return _typed(spec, lambda: _FAMILIES[head](spec, arguments, seed))
    if re.search(r"\.keras(:|$)", spec):
        from cnncli.kernelfiles import from_model

        return from_model(spec)
    if Path(spec).suffix.lower() in (".txt", ".csv", ".json", ".npy") or _exists(spec):
        from cnncli.kernelfiles import from_file

        return from_file(Path(spec))
    if re.match(r"[-+.\d]", spec):
        return _typed(spec, lambda: Kernel("custom", (_of_sensible_size(matrix(spec)),), "your own kernel"))
    raise GrammarError(_unknown(spec))


def _typed(spec: str, made: Callable[[], Kernel]) -> Kernel:
    """What was typed, as a kernel; raises GrammarError where it cannot be understood."""
    try:
        return made()
    except KernelError as problem:
        raise GrammarError(f"kernel {spec[:80]!r}: {problem}") from problem


def _exists(spec: str) -> bool:
    try:
        return bool(spec) and Path(spec).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


def _unknown(spec: str) -> str:
    from difflib import get_close_matches  # here and not above: an error may take its time, a card may not

    near = get_close_matches(spec.lower(), [*CATALOGUE, *ALIASES, *_FAMILIES], 1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown kernel {spec[:80]!r}.{meant} Expected a name, which 'cnncli filter --list' shows, or {FORMS}"


def _gaussian(spec: str, arguments: str, seed: int) -> Kernel:
    size, _, sigma = arguments.partition(":")
    height, width = _size(spec, size)
    deviation = number(sigma) if sigma else Fraction(0)
    if not Fraction(1, 100) <= deviation <= 1000:
        raise KernelError(f"{spec!r}: expected gaussian:N:SIGMA with SIGMA, in pixels, from 0.01 to 1000")
    bells = [_bell(side, float(deviation)) for side in (height, width)]
    rows = tuple(tuple(down * across for across in bells[1]) for down in bells[0])
    return Kernel(spec, (rows,), f"the picture blurred by a Gaussian of {sigma} pixels", "exp(-x^2 / (2 sigma^2))")


def _bell(side: int, sigma: float) -> list[Fraction]:
    """A sampled Gaussian whose exact sum is 1."""
    centre = (side - 1) / 2
    nearest = min(abs(place - centre) for place in range(side))  # 1/2 where the side is even: keeps the sum above 0
    samples = [Fraction(math.exp(-((place - centre) ** 2 - nearest**2) / (2 * sigma**2))) for place in range(side)]
    return [sample / sum(samples) for sample in samples]


def _box(spec: str, arguments: str, seed: int) -> Kernel:
    height, width = _size(spec, arguments)
    row = (Fraction(1, height * width),) * width
    return Kernel(
        spec, ((row,) * height,), f"the picture blurred: the mean of {height} x {width} pixels", "moving mean"
    )


def _random(spec: str, arguments: str, seed: int) -> Kernel:
    """Thousandths, uniform from -1 to 1, by the one method of Python's generator that is the same in every version."""
    import random

    height, width = _size(spec, arguments)
    generator = random.Random(seed)
    rows = tuple(
        tuple(Fraction(int(generator.random() * 2001) - 1000, 1000) for _ in range(width)) for _ in range(height)
    )
    return Kernel(spec, (rows,), "what weights see that nobody has trained", f"uniform from -1 to 1, seed {seed}")


_FAMILIES: dict[str, Callable[[str, str, int], Kernel]] = {"gaussian": _gaussian, "box": _box, "random": _random}


def _size(spec: str, text: str) -> tuple[int, int]:
    """`(height, width)` from `3` or `3x5`."""
    sides = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text)
    height, width = (int(sides[1]), int(sides[2] or sides[1])) if sides else (0, 0)
    if not 1 <= height * width <= MAX_WEIGHTS:
        raise KernelError(f"{spec!r}: expected a size like 5 or 3x5 with at most {MAX_WEIGHTS:,} weights")
    return height, width


def _of_sensible_size(rows: Matrix) -> Matrix:
    if len(rows) * len(rows[0]) > MAX_WEIGHTS:
        raise KernelError(f"a kernel of {len(rows)}x{len(rows[0])}; expected at most {MAX_WEIGHTS:,} weights")
    return rows
