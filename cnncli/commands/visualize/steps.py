"""`cnncli visualize steps`: a convolution by hand, as pictures."""

from __future__ import annotations

from typing import Any

import click

from cnncli.commands.options import Pair, complete_kernel, padding_of
from cnncli.commands.visualize.picture import Pictures, picture_options


@click.command()
@click.option("--matrix", required=True, metavar="M", help="'1 1 1;1 0 1;0 1 1', a file, or course:x7.")
@click.option(
    "-k", "--kernel", metavar="K", shell_complete=complete_kernel, help="As for 'cnncli filter': a name or numbers."
)
@click.option("--padding", metavar="same|valid|N", help="[default: valid]")
@click.option(
    "--border", type=click.Choice(("zero", "edge", "reflect", "wrap")), default="zero", show_default=True,
    help="What padding holds.",
)  # fmt: skip
@click.option("--stride", type=Pair(), default="1", show_default=True, metavar="N|NxM", help="Rows and columns.")
@click.option("--dilation", type=Pair(), default="1", show_default=True, metavar="N|NxM", help="Rows and columns.")
@click.option("--flip", is_flag=True, help="True convolution: the kernel turned by 180 degrees.")
@click.option("--pool", "pools", multiple=True, metavar="TOKEN", help="Then pool: max:3, max:2:s2, avg:2, gap, gmp.")
@click.option("--exact", is_flag=True, help="Fractions (7/9), not decimals.")
@picture_options
def steps(
    matrix: str,
    kernel: str | None,
    padding: str | None,
    border: Any,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    flip: bool,
    pools: tuple[str, ...],
    exact: bool,
    pictures: Pictures,
) -> None:
    """Draw the convolution of a small matrix step by step.

    Each picture shows the window on the matrix, its products and the feature map as it fills: the numbers of 'cnncli
    filter --matrix --steps'. One sheet (.png) and an animation (.gif) are written; -o FILE.png or FILE.gif asks for
    one of them.

    \b
    Example:
      cnncli visualize steps --matrix course:x7 --kernel cross
      cnncli visualize steps --matrix course:d4 --kernel '1 0 1;0 1 0;1 0 1' --padding 1 --stride 2 -o by-hand.gif
      cnncli visualize steps --matrix course:pool4 --pool max:2
    """
    from cnncli.explanations import Exercise
    from cnncli.kernels import find
    from cnncli.matrices import matrix_argument
    from cnncli.setting import Setting, parse_pool

    if kernel is None and not pools:
        raise click.UsageError("give --kernel, --pool or both")
    named = matrix_argument(matrix)
    setting = Setting(padding_of(padding, "valid"), border, stride, dilation, flip)
    weights = None if kernel is None else find(kernel)
    exercise = Exercise(named.matrix, weights, setting, tuple(map(parse_pool, pools)))
    _ = exercise.shape  # an impossible one is refused before anything is drawn
    pictures.begin(animated=True)
    from cnncli import steps_picture

    frames = steps_picture.pictures(steps_picture.scenes(exercise, exact))
    if pictures.suffix != ".gif":
        pictures.save(steps_picture.sheet(frames), named.name, "steps")
    if pictures.suffix in (None, ".gif"):
        pictures.save_animation(frames, named.name, "steps")
