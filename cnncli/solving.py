"""Finds the layers that give a wanted size, and what would make a size come out whole. Exact, standard library only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from cnncli.errors import ShapeError
from cnncli.layers import Layer, Sizes, axis_name, paddings, per_axis, windows
from cnncli.shapes import Padding, Placement, Spread, Window, place, place_transposed

LARGEST_KERNEL = 11  # of those that are tried: AlexNet's; larger ones are rare
MAX_STRIDES = 50  # tried for a kernel, from the smallest that can fit


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an axis shall become, and what of its window is fixed already."""

    size: int
    output: int
    kernel: int | None = None
    stride: int | None = None
    dilation: int = 1
    padding: Padding | None = None
    transposed: bool = False


def solve_axes(
    sizes: Sizes, outputs: Sizes, layer: Layer, fixed: Collection[str]
) -> dict[str, list[Placement] | list[Spread]]:
    """What gives `outputs` along each axis of `sizes`, by the axis's name; `all` alone where the axes are alike.

    `fixed` names those of kernel, stride and padding that are as in `layer`; its dilation and kind always are. Raises
    ShapeError if there is nothing.
    """
    axes = len(sizes)
    each = [
        Wanted(
            size,
            output,
            window.kernel if "kernel" in fixed else None,
            window.stride if "stride" in fixed else None,
            window.dilation,
            padding if "padding" in fixed else None,
            layer.kind == "tconv",
        )
        for size, output, window, padding in zip(
            sizes, per_axis(outputs, axes, "output"), windows(layer, axes), paddings(layer, axes), strict=True
        )
    ]
    if len(set(each)) == 1:
        return {"all": solve(each[0])}
    return {axis_name(axis, axes): solve(one) for axis, one in enumerate(each)}


def solve(wanted: Wanted) -> list[Placement] | list[Spread]:
    """The windows that give `wanted`, the most usual first; those that skip elements only if there are no others.

    Equal padding at both ends comes before other padding, then what leaves nothing out, then odd kernels and little
    padding. Raises ShapeError if there are none.
    """
    found: list[Placement] | list[Spread]
    if wanted.transposed:
        found = sorted(set(_spreads(wanted)), key=_spread_rank)
    else:
        found = sorted(set(_placements(wanted)), key=_rank)
    if not found:
        raise ShapeError(_no_solution(wanted))
    return [one for one in found if one.window.stride <= one.window.extent] or found  # type: ignore[return-value]


def _no_solution(wanted: Wanted) -> str:
    fixed = [f"{name} {getattr(wanted, name)}" for name in ("kernel", "stride", "padding") if getattr(wanted, name)]
    given = f" with {', '.join(fixed)}" if fixed else ""
    hint = "leave the kernel, stride or padding open" if fixed else "use another size"
    if wanted.output > wanted.size and not wanted.transposed:
        hint = "a convolution makes maps smaller: --transposed makes them larger"
    return f"no layer makes {wanted.output} of {wanted.size}{given}; {hint}"


def _kernels(wanted: Wanted, whole: int) -> Iterable[int]:
    if wanted.kernel is not None:
        return (wanted.kernel,)
    return sorted({*range(1, LARGEST_KERNEL + 1), *([whole] if whole > 0 else [])})


def _placements(wanted: Wanted) -> Iterator[Placement]:
    for kernel in _kernels(wanted, (wanted.size - wanted.output) // wanted.dilation + 1):
        extent = Window(kernel, 1, wanted.dilation).extent
        for stride in _strides(wanted, extent):
            window = Window(kernel, stride, wanted.dilation)
            for padding in _paddings(wanted, window):
                try:
                    placed = place(wanted.size, window, padding)
                except ShapeError:
                    continue
                if placed.output == wanted.output and _is_usual(wanted, placed):
                    yield placed


def _strides(wanted: Wanted, extent: int) -> Iterable[int]:
    """Strides that can give the output with a padding of less than the window at each end."""
    if wanted.stride is not None:
        return (wanted.stride,)
    first = max(1, -(-(wanted.size - extent + 1) // wanted.output))
    if wanted.output == 1:
        return (first,)
    last = (wanted.size + extent - 2) // (wanted.output - 1)
    return range(first, min(last, first + MAX_STRIDES) + 1)


def _paddings(wanted: Wanted, window: Window) -> Iterable[Padding]:
    """Padding that makes the size whole, and the least equal padding that gives it after rounding down."""
    if wanted.padding is not None:
        return (wanted.padding,)
    whole = (wanted.output - 1) * window.stride + window.extent - wanted.size
    equal = max(0, -(-whole // 2))
    found: list[Padding] = [(equal, equal)] if equal < window.extent else []
    if 0 <= whole <= 2 * (window.extent - 1):
        found.append((whole // 2, whole - whole // 2))
    return found


def _is_usual(wanted: Wanted, found: Placement | Spread) -> bool:
    """A kernel larger than those that are tried is offered only where it does it alone."""
    alone = found.window.stride == 1 and not (found.before or found.after)
    return found.window.kernel <= LARGEST_KERNEL or wanted.kernel is not None or alone


def _rank(found: Placement) -> tuple[object, ...]:
    window, padding = found.window, found.before + found.after
    odd = window.kernel % 2 == 1 or (window.kernel == window.stride and not padding)  # or tiles, as pooling does
    return (
        found.before != found.after,
        found.unused > found.after,
        window.kernel > LARGEST_KERNEL,
        not odd,
        padding,
        window.kernel,
        window.stride,
    )


def _spreads(wanted: Wanted) -> Iterator[Spread]:
    for kernel in _kernels(wanted, (wanted.output - wanted.size) // wanted.dilation + 1):
        extent = Window(kernel, 1, wanted.dilation).extent
        strides: Iterable[int] = (wanted.stride,) if wanted.stride else _spread_strides(wanted, extent)
        for window in (Window(kernel, stride, wanted.dilation) for stride in strides):
            excess = (wanted.size - 1) * window.stride + extent - wanted.output
            paddings: list[Padding] = ["same", "valid"] if wanted.padding is None else [wanted.padding]
            if wanted.padding is None and 0 <= excess < 2 * extent:
                paddings.append((excess // 2, excess - excess // 2))
            for padding in paddings:
                try:
                    spread = place_transposed(wanted.size, window, padding)
                except ShapeError:
                    continue
                if spread.output == wanted.output and _is_usual(wanted, spread):
                    yield spread


def _spread_strides(wanted: Wanted, extent: int) -> Iterable[int]:
    gaps = max(1, wanted.size - 1)
    first = max(1, -(-(wanted.output - extent) // gaps), wanted.output // wanted.size)
    return range(max(1, first - 1), min((wanted.output + extent) // gaps, first + MAX_STRIDES) + 1)


def _spread_rank(found: Spread) -> tuple[object, ...]:
    window = found.window
    large = window.kernel > LARGEST_KERNEL
    return (large, found.before != found.after, found.before + found.after, window.kernel, window.stride)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to change so that a size comes out whole."""

    what: str  # "input", "padding", "kernel" or "stride"
    value: str
    output: int


def whole_choices(found: Placement) -> list[Change]:
    """The nearest input sizes, paddings, kernels and strides with which windows fill the axis exactly.

    Empty if they do so already.
    """
    if found.exact.denominator == 1:
        return []
    window, down = found.window, found.exact.numerator // found.exact.denominator
    padded = found.size + found.before + found.after
    rest = padded - window.extent - (down - 1) * window.stride
    up = window.stride - rest
    choices = [Change("input", str(found.size - rest), down)] if found.size > rest else []
    choices.append(Change("input", str(found.size + up), down + 1))
    before, more = found.before + up // 2, found.after + up - up // 2
    choices.append(Change("padding", str(before) if before == more else f"{before}+{more}", down + 1))
    if window.dilation == 1:
        smaller = [Change("kernel", str(window.kernel - up), down + 1)] if window.kernel > up else []
        choices += [*smaller, Change("kernel", str(window.kernel + rest), down)]
    span = padded - window.extent
    nearest = next((s for s in _around(window.stride) if span % s == 0), None)
    if nearest is not None:
        choices.append(Change("stride", str(nearest), span // nearest + 1))
    return choices


def _around(stride: int) -> Iterator[int]:
    """Strides near `stride`, the nearest first; 1 always fits, so that it is worth a mention only when near."""
    for distance in range(1, 5):
        if stride - distance >= 1:
            yield stride - distance
        yield stride + distance
