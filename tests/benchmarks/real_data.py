"""Real images for the benchmarks of training: unpacked, and fewer of them where a quick try is enough."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

WEIGHTS = "mobilenet_7_5_224_tf.h5"  # mobilenet-0.75 under the name that Keras Applications gives it


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all of these scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="unpacked data sets [default: CNNCLI_TEST_DATA's, unpacked]"
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help="only N images of each class and split, to try the script"
    )
    return parser


@contextlib.contextmanager
def data_set(
    name: str, given: Path | None, images: int | None, classes: Collection[str] | None = None
) -> Iterator[Path]:
    """The folder of a data set with its splits: of all classes or some, all images of a class in a split or some."""
    with tempfile.TemporaryDirectory() as temporary:
        whole = _unpack(name, Path(temporary), classes) if given is None else given.absolute() / name
        if images is None:
            yield whole
            return
        part = Path(temporary, "part", name)
        for split in whole.iterdir():
            chosen = classes or [folder.name for folder in split.iterdir()]
            link_classes(split, part / split.name, chosen, images)
        yield part


def _unpack(name: str, folder: Path, classes: Collection[str] | None) -> Path:
    """Unpacks `data/NAME.tar.xz` of the folder that CNNCLI_TEST_DATA names."""
    with tarfile.open(test_data() / "data" / f"{name}.tar.xz", "r|xz") as archive:
        files = (member for member in archive if member.isfile())  # NAME/split/class/file
        wanted = (file for file in files if classes is None or file.name.split("/")[2] in classes)
        archive.extractall(folder, wanted, filter="data")
    return folder / name


def test_data() -> Path:
    """The folder with real images and weights."""
    if "CNNCLI_TEST_DATA" not in os.environ:
        raise SystemExit("CNNCLI_TEST_DATA names no folder with data/ and weights/")
    return Path(os.environ["CNNCLI_TEST_DATA"])


def link_classes(split: Path, target: Path, classes: Iterable[str], images: int | None = None) -> Path:
    """Makes a split of some classes and of at most `images` images each, as links; returns `target`."""
    for name in classes:
        (target / name).mkdir(parents=True)
        for path in sorted((split / name).iterdir())[:images]:
            (target / name / path.name).symlink_to(path)
    return target


def keras_home(folder: Path) -> dict[str, str]:
    """Makes a Keras cache with the real weights of mobilenet-0.75; returns the environment that names it.

    The cache of cnncli is in `folder` as well, so that nothing is left from earlier runs.
    """
    models = folder / "keras" / "models"
    models.mkdir(parents=True)
    shutil.copy(test_data() / "weights" / WEIGHTS, models)
    return {"KERAS_HOME": str(models.parent), "CNNCLI_CACHE": str(folder / "cache")}


def results(run: Path) -> dict[str, Any]:
    """What a training run says of itself: accuracies, epochs."""
    found: dict[str, Any] = json.loads((run / "run.json").read_text())["results"]
    return found
