"""LeNet on CIFAR-10, batch 32, seconds an epoch, against plain `keras.Model.fit` on the same arrays.

`python tests/benchmarks/train_epoch.py`. Both sides train on all training images with Adam at its usual rate, validate
nothing and score the test images at the end. An epoch lasts from the line that reports the one before to its own, by
the clock of this script; so ours includes checkpoints, TensorBoard's files and whatever else happens on the way. The
first is left out on both sides.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from real_data import arguments, data_set, results
from timing import epoch_seconds, machine

from cnncli import history
from cnncli.backbones import InputSpec
from cnncli.datasets.find import open_dataset
from cnncli.datasets.pixels import load

ALIKE = "--batch-size 32 --optimizer adam --lr 0.001 --schedule constant".split()  # as the Keras script has it

KERAS_SCRIPT = """
import json, sys
import keras
import numpy as np
arrays, result, epochs, seed = *sys.argv[1:3], *map(int, sys.argv[3:])
keras.utils.set_random_seed(seed)
data = np.load(arrays)
x_train, x_test = (data[name].astype("float32") / 255 for name in ("x_train", "x_test"))
model = keras.Sequential([
    keras.Input((32, 32, 3)),
    keras.layers.Conv2D(6, 5, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Conv2D(16, 5, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(120, activation="relu"),
    keras.layers.Dense(84, activation="relu"),
    keras.layers.Dense(10, activation="softmax"),
])
assert model.count_params() == 62006
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"{epoch + 1}/{epochs}", file=sys.stderr))
model.fit(x_train, data["y_train"], batch_size=32, epochs=epochs, verbose=0, callbacks=[tell])
accuracy = model.evaluate(x_test, data["y_test"], verbose=0)[1]
open(result, "w").write(json.dumps({"test_accuracy": accuracy}))
"""


def save_arrays(folder: Path, path: Path) -> Path:
    """The images of `folder` as uint8 arrays in one file, read by the reader that `cnncli train` has."""
    dataset = open_dataset(str(folder), offline=True, notify=print, progress=lambda done, total: None)
    arrays = {}
    for split, examples in dataset.splits.items():
        found = load(examples, InputSpec(32, 32, "rgb", "crop"), workers=2, progress=lambda done, total: None)
        arrays |= {f"x_{split}": found.images, f"y_{split}": found.labels}
    np.savez(path, **arrays)
    return path


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=3, metavar="N")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="at least 3")
    options = parser.parse_args()
    rows = []
    with data_set("cifar10", options.data, options.images) as data, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays, run, scores = save_arrays(data, folder / "arrays.npz"), folder / "run", folder / "scores.json"
        for seed in range(options.pairs):
            ours = [sys.executable, "-m", "cnncli", "train", data, "--net", "lenet", *ALIKE]
            ours += ["--epochs", str(options.epochs), "--val-split", "0", "--seed", str(seed), "-o", run, "--force"]
            theirs = [sys.executable, "-c", KERAS_SCRIPT, arrays, scores, str(options.epochs), str(seed)]
            clocks = [statistics.median(epoch_seconds(command)[1:]) for command in (ours, theirs)]
            written = statistics.median(row.seconds for row in history.read(run / "history.csv")[1:])
            accuracies = [results(run)["test_accuracy"], json.loads(scores.read_text())["test_accuracy"]]
            rows.append((*clocks, written, *accuracies))
    _print(rows, options.epochs)


def _print(rows: list[tuple[float, ...]], epochs: int) -> None:
    ours, theirs, written, our_accuracies, their_accuracies = zip(*rows, strict=True)
    print(f"LeNet on CIFAR-10, batch 32 ({len(rows)} pairs of {epochs} epochs; {machine()})")
    for side, seconds, accuracies in (("ours", ours, our_accuracies), ("theirs", theirs, their_accuracies)):
        shown = ", ".join(f"{accuracy:.4f}" for accuracy in accuracies)
        print(f"  {side:7} {statistics.median(seconds):7.3f} s an epoch   test accuracy {shown}")
    print(f"  history.csv says {statistics.median(written):.3f} s an epoch of ours")
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    print(f"  theirs / ours: {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
