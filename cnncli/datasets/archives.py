"""Reads the files of published data sets in memory: MNIST's .npz, Fashion-MNIST's IDX files, CIFAR's archives."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.backbones import ImageClass
from cnncli.datasets.dataset import Dataset, Example, Split
from cnncli.datasets.published import PublishedData
from cnncli.errors import DataError

Pixels = npt.NDArray[np.uint8]  # `(images, height, width)` or `(images, height, width, 3)`
Labels = npt.NDArray[np.int64]  # `(images,)`
Arrays = dict[Split, tuple[Pixels, Labels]]

_MAX_IDX_BYTES = 100_000_000  # twice the largest of the files, unpacked
_UNSIGNED_BYTE = 8  # type code of IDX, http://yann.lecun.com/exdb/mnist/
_CIFAR_MEMBERS = ("data_batch", "test", "train", "batches.meta", "meta")  # how the names of what is read begin
_CIFAR_SHAPE = (3, 32, 32)  # channels first
# What unpickles an array, found by way of one because its module has had several names.
_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


def read(row: PublishedData, contents: Sequence[bytes]) -> Dataset:
    """The images in the files of `row`, given in its order. Raises DataError if they do not hold what they should."""
    classes = row.classes
    try:
        if row.layout == "npz":
            arrays = _npz(contents[0])
        elif row.layout == "idx":
            arrays = {
                "train": (idx(contents[0]), _labels(contents[1])),
                "test": (idx(contents[2]), _labels(contents[3])),
            }
        else:
            arrays, classes = _cifar(contents[0])
    except _UNREADABLE as problem:
        raise DataError(f"{row.name}: its files do not hold what they should ({problem})") from problem
    named = tuple(ImageClass(label.replace("/", "-"), label) for label in classes)
    for images, labels in arrays.values():
        if images.dtype != np.uint8 or len(images) != len(labels) or not 0 <= labels.min() <= labels.max() < len(named):
            raise DataError(f"{row.name}: its files do not hold a label from 0 to {len(named) - 1} for each image")
    return Dataset(row.name, named, {split: _examples(row.name, split, *both) for split, both in arrays.items()})


def _examples(name: str, split: Split, images: Pixels, labels: Labels) -> tuple[Example, ...]:
    pairs = zip(images, labels.tolist(), strict=True)
    return tuple(
        Example(f"{name}/{split}/{number}", label, None, pixels) for number, (pixels, label) in enumerate(pairs)
    )


def _npz(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {
            "train": (arrays["x_train"], arrays["y_train"].astype(np.int64)),
            "test": (arrays["x_test"], arrays["y_test"].astype(np.int64)),
        }


def idx(content: bytes) -> Pixels:
    """The array in a gzipped IDX file of bytes; raises DataError if it is damaged or holds something else."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            data = file.read(_MAX_IDX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"damaged ({problem})") from problem
    if data[:3] != bytes((0, 0, _UNSIGNED_BYTE)) or len(data) < 4 + 4 * data[3]:
        raise DataError("this is no IDX file of bytes")
    shape = np.frombuffer(data, ">u4", data[3], 4).astype(np.int64).tolist()
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != np.prod(shape, dtype=object):
        raise DataError(f"it has {values.size:,} values, its header promises {' x '.join(map(str, shape))}")
    return values.reshape(shape)


def _labels(content: bytes) -> Labels:
    return idx(content).astype(np.int64)


def _cifar(content: bytes) -> tuple[Arrays, tuple[str, ...]]:
    """The arrays and labels in an archive of CIFAR-10 or CIFAR-100. Its hash was compared with the published one."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|gz") as archive:
        batches = dict(_members(archive))
    meta = batches.get("batches.meta") or batches["meta"]
    train = sorted(name for name in batches if name.startswith(("data_batch", "train")))
    test = [name for name in batches if name.startswith("test")]
    names = meta.get(b"fine_label_names") or meta[b"label_names"]
    labels = tuple(name.decode() for name in names)
    return {
        "train": _joined([batches[name] for name in train]),
        "test": _joined([batches[name] for name in test]),
    }, labels


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[bytes, Any]]]:
    """The pickled members by name, in one reading of the compressed archive."""
    for member in archive:
        name = member.name.rpartition("/")[2]
        file = archive.extractfile(member) if name.startswith(_CIFAR_MEMBERS) else None
        if file is not None:
            yield name, _unpickled(file.read())


def _joined(batches: list[dict[bytes, Any]]) -> tuple[Pixels, Labels]:
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, *_CIFAR_SHAPE)
    labels = [label for batch in batches for label in (batch.get(b"fine_labels") or batch[b"labels"])]
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)), np.array(labels, np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Makes arrays and plain values, and runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"a pickle that asks for {module}.{name}")
        return _ALLOWED[module, name]


def _unpickled(content: bytes) -> dict[bytes, Any]:
    values = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(values, dict):
        raise ValueError("a member is no dictionary")
    return values
