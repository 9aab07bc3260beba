"""One 12-megapixel JPEG to JPEG, whole process, against ImageMagick: `python tests/benchmarks/filter_photo.py`.

ImageMagick is Debian's `convert`, or what the variable CONVERT names. With `--library` ours is the library called from
a script of four lines, without the command around it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from timing import compare, run

SAMPLES = Path(__file__).parents[2] / "sample_images"
KERNELS = {  # whole numbers that separate; whole numbers that do not; decimals; weights as training leaves them
    "sobel-h": "-1 -2 -1;0 0 0;1 2 1",
    "a general 3x3 kernel": "1 2 -1;0 5 3;-2 1 4",
    "a general 3x3 kernel of decimals": "0.1 0.23 -0.31;0.05 0.4 0.17;-0.02 0.13 0.25",
    "a general 3x3 kernel of many digits": "0.1234567 0.23 -0.31;0.05 0.4 0.17;-0.02 0.13 0.25",
}
LIBRARY = """
import sys
from PIL import Image
from cnncli.filtering import filtered
from cnncli.kernels import find
filtered(Image.open(sys.argv[1]), [find(sys.argv[2])])[0].save(sys.argv[3], quality=90)
"""


MAKE_PHOTO = """
import sys
import numpy as np
from PIL import Image
sample = Image.open(sys.argv[1]).convert("RGB")
enlarged = np.asarray(sample.resize((4000, 3000), Image.Resampling.BICUBIC))
noise = np.random.default_rng(0).normal(0, 4, enlarged.shape)
Image.fromarray((enlarged + noise).clip(0, 255).astype(np.uint8)).save(sys.argv[2], quality=92)
"""


def make_photo(path: Path) -> Path:
    """4000x3000 pixels: a sample photo enlarged, with a sensor's noise. Another process makes it, see make_weights."""
    run([sys.executable, "-c", MAKE_PHOTO, SAMPLES / "coffee.jpg", path])
    return path


def main() -> None:
    convert = os.environ.get("CONVERT") or shutil.which("convert")
    if convert is None:
        raise SystemExit("ImageMagick's convert is not installed (Debian: imagemagick)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = make_photo(folder / "photo.jpg")
        for title, weights in KERNELS.items():
            if "--library" in sys.argv:
                ours = [sys.executable, "-c", LIBRARY, photo, weights, folder / "ours.jpg"]
            else:
                ours = [sys.executable, "-m", "cnncli", "filter", photo, "--kernel", weights, "-o", folder / "ours.jpg"]
            listed = weights.replace(";", ",").replace(" ", ",")
            theirs = [convert, photo, "-convolve", listed, "-quality", "90", folder / "theirs.jpg"]
            compare(f"filter a 12-megapixel JPEG, {title}", ours, theirs, runs=9)


if __name__ == "__main__":
    main()
