"""Reads what an untrusted HDF5 file of weights holds, without Keras and without following it anywhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnncli.backbones import BACKBONES, Backbone
from cnncli.errors import ModelError

if TYPE_CHECKING:
    import h5py

MAX_INFLATION = 20  # the data may unpack to this many times the size of the file, or to a megabyte
_BFLOAT16 = np.dtype("V2")  # how Keras stores a type that HDF5 has not

StoredLayer = tuple[str, list[tuple[int, ...]]]  # name, shapes of its weights


def check(file: Path | io.BytesIO, size_bytes: int, shown: str) -> None:
    """Raises ModelError unless an HDF5 file holds its data itself, all of it, and every number is finite."""
    import h5py

    try:
        with h5py.File(file, "r") as root:
            claimed = 0
            for dataset in _datasets(root, shown):
                claimed += dataset.nbytes
                _check_dataset(dataset, claimed, size_bytes, shown)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as problem:
        raise ModelError(f"{shown}: its weights are damaged ({problem})") from problem


def _datasets(root: h5py.Group, shown: str) -> Iterator[h5py.Dataset]:
    import h5py

    waiting, seen = [root], {root}
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{shown}: {name!r} is a link to elsewhere; refused")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield item
            elif item in seen:
                raise ModelError(f"{shown}: {item.name} is linked twice; refused")
            elif isinstance(item, h5py.Group):
                seen.add(item)
                waiting.append(item)


def _check_dataset(dataset: h5py.Dataset, claimed_bytes: int, size_bytes: int, shown: str) -> None:
    """Checks one dataset; `claimed_bytes` is what it and those before it unpack to."""
    if dataset.external or dataset.is_virtual:
        raise ModelError(f"{shown}: {dataset.name} keeps its data in another file; refused")
    if dataset.dtype.kind not in "biuf" and dataset.dtype != _BFLOAT16:
        raise ModelError(f"{shown}: {dataset.name} holds {dataset.dtype} where numbers are expected; refused")
    if claimed_bytes > max(size_bytes * MAX_INFLATION, 1_000_000):
        raise ModelError(
            f"{shown}: up to {dataset.name} it claims {claimed_bytes:,} bytes in a file of {size_bytes:,}; refused"
        )
    if dataset.dtype.kind not in "biu" and not _all_finite(dataset[()]):
        raise ModelError(f"{shown}: {dataset.name} has values that are not finite (NaN or infinite); refused")


def _all_finite(values: npt.NDArray[Any]) -> bool:
    if values.dtype == _BFLOAT16:  # infinite and NaN have all eight bits of the exponent set
        return bool(((values.view(np.uint16) & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(values).all())


def stored_layers(path: Path) -> list[StoredLayer]:
    """The layers with weights in a checked file of Keras Applications' layout, in order. Raises ModelError."""
    import h5py

    try:
        with h5py.File(path, "r") as root:
            if not any(name.startswith("layer_names") for name in root.attrs):
                raise ModelError(
                    f"{path}: expected weights in the layout of Keras Applications, with a list of layer names; this "
                    "may be a whole model, or Keras 3's own .weights.h5: save the model as .keras and adopt it instead"
                )
            layers = [(name, _weight_shapes(root[name])) for name in _names(root, "layer_names")]
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as problem:
        raise ModelError(f"{path}: its list of layers is damaged ({problem})") from problem
    return [(name, shapes) for name, shapes in layers if shapes]


def _weight_shapes(layer: h5py.Group) -> list[tuple[int, ...]]:
    return [tuple(layer[name].shape) for name in _names(layer, "weight_names")]


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names that Keras stores as one attribute or, where HDF5's limit of 64 kB cut it, as several."""
    names = group.attrs.get(attribute)
    chunks = [names] if names is not None else []
    while f"{attribute}{len(chunks)}" in group.attrs:
        chunks.append(group.attrs[f"{attribute}{len(chunks)}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for chunk in chunks for name in chunk]


def row_of(row: Backbone, weights: Path) -> Backbone:
    """`row`, or the MobileNet of the width that the weights have: the first layer makes 32 x width feature maps."""
    if row.alpha is None:
        return row
    check(weights, weights.stat().st_size, str(weights))
    shapes = dict(stored_layers(weights)).get("conv1")
    widths = (other for other in BACKBONES.values() if other.alpha is not None)
    return next((other for other in widths if shapes == [(3, 3, 3, int(32 * (other.alpha or 0)))]), row)
