"""`cnncli models`: what models there are, where they are, and whether they are whole."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncli import console
from cnncli.backbones import BUNDLED, NORMALISATIONS, RESIZES, Resize, is_bundled
from cnncli.commands.batch import each
from cnncli.commands.options import common_options, complete_file, complete_model, complete_network
from cnncli.errors import ExitCode, outcome
from cnncli.inference.adoption import INPUT_RANGES
from cnncli.inference.request import DTYPES, EXPORT_SUFFIXES, ModelRequest
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.inference.export import Exported
    from cnncli.inference.inventory import Check

_CLASSES_ON_A_TERMINAL = 20  # of 1000, which would scroll the card away

NAMES = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_network)
FORMAT = click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True, help="Of the result."
)


@click.group()
@common_options
def models() -> None:
    """List, fetch, check and describe models.

    \b
    Example:
      cnncli models list
      cnncli models pull mobilenet
      cnncli models show runs/photos
    """


@models.command("list")
@FORMAT
@common_options
def list_models(form: str) -> None:
    """List the pretrained networks and what this machine has of them.

    \b
    Example:
      cnncli models list
      cnncli models list --format json
    """
    from cnncli import formats
    from cnncli.inference import inventory

    found = inventory.holdings(), inventory.bundled_model(), inventory.other_compiled()
    if form == "json":
        console.write(json.dumps(formats.inventory_object(*found), indent=2) + "\n")
    elif console.stdout_is_terminal():
        from cnncli.tables import inventory_table

        screen = console.results()
        screen.print(inventory_table(*found, screen.width))
    else:
        console.write(formats.inventory_tabs(*found))


@models.command()
@click.argument("model", metavar="NAME|FILE|RUN_DIR", shell_complete=complete_model)
@FORMAT
@common_options
def show(model: str, form: str) -> None:
    """Show a model's card: its input, preprocessing, classes, licence and figures.

    \b
    Example:
      cnncli models show resnet50
      cnncli models show my.keras --format json
    """
    from cnncli import formats
    from cnncli.inference.locate import describe

    card, row = describe(model)
    if form == "json":
        console.write(json.dumps(formats.card_object(card, row), indent=2) + "\n")
    else:
        most_classes = _CLASSES_ON_A_TERMINAL if console.stdout_is_terminal() else None
        console.write(formats.card_text(card, row, NORMALISATIONS, most_classes))


@models.command()
@NAMES
@click.option("--offline", is_flag=True, help="Fetch nothing; compile what is cached.")
@common_options
def pull(names: tuple[str, ...], offline: bool) -> ExitCode:
    """Fetch pretrained weights and compile them, so that predictions need no network.

    \b
    Example:
      cnncli models pull mobilenet resnet50
    """
    from cnncli.inference.locate import pretrained
    from cnncli.inference.models import open_model

    def one(name: str) -> None:
        if is_bundled(name):
            console.note(f"{BUNDLED}: comes with cnncli, so it is ready")
            return
        row = pretrained(name)
        with console.progress(row.name, unit="bytes") as downloaded:
            ready = open_model(ModelRequest(row.name, offline=offline), notify=console.note, progress=downloaded)
        console.note(f"{ready.name}: ready")

    return each(names, str, one)


@models.command()
@NAMES
@common_options
def path(names: tuple[str, ...]) -> ExitCode:
    """Print where the weights of a pretrained network are, or belong.

    \b
    Example:
      cnncli models path resnet50
    """
    from cnncli import bundled
    from cnncli.inference.locate import pretrained

    def one(name: str) -> None:
        if is_bundled(name):
            console.write(f"{bundled.path()}\n")
            return
        row = pretrained(name)
        console.write(f"{row.weights_path}\n")
        if not row.weights_path.is_file():
            console.note(f"{row.name}: not there yet; 'cnncli models pull {row.name}' fetches it")

    return each(names, str, one)


@models.command()
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1, shell_complete=complete_model)
@common_options
def verify(names: tuple[str, ...]) -> ExitCode:
    """Read cached weights, compiled networks and model files again and say whether they are whole.

    Without a NAME, the model that comes with cnncli and everything in the cache is checked.

    \b
    Example:
      cnncli models verify
      cnncli models verify resnet50 runs/photos
    """
    from cnncli.inference import inventory

    checks = inventory.verify(names) if names else inventory.verify_everything()
    good = bad = 0
    for check in checks:
        good, bad = good + (check.fault is None), bad + (check.fault is not None)
        _report_check(check)
    return outcome(good, bad)


def _report_check(check: Check) -> None:
    verdict, name = "ok" if check.fault is None else "FAULT", printable(check.name)
    if console.stdout_is_terminal():
        console.write(f"{verdict:5}  {name:18}  {printable(check.how)}\n       {printable(str(check.path))}\n")
    else:
        console.write("\t".join((verdict, name, printable(str(check.path)), printable(check.how))) + "\n")
    if check.fault is not None:
        console.error(f"{check.path}: {check.fault}")


@models.command()
@NAMES
@click.option("--compiled", "compiled_only", is_flag=True, help="Remove the compiled copies only; the weights stay.")
@common_options
def remove(names: tuple[str, ...], compiled_only: bool) -> ExitCode:
    """Delete the weights of pretrained networks from Keras's cache, and their compiled copies.

    A run folder or .keras file as NAME loses its compiled copy only; your own files are never deleted.

    \b
    Example:
      cnncli models remove vgg16
    """
    from cnncli.inference import inventory

    def one(name: str) -> None:
        removed = inventory.remove(name, compiled_only=compiled_only)
        for path in removed:
            console.note(f"removed {path}")
        if not removed:
            console.note(f"{name}: {'a part of cnncli, which stays' if is_bundled(name) else 'nothing to remove'}")

    return each(names, str, one)


@models.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--labels", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A class a line, in order."
)
@click.option("--input-range", required=True, type=click.Choice(INPUT_RANGES), help="What the model expects of pixels.")
@click.option(
    "--resize", type=click.Choice(RESIZES), default="crop", show_default=True, help="How photos were resized."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="NEW", help="File to write.")
@click.option("--force", is_flag=True, help="Replace NEW if it exists.")
@common_options
def adopt(file: Path, labels: Path, input_range: str, resize: Resize, output: Path, force: bool) -> None:
    """Give a card to a .keras or .tflite model that was made elsewhere.

    The card names its classes and says how a photo becomes its input. LABELS has a line for each output of the
    model: a label, or an id, a tab and a label. The normalisation that --input-range names becomes part of the new
    model, which takes pixels 0..255.

    \b
    Example:
      cnncli models adopt flowers.keras --labels flowers.txt --input-range 0..1 -o flowers-card.keras
    """
    from cnncli.inference.adoption import adopt as adopt_model

    done = adopt_model(file, labels=labels, input_range=input_range, resize=resize, output=output, force=force)
    console.note(f"{output}: written; {done}")
    console.note(f"Next: cnncli predict PHOTO --model {shlex.quote(str(output))}")


@models.command()
@click.argument("model", metavar="NAME|FILE|RUN_DIR", shell_complete=complete_model)
@click.option("--to", required=True, type=click.Choice(tuple(EXPORT_SUFFIXES)), help="What to write.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Of the weights, with --to litert.  [default: float32]")
@click.option(
    "--images", multiple=True, metavar="IMAGE", shell_complete=complete_file, help="To check it on; once for each."
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Weights (.h5) of a pretrained NAME.")
@click.option("--offline", is_flag=True, help="Use what is on this machine; fetch nothing.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="NEW", help="File to write.  [default: MODEL's name]"
)
@click.option("--force", is_flag=True, help="Replace NEW if it exists.")
@common_options
def export(
    model: str,
    to: str,
    dtype: str | None,
    images: tuple[str, ...],
    weights: Path | None,
    offline: bool,
    output: Path | None,
    force: bool,
) -> ExitCode:
    """Write a model as one file to take elsewhere, and check that it answers as before.

    'litert' is a .tflite file for phones, boards and programs without TensorFlow; with float16 weights it takes half
    the space. 'keras' is a .keras file for Keras. Both carry the card: classes, input, licence, figures.

    Before it is written, the new file is compared with the original on up to 100 real images: those of --images (as
    in 'cnncli predict'), else images of the run, else photos that come with cnncli. If they disagree, nothing is
    written and the exit code is 4.

    \b
    Example:
      cnncli models export runs/photos --to litert --dtype float16
      cnncli models export mobilenet-0.75 --to keras --images holiday/
    """
    if dtype is not None and to != "litert":
        raise click.UsageError(f"--dtype {dtype} goes with --to litert; a .keras file is always float32")
    from cnncli.inference.export import Export
    from cnncli.inference.export import export as export_model

    wanted = Export(ModelRequest(model, weights, offline=offline), to, dtype or DTYPES[0], images, output, force)
    done = export_model(wanted, notify=console.note, meter=lambda what, unit: console.progress(what, unit=unit))
    for name, reason in done.parity.failures:
        console.error(f"{printable(name)}: {reason}")
    console.write(_agreement(done))
    console.note(f"{done.path}: written, {done.path.stat().st_size / 1e6:.1f} MB")
    console.note(f"Next: cnncli predict PHOTO --model {shlex.quote(str(done.path))}")
    return outcome(done.parity.images, len(done.parity.failures))


def _agreement(done: Exported) -> str:
    parity = done.parity
    rows = (
        ("compared on", f"{parity.images} {done.origin}"),
        ("same best class", f"{parity.same_first} of {parity.images}"),
        (f"same top {parity.top}", f"{parity.same_top} of {parity.images}"),
        ("largest difference", f"{parity.difference:.2g} of a probability ({done.tolerance:g} is allowed)"),
    )
    return "".join(f"{what:18}  {value}\n" for what, value in rows)
