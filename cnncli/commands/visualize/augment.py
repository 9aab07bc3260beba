"""`cnncli visualize augment`: what training would see of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnncli import augmentations, grammar
from cnncli.backbones import RESIZES, InputSpec
from cnncli.commands.options import complete_file
from cnncli.commands.visualize.picture import Pictures, every_image, picture_options
from cnncli.errors import CnncliError, ExitCode, outcome

if TYPE_CHECKING:
    from cnncli.images import Picture

_DEFAULT_PX = 128  # of the network's input, as for training on photos


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_file)
@click.option(
    "--augment", "listed", default="auto", show_default=True, metavar="LIST",
    help="crop, rotate, blur, flip, color, distort, cutout, mixup; or auto.",
)  # fmt: skip
@click.option(
    "--image-size", metavar="N|HxW", help="What the network sees.  [default: 128; the images' own if that is smaller]"
)
@click.option(
    "--resize", type=click.Choice(RESIZES), default="crop", show_default=True, help="How a photo becomes that input."
)
@click.option("--count", type=click.IntRange(1, 50), default=6, show_default=True, metavar="N", help="Steps to show.")
@click.option(
    "--seed", type=click.IntRange(0, 2**30), default=0, show_default=True, metavar="N", help="That of the training."
)
@picture_options
def augment(
    images: tuple[str, ...], listed: str, image_size: str | None, resize: Any, count: int, seed: int, pictures: Pictures
) -> ExitCode:
    """Draw what training would really see of an image under augmentation.

    The network's input first, then each augmentation alone and all together, as the first steps of 'cnncli train'
    with this --augment, --image-size and --seed change the first image of a batch. Each IMAGE gets a sheet. mixup
    needs two or more: it mixes each with the one before it.

    \b
    Example:
      cnncli visualize augment photo.jpg
      cnncli visualize augment photo.jpg --augment rotate,blur,color --image-size 224 --count 8
      cnncli visualize augment cat.jpg dog.jpg --augment flip,mixup -o sheets/
    """
    from cnncli import sources

    names = augmentations.parse(listed, gray=False, height=_DEFAULT_PX)  # wrong names are said at once
    if not names:
        raise click.UsageError("--augment none: there is nothing to show")
    given = None if image_size is None else grammar.sizes(image_size, "--image-size")
    if given is not None and len(given) > 2:
        raise click.UsageError(f"--image-size {image_size}: expected N or HxW, like 128 or 96x128")
    pictures.begin(images, several=not sources.is_one(images))
    found, bad = every_image(images)
    if not found:
        return ExitCode.FAILED
    spec = _input([picture for _, picture in found], given, resize)
    names = augmentations.parse(listed, spec.color == "gray", spec.height)
    if "mixup" in names and len(found) < 2:
        raise CnncliError("--augment mixup: it mixes two images; give another IMAGE")
    import numpy as np

    from cnncli.images import network_input
    from cnncli.learning.variants import sheet, variants

    batch = np.stack([network_input(picture, spec) for _, picture in found])
    for place, (source, _) in enumerate(found):
        rows = variants(np.roll(batch, -place, axis=0), names, seed=seed, count=count)
        pictures.save(sheet(batch[place], rows), source, "augment")
    return outcome(len(found), bad)


def _input(pictures: list[Picture], given: tuple[int, ...] | None, resize: Any) -> InputSpec:
    """The network's input: as asked for, else 128 pixels, else, if they are smaller and of one size, the images'."""
    color: Any = "gray" if all(picture.image.mode == "L" for picture in pictures) else "rgb"
    if given is not None:
        return InputSpec(given[0], given[-1], color, resize)
    sizes = {picture.image.size for picture in pictures}
    width, height = next(iter(sizes))
    if len(sizes) > 1 or max(width, height) > _DEFAULT_PX:
        width = height = _DEFAULT_PX
    return InputSpec(height, width, color, resize)
