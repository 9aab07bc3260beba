"""A step of training with batch normalisation, against the same step with Keras's own layer for it.

`python tests/benchmarks/train_step.py`, on noise. Every side is a process of its own, and sides take turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from timing import machine

BATCHES = {"compact": (32, 64), "tiny200": (64, 128)}  # network -> pixels of a side, images

STEPS = """
import sys, time
import numpy as np
from cnncli.learning import networks, steps
from cnncli.learning.optimizers import OPTIMIZERS
from cnncli.backbones import InputSpec
from cnncli.networks import NAMED_NETS
side, name, px, images, count = *sys.argv[1:3], *map(int, sys.argv[3:])
if side == "theirs":
    networks._stand_in = lambda layer: layer
threads = steps.threads(2, images, whole_batches=True)
threads.apply()
model = networks.build(NAMED_NETS[name].layers(10), InputSpec(px, px))
trainer = steps.Steps(model, OPTIMIZERS["sgd"](), steps.Objective(), parts=threads.parts, average=None)
pixels = np.random.default_rng(0).integers(0, 256, (count, images, px, px, 3), np.uint8)
labels = np.arange(count * images, dtype=np.int32).reshape(count, images) % 10
for _ in range(2):  # the first time, the graph is made
    begin = time.perf_counter()
    trainer.train(pixels, labels, 0, [0.01] * count)
print((time.perf_counter() - begin) / count)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, metavar="N")
    parser.add_argument("--steps", type=int, default=8, metavar="N")
    options = parser.parse_args()
    print(f"a step with batch normalisation ({options.pairs} pairs of {options.steps} steps; {machine()})")
    for name, (px, images) in BATCHES.items():
        words = [name, str(px), str(images), str(options.steps)]
        pairs = [[_step_s(side, words) for side in ("ours", "theirs")] for _ in range(options.pairs)]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios = sorted(b / a for a, b in pairs)
        spread = f"from {ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"  {name}, {images} images of {px} px: {ours:.3f} s against {theirs:.3f} s, ", end="")
        print(f"{statistics.median(ratios):.2f} times as fast ({spread})")


def _step_s(side: str, words: list[str]) -> float:
    command = [sys.executable, "-c", STEPS, side, *words]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
