"""Data sets that are known by name: one frozen row each, and their files in Keras's own cache. Imports no numpy.

File names, addresses and hashes are those in the source of Keras 3.15 (`keras/src/datasets`); Fashion-MNIST has no
hash there, and what its files hold is checked instead. Sizes are those that the servers state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from cnncli.backbones import keras_home
from cnncli.errors import DataError
from cnncli.inference import cache, official
from cnncli.inference.download import Progress
from cnncli.inference.official import Notify, OfficialFile

if TYPE_CHECKING:
    from cnncli.datasets.dataset import Dataset

Layout = Literal["npz", "idx", "cifar", "folders"]

_GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of a data set, as Keras keeps it."""

    name: str  # below Keras's folder of data sets
    address: str
    kind: str  # "a .npz archive"
    signature: bytes  # its first bytes
    size_bytes: int
    digest: str | None = None  # "sha256:..."
    older_name: str | None = None  # under which Keras 2 kept the same file
    extracted: str | None = None  # the folder that Keras unpacks it to, which nothing here reads

    @property
    def url(self) -> str:
        """Where it is published; the variable CNNCLI_DATA_MIRROR names a mirror of the sites."""
        mirror = os.environ.get("CNNCLI_DATA_MIRROR")
        return self.address if mirror is None else mirror.rstrip("/") + urlsplit(self.address).path

    @property
    def path(self) -> Path:
        """Its place in Keras's own cache, whether it is there or not."""
        folder = keras_home() / "datasets"
        names = [name for name in (self.name, self.older_name) if name is not None]
        return next((folder / name for name in names if (folder / name).is_file()), folder / self.name)


@dataclass(frozen=True, slots=True)
class PublishedData:
    """A data set that is known by name. Without `files` it is had by hand, as a folder of class folders."""

    name: str
    shows: str
    train_images: int
    test_images: int
    num_classes: int
    size: str  # of its images: height x width, and colour
    layout: Layout
    home: str  # the page of its makers
    files: tuple[PublishedFile, ...] = ()
    classes: tuple[str, ...] = ()  # labels in order; CIFAR's stand in its archive

    @property
    def num_images(self) -> int:
        """Of both splits."""
        return self.train_images + self.test_images

    @property
    def size_bytes(self) -> int:
        """Of its files, which is what is downloaded."""
        return sum(file.size_bytes for file in self.files)

    @property
    def cached(self) -> bool:
        """Whether all of its files are on this machine (their content is not checked)."""
        return bool(self.files) and all(file.path.is_file() for file in self.files)


def _idx(name: str, size_bytes: int) -> PublishedFile:
    return PublishedFile(f"fashion-mnist/{name}", _GOOGLE + name, "a .gz file", _GZIP, size_bytes)


def _cifar(number: int, folder: str, size_bytes: int, digest: str) -> PublishedFile:
    return PublishedFile(
        f"{folder}-target_archive", f"{_TORONTO}cifar-{number}-python.tar.gz", "a .tar.gz archive", _GZIP, size_bytes,
        f"sha256:{digest}", f"{folder}.tar.gz", f"{folder}-target",
    )  # fmt: skip


PUBLISHED: dict[str, PublishedData] = {
    row.name: row
    for row in (
        PublishedData(
            "mnist", "handwritten digits", 60_000, 10_000, 10, "28x28 gray", "npz", "http://yann.lecun.com/exdb/mnist/",
            (
                PublishedFile(
                    "mnist.npz", f"{_GOOGLE}mnist.npz", "a .npz archive", b"PK\x03\x04", 11_490_434,
                    "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                ),
            ),
            tuple("0123456789"),
        ),
        PublishedData(
            "fashion-mnist", "pieces of clothing", 60_000, 10_000, 10, "28x28 gray", "idx",
            "https://github.com/zalandoresearch/fashion-mnist",
            (
                _idx("train-images-idx3-ubyte.gz", 26_421_880),
                _idx("train-labels-idx1-ubyte.gz", 29_515),
                _idx("t10k-images-idx3-ubyte.gz", 4_422_102),
                _idx("t10k-labels-idx1-ubyte.gz", 5_148),
            ),
            (
                "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                "Ankle boot",
            ),
        ),
        PublishedData(
            "cifar10", "animals and vehicles", 50_000, 10_000, 10, "32x32 rgb", "cifar", f"{_TORONTO}cifar.html",
            (
                _cifar(
                    10, "cifar-10-batches-py", 170_498_071,
                    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                ),
            ),
        ),
        PublishedData(
            "cifar100", "things of 100 kinds", 50_000, 10_000, 100, "32x32 rgb", "cifar", f"{_TORONTO}cifar.html",
            (
                _cifar(
                    100, "cifar-100-python", 169_001_437,
                    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                ),
            ),
        ),
        PublishedData(
            "malaria", "blood cells", 27_558, 0, 2, "various rgb", "folders",
            "https://ceb.nlm.nih.gov/repositories/malaria-datasets/", (), ("Parasitized", "Uninfected"),
        ),
        PublishedData(
            "concrete", "concrete surfaces", 40_000, 0, 2, "227x227 rgb", "folders",
            "https://data.mendeley.com/datasets/5y9wdsg2zt/2", (), ("Negative", "Positive"),
        ),
    )
}  # fmt: skip


def find(name: str) -> PublishedData | None:
    """The data set called `name`, or None."""
    return PUBLISHED.get(name)


def named(name: str) -> PublishedData:
    """The data set called `name`. Raises DataError listing the names."""
    row = find(name)
    if row is None:
        raise DataError(f"{name}: no published data set has this name; expected one of {', '.join(PUBLISHED)}")
    return row


def how_to_get(row: PublishedData) -> str:
    """Where a data set without files is had, and what it looks like, in lines."""
    folders = "".join(f"    {label + '/':14} images of this class\n" for label in row.classes)
    return (
        f"{row.num_images:,} images of {row.num_classes} classes, to be had by hand: {row.home}\n"
        f"Unpack the archive. The folder that holds these two is the data, wherever it lies:\n"
        f"  FOLDER/\n{folders}"
        f"Then: cnncli data check FOLDER; cnncli train FOLDER"
    )


def pull(row: PublishedData, *, offline: bool, notify: Notify, progress: Progress) -> list[Path]:
    """The checked files of a data set, downloaded if need be. Raises DataError if they are not to be had."""
    if not row.files:
        here = f" (a folder of that name is ./{row.name})" if Path(row.name).is_dir() else ""
        raise DataError(f"{row.name}: this name stands for data that cannot be fetched{here}.\n{how_to_get(row)}")
    for file in row.files:
        if file.extracted is not None and not file.path.is_file() and file.path.with_name(file.extracted).is_dir():
            notify(
                f"{file.path.with_name(file.extracted)}: Keras unpacked {row.name} here, but without its archive it "
                "cannot be compared with the published hash and is not read"
            )
    return [
        official.obtain(_official(row, file), offline=offline, notify=notify, progress=progress) for file in row.files
    ]


def load(row: PublishedData, *, offline: bool, notify: Notify, progress: Progress) -> Dataset:
    """The images of a published data set, train and test. Raises DataError if its files are not to be had.

    The very bytes whose hash was compared are read, in memory.
    """
    paths = pull(row, offline=offline, notify=notify, progress=progress)
    from cnncli.datasets import archives

    return archives.read(row, [_content(file, path) for file, path in zip(row.files, paths, strict=True)])


def _content(file: PublishedFile, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror})") from problem
    wrong = file.digest and official.hash_fault(file.digest, {"sha256": sha256(content).hexdigest()})
    if wrong:
        raise DataError(f"{path}: it has just changed: {wrong}; run the command again")
    return content


def _official(row: PublishedData, file: PublishedFile) -> OfficialFile:
    digest = file.digest
    return OfficialFile(
        name=row.name,
        what="labels" if "labels" in file.name else "images",
        url=file.url,
        path=file.path,
        kind=file.kind,
        signature=file.signature,
        size_bytes=file.size_bytes,
        examine=_content_fault if digest is None else official.examine_hash(digest),
        fault=_known_content_fault if digest is None else official.known_hash_fault(digest),
        pull="cnncli data pull",
        unavailable=DataError,
    )


def _content_fault(path: Path) -> str | None:
    from cnncli.datasets import archives

    try:
        archives.idx(path.read_bytes())
    except DataError as problem:
        return str(problem)
    return None


def _known_content_fault(path: Path) -> str | None:
    return cache.remembered(path, "IDX file", lambda: {"fault": _content_fault(path) or ""})["fault"] or None
