"""Pictures one after the other, as an animated GIF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.outputs import saving

_COLOURS = 256  # of a GIF
FRAME_MS, LAST_MS = 900, 3000  # time to follow a window, and to look at the result


def save(frames: Sequence[Image.Image], path: Path) -> None:
    """Writes frames of one size, mode `RGB`, as a GIF that repeats for ever, atomically.

    All share the 256 commonest colours, so that nothing flickers and areas keep theirs. Raises CnncliError.
    """
    palette = _commonest(frames)
    first, *others = [_in_palette(frame, palette) for frame in frames]
    durations = [FRAME_MS] * len(others) + [LAST_MS]
    with saving(path) as file:
        first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0, disposal=1)


def _commonest(frames: Sequence[Image.Image]) -> npt.NDArray[np.int64]:
    """The commonest colours of all frames, shape `(256 or less, 3)`."""
    counted: Counter[tuple[int, ...]] = Counter()
    for frame in frames:
        for count, colour in frame.getcolors(frame.width * frame.height) or []:
            assert isinstance(colour, tuple)  # of three channels
            counted[colour] += count
    return np.array(sorted(counted, key=lambda colour: (-counted[colour], colour))[:_COLOURS])


def _in_palette(frame: Image.Image, palette: npt.NDArray[np.int64]) -> Image.Image:
    """The frame with each colour as the nearest one of the palette; Pillow's own choice is only about the nearest."""
    packed = np.asarray(frame).astype(np.int64) @ (1 << 16, 1 << 8, 1)  # a number for each colour
    found, places = np.unique(packed, return_inverse=True)
    colours = found[:, np.newaxis] >> (16, 8, 0) & 0xFF
    distances = ((colours[:, np.newaxis] - palette) ** 2).sum(axis=2)
    indices = distances.argmin(axis=1).astype(np.uint8)[places.reshape(frame.height, frame.width)]
    image = Image.fromarray(indices)
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image
