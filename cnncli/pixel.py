"""One pixel of a filtered photo worked out: what the kernel sees there, the products and their sum, in each channel."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from PIL import Image

from cnncli.errors import KernelError, ShapeError
from cnncli.kernels import Kernel, Matrix
from cnncli.layout import beside, indented, matrix_block, number
from cnncli.setting import Setting
from cnncli.worked import Patch, Step, folded, positions, step_of, turned
from cnncli.worked_text import spelled

_CHANNELS = {"L": ("grey",), "I;16": ("grey",), "RGB": ("red", "green", "blue")}


def steps_at(image: Image.Image, kernel: Kernel, setting: Setting, x: int, y: int) -> list[tuple[str, Step]]:
    """What gives pixel `(x, y)` of the result, counted from 0, for each channel by its name.

    Rows and columns of its windows are counted from 0 as well. Raises ShapeError if the result has no such pixel,
    KernelError if the kernel has planes for other channels than the picture's.
    """
    channels = _CHANNELS[image.mode]
    if len(kernel.planes) not in (1, len(channels)):
        raise KernelError(
            f"{kernel.name}: this kernel is for pictures of {len(kernel.planes)} channels, this one has {len(channels)}"
        )
    vertical, horizontal = setting.places((image.height, image.width), (kernel.height, kernel.width))
    if not (0 <= x < horizontal.output and 0 <= y < vertical.output):
        raise ShapeError(
            f"--at {x},{y}: the result is {horizontal.output} wide and {vertical.output} high; expected 0,0 to "
            f"{horizontal.output - 1},{vertical.output - 1}"
        )
    rows, columns = positions(vertical)[y], positions(horizontal)[x]
    steps = []
    for channel, name in enumerate(channels):
        plane = kernel.planes[channel if len(kernel.planes) > 1 else 0]
        values = tuple(tuple(_value(image, row, column, channel, setting) for column in columns) for row in rows)
        steps.append((name, step_of(Patch(y, x, rows, columns, values), turned(plane) if setting.flip else plane)))
    return steps


def _value(image: Image.Image, row: int, column: int, channel: int, setting: Setting) -> Fraction:
    inside = 0 <= row < image.height and 0 <= column < image.width
    if setting.border == "zero" and not inside:
        return Fraction(0)
    at = folded(column, image.width, setting.border), folded(row, image.height, setting.border)
    pixel = image.getpixel(at)
    return Fraction(int(pixel[channel] if isinstance(pixel, tuple) else pixel or 0))


def pixel_lines(steps: list[tuple[str, Step]], summed: bool, exact: bool = False) -> Iterator[str]:
    """The steps as text. `summed` says that the kernel has a plane for each channel, whose sums are added."""
    for name, step in steps:
        rows, columns = step.patch.rows, step.patch.columns
        yield f"{name}, rows {rows[0]} to {rows[-1]}, columns {columns[0]} to {columns[-1]}"
        window: Matrix = step.patch.values
        middle = [""] * ((len(window) - 1) // 2)
        blocks = matrix_block(step.weights), [*middle, "x"], matrix_block(window), [*middle, "="]
        yield from indented(beside(*blocks, matrix_block(step.products), gap="  "))
        yield from indented(spelled(step, exact))
    if summed:
        total = sum((step.sum for _, step in steps), Fraction(0))
        texts = [number(step.sum, exact) for _, step in steps]
        terms = " + ".join(f"({text})" if text.startswith("-") else text for text in texts)
        yield f"all channels: {terms} = {number(total, exact)}"
