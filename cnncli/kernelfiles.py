"""Kernels from files: text, CSV, JSON, .npy, and the trained filters of a `.keras` model. Nothing is executed."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncli.errors import KernelError
from cnncli.kernels import MAX_WEIGHTS, Kernel, Matrix, matrix, rectangular

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_FILE_BYTES = 4_000_000  # MAX_WEIGHTS numbers with all their digits take less
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")


def from_file(path: Path) -> Kernel:
    """The kernel in a file: rows of numbers, or JSON or .npy of shape `(height, width)` or `(height, width, channels)`.

    The content decides nothing, the suffix does: `.json` and `.npy`, everything else is text. Raises KernelError.
    """
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
            raise KernelError(f"{path}: {what}; expected a kernel as .txt, .csv, .json or .npy")
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise KernelError(f"{path}: {size:,} bytes; a kernel takes at most {MAX_FILE_BYTES:,}")
        planes = _READERS.get(path.suffix.lower(), _from_text)(path)
    except OSError as problem:
        raise KernelError(f"{path}: cannot be read ({problem.strerror or problem})") from problem
    except (ValueError, TypeError, RecursionError, OverflowError, EOFError) as problem:
        raise KernelError(f"{path}: not a kernel ({_brief(problem)})") from problem
    except KernelError as problem:
        raise KernelError(str(problem) if str(path) in str(problem) else f"{path}: {problem}") from problem
    if (count := len(planes) * len(planes[0]) * len(planes[0][0])) > MAX_WEIGHTS:
        raise KernelError(f"{path}: {count:,} weights; expected at most {MAX_WEIGHTS:,}")
    return Kernel(path.stem, planes, "your own kernel", str(path))


def _brief(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def _from_text(path: Path) -> tuple[Matrix, ...]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return (matrix("\n".join(line.partition("#")[0] for line in lines)),)


def _from_json(path: Path) -> tuple[Matrix, ...]:
    """Decimals are taken exactly as they are written: 0.1 is a tenth."""

    def exact(digits: str) -> Fraction:
        return matrix(digits)[0][0]

    rows = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=exact, parse_int=exact, parse_constant=exact)
    if not (isinstance(rows, list) and rows and all(isinstance(row, list) and row for row in rows)):
        raise KernelError("expected a list of rows, each a list of numbers")
    cells = [[cell if isinstance(cell, list) else [cell] for cell in row] for row in rows]
    if not all(isinstance(value, Fraction) for row in cells for cell in row for value in cell):
        raise KernelError("expected numbers only, in a list of rows or, for several channels, rows of pixels")
    depths = {len(cell) for row in cells for cell in row}
    if len(depths) != 1 or depths == {0}:
        raise KernelError("expected as many channels in each cell")
    return tuple(rectangular([[cell[channel] for cell in row] for row in cells]) for channel in range(depths.pop()))


def _from_npy(path: Path) -> tuple[Matrix, ...]:
    import numpy as np

    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise KernelError("not a .npy file")
    # Mapped, so that a header that claims terabytes is an error and not an allocation; never unpickled.
    return planes_of(np.load(path, mmap_mode="r", allow_pickle=False))


_READERS = {".json": _from_json, ".npy": _from_npy}


def planes_of(weights: npt.NDArray[Any]) -> tuple[Matrix, ...]:
    """Exact planes from an array of shape `(height, width)` or `(height, width, channels)`. Raises KernelError."""
    import numpy as np

    if weights.ndim not in (2, 3) or not 0 < weights.size <= MAX_WEIGHTS:
        raise KernelError(f"an array of shape {weights.shape}; expected (height, width) or (height, width, channels)")
    if weights.dtype.kind not in "biuf" or not np.isfinite(weights).all():
        raise KernelError(f"an array of {weights.dtype}; expected numbers, all of them finite")
    channels = np.atleast_3d(weights)
    return tuple(
        rectangular([[Fraction(value) for value in row] for row in channels[:, :, index].tolist()])
        for index in range(channels.shape[2])
    )


def from_model(spec: str) -> Kernel:
    """The filter that `MODEL.keras:LAYER:N` names; the model is checked as untrusted, TensorFlow is not needed.

    A filter of a convolution has a plane for each channel of its layer's input; one of a depthwise convolution has
    one plane. Raises KernelError, and ModelError where the model is refused.
    """
    path, layer, index = _parts(spec)
    layers = {name: (kind, weights) for name, kind, weights in convolutions(path)}
    if layer not in layers:
        known = ", ".join(f"{name} ({_filters(*found)} filters)" for name, found in layers.items()) or "none"
        asked = f"no convolution layer {layer!r}" if layer else f"expected {path.name}:LAYER:N"
        raise KernelError(f"{path}: {asked}; its convolution layers: {known}")
    kind, weights = layers[layer]
    count = _filters(kind, weights)
    if index is None or not 0 <= index < count:
        raise KernelError(
            f"{path}: layer {layer!r} has {count} filters; expected {layer}:N with N from 0 to {count - 1}"
        )
    if kind == "DepthwiseConv2D":
        chosen = weights.reshape(*weights.shape[:2], -1)[:, :, index]
        shows = f"filter {index} of {count} that {layer} learned, for one channel"
    else:
        chosen = weights[:, :, :, index]
        shows = f"filter {index} of {count} that {layer} learned, over {weights.shape[2]} channels"
    return Kernel(f"{path.stem}-{layer}-{index}", planes_of(chosen), shows, spec)


def _parts(spec: str) -> tuple[Path, str, int | None]:
    """`MODEL.keras:LAYER:N`, split from the right; layer and number may be missing."""
    found = re.fullmatch(r"(.+\.keras)(?::(.+?)(?::(\d{1,9}))?)?:?", spec, re.DOTALL)
    if found is None:
        raise KernelError(f"{spec!r}: expected MODEL.keras:LAYER:N, N counted from 0")
    return Path(found[1]), found[2] or "", int(found[3]) if found[3] else None


def _filters(kind: str, weights: npt.NDArray[Any]) -> int:
    return math.prod(weights.shape[2:]) if kind == "DepthwiseConv2D" else int(weights.shape[3])


def convolutions(path: Path) -> list[tuple[str, str, npt.NDArray[Any]]]:
    """The convolution layers of a `.keras` file in its order: name, class, weights of shape
    `(height, width, channels, filters)`; the last axis of a depthwise one is its multiplier. Raises ModelError.
    """
    from cnncli.modelsafety import check_keras_file

    content = check_keras_file(path)
    weights = _first_weights(content.weights)
    layers = [(node["config"].get("name"), node["class_name"]) for node in _layers(content.config)]
    return [(name, kind, weights[name]) for name, kind in layers if name in weights and weights[name].ndim == 4]


def _layers(config: object) -> Iterator[dict[str, Any]]:
    """The convolution layers in a Keras config, those inside other models too."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.get("class_name") in _CONVOLUTIONS and isinstance(item.get("config"), dict):
                yield item
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _first_weights(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The first array of each layer by the layer's name, from the checked HDF5 file that Keras puts into its own."""
    import h5py

    found: dict[str, npt.NDArray[Any]] = {}

    def keep(path: str, item: object) -> None:
        if isinstance(item, h5py.Group) and path.endswith("vars") and isinstance(item.get("0"), h5py.Dataset):
            found.setdefault(str(item.attrs.get("name", "")), _floats(item["0"][()]))

    with h5py.File(io.BytesIO(content), "r") as root:
        root.visititems(keep)
    return found


def _floats(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What HDF5 stores, bfloat16 widened: its bits are the upper half of a float32's."""
    import numpy as np

    if stored.dtype != np.dtype("V2"):
        return stored
    return (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
