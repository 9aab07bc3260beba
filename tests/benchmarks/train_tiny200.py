"""The bundled model's recipe: `python tests/benchmarks/train_tiny200.py --data DATA -o runs/tiny200`, for two hours.

DATA is the folder with the unpacked `tiny-imagenet-200`.

`python tests/package_tiny200.py runs/tiny200 tiny-imagenet-200` then makes the model file. A run that was stopped goes
on with `cnncli train --resume -o runs/tiny200`. `--twice` trains three epochs twice and compares the weights, bit for
bit; with `--images 20` on a part of the data, in minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from real_data import arguments, data_set

from cnncli.modelfile import model_sha256

RECIPE = (
    "--net tiny200 --epochs 15 --batch-size 128 --optimizer sgd --lr 0.2 --schedule one-cycle --weight-decay 0.004 "
    "--label-smoothing 0.1 --augment crop,flip --progressive --val-split 0.02 --seed 0"
)


def train(data: Path, output: Path, *more: str) -> None:
    """Trains on DATA/train alone: DATA/val is for the test."""
    command = [sys.executable, "-m", "cnncli", "train", data / "train", *RECIPE.split(), *more, "-o", output]
    subprocess.run(list(map(str, command)), check=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("-o", "--output", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument("--twice", action="store_true", help="train three epochs twice and compare the weights")
    asked = parser.parse_args()
    if asked.twice == (asked.output is not None):
        parser.error("expected either -o RUN or --twice")
    if not asked.twice and asked.data is None:
        parser.error("-o needs --data: the images must still be there to go on with a run, and to package it")
    with data_set("tiny-imagenet-200", asked.data, asked.images) as data:
        if not asked.twice:
            train(data, asked.output)
            return
        with tempfile.TemporaryDirectory() as folder:
            runs = [Path(folder, name) for name in ("first", "second")]
            for run in runs:
                train(data, run, "--epochs", "3", "-q")
            first, second = (weights(run) for run in runs)
    print(f"weights {first}\n        {second}\n{'equal' if first == second else 'DIFFERENT'}")
    sys.exit(first != second)


def weights(run: Path) -> str:
    """The sha256 of a run's network, weights and all."""
    return model_sha256(run / "model.keras")


if __name__ == "__main__":
    main()
