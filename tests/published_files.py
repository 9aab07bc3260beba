"""Small files in the layouts of published data sets, put where Keras keeps the real ones."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from typing import Any

import numpy as np
import pytest

from cnncli.datasets.published import PUBLISHED, PublishedData

TRAIN, TEST = 30, 20  # images


def digits(seed: int = 0) -> dict[str, np.ndarray]:
    """What mnist.npz holds: `(images, 28, 28)` and labels, ten classes."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (TRAIN, 28, 28), np.uint8),
        "y_train": (np.arange(TRAIN) % 10).astype(np.uint8),
        "x_test": rng.integers(0, 256, (TEST, 28, 28), np.uint8),
        "y_test": (np.arange(TEST) % 10).astype(np.uint8),
    }


def npz(arrays: dict[str, Any]) -> bytes:
    """Arrays as the bytes of a .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    """Bytes in the format of http://yann.lecun.com/exdb/mnist/, gzipped."""
    return gzip.compress(bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def batch(images: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """A batch of CIFAR as Python 2 pickled it, `images` of shape `(images, 32, 32, 3)`."""
    content = pickle.dumps({b"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), key: labels}, protocol=3)
    return content.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def archive(members: dict[str, bytes]) -> bytes:
    """A .tar.gz with these members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def as_published(monkeypatch: pytest.MonkeyPatch, name: str, *contents: bytes) -> PublishedData:
    """Makes the table say that `contents` are the published files of a data set."""
    row = PUBLISHED[name]
    files = tuple(
        dataclasses.replace(
            file,
            size_bytes=len(content),
            digest=file.digest and f"sha256:{hashlib.sha256(content).hexdigest()}",
        )
        for file, content in zip(row.files, contents, strict=True)
    )
    row = dataclasses.replace(row, files=files)
    monkeypatch.setitem(PUBLISHED, name, row)
    return row


def put(row: PublishedData, *contents: bytes) -> None:
    """Writes the files of a data set where Keras keeps them."""
    for file, content in zip(row.files, contents, strict=True):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(content)
