"""The first use of a pretrained network, which compiles it, against the usual script that makes a LiteRT file of it.

`python tests/benchmarks/first_use.py`, on random weights; both read the weights file, and write a file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from timing import compare, make_weights

from cnncli.backbones import BACKBONES

OURS = """
import sys
from pathlib import Path
from cnncli.inference.compiled import Job, build
build(Job("backbone", sys.argv[1], Path(sys.argv[2])), Path(sys.argv[3]))
"""
THEIRS = """
import sys
from unittest import mock
import keras, tensorflow
function, width, weights, output = sys.argv[1:]
width = {"alpha": float(width)} if width else {}
with mock.patch("keras.src.utils.file_utils.get_file", return_value=weights):
    network = getattr(keras.applications, function)(weights="imagenet", **width)
with open(output, "wb") as file:
    file.write(tensorflow.lite.TFLiteConverter.from_keras_model(network).convert())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["mobilenet-0.75", "resnet50", "vgg19"], metavar="NAME")
    parser.add_argument("--pairs", type=int, default=3, metavar="N")
    options = parser.parse_args()
    for name in options.networks:
        row = BACKBONES[name]
        with tempfile.TemporaryDirectory() as folder:
            weights, output = make_weights(name, Path(folder) / row.weights_file), Path(folder) / "network.tflite"
            ours = [sys.executable, "-c", OURS, name, weights, output]
            theirs = [sys.executable, "-c", THEIRS, row.function, str(row.alpha or ""), weights, output]
            compare(f"first use of {name}", ours, theirs, runs=options.pairs, warm_up=False)


if __name__ == "__main__":
    main()
