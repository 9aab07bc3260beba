"""One photo, whole process, against the usual Keras script: `python tests/benchmarks/predict_one.py`.

Weights are random, in the official layout, for both sides; the network has been compiled by an earlier run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from timing import compare, make_weights

from cnncli.backbones import BACKBONES

SAMPLES = Path(__file__).parents[2] / "sample_images"

KERAS_SCRIPT = """
import sys
import numpy as np
import keras
from keras.applications.{module} import {function}, preprocess_input
model = {function}(weights=sys.argv[2]{width})
image = keras.utils.load_img(sys.argv[1], target_size=(224, 224))
x = preprocess_input(np.expand_dims(keras.utils.img_to_array(image), axis=0))
scores = model.predict(x)[0]
for index in scores.argsort()[::-1][:3]:
    print(index, scores[index])
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in ("mobilenet-0.75", "resnet50"):
            row = BACKBONES[network]
            weights = make_weights(network, folder / row.weights_file)
            width = f", alpha={row.alpha}" if row.alpha else ""
            script = KERAS_SCRIPT.format(module=row.module, function=row.function, width=width)
            photo = SAMPLES / "cat.jpg"
            ours = [sys.executable, "-m", "cnncli", "predict", photo, "--model", network, "--weights", weights]
            theirs = [sys.executable, "-c", script, photo, weights]
            caches = {"CNNCLI_CACHE": str(folder / "cache")}
            compare(f"predict one photo, {network}", ours, theirs, runs=7, environment=caches)


if __name__ == "__main__":
    main()
