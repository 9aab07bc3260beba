"""How a kernel or a pooling window is applied: padding, border, stride, dilation. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from cnncli.errors import GrammarError
from cnncli.shapes import Placement, Window, place

Border = Literal["zero", "edge", "reflect", "wrap"]
Pair = tuple[int, int]  # (vertical, horizontal)

_POOL_FORM = "expected max:K or avg:K, K being 2 or 2x3, with :sN (stride, else K), :same or :valid; or gap, gmp"


def pair(value: int | Pair) -> Pair:
    """`(vertical, horizontal)` of a number that may stand for both."""
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True, slots=True)
class Setting:
    """How a kernel is applied; the defaults are those for matrices. One stride or dilation stands for both axes."""

    padding: Literal["same", "valid"] | int = "valid"  # elements at either end of both axes, or TensorFlow's rules
    border: Border = "zero"  # what padding holds; reflect does not repeat the edge
    stride: int | Pair = 1
    dilation: int | Pair = 1
    flip: bool = False  # true convolution: the kernel turned by 180 degrees

    def places(self, input_shape: Pair, kernel_shape: Pair) -> tuple[Placement, Placement]:
        """Where the kernel stands, vertically and horizontally. Raises ShapeError if it fits nowhere."""
        strides, dilations = pair(self.stride), pair(self.dilation)
        vertical, horizontal = (
            place(input_shape[axis], Window(kernel_shape[axis], strides[axis], dilations[axis]), self.padding)
            for axis in (0, 1)
        )
        return vertical, horizontal


FOR_PHOTOS = Setting("same", "edge")


@dataclass(frozen=True, slots=True)
class Pool:
    """A pooling layer; its window is the whole map if None, its stride the window unless given."""

    kind: Literal["max", "avg"]
    window: int | Pair | None = None
    stride: int | Pair | None = None
    padding: Literal["same", "valid"] | int = "valid"  # counts neither for a maximum nor for an average, as in Keras
    ceil: bool = False  # keep a last window that is only partly inside

    @property
    def is_global(self) -> bool:
        return self.window is None

    def places(self, input_shape: Pair) -> tuple[Placement, Placement]:
        """Where the window stands, vertically and horizontally. Raises ShapeError if it fits nowhere."""
        window = input_shape if self.window is None else pair(self.window)
        strides = window if self.stride is None else pair(self.stride)
        vertical, horizontal = (
            place(input_shape[axis], Window(window[axis], strides[axis]), self.padding, ceil=self.ceil)
            for axis in (0, 1)
        )
        return vertical, horizontal


def parse_pool(token: str) -> Pool:
    """The layer that `max:3`, `avg:2x3:s1:same`, `gap` or `gmp` stands for. Raises GrammarError."""
    if token in ("gap", "gmp"):
        return Pool("avg" if token == "gap" else "max")
    found = re.fullmatch(r"(max|avg):(\d{1,5})(?:x(\d{1,5}))?((?::(?:s\d{1,5}|same|valid))*)", token)
    if found is None:
        raise GrammarError(f"pooling {token[:80]!r}: {_POOL_FORM}")
    suffixes = found[4].split(":")[1:]
    strides = [int(suffix[1:]) for suffix in suffixes if suffix[1:].isdigit()]
    paddings = [suffix for suffix in suffixes if suffix in ("same", "valid")]
    window = int(found[2]), int(found[3] or found[2])
    if len(strides) > 1 or len(paddings) > 1 or 0 in (*window, *strides):
        raise GrammarError(f"pooling {token[:80]!r}: {_POOL_FORM}; sizes and strides are 1 or more, each given once")
    kind: Any = found[1]
    padding: Any = paddings[0] if paddings else "valid"
    return Pool(kind, window, strides[0] if strides else None, padding)
