"""What a layer makes of sizes: output sizes, exactly, in integers and fractions. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Literal

from cnncli.errors import ShapeError

Padding = Literal["same", "valid"] | int | tuple[int, int]  # a number is for either end, a pair for (before, after)


@dataclass(frozen=True, slots=True)
class Window:
    """What slides along one axis in a convolution or pooling layer; all of it in elements, each at least 1."""

    kernel: int
    stride: int = 1
    dilation: int = 1

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            if getattr(self, name) < 1:
                raise ShapeError(f"{name} {getattr(self, name)}: expected 1 or more")

    @property
    def extent(self) -> int:
        """Elements from its first to its last one: `dilation * (kernel - 1) + 1`."""
        return self.dilation * (self.kernel - 1) + 1


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a window stands along an axis of `size` elements."""

    size: int
    window: Window
    before: int  # padding, in elements
    after: int
    exact: Fraction  # (size + before + after - extent) / stride + 1, before rounding
    output: int  # positions of the window

    @property
    def unused(self) -> int:
        """Elements at the end, padding included, that no window reaches; negative where the last one reaches over."""
        reached = (self.output - 1) * self.window.stride + self.window.extent
        return self.size + self.before + self.after - reached


def place(size: int, window: Window, padding: Padding = "valid", *, ceil: bool = False) -> Placement:
    """The positions of a window along an axis of `size` elements.

    `o = floor((n + p - (d * (k - 1) + 1)) / s) + 1`, p being the padding of both ends, as Dumoulin and Visin derive
    it (arXiv:1603.07285, relationship 15); with `ceil` a last window that is only partly inside counts as well, if it
    begins inside the input or the padding before it. `same` is TensorFlow's: `o = ceil(n / s)`, and what padding that
    takes is split with the odd element at the end. Raises ShapeError if no window fits.
    """
    if size < 1:
        raise ShapeError(f"size {size}: expected 1 or more")
    before, after = _ends(size, window, padding)
    if before < 0 or after < 0:
        raise ShapeError(f"padding {min(before, after)}: expected 0 or more")
    padded = size + before + after
    exact = Fraction(padded - window.extent, window.stride) + 1
    if window.extent > padded:
        raise ShapeError(f"a window of {window.extent} does not fit into {padded}: the kernel is larger than its input")
    output = -(-exact.numerator // exact.denominator) if ceil else exact.numerator // exact.denominator
    if ceil and (output - 1) * window.stride >= size + before:
        output -= 1  # it would see nothing but padding
    return Placement(size, window, before, after, exact, output)


def _ends(size: int, window: Window, padding: Padding) -> tuple[int, int]:
    """Padding `(before, after)` in elements."""
    if isinstance(padding, tuple):
        return padding
    if isinstance(padding, int):
        return padding, padding
    if padding == "valid":
        return 0, 0
    total = max(0, (-(-size // window.stride) - 1) * window.stride + window.extent - size)
    return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a transposed convolution puts the windows that the elements of one axis spread out to."""

    size: int
    window: Window
    before: int  # elements cut off the result at either end; after is negative where zeros are put on instead
    after: int
    output: int

    @property
    def overlap(self) -> int:
        """How many neighbouring inputs, first to last, can meet in one output."""
        step = self.window.stride // gcd(self.window.stride, self.window.dilation)  # taps that are so far apart meet
        return (self.window.kernel - 1) // step * step * self.window.dilation // self.window.stride + 1


def place_transposed(size: int, window: Window, padding: Padding = "valid") -> Spread:
    """The positions of a transposed convolution along an axis of `size` elements.

    The windows together cover `(n - 1) * s + d * (k - 1) + 1` elements; a number or pair as `padding` is cut off them
    (Dumoulin and Visin, arXiv:1603.07285, relationship 13). `same` cuts so that `n * s` remain and `valid` cuts
    nothing; with a stride larger than the window both give `n * s`, as in Keras. Raises ShapeError if nothing remains.
    """
    if size < 1:
        raise ShapeError(f"size {size}: expected 1 or more")
    whole = (size - 1) * window.stride + window.extent
    if padding == "same" or (padding == "valid" and window.extent < window.stride):
        excess = whole - size * window.stride
        before = max(0, excess) // 2
        after = excess - before
    else:
        before, after = _ends(size, window, padding)
    if before < 0 or (after < 0 and not isinstance(padding, str)):
        raise ShapeError(f"padding {min(before, after)}: expected 0 or more")
    output = whole - before - after
    if output < 1:
        raise ShapeError(f"padding {before}+{after} leaves nothing of {whole}: use less padding or a larger kernel")
    return Spread(size, window, before, after, output)
