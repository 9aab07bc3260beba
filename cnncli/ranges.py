"""From a feature map to pixels that can be shown: the only place where values are divided, rounded and clipped."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnncli.kernels import Kernel

Array = npt.NDArray[Any]
RangeMode = Literal["auto", "clip", "abs", "scale", "raw"]


@dataclass(frozen=True, slots=True)
class Range:
    """A range step that is decided: what of a value is shown, and what it is divided by first."""

    mode: Literal["clip", "abs", "scale", "raw"]
    divisor: Fraction
    said: str  # what the user is told


def resolve(mode: RangeMode, total: Fraction) -> Range:
    """What `mode` means for a kernel whose weights sum to `total`.

    `auto` shows the size of values whose kernel finds changes (sum 0), divides by any other sum, and clips.
    """
    if mode == "auto":
        if total == 0:
            return Range("abs", Fraction(1), "range abs: the weights sum to 0, so the size of each value is shown")
        if total == 1:
            return Range("clip", Fraction(1), "range clip: the weights sum to 1")
        return Range("clip", total, f"range clip, after division by the sum of the weights, {_short(total)}")
    return Range(mode, Fraction(1), f"range {mode}")


def _short(number: Fraction) -> str:
    return str(number) if number.denominator < 1000 else f"{float(number):.6g}"


def to_range(maps: Array, kernel: Kernel, mode: RangeMode = "auto", white: int = 255) -> tuple[Array, str]:
    """A feature map as pixels `0..white`, uint8 or uint16, or as it is for `raw`, and what was done, for the user.

    Halves are rounded away from zero, and nothing wraps. `maps` is left as it is.
    """
    found = resolve(mode, kernel.sum)
    if found.mode == "raw":
        return maps, found.said
    low, high = extremes(maps)
    said = f"{found.said}: from {low:.6g} to {high:.6g}" if found.mode == "scale" else found.said
    pixels = np.empty(maps.shape, np.uint8 if white <= 255 else np.uint16)
    as_pixels(maps.copy(), pixels, found, white, low=low, high=high)
    return pixels, said


def extremes(maps: Array) -> tuple[float, float]:
    """The lowest and highest value over all channels."""
    return maps.min().item(), maps.max().item()


def as_pixels(
    sums: Array, pixels: Array, found: Range, white: int, *, denominator: int = 1, low: float = 0, high: float = 0
) -> None:
    """Fills `pixels` with `sums`, which are `denominator` times the feature map, as `0..white`; overwrites `sums`.

    `low` and `high` are the `extremes` of all sums, for `scale`.
    """
    divisor = found.divisor * denominator
    if found.mode == "scale":
        sums = (sums - np.float64(low)) * white / (high - low or 1)
    elif found.mode == "abs":
        np.abs(sums, out=sums)
    if sums.dtype.kind != "f" and divisor.denominator == 1:
        _divide_whole(sums, int(divisor), white)
    else:
        if sums.dtype.kind != "f":
            sums = sums.astype(np.float64)
        if found.mode != "scale" and divisor != 1:
            sums /= float(divisor)
        np.clip(sums, 0, white, out=sums)
        sums += 0.5
    np.copyto(pixels, sums, casting="unsafe")  # which cuts off what is behind the point


def _divide_whole(values: Array, divisor: int, white: int) -> None:
    """`values / divisor`, clipped and rounded, exactly: half the divisor is added, and the division rounds down."""
    if divisor < 0:
        divisor = -divisor
        np.negative(values, out=values)
    half = divisor // 2
    np.clip(values, 0, min(white * divisor, np.iinfo(values.dtype).max - half), out=values)
    if divisor == 1:
        return
    values += half
    if divisor & (divisor - 1) == 0:
        values >>= divisor.bit_length() - 1
    else:
        values //= divisor


def magnitude(a: Array, b: Array) -> Array:
    """The length of the vector of two feature maps, such as those of sobel-h and sobel-v; float64."""
    squares = np.square(a, dtype=np.float64)
    squares += np.square(b, dtype=np.float64)
    return np.sqrt(squares, out=squares)
