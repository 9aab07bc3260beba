"""`cnncli filter`: what a convolution kernel does to photos and to small matrices."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncli import console
from cnncli.commands.options import Pair, common_options, complete_file, complete_kernel, padding_of
from cnncli.errors import CnncliError, ExitCode, outcome
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.filtered import Made, Plan
    from cnncli.kernels import Kernel
    from cnncli.outputs import Destination
    from cnncli.setting import Setting
    from cnncli.sources import Source

BORDERS = ("zero", "edge", "reflect", "wrap")
RANGES = ("auto", "clip", "abs", "scale", "raw")
_JPEG_QUALITY = 90  # where a result is asked for as JPEG


@dataclass(frozen=True)
class Asked:
    """The options as they were typed; None where one was not given."""

    images: tuple[str, ...]
    kernels: tuple[str, ...]
    compare: str | None
    stack: bool
    magnitude: bool
    padding: str | None
    border: str | None
    stride: tuple[int, int]
    dilation: tuple[int, int]
    flip: bool
    range_mode: str | None
    normalize: bool
    gray: bool
    pools: tuple[str, ...]
    at: tuple[int, int] | None
    matrix: str | None
    steps: bool
    im2col: bool
    exact: bool
    expect: str | None
    listing: bool
    seed: int
    output: str | None
    recursive: bool
    max_pixels: int | None


@click.command("filter")
@click.argument("images", metavar="[IMAGE]...", nargs=-1, shell_complete=complete_file)
@click.option(
    "-k",
    "--kernel",
    "kernels",
    multiple=True,
    metavar="K",
    shell_complete=complete_kernel,
    help="A name (see --list), gaussian:5:1.2, box:3, random:5x5, '0 1 0;1 -4 1;0 1 0', a file, or "
    "MODEL.keras:LAYER:N. Several give a result each.",
)
@click.option("--compare", metavar="K1,K2,...", help="One sheet with the photo and its results side by side.")
@click.option("--stack", is_flag=True, help="One array (height, width, kernels*channels), written as .npy.")
@click.option("--magnitude", is_flag=True, help="The length of the pair that two kernels give: sqrt(a*a + b*b).")
@click.option("--padding", metavar="same|valid|N", help="[default: same for images, valid for --matrix]")
@click.option("--border", type=click.Choice(BORDERS), help="[default: edge for images, zero for --matrix]")
@click.option("--stride", type=Pair(), default="1", show_default=True, metavar="N|NxM", help="Rows and columns.")
@click.option("--dilation", type=Pair(), default="1", show_default=True, metavar="N|NxM", help="Rows and columns.")
@click.option("--flip", is_flag=True, help="True convolution: the kernel turned by 180 degrees.")
@click.option(
    "--range",
    "range_mode",
    type=click.Choice(RANGES),
    help="How values become pixels: |v|, clipped, scaled, or as they are (.npy).  [default: auto]",
)
@click.option("--normalize", is_flag=True, help="Divide the kernel by its sum.")
@click.option("--gray", is_flag=True, help="Turn colour into grey first.")
@click.option("--pool", "pools", multiple=True, metavar="TOKEN", help="Then pool: max:3, max:2:s2, avg:2, gap, gmp.")
@click.option("--at", type=Pair(",", least=0), metavar="X,Y", help="Work out one pixel of the result; from 0,0.")
@click.option("--matrix", metavar="M", help="Instead of an image: '1 1 1;1 0 1;0 1 1', a file, or course:x7.")
@click.option("--steps", is_flag=True, help="With --matrix: each window, its products and their sum.")
@click.option("--im2col", is_flag=True, help="With --matrix: the patches as rows, and the product.")
@click.option("--exact", is_flag=True, help="Fractions (7/9), not decimals.")
@click.option("--expect", metavar="M|FILE", help="With --matrix: compare with a claimed result; exit 4 if it differs.")
@click.option("--list", "listing", is_flag=True, help="The catalogue of kernels.")
@click.option("--seed", type=int, default=0, show_default=True, help="For random kernels.")
@click.option("-o", "--output", metavar="FILE|DIR|-", help="[default: the current folder, photo-KERNEL.png]")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Read folders inside folders.")
@click.option("--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse larger images.  [default: 178956970]")
@common_options
def filter_(**options: Any) -> ExitCode:
    """Run a convolution kernel over photos or a matrix, exactly as a convolution layer does.

    Without IMAGE a kernel's card is shown. A kernel is applied to each colour on its own and is not flipped
    (correlation), as in every CNN. What range the result was brought to is said on stderr.

    \b
    Example:
      cnncli filter photo.jpg --kernel sobel-h
      cnncli filter photo.jpg --compare sobel-h,sobel-v,blur,outline
      cnncli filter --kernel scharr-h
      cnncli filter --matrix course:x7 --kernel cross --steps
    """
    asked = Asked(**options)
    _refuse_contradictions(asked)
    if asked.listing:
        return _list()
    if asked.matrix is not None:
        return _matrix(asked)
    kernels = _kernels(asked)
    if not asked.images:
        return _cards(kernels)
    return _photos(asked, kernels)


_ONLY_MATRIX = ("steps", "im2col", "expect")
_ONLY_IMAGES = ("compare", "stack", "magnitude", "gray", "at", "output", "range_mode", "max_pixels")
_FORMS = ("compare", "stack", "magnitude", "at")
_SPELLED = {"range_mode": "--range", "max_pixels": "--max-pixels", "pools": "--pool"}


def _given(asked: Asked, names: tuple[str, ...]) -> list[str]:
    """Those of the options that were given, as they are typed."""
    return [_SPELLED.get(name, f"--{name}") for name in names if getattr(asked, name)]


def _refuse_contradictions(asked: Asked) -> None:
    """Raises UsageError where options do not go together."""
    if asked.listing:
        return
    if asked.matrix is not None:
        if asked.images:
            raise click.UsageError("--matrix stands for the image: give one or the other")
        if wrong := _given(asked, _ONLY_IMAGES):
            raise click.UsageError(f"{wrong[0]} does not go with --matrix")
        if asked.im2col and not asked.kernels:
            raise click.UsageError("--im2col needs --kernel, whose windows are its rows")
    elif wrong := _given(asked, _ONLY_MATRIX):
        raise click.UsageError(f"{wrong[0]} needs --matrix")
    elif forms := _given(asked, _FORMS):
        _refuse_forms(asked, forms)


def _refuse_forms(asked: Asked, forms: list[str]) -> None:
    if len(forms) > 1:
        raise click.UsageError(f"{forms[0]} and {forms[1]}: give one of them")
    if not asked.images:
        raise click.UsageError(f"{forms[0]} needs an IMAGE")
    if asked.magnitude and len(asked.kernels) != 2:
        raise click.UsageError(f"--magnitude takes two kernels, received {len(asked.kernels)}: --kernel A --kernel B")
    if asked.compare is not None and (asked.kernels or asked.range_mode == "raw"):
        raise click.UsageError("--compare names the kernels and shows pictures: without --kernel, --range raw")
    if asked.stack and asked.range_mode not in (None, "raw"):
        raise click.UsageError("--stack writes the values as they are: without --range")
    if asked.at is not None and (wrong := _given(asked, ("pools", "range_mode", "output"))):
        raise click.UsageError(f"--at prints one value of the feature map: without {wrong[0]}")


def _list() -> ExitCode:
    from cnncli.cards import catalogue
    from cnncli.kernels import ALIASES, CATALOGUE, FORMS
    from cnncli.layout import wrapped

    console.write(catalogue(CATALOGUE.values()))
    others = ", ".join(f"{alias} ({name})" for alias, name in ALIASES.items())
    for line in (*wrapped(f"other names: {others}"), *wrapped(f"also: {FORMS}")):
        console.note(line)
    return ExitCode.DONE


def _kernels(asked: Asked) -> tuple[Kernel, ...]:
    """The kernels that were asked for, normalised if that was."""
    from cnncli.kernels import find, normalised

    specs = asked.kernels if asked.compare is None else tuple(filter(None, map(str.strip, asked.compare.split(","))))
    if not specs and asked.matrix is None:
        raise click.UsageError("no kernel: give --kernel K, --compare K1,K2,... or --list")
    kernels = [find(spec, seed=asked.seed) for spec in specs]
    if asked.normalize and any(kernel.sum == 0 for kernel in kernels):
        name = next(kernel.name for kernel in kernels if kernel.sum == 0)
        raise click.UsageError(f"--normalize: the weights of {name} sum to 0, so nothing can be divided by their sum")
    return tuple(map(normalised, kernels) if asked.normalize else kernels)


def _cards(kernels: tuple[Kernel, ...]) -> ExitCode:
    from cnncli.cards import kernel_card

    console.write("\n".join(map(kernel_card, kernels)))
    return ExitCode.DONE


# -- numbers -----------------------------------------------------------------------------------------------------------


def _matrix(asked: Asked) -> ExitCode:
    """Works a matrix out and compares the result with a claimed one."""
    from cnncli.explanations import Exercise
    from cnncli.matrices import claim_argument, matrix_argument
    from cnncli.setting import parse_pool
    from cnncli.verdicts import compare
    from cnncli.worked_text import report

    kernels = _kernels(asked)
    if len(kernels) > 1:
        raise click.UsageError(f"--matrix takes one --kernel, received {len(kernels)}")
    if not kernels and not asked.pools:
        raise click.UsageError("--matrix needs --kernel, --pool or both")
    named = matrix_argument(str(asked.matrix))
    setting, pools = _setting(asked, padding="valid", border="zero"), tuple(map(parse_pool, asked.pools))
    exercise = Exercise(named.matrix, kernels[0] if kernels else None, setting, pools)
    verdict = None if asked.expect is None else compare(claim_argument(asked.expect), exercise)
    for line in report(named, exercise, walk=asked.steps, patches=asked.im2col, exact=asked.exact, verdict=verdict):
        console.write(line + "\n")
    return ExitCode.DONE if verdict is None or verdict.agrees else ExitCode.GATE


def _setting(asked: Asked, *, padding: str, border: Any) -> Setting:
    from cnncli.setting import Setting

    chosen: Any = asked.border or border
    return Setting(padding_of(asked.padding, padding), chosen, asked.stride, asked.dilation, asked.flip)


# -- photos ------------------------------------------------------------------------------------------------------------


def _photos(asked: Asked, kernels: tuple[Kernel, ...]) -> ExitCode:
    """Filters every photo; one that cannot be read is said and the others go on."""
    from cnncli import sources

    handle = (_picture_writer if asked.at is None else _pixel_writer)(asked, kernels)
    good = bad = 0
    folder = Path(asked.output) if asked.output is not None and Path(asked.output).is_dir() else None
    search: dict[str, Any] = {"recursive": asked.recursive, "results": folder}  # which is not read meanwhile
    count = functools.partial(sources.count, asked.images, **search)
    with console.progress("images", unit="images", count=count) as seen:
        for source in sources.find(asked.images, offline=False, notify=console.note, **search):
            try:
                handle(source)
                good += 1
            except CnncliError as problem:
                console.error(f"{printable(source.name)}: {problem}")
                bad += 1
            seen(good + bad)
    return outcome(good, bad)


def _pixel_writer(asked: Asked, kernels: tuple[Kernel, ...]) -> Callable[[Source], None]:
    """What prints how pixel --at of one photo comes about."""
    from cnncli.images import MAX_PIXELS, read
    from cnncli.pixel import pixel_lines, steps_at

    setting = _setting(asked, padding="same", border="edge")
    x, y = asked.at or (0, 0)

    def write(source: Source) -> None:
        image = read(source, max_pixels=asked.max_pixels or MAX_PIXELS, keep=True).image
        image = image.convert("L") if asked.gray and image.mode == "RGB" else image
        for kernel in kernels:
            found = steps_at(image, kernel, setting, x, y)
            what = f"{printable(source.name)}, {printable(kernel.name)}"
            console.write(f"{what} at x {x}, y {y}, rows and columns counted from 0\n")
            for line in pixel_lines(found, len(kernel.planes) > 1, asked.exact):
                console.write(f"{line}\n")

    return write


def _picture_writer(asked: Asked, kernels: tuple[Kernel, ...]) -> Callable[[Source], None]:
    """What filters one photo and writes the results where --output says."""
    from cnncli.filtered import results
    from cnncli.images import MAX_PIXELS, read

    plan = _plan(asked, kernels)
    target = _destination(asked, plan)
    said: set[str] = set()  # what was done is the same for every photo: said once

    def write(source: Source) -> None:
        picture = read(source, max_pixels=asked.max_pixels or MAX_PIXELS, keep=True)
        for note in picture.notes:
            console.note(f"{printable(source.name)}: {note}")
        for made in results(picture, plan):
            for note in made.notes:
                if note not in said:
                    console.note(printable(note))
                    said.add(note)
            _save(made, source, target, picture.icc_profile)

    return write


def _plan(asked: Asked, kernels: tuple[Kernel, ...]) -> Plan:
    from cnncli.filtered import Plan
    from cnncli.setting import parse_pool

    if len(asked.pools) > 1:
        raise click.UsageError(f"--pool: photos take one, received {len(asked.pools)}")
    _say_flip(asked, kernels)
    form: Any = next((form for form in ("compare", "stack", "magnitude") if getattr(asked, form)), "each")
    mode: Any = asked.range_mode or "auto"
    pool = parse_pool(asked.pools[0]) if asked.pools else None
    return Plan(kernels, _setting(asked, padding="same", border="edge"), pool, mode, asked.gray, form)


def _say_flip(asked: Asked, kernels: tuple[Kernel, ...]) -> None:
    from cnncli.kernels import is_symmetric

    for kernel in kernels:
        if asked.flip and is_symmetric(kernel):
            console.note(
                f"--flip makes no difference to {printable(kernel.name)}: turned by 180 degrees it is the same"
            )


def _destination(asked: Asked, plan: Plan) -> Destination:
    """Where results go. Raises UsageError where the file that --output names cannot hold them."""
    from cnncli import sources
    from cnncli.outputs import FORMATS, Destination

    several = not sources.is_one(asked.images) or (plan.form == "each" and len(plan.kernels) > 1)
    target = Destination(
        asked.output,
        several=several,
        inputs_in=lambda folder: sources.names_in(folder, asked.images, recursive=asked.recursive),
    )
    expected = (".npy",) if _is_raw(plan) else tuple(FORMATS)
    if target.suffix is not None and target.suffix not in expected:
        raise click.UsageError(f"-o {asked.output}: expected a name that ends in {', '.join(expected)}")
    if target.is_stdout and console.stdout_is_terminal():
        raise click.UsageError("-o -: standard output is a terminal, which shows no pictures; redirect it")
    return target


def _is_raw(plan: Plan) -> bool:
    return plan.mode == "raw" or plan.form == "stack"


def _save(made: Made, source: Source, target: Destination, icc_profile: bytes | None) -> None:
    """Writes one result and says where it is."""
    from cnncli import outputs

    if target.is_stdout:
        outputs.write(made.content, sys.stdout.buffer, icc_profile=icc_profile)
        sys.stdout.buffer.flush()
        return
    path = target.path_for(source, outputs.safe_name(made.what), outputs.suffix_of(made.content))
    outputs.save(made.content, path, icc_profile=icc_profile, quality=_JPEG_QUALITY)
    console.note(f"{printable(source.name)} -> {printable(str(path))}")
