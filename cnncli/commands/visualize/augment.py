"""`cnncli visualize augment`: what training would see of an image."""

from __future__ import annotations

from typing import Any

import click

from cnncli import augmentations, console, grammar
from cnncli.backbones import RESIZES
from cnncli.commands.options import images_argument
from cnncli.commands.visualize.picture import Pictures, picture_options, read, readable
from cnncli.errors import CnncliError, ExitCode, outcome


@click.command()
@images_argument
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
    from cnncli.sources import Source

    names = augmentations.parse(listed, gray=False, height=1)  # of no matter what: wrong names are said at once
    if not names:
        raise click.UsageError("--augment none: there is nothing to show")
    given = () if image_size is None else grammar.sizes(image_size, "--image-size")
    if len(given) > 2:
        raise click.UsageError(f"--image-size {image_size}: expected N or HxW, like 128 or 96x128")
    pictures.begin(images, several=not sources.is_one(images))
    from cnncli.datasets.pixels import spec_to_show
    from cnncli.images import network_input, probe

    asked = list(sources.find(images, recursive=False, offline=False, notify=console.note))
    fetched = [source for _, source in readable(asked, Source.fetched)]
    probed = list(readable(fetched, probe))
    if not probed:
        return ExitCode.FAILED
    size = (given[0], given[-1]) if given else None
    spec = spec_to_show([header for _, header in probed], size, resize)
    side = max(spec.height, spec.width)
    found = list(readable((source for source, _ in probed), lambda source: network_input(read(source, side), spec)))
    names = augmentations.parse(listed, spec.color == "gray", spec.height)
    if "mixup" in names and len(found) < 2:
        raise CnncliError("--augment mixup: it mixes two images; give another IMAGE")
    import numpy as np

    from cnncli.learning.variants import sheet, variants

    for place, (source, pixels) in enumerate(found):
        before = [found[place - 1][1]] if "mixup" in names else []
        rows = variants(np.stack([pixels, *before]), names, seed=seed, count=count)
        pictures.save(sheet(pixels, rows), source, "augment")
    return outcome(len(found), len(asked) - len(found))
