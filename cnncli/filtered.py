"""What `filter` makes of one photo: a picture for each kernel, a stack, a magnitude, or a sheet to compare them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from cnncli.convolution import Array
from cnncli.filtering import feature_maps, filtered
from cnncli.images import Picture
from cnncli.kernels import Kernel
from cnncli.ranges import RangeMode
from cnncli.setting import Pool, Setting
from cnncli.sheet import contact_sheet

Form = Literal["each", "stack", "magnitude", "compare"]

_SHEET_PX = 480  # the longer side of a picture on a sheet


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made of every photo."""

    kernels: tuple[Kernel, ...]
    setting: Setting
    pool: Pool | None = None
    mode: RangeMode = "auto"
    gray: bool = False
    form: Form = "each"


@dataclass(frozen=True, slots=True)
class Made:
    """One result: a picture, or an array of shape `(height, width, channels)`."""

    what: str  # for its name
    content: Image.Image | Array
    notes: tuple[str, ...] = ()


def results(picture: Picture, plan: Plan) -> Iterator[Made]:
    """The results for one photo, in order. Raises KernelError, ShapeError."""
    image = picture.image
    if plan.gray and image.mode == "RGB":
        image = image.convert("L")
    if plan.form == "compare":
        yield _sheet(image, plan)
    elif plan.form == "stack":
        yield Made("stack", feature_maps(image, plan.kernels, plan.setting, plan.pool))
    elif plan.form == "magnitude":
        yield _made("magnitude", image, plan.kernels, picture.alpha, plan)
    else:
        for kernel in plan.kernels:
            yield _made(kernel.name, image, (kernel,), picture.alpha, plan)


def _made(what: str, image: Image.Image, kernels: tuple[Kernel, ...], alpha: Image.Image | None, plan: Plan) -> Made:
    content, said = filtered(image, kernels, plan.setting, mode=plan.mode, pool=plan.pool)
    if alpha is not None and isinstance(content, Image.Image):
        content = _with_alpha(content, alpha)
    return Made(what, content, (f"{what}: {said}",))


def _with_alpha(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """A result with the photo's transparency, scaled where stride, padding or pooling changed the size."""
    scaled = alpha if alpha.size == image.size else alpha.resize(image.size, Image.Resampling.BOX)
    image = image.copy()
    image.putalpha(scaled)
    return image


def _sheet(image: Image.Image, plan: Plan) -> Made:
    """The photo and its results side by side, each as large as a sheet allows: the photo is scaled before it is
    filtered, since scaled after that the fine edges that one looks for would be gone.
    """
    white = 65535 if image.mode == "I;16" else 255
    if white > 255:  # a sheet has 8 bits
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    small = image.copy()
    small.thumbnail((_SHEET_PX, _SHEET_PX))
    cells = [("original", small)]
    notes = [] if small.size == image.size else [f"compared at {small.width}x{small.height} pixels"]
    for kernel in plan.kernels:
        content, said = filtered(small, [kernel], plan.setting, mode=plan.mode, pool=plan.pool)
        assert isinstance(content, Image.Image)  # a sheet of raw values is refused before
        cells.append((kernel.name, content))
        notes.append(f"{kernel.name}: {said}")
    return Made("compare", contact_sheet(cells), tuple(notes))
