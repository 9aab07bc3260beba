"""Accuracy on 10,000 images, whole process, against plain Keras scripts: `python tests/benchmarks/evaluate.py`.

pretrained: mobilenet-0.75 with its ImageNet weights on the validation images of Tiny ImageNet, of 200 of its classes.
bundled: tiny200 on the same images, which is shown each of them and its mirror image, by both.
own: a LeNet, trained for one epoch on CIFAR-10, on the test images. `--only` does one of the three.
Theirs prints the accuracy alone; ours also all other figures, and writes the report where it says so.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from real_data import WEIGHTS, arguments, data_set, keras_home
from timing import compare, run

from cnncli.backbones import imagenet_classes

PRETRAINED_SCRIPT = """
import json, sys
import keras
import numpy as np
from keras.applications.mobilenet import MobileNet, preprocess_input
folder, weights, order = sys.argv[1:]
model = MobileNet(alpha=0.75, weights=weights)
photos = keras.utils.image_dataset_from_directory(folder, image_size=(224, 224), batch_size=32, shuffle=False)
index = np.array([json.loads(order)[name] for name in photos.class_names])
truth = index[np.concatenate([labels for _, labels in photos])]
scores = model.predict(photos.map(lambda pixels, _: preprocess_input(pixels)))
print("accuracy", (scores.argmax(axis=1) == truth).mean())
"""
BUNDLED_SCRIPT = """
import sys
import keras
import numpy as np
folder, path = sys.argv[1:]
model = keras.models.load_model(path)
photos = keras.utils.image_dataset_from_directory(folder, image_size=(64, 64), batch_size=32, shuffle=False)
truth = np.concatenate([labels for _, labels in photos])
views = (lambda pixels, _: pixels), (lambda pixels, _: pixels[:, :, ::-1])
scores = sum(model.predict(photos.map(view)) for view in views)
print("accuracy", (scores.argmax(axis=1) == truth).mean())
"""
OWN_SCRIPT = """
import sys
import keras
folder, path = sys.argv[1:]
model = keras.models.load_model(path)
photos = keras.utils.image_dataset_from_directory(folder, image_size=(32, 32), batch_size=32, shuffle=False)
model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
print("accuracy", model.evaluate(photos)[1])
"""


def pretrained(data: Path, folder: Path, pairs: int) -> None:
    """The published network; its photos are larger than the images, which are scaled up."""
    environment = keras_home(folder)
    weights = Path(environment["KERAS_HOME"], "models", WEIGHTS)
    order = json.dumps({image_class.id: index for index, image_class in enumerate(imagenet_classes())})
    ours = [sys.executable, "-m", "cnncli", "evaluate", "mobilenet-0.75", data / "val", "--format", "json"]
    theirs = [sys.executable, "-c", PRETRAINED_SCRIPT, data / "val", weights, order]
    run(
        [sys.executable, "-m", "cnncli", "models", "pull", "mobilenet-0.75", "--offline"], environment
    )  # compiled, once
    compare("mobilenet-0.75, 10,000 images of 64x64", ours, theirs, runs=pairs, environment=environment, warm_up=False)


def bundled(data: Path, folder: Path, pairs: int) -> None:
    """The model that comes with cnncli."""
    environment, path = {"CNNCLI_CACHE": str(folder / "cache")}, folder / "tiny200.keras"
    run([sys.executable, "-m", "cnncli", "models", "export", "tiny200", "--to", "keras", "-o", path], environment)
    ours = [sys.executable, "-m", "cnncli", "evaluate", "tiny200", data / "val", "--format", "json"]
    theirs = [sys.executable, "-c", BUNDLED_SCRIPT, data / "val", path]
    compare("tiny200, 10,000 images of 64x64", ours, theirs, runs=pairs, environment=environment, warm_up=False)


def own(data: Path, folder: Path, pairs: int) -> None:
    """A small network on small images: reading them is most of the work."""
    environment, model = {"CNNCLI_CACHE": str(folder / "cache")}, folder / "run"
    run([sys.executable, "-m", "cnncli", "train", data, "--net", "lenet", "--epochs", "1", "-o", model], environment)
    ours: list[str | Path] = [sys.executable, "-m", "cnncli", "evaluate", model, data / "test", "--format", "json"]
    theirs: list[str | Path] = [sys.executable, "-c", OWN_SCRIPT, data / "test", model / "model.keras"]
    title = "LeNet, 10,000 images of 32x32"
    compare(title, ours, theirs, runs=pairs, environment=environment)
    report = folder / "report.html"
    compare(f"{title}, with a report", [*ours, "--report", report], theirs, runs=pairs, environment=environment)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=("pretrained", "bundled", "own"))
    parser.add_argument("--pairs", type=int, default=3, metavar="N")
    options = parser.parse_args()
    for name, data_name, measure in (
        ("own", "cifar10", own),
        ("bundled", "tiny-imagenet-200", bundled),
        ("pretrained", "tiny-imagenet-200", pretrained),
    ):
        if options.only in (None, name):
            with (
                data_set(data_name, options.data, options.images) as data,
                tempfile.TemporaryDirectory() as folder,
            ):
                measure(data, Path(folder), options.pairs)


if __name__ == "__main__":
    main()
