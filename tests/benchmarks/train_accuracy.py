"""Test accuracies of `cnncli train`, with the command line of each: `python tests/benchmarks/train_accuracy.py`.

The rows are those of ROWS; `--only NAME` runs one of them. `keras` is a plain Keras script with the same LeNet, Adam at
its usual rate and ten epochs, as the courses have it. Times are those of whole processes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from real_data import arguments, data_set, results
from timing import machine, run
from train_epoch import KERAS_SCRIPT, save_arrays

from cnncli.networks import find
from cnncli.tracing import trace


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but the seed."""

    data: str
    net: str
    options: str | None  # of cnncli; None: the plain Keras script trains
    at_least: float | None = None  # the accuracy that is asked for
    seeds: tuple[int, ...] = (0, 1, 2)


_ALL = "--val-split 0.02"  # the courses' figures come from networks that saw all training images
_COURSE = "--epochs 10 --optimizer adam --lr 0.001 --schedule constant"
_DEEP = "--batch-size 64 --augment crop,flip --schedule one-cycle --lr 0.002"
ROWS = {
    "simple": Row("mnist", "simple", f"--epochs 5 {_ALL}", 0.980),
    "pyramid": Row("mnist", "pyramid", f"--epochs 5 --lr 0.002 {_ALL}", 0.988),
    "best": Row("mnist", "digits", "--preset best", 0.995, seeds=(0,)),
    "lenet": Row("cifar10", "lenet", f"--epochs 10 --schedule one-cycle --lr 0.003 {_ALL}", 0.62),
    "unscaled": Row("cifar10", "lenet", f"{_COURSE} --no-rescale"),
    "scaled": Row("cifar10", "lenet", _COURSE),
    "keras": Row("cifar10", "lenet", None),
    "deep": Row("cifar10", "deep", f"--epochs 36 {_DEEP} {_ALL}", 0.80, seeds=(0,)),
}
KERAS_EPOCHS = 10


@dataclass(frozen=True)
class Run:
    """What one seed gave."""

    accuracy: float
    epochs: int
    wall_s: float


def by_cnncli(row: Row, data: Path, folder: Path) -> Iterator[Run]:
    """Trains with each seed."""
    assert row.options is not None
    for seed in row.seeds:
        output = folder / f"run-{seed}"
        command = [sys.executable, "-m", "cnncli", "train", data, "--net", row.net, *row.options.split()]
        wall_s = run([*command, "--seed", str(seed), "-o", output], {"CNNCLI_CACHE": str(folder / "cache")}).wall_s
        found = results(output)
        yield Run(found["test_accuracy"], found["epochs"], wall_s)


def by_keras(row: Row, data: Path, folder: Path) -> Iterator[Run]:
    """The same by the Keras script, on arrays."""
    arrays, scores = save_arrays(data, folder / "arrays.npz"), folder / "scores.json"
    for seed in row.seeds:
        command = [sys.executable, "-c", KERAS_SCRIPT, arrays, scores, str(KERAS_EPOCHS), str(seed)]
        wall_s = run(command).wall_s
        yield Run(json.loads(scores.read_text())["test_accuracy"], KERAS_EPOCHS, wall_s)


def report(name: str, row: Row, runs: Sequence[Run]) -> None:
    """Prints three lines for a row."""
    network = find(row.net)
    assert network is not None
    keras_script = f"a plain Keras script, {row.net}, {KERAS_EPOCHS} epochs"
    command = keras_script if row.options is None else f"cnncli train {row.data}/ --net {row.net} {row.options}"
    accuracies = [one.accuracy for one in runs]
    asked = ""
    if row.at_least is not None:
        verdict = "reached" if min(accuracies) >= row.at_least else "MISSED"
        asked = f"; at least {row.at_least:.3f} is asked for: {verdict}"
    print(f"{name}: {command}")
    print(f"  test accuracy {', '.join(f'{accuracy:.4f}' for accuracy in accuracies)} with seeds {row.seeds}{asked}")
    epochs, slowest = runs[0].epochs, max(one.wall_s for one in runs)
    print(f"  {trace(network).parameters:,} parameters, {epochs} epochs, {slowest:.0f} s at most", flush=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    options = parser.parse_args()
    print(machine())
    rows = {name: row for name, row in ROWS.items() if options.only in (None, name)}
    with contextlib.ExitStack() as stack:
        names = {row.data for row in rows.values()}
        sets = {name: stack.enter_context(data_set(name, options.data, options.images)) for name in names}
        for name, row in rows.items():
            train = by_keras if row.options is None else by_cnncli
            with tempfile.TemporaryDirectory() as folder:
                report(name, row, list(train(row, sets[row.data], Path(folder))))


if __name__ == "__main__":
    main()
