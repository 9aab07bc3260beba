"""What else would have given a claimed result: the same exercise, done otherwise. Exact, standard library only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, get_args

from cnncli.claims import Claim, is_rounded, truncated
from cnncli.errors import ShapeError
from cnncli.kernels import Kernel, Matrix
from cnncli.setting import Border, Pair, Pool, Setting
from cnncli.shapes import Placement
from cnncli.worked import by, feature_map, flat, formula, shape, steps, transposed, turned, weights_of

_MOST_CHANGES = 2  # of the exercise at once: with more of them something always fits
_LEAST_CELLS = 4  # fewer claimed numbers fit too many exercises
_MOST_WORK = 200_000  # numbers of the matrix times weights (64x64 by 7x7): more is slow, and nobody claims it by hand


@dataclass(frozen=True, slots=True)
class Exercise:
    """A matrix, a kernel (None: none), how it is applied, and pooling layers after it."""

    matrix: Matrix
    kernel: Kernel | None
    setting: Setting = field(default_factory=Setting)
    pools: tuple[Pool, ...] = ()
    changes: tuple[str, ...] = ()  # against the exercise that was meant

    @property
    def result(self) -> Matrix:
        """Its feature map. Raises ShapeError, KernelError."""
        return feature_map(self.matrix, self.kernel, self.setting, self.pools)

    @property
    def places(self) -> list[tuple[Placement, Placement]]:
        """Where the windows of each layer stand, vertically and horizontally. Raises ShapeError."""
        found = []
        if self.kernel is not None:
            found.append(self.setting.places(shape(self.matrix), (self.kernel.height, self.kernel.width)))
        for pooling in self.pools:
            found.append(pooling.places(_output(found[-1]) if found else shape(self.matrix)))
        return found

    @property
    def shape(self) -> Pair:
        """Of its result. Raises ShapeError."""
        places = self.places
        return _output(places[-1]) if places else shape(self.matrix)

    def begins(self, claimed: Claim) -> bool:
        """Whether its result, at least as large as the claim, has the claimed numbers in its top left part.

        Raises ShapeError.
        """
        if self.kernel is None or self.pools:
            result = self.result
            return all(result[row - 1][column - 1] == value for (row, column), value in claimed.known.items())
        made = steps(self.matrix, self.kernel, self.setting)  # one by one: most differ at once
        return all(claimed.known.get((step.patch.row, step.patch.column), step.sum) == step.sum for step in made)

    def changed(self, change: str, **fields: Any) -> Exercise:
        """It with other fields, and a word on that."""
        return replace(self, changes=(*self.changes, change), **fields)


def explain(exercise: Exercise, true: Matrix, claimed: Claim) -> tuple[str, ...]:
    """What gives exactly the claim, with as few changes as possible, in words. Tried on maps of a sensible size."""
    weights = exercise.kernel.height * exercise.kernel.width if exercise.kernel else 1
    if len(claimed.known) < _LEAST_CELLS or len(flat(exercise.matrix)) * weights > _MOST_WORK:
        return ()
    found = [text for text, change in _AFTERWARDS if _same(claimed, true, change)] + list(_linear(claimed, true))
    most = 1 if exercise.pools else _MOST_CHANGES  # pooled maps are made whole, which takes longer
    ways = _distinct(_variants(exercise, _FAMILIES, most))
    corner = f"only the top left {by(claimed.shape)} of the map"
    for count in range(1, most + 1):
        if found:
            break
        for way in ways:
            whole = way.shape == claimed.shape
            changes = way.changes if whole else (*way.changes, corner)
            if len(changes) == count and _covers(way.shape, claimed.shape):
                with contextlib.suppress(ShapeError):  # too large to work, or nothing but padding in a window
                    found += [" and ".join(changes)] if way.begins(claimed) else []
    return tuple(found)


def settings_of_size(exercise: Exercise, size: Pair) -> tuple[str, ...]:
    """What one change would give a result of that size, in words, each with its formula."""
    found: dict[str, str] = {}  # by formula: padding same and padding 1 are often the same
    for way in _variants(exercise, _FAMILIES, 1):
        with contextlib.suppress(ShapeError):
            if way.changes and way.shape == size:
                found.setdefault(formulas(way), way.changes[0])
    return (*(f"{change}: {text}" for text, change in found.items()), *_kernels_of_size(exercise, size))


def _kernels_of_size(exercise: Exercise, size: Pair) -> Iterator[str]:
    """The smallest square kernel that gives a map of that size, with the formula."""
    for side in range(1, max(shape(exercise.matrix)) + 1) if exercise.kernel and not exercise.pools else ():
        with contextlib.suppress(ShapeError):
            places = exercise.setting.places(shape(exercise.matrix), (side, side))
            if _output(places) == size:
                yield f"a {side}x{side} kernel: {_formulas(places)}"
                return


def formulas(exercise: Exercise, layer: int = -1) -> str:
    """The size formula of a layer (-1: the last) with its numbers. Raises ShapeError."""
    if not exercise.places:
        return "no layer changes the size"
    return _formulas(exercise.places[layer])


def _formulas(places: tuple[Placement, Placement]) -> str:
    vertical, horizontal = places
    if (down := formula(vertical)) == (across := formula(horizontal)):
        return down
    return f"{down} rows, {across} columns"


def _output(places: tuple[Placement, Placement]) -> Pair:
    return places[0].output, places[1].output


def _covers(large: Pair, small: Pair) -> bool:
    return small[0] <= large[0] and small[1] <= large[1]


# -- the same map, seen otherwise --------------------------------------------------------------------------------------

_AFTERWARDS: tuple[tuple[str, Callable[[Fraction, Fraction], bool]], ...] = (
    ("ReLU after it, max(0, x)", lambda given, value: given == max(Fraction(0), value)),
    ("the absolute value of each number", lambda given, value: given == abs(value)),
    ("the numbers rounded to integers", lambda given, value: given.denominator == 1 and is_rounded(given, value, 0)),
    ("the numbers truncated to integers", lambda given, value: given == truncated(value, 0)),
)


def _same(claimed: Claim, true: Matrix, change: Callable[[Fraction, Fraction], bool]) -> bool:
    return claimed.shape == shape(true) and all(
        change(given, true[r - 1][c - 1]) for (r, c), given in claimed.known.items()
    )


def _linear(claimed: Claim, true: Matrix) -> Iterator[str]:
    """A factor or a bias common to all numbers."""
    if claimed.shape != shape(true):
        return
    pairs = [(given, true[row - 1][column - 1]) for (row, column), given in claimed.known.items()]
    if len(offsets := {given - value for given, value in pairs}) == 1:
        yield f"a bias of {offsets.pop()} added to each number"
    factors = {given / value for given, value in pairs if value}
    if len(factors) == 1 and all(value or not given for given, value in pairs):
        yield f"each number multiplied by {factors.pop()}"


# -- the same exercise, done otherwise ---------------------------------------------------------------------------------


def _flip(exercise: Exercise) -> Iterator[Exercise]:
    setting = exercise.setting
    text = "correlation, the kernel not flipped" if setting.flip else "true convolution, the kernel flipped"
    yield exercise.changed(text, setting=replace(setting, flip=not setting.flip))


def _kernel_transposed(exercise: Exercise) -> Iterator[Exercise]:
    if exercise.kernel is not None:
        planes = (transposed(weights_of(exercise.kernel)),)
        yield exercise.changed("the kernel transposed", kernel=replace(exercise.kernel, planes=planes))


def _input_transposed(exercise: Exercise) -> Iterator[Exercise]:
    yield exercise.changed("the input transposed", matrix=transposed(exercise.matrix))


def _padding(exercise: Exercise) -> Iterator[Exercise]:
    if exercise.kernel is None:
        return
    full = max(exercise.kernel.height, exercise.kernel.width) - 1
    paddings: list[Literal["same", "valid"] | int] = ["valid", "same", *sorted({1, 2, 3, full} - {0})]
    for padding in paddings:
        yield exercise.changed(f"padding {padding}", setting=replace(exercise.setting, padding=padding))


def _border(exercise: Exercise) -> Iterator[Exercise]:
    for border in get_args(Border):
        yield exercise.changed(f"border {border}", setting=replace(exercise.setting, border=border))


def _stride(exercise: Exercise) -> Iterator[Exercise]:
    for stride in (1, 2, 3, 4):
        yield exercise.changed(f"stride {stride}", setting=replace(exercise.setting, stride=stride))


def _dilation(exercise: Exercise) -> Iterator[Exercise]:
    for dilation in (1, 2, 3):
        yield exercise.changed(f"dilation {dilation}", setting=replace(exercise.setting, dilation=dilation))


def _pooling(exercise: Exercise) -> Iterator[Exercise]:
    if not exercise.pools:
        return
    *before, last = exercise.pools
    others: list[tuple[str, Pool]] = [
        ("average pooling", replace(last, kind="avg")),
        ("max pooling", replace(last, kind="max")),
        ("partial windows kept (ceil)", replace(last, ceil=True)),
        ("partial windows dropped (floor)", replace(last, ceil=False)),
        ("pooling with padding same", replace(last, padding="same")),
        *((f"pooling with stride {stride}", replace(last, stride=stride)) for stride in (1, 2, 3)),
    ]
    for text, other in others:
        yield exercise.changed(text, pools=(*before, other))


_FAMILIES = (_flip, _kernel_transposed, _input_transposed, _padding, _border, _stride, _dilation, _pooling)


def _variants(
    exercise: Exercise, families: tuple[Callable[[Exercise], Iterator[Exercise]], ...], most: int
) -> Iterator[Exercise]:
    """It, and it with up to `most` changes of different families."""
    yield exercise
    if most:
        for number, family in enumerate(families, start=1):
            for other in family(exercise):
                yield from _variants(other, families[number:], most - 1)


def _distinct(ways: Iterator[Exercise] | list[Exercise]) -> list[Exercise]:
    """The possible ones, each in its simplest form, the simplest first."""
    found: dict[object, Exercise] = {}
    for way in sorted(ways, key=lambda way: len(way.changes)):
        try:
            found.setdefault(_essence(way), way)
        except ShapeError:
            continue
    return list(found.values())


def _essence(exercise: Exercise) -> object:
    """What two exercises that must have the same result have in common."""
    places, setting = exercise.places, exercise.setting
    weights = None
    if exercise.kernel is not None:
        weights = weights_of(exercise.kernel)
        weights = turned(weights) if setting.flip else weights
    padded = exercise.kernel is not None and any(place.before or place.after for place in places[0])
    kinds = tuple(pooling.kind for pooling in exercise.pools)
    return exercise.matrix, weights, tuple(places), setting.border if padded else None, kinds
