"""The ways to vary training images, by name: what `--augment` takes. Standard library only.

`cnncli.learning.augment` does what is named here. All of them preserve labels on photos; the places where they would
not, such as mirrored digits, are why `auto` looks at the images first.
"""

from __future__ import annotations

from cnncli.errors import GrammarError

# Seven as the courses list them, and mixup. The order is part of the random numbers: new names go to the end.
AUGMENTATIONS = {
    "crop": "moved by up to 1/8 of the side up to 48 px, else a part of 60 to 100 % of the area",
    "rotate": "turned by up to 15 degrees either way",
    "blur": "half of the images blurred a little",
    "flip": "half of the images mirrored left to right",
    "color": "brightness, contrast, saturation and hue shifted",
    "distort": "sheared and seen slightly from the side",
    "cutout": "a square of 3/8 of the side filled with the image's mean colour",
    "mixup": "each image mixed with another one, and its label likewise",
}
SMALL_PX = 48  # up to here objects fill the image, as digits and CIFAR's do, and a crop would cut into them


def is_small(height: int, width: int) -> bool:
    """Whether images of this size are cropped by moving them, not by taking a part."""
    return max(height, width) <= SMALL_PX


def auto(gray: bool, height: int) -> tuple[str, ...]:
    """What suits images of this kind without knowing what they show.

    Grey images are often digits, letters or scans, which a mirror or a hole changes: they are moved, turned and
    distorted. Small colour images get the recipe of DeVries & Taylor (arXiv 1708.04552), photos also other colours.
    """
    if gray:
        return "crop", "rotate", "distort"
    return ("crop", "flip", "cutout") if is_small(height, height) else ("crop", "flip", "color", "cutout")


def parse(text: str, gray: bool, height: int) -> tuple[str, ...]:
    """The names in `crop,flip`, in the order of AUGMENTATIONS; `auto` is a preset, `none` is no name at all.

    Raises GrammarError for anything else.
    """
    if text == "none":
        return ()
    names: list[str] = []
    for name in text.split(","):
        names += auto(gray, height) if name.strip() == "auto" else [name.strip()]
    unknown = next((name for name in names if name not in AUGMENTATIONS), None)
    if unknown is not None:
        raise GrammarError(
            f"--augment {text[:80]}: {unknown[:40]!r} is not known; expected auto, none, "
            f"or some of {', '.join(AUGMENTATIONS)}, separated by commas"
        )
    return tuple(name for name in AUGMENTATIONS if name in names)
