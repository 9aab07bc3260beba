"""The picture of learned kernels: those of each layer on one scale, before training beside after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cnncli.colormaps import strip
from cnncli.mosaics import MAX_KERNELS, kernel_mosaic
from cnncli.panels import Panel, Scale, panel_sheet
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.learning.kernels import LayerKernels

_WIDTH_PX = 480  # of a picture: narrower ones are enlarged as often as that takes


def kernel_sheet(model: str, after: Sequence[LayerKernels], before: Sequence[LayerKernels] = ()) -> Image.Image:
    """A panel for each layer or, with the same layers `before` training, two side by side on one scale. Mode `RGB`."""
    title = f"What the convolutions of {printable(Path(model).name)} have learned"
    about = "Each tile is a kernel, or one plane of it; zero is mid-grey. Kernels that see colour are shown in colour."
    if not before:
        return panel_sheet(title, about, (_panel(layer, _limit(layer)) for layer in after))
    return panel_sheet(title, about, _pairs(before, after), 2)


def _pairs(before: Sequence[LayerKernels], after: Sequence[LayerKernels]) -> Iterator[Panel]:
    for old, new in zip(before, after, strict=True):
        limit = max(_limit(old), _limit(new))
        yield _panel(old, limit, ", before training")
        yield _panel(new, limit, ", after training")


def _limit(layer: LayerKernels) -> float:
    return float(np.abs(layer.weights).max())


def _panel(layer: LayerKernels, limit: float, when: str = "") -> Panel:
    picture = Image.fromarray(kernel_mosaic(layer.weights, limit))
    times = max(1, _WIDTH_PX // picture.width)  # few kernels are shown larger
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    size = "x".join(map(str, layer.weights.shape))
    low, high = float(layer.weights.min()), float(layer.weights.max())
    lines = (f"{layer.kind}, convolution {layer.number}, {size}, weights {low:.3g} to {high:.3g}", _what(layer))
    scale = Scale(strip("gray"), f"{-limit:.3g}", f"{limit:.3g}")
    return Panel(picture, printable(layer.name) + when, lines, scale)


def _what(layer: LayerKernels) -> str:
    """What a tile is, and how many of them are shown."""
    inputs, filters = layer.weights.shape[2:]
    in_colour = inputs == 3
    total = filters if in_colour else inputs * filters
    shown = f"the first {MAX_KERNELS} of {total:,}" if total > MAX_KERNELS else f"all {total}"
    if in_colour:
        return f"{shown} kernels in colour, each channel on this scale"
    return (
        f"{shown} kernels"
        if inputs == 1
        else f"{shown} planes: those of {filters} filters for input 0, then for input 1, ..."
    )
