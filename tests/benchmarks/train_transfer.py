"""Transfer on Tiny ImageNet with mobilenet-0.75: how fast against plain Keras, how good against training from scratch.

`python tests/benchmarks/train_transfer.py`; `--only speed` or `--only few` does one of the two. The classes are the
first ten in the order of their ids. The weights were learned on ImageNet, whose images these are in small, so the
accuracies are higher than on photos that the network has not seen; that holds for both sides of `speed`, and `few`
shows what transfer gives where the backbone knows the subject.

speed: ten epochs of a head on the frozen backbone, whole process, against a plain Keras script that runs the frozen
backbone in every epoch. Both validate after each epoch and save the model; ours also compiles it. `val_accuracy` is
that of the best epoch.
few: 50 images of each class, by transfer and from scratch with more epochs; the test images are the official
validation images.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from real_data import WEIGHTS, arguments, data_set, keras_home, link_classes, results
from timing import compare, machine, run

CLASSES = [
    "n01443537", "n01629819", "n01641577", "n01644900", "n01698640", "n01742172", "n01768244", "n01770393",
    "n01774384", "n01774750",
]  # fmt: skip
SPEED_IMAGES, FEW_IMAGES = 200, 50  # of each class
FEW = {  # how the few images are learned
    "transfer": "--backbone mobilenet-0.75 --epochs 20",
    "from scratch": "--net compact --epochs 40 --augment auto --schedule one-cycle",
    "from scratch, the course's net": "--net course-cifar --epochs 40",
}
ALIKE = "--batch-size 32 --optimizer adam --lr 0.001 --schedule constant".split()  # as the Keras script below has it
SEEDS = (0, 1, 2)

KERAS_SCRIPT = """
import json, pathlib, sys
import keras
import tensorflow as tf
data, weights, folder = map(pathlib.Path, sys.argv[1:])
train, val = (
    keras.utils.image_dataset_from_directory(data / split, image_size=(224, 224), batch_size=32, seed=0)
    for split in ("train", "val")
)
backbone = keras.applications.MobileNet((224, 224, 3), alpha=0.75, include_top=False, weights=None, pooling="avg")
backbone.load_weights(weights, by_name=True)  # the file has the whole network
backbone.trainable = False
inputs = keras.Input((224, 224, 3))
features = backbone(keras.applications.mobilenet.preprocess_input(inputs), training=False)
model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(features))
model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
train, val = train.prefetch(tf.data.AUTOTUNE), val.prefetch(tf.data.AUTOTUNE)
history = model.fit(train, validation_data=val, epochs=10, verbose=2).history
model.save(folder / "model.keras")
(folder / "scores.json").write_text(json.dumps({"val_accuracy": max(history["val_accuracy"])}))
"""


def speed(data: Path, folder: Path, pairs: int) -> None:
    """Ten epochs on about 2000 images."""
    images = folder / "speed"
    for split in ("train", "val"):
        link_classes(data / split, images / split, CLASSES, SPEED_IMAGES)
    environment = keras_home(folder)
    weights = Path(environment["KERAS_HOME"], "models", WEIGHTS)
    ours = [sys.executable, "-m", "cnncli", "train", images, "--backbone", "mobilenet-0.75", "--epochs", "10"]
    ours += [*ALIKE, "-o", folder / "run", "--force"]
    theirs = [sys.executable, "-c", KERAS_SCRIPT, images, weights, folder]
    compare("transfer, 10 epochs", ours, theirs, runs=pairs, environment=environment, warm_up=False)
    scores = json.loads((folder / "scores.json").read_text())
    print(f"  val_accuracy: ours {results(folder / 'run')['val_accuracy']:.3f}, theirs {scores['val_accuracy']:.3f}")


def few(data: Path, folder: Path) -> None:
    """Few images, by transfer and from scratch."""
    images = folder / "few"
    link_classes(data / "train", images / "train", CLASSES, FEW_IMAGES)
    link_classes(data / "val", images / "test", CLASSES)
    environment = keras_home(folder)
    count = sum(1 for _ in (images / "train").glob("*/*"))
    print(f"{len(CLASSES)} classes, {count} images to learn from, seeds {SEEDS} ({machine()})")
    for what, options in FEW.items():
        walls, accuracies = [], []
        for seed in SEEDS:
            output = folder / f"run-{seed}"
            command = [sys.executable, "-m", "cnncli", "train", images, *options.split(), "--seed", str(seed)]
            walls.append(run([*command, "-o", output, "--force"], environment).wall_s)
            accuracies.append(results(output)["test_accuracy"])
        shown = ", ".join(f"{accuracy:.3f}" for accuracy in accuracies)
        print(f"  {what}: test accuracy {shown}; at most {max(walls):.1f} s, the whole process\n    {options}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=("speed", "few"))
    parser.add_argument("--pairs", type=int, default=3, metavar="N")
    options = parser.parse_args()
    with (
        data_set("tiny-imagenet-200", options.data, options.images, CLASSES) as data,
        tempfile.TemporaryDirectory() as name,
    ):
        if options.only != "few":
            speed(data, Path(name, "speed"), options.pairs)
        if options.only != "speed":
            few(data, Path(name, "few"))


if __name__ == "__main__":
    main()
