"""`cnncli data`: what data sets there are, what is in them, what is wrong with them, and how they are split."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cnncli import console
from cnncli.commands.batch import each
from cnncli.commands.dataset import complete_data, opened, short_name
from cnncli.commands.options import PROBABILITY, common_options
from cnncli.errors import ExitCode, OutputError, outcome
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.datasets.check import Overview
    from cnncli.datasets.dataset import Dataset
    from cnncli.datasets.export import How
    from cnncli.datasets.inspection import Inspected
    from cnncli.datasets.published import PublishedData

F = TypeVar("F", bound=Callable[..., Any])

_CLASSES_ON_A_TERMINAL = 20
_WIDE_COLUMNS = 79  # that `data list` takes with what the pictures show


DATA = click.argument("data", metavar="DATA", shell_complete=complete_data)
FORMAT = click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True, help="Of the result."
)


def data_options(command: F) -> F:
    """What every command takes that reads images."""
    workers = click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Cores to use.  [default: all]")
    offline = click.option("--offline", is_flag=True, help="Use what is on this machine; fetch nothing.")
    return offline(workers(common_options(command)))


@click.group()
@common_options
def data() -> None:
    """List, fetch, show, check and split data sets.

    DATA is a folder with a folder of images for each class, or with train, val and test folders of these; a manifest
    (.csv or .jsonl with path, label and split); or the name of a published data set. No command changes your files.

    \b
    Example:
      cnncli data list
      cnncli data check photos/
      cnncli data split photos/ -o photos.csv
    """


@data.command("list")
@FORMAT
@common_options
def list_data(form: str) -> None:
    """List the data sets that are known by name and say which are on this machine.

    \b
    Example:
      cnncli data list
      cnncli data list --format json
    """
    from cnncli import datatext
    from cnncli.datasets.published import PUBLISHED
    from cnncli.formats import tab_lines

    rows = datatext.list_rows(PUBLISHED.values())
    if form == "json":
        console.write(json.dumps(datatext.list_object(PUBLISHED.values()), indent=2) + "\n")
    elif console.stdout_is_terminal():
        from cnncli.tables import named_figures

        screen = console.results()
        shown = [n for n, head in enumerate(datatext.LIST_HEADS) if head != "shows" or screen.width >= _WIDE_COLUMNS]
        heads = [datatext.LIST_HEADS[number] for number in shown]
        cells = [[row[number] for number in shown] for row in rows]
        screen.print(named_figures(heads, cells, heads.index("images")))
    else:
        console.write(tab_lines([datatext.LIST_HEADS, *rows]))


@data.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_data)
@click.option("--offline", is_flag=True, help="Fetch nothing; check what is on this machine.")
@common_options
def pull(names: tuple[str, ...], offline: bool) -> ExitCode:
    """Fetch published data sets into Keras's cache, where Keras finds them too.

    What is there already is compared with the published hash and fetched again only if it is damaged.

    \b
    Example:
      cnncli data pull mnist cifar10
    """
    from cnncli.datasets import published

    def one(row: PublishedData) -> None:
        with console.progress(row.name, unit="bytes") as downloaded:
            published.pull(row, offline=offline, notify=console.note, progress=downloaded)
        console.note(f"{row.name}: ready")

    return each(names, published.named, one)


@data.command()
@DATA
@click.option("-o", "--output", metavar="FILE", help="The contact sheet (.png, ...); - for standard output.")
@click.option("--sheet/--no-sheet", default=True, show_default=True, help="Write a contact sheet.")
@FORMAT
@data_options
def show(data: str, output: str | None, sheet: bool, form: str, offline: bool, workers: int | None) -> ExitCode:
    """Show what a data set holds: images by class and split, sizes, colour, and a contact sheet.

    The sheet has a row of images for each class. Without -o it is NAME-sheet.png in the current directory.

    \b
    Example:
      cnncli data show photos/
      cnncli data show cifar10 -o cifar10.png
      cnncli data show malaria
    """
    from cnncli.datasets import published

    row = published.find(data)
    if row is not None and not row.files:
        console.write(published.how_to_get(row) + "\n")
        return ExitCode.DONE
    from cnncli.datasets import check
    from cnncli.datasets.fingerprint import fingerprint
    from cnncli.datasets.inspection import contents

    dataset = opened(data, offline=offline)
    target = _sheet_path(dataset, output) if sheet else None
    seen = _inspected(dataset, workers, decode=False)
    about = check.overview(dataset, seen)
    if target != "-":
        _write_overview(about, fingerprint(dataset.classes, contents(seen)), dataset.notes, form)
    if target is not None and about.sizes is not None:
        _write_sheet(dataset, seen, target)
    _report_faults(seen)
    return outcome(about.num_images - about.num_unreadable, about.num_unreadable)


def _write_overview(about: Overview, fingerprint: str, notes: tuple[str, ...], form: str) -> None:
    from cnncli import datatext

    if form == "json":
        console.write(json.dumps(datatext.overview_object(about, fingerprint, notes), indent=2) + "\n")
    elif console.stdout_is_terminal():
        from cnncli.tables import named_figures

        for name, value in datatext.overview_facts(about, fingerprint):
            console.write(f"{name:12} {value}\n")
        rows = datatext.count_rows(about)
        more = len(about.classes) - _CLASSES_ON_A_TERMINAL
        shown = rows if more <= 0 else [*rows[:_CLASSES_ON_A_TERMINAL], rows[-1]]
        console.results().print(named_figures(datatext.count_heads(about), shown))
        if more > 0:
            console.note(f"{more} more classes, which a pipe and --format json show")
    else:
        console.write(datatext.overview_tabs(about, fingerprint))


def _sheet_path(dataset: Dataset, output: str | None) -> Path | str | None:
    """Where the contact sheet goes: a path, `-`, or None where it would become a part of the data."""
    from cnncli.datasets.contact import check_place, lies_inside
    from cnncli.outputs import FORMATS, Destination

    destination = Destination(output, several=False, inputs_in=lambda folder: [])
    if destination.is_stdout:
        return "-"
    if destination.suffix is not None and destination.suffix not in FORMATS:
        raise OutputError(f"-o {output}: expected a name that ends in {', '.join(FORMATS)}")
    path = destination.path_for(short_name(dataset), "sheet", ".png")
    if output is None and lies_inside(path, dataset):
        console.note("no contact sheet: this directory is a part of the data set; -o FILE says where else to write it")
        return None
    check_place(path, dataset)
    return path


def _write_sheet(dataset: Dataset, seen: list[Inspected], target: Path | str) -> None:
    import sys

    from cnncli import outputs
    from cnncli.datasets.contact import data_sheet
    from cnncli.datasets.inspection import readable

    with console.progress("contact sheet", unit="classes") as update:
        picture = data_sheet(dataset, [one.example for one in readable(seen)], update)
    if isinstance(target, Path):
        outputs.save(picture, target)
        console.note(f"{printable(str(target))}: written")
    else:
        outputs.write(picture, sys.stdout.buffer)


@data.command("check")
@DATA
@FORMAT
@data_options
def check_data(data: str, form: str, offline: bool, workers: int | None) -> ExitCode:
    """Check a data set for unreadable files, duplicates, tiny images, wrong extensions and uneven classes.

    Every image is decoded. Unreadable files end with exit code 3; what may be wanted is a warning. Duplicates are
    files of the same content: within a class, across splits, or under two classes.

    \b
    Example:
      cnncli data check photos/
      cnncli data check photos.csv --format json
    """
    from cnncli import datatext
    from cnncli.datasets import check

    dataset = opened(data, offline=offline)
    seen = _inspected(dataset, workers, decode=True)
    about, findings = check.overview(dataset, seen), check.findings(dataset, seen)
    if form == "json":
        console.write(json.dumps(datatext.check_object(about, findings), indent=2) + "\n")
    elif console.stdout_is_terminal():
        console.write(datatext.check_text(about, findings))
    else:
        console.write(datatext.check_tabs(findings))
    return outcome(about.num_images - about.num_unreadable, about.num_unreadable)


@data.command()
@DATA
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT",
    help="A manifest (.csv or .jsonl), or with --copy or --link a folder.",
)  # fmt: skip
@click.option("--val", type=PROBABILITY, default=0.1, show_default=True, metavar="P", help="Share for validation.")
@click.option("--test", type=PROBABILITY, default=0.1, show_default=True, metavar="P", help="Share for the test.")
@click.option("--copy", "how", flag_value="copy", help="Write a tree of copies: OUT/train/CLASS/FILE.")
@click.option("--link", "how", flag_value="link", help="Write a tree of hard links, or symbolic ones to another disk.")
@click.option("--force", is_flag=True, help="Replace OUT: a manifest, or a tree that this command wrote.")
@data_options
def split(
    data: str,
    output: Path,
    val: float,
    test: float,
    how: How | None,
    force: bool,
    offline: bool,
    workers: int | None,
) -> ExitCode:
    """Split a data set into train, val and test.

    Where an image goes is decided by its content alone: the same image always comes into the same split, and
    images that are added later move none. So the shares are about the same in every class, and every class has an
    image in each split; of few images one class may have more in a split than another.
    A split that DATA already has is kept; the others come out of train.

    \b
    Example:
      cnncli data split photos/ -o photos.csv
      cnncli data split photos/ -o photos-split/ --link --val 0.15 --test 0.15
    """
    from cnncli.datasets import export

    if val + test >= 1:
        raise click.UsageError(
            f"--val {val:g} and --test {test:g} leave nothing for train; expected less than 1 in all"
        )
    export.check_output(output, how, force=force)
    dataset = opened(data, offline=offline)
    export.check_apart(output, dataset)
    seen = _inspected(dataset, workers, decode=False)
    parts = export.parted(dataset, seen, {"val": val, "test": test})
    if how is None:
        export.write_manifest(output, parts, dataset.classes)
    else:
        with console.progress("files", unit="files") as update:
            export.write_tree(output, parts, dataset.classes, how, progress=update)
    counts = ", ".join(f"{name} {len(examples):,}" for name, examples in parts.items())
    console.note(f"{printable(str(output))}: written: {counts}")
    _report_faults(seen)
    bad = sum(one.fault is not None for one in seen)
    return outcome(len(seen) - bad, bad)


def _inspected(dataset: Dataset, workers: int | None, *, decode: bool) -> list[Inspected]:
    from cnncli.datasets.inspection import inspect
    from cnncli.inference.request import usable_cores

    with console.progress("images", unit="images") as update:
        return inspect(dataset, decode=decode, workers=workers or usable_cores(), progress=update)


def _report_faults(seen: list[Inspected]) -> None:
    for one in seen:
        if one.fault is not None:
            console.error(f"{printable(one.example.name)}: {one.fault}")
