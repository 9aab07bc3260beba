"""1000 photos, whole process, against Keras's own pipeline; then memory from 1000 to 10 000 photos.

`python tests/benchmarks/predict_folder.py`. The photos are 500x375 JPEGs made from the sample images, the weights of
mobilenet-0.75 are random and in the official layout.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from timing import compare, make_weights, run

SAMPLES = Path(__file__).parents[2] / "sample_images"

KERAS_SCRIPT = """
import sys
import keras
from keras.applications.mobilenet import MobileNet, preprocess_input
model = MobileNet(alpha=0.75, weights=sys.argv[2])
photos = keras.utils.image_dataset_from_directory(
    sys.argv[1], labels=None, image_size=(224, 224), batch_size=32, shuffle=False
)
scores = model.predict(photos.map(preprocess_input))
for path, row in zip(photos.file_paths, scores):
    print(path, *row.argsort()[::-1][:3])
"""


def make_photos(folder: Path, count: int) -> Path:
    """`count` photos of 500x375: turned, cropped and brightened parts of two sample photos, each one different."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    originals = [Image.open(SAMPLES / name).convert("RGB").resize((900, 600)) for name in ("cat.jpg", "coffee.jpg")]
    for number in range(count):
        left, top = rng.integers(0, 400), rng.integers(0, 225)
        part = originals[number % 2].crop((left, top, left + 500, top + 375))
        ImageEnhance.Brightness(part).enhance(rng.uniform(0.7, 1.2)).save(folder / f"{number:04}.jpg", quality=90)
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = make_weights("mobilenet-0.75", folder / "mobilenet.h5")
        photos = make_photos(folder / "photos", 1000)
        caches = {"CNNCLI_CACHE": str(folder / "cache")}

        def ours(path: Path) -> list[str | Path]:
            return [sys.executable, "-m", "cnncli", "predict", path, "--model", "mobilenet-0.75", "--weights", weights]

        theirs = [sys.executable, "-c", KERAS_SCRIPT, photos, weights]
        compare("predict 1000 photos, mobilenet-0.75", ours(photos), theirs, runs=5, environment=caches)
        many = folder / "many"
        many.mkdir()
        for number, photo in enumerate(sorted(photos.iterdir()) * 10):
            os.link(photo, many / f"{number}.jpg")
        peaks = [run(ours(path), caches).peak_mb for path in (photos, many)]
        print(f"peak memory: {peaks[0]:.0f} MB for 1000 photos, {peaks[1]:.0f} MB for 10 000")


if __name__ == "__main__":
    main()
