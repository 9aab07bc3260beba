"""`cnncli shapes`: works out what a layer or network does to sizes, and explains it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cnncli import console, grammar, networks
from cnncli.commands.network import of_model, stacked
from cnncli.commands.options import common_options, complete_model
from cnncli.layers import Layer, Shape
from cnncli.networks import Network, stack
from cnncli.tracing import Trace, trace

if TYPE_CHECKING:
    from cnncli.shapes import Placement, Spread

FORMATS = ("table", "json", "csv", "markdown")
_MOST_NOTES = 5  # under a table; --explain has them all
_MOST_SOLUTIONS = 12

# The options of one layer, and those among them that a pooling or transposed layer has no use for.
_WINDOW_OPTIONS = "kernel pad padding stride dilation groups filters no_bias pool transposed ceil solve".split()
_NOT_FOR_POOL = "groups filters no_bias transposed".split()
_NOT_FOR_TRANSPOSED = "groups ceil".split()


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    words = [*networks.names(), *(kind.form for kind in grammar.GRAMMAR.values())]
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


@click.command()
@click.argument("layers", metavar="[NAME | LAYER...]", nargs=-1, shell_complete=_complete)
@click.option(
    "-i",
    "--input",
    "size",
    metavar="SIZES",
    help="Sizes, then channels: 7x7, 32x32x3, 784. Of a network, instead of its own.",
)
@click.option(
    "-m", "--model", metavar="NAME|FILE|RUN_DIR", shell_complete=complete_model, help="A network or a .keras file."
)
@click.option("--dims", type=click.IntRange(1, 3), metavar="1|2|3", help="Sizes an input has.  [default: 2]")
@click.option("--classes", metavar="N", help="Of a named net, instead of its own.")
@click.option("--kernel", metavar="K", help="One layer: size of its window, 3 or 3x5.")
@click.option("--stride", metavar="N", help="One layer: steps of its window.  [default: 1; the window for --pool]")
@click.option("--pad", metavar="N", help="One layer: zeros at either end, 1, 1x2 or 0+1.")
@click.option("--padding", type=click.Choice(("same", "valid")), help="One layer: padding as Keras has it.")
@click.option("--dilation", metavar="N", help="One layer: how far apart the window's elements are.")
@click.option("--filters", metavar="N", help="One layer: channels of its output.  [default: 1]")
@click.option("--groups", metavar="N", help="One layer: parts that the channels are divided into.")
@click.option("--no-bias", is_flag=True, help="One layer: without biases.")
@click.option("--pool", is_flag=True, help="One layer: pooling, not convolution.")
@click.option("--transposed", is_flag=True, help="One layer: a transposed convolution.")
@click.option("--ceil", is_flag=True, help="One layer: a window that is partly inside counts too.")
@click.option("--solve", metavar="OUT", help="Find kernels, strides and padding that make OUT of --input.")
@click.option("--explain", is_flag=True, help="Add the arithmetic, line by line.")
@click.option("--compare-dense", is_flag=True, help="Compare convolutions with fully connected layers.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Of the result.")
@common_options
def shapes(
    layers: tuple[str, ...],
    size: str | None,
    model: str | None,
    dims: int | None,
    classes: str | None,
    explain: bool,
    compare_dense: bool,
    form: str,
    **window: Any,
) -> None:
    """Work out what a layer or network does to sizes, and explain it.

    One layer by options, a stack of layers, or a network: sizes, parameters, multiplications (MACs), memory for one
    image in float32, receptive field (field) and the distance between neighbouring fields (jump). In tables k is
    the kernel, s the stride, p the padding at either end.

    LAYER is conv:FILTERS:K, dwconv:K, tconv:FILTERS:K, pool:K, avgpool:K, gap, gmp, bn, relu, dropout:RATE, flatten,
    dense:N or res:FILTERS (a residual block: two 3x3 convolutions and a shortcut), with :sN (stride) :pN (padding)
    :same :valid :dN (dilation) :gN (groups) :nobias :relu :softmax after it. K is 3 or 3x5. NAME is lenet, alexnet,
    deep, ..., or a pretrained network.

    \b
    Example:
      cnncli shapes --input 7x7 --kernel 3 --pad 1 --filters 5
      cnncli shapes --input 32x32x3 conv:6:5:relu pool:2 flatten dense:10
      cnncli shapes lenet --explain
      cnncli shapes --model resnet50 --format csv > layers.csv
      cnncli shapes --input 224 --kernel 11 --stride 4 --solve 55
    """
    given = {name: window[name] for name in _WINDOW_OPTIONS if window[name] not in (None, False)}
    _check_modes(layers, model, given)
    if form == "csv" and (explain or compare_dense):
        raise click.UsageError("--format csv has one table: take json or markdown with --explain or --compare-dense")
    if "solve" in given:
        if explain or compare_dense or "ceil" in given:
            raise click.UsageError("--explain, --compare-dense and --ceil are not for --solve.")
        _solve(size, dims or 2, given, form)
        return
    if given:
        network = _one_layer(size, dims or 2, given)
    elif model is not None:
        network = of_model(model, size, dims, classes)
    else:
        network = stacked(layers, size, dims, classes, f"A model file is given as --model {layers[0]}")
    traced = trace(network)
    if form == "json":
        from cnncli.layertable import trace_object

        found = trace_object(traced, explain=explain, compare_dense=compare_dense)
        console.write(json.dumps(found, indent=2) + "\n")
    elif form == "table" and given:
        _write_facts(traced, compare_dense)
    else:
        _write_table(traced, form)
        _write_more(traced, form, explain, compare_dense)


def _check_modes(layers: tuple[str, ...], model: str | None, given: dict[str, Any]) -> None:
    option = next((f"--{name.replace('_', '-')}" for name in given), None)
    if option and (layers or model):
        other = f"LAYER {layers[0]!r}" if layers else f"--model {model}"
        raise click.UsageError(f"{option} describes one layer and cannot be mixed with {other}.")
    if layers and model:
        raise click.UsageError(f"--model {model} and LAYER {layers[0]!r}: give one of the two.")
    if not (layers or model or option):
        raise click.UsageError("Nothing to work out: give --kernel, LAYER..., NAME or --model. See the examples.")


# --- one layer ----------------------------------------------------------------------------------------------------


def _one_layer(size: str | None, dims: int, given: dict[str, Any]) -> Network:
    shape = _input(size, dims)
    if "kernel" not in given:
        raise click.UsageError("Missing option '--kernel'.")
    layer = _layer(given, dims)
    return stack("layer", shape, [layer])


def _input(size: str | None, dims: int) -> Shape:
    if size is None:
        raise click.UsageError("Missing option '--input'.")
    return grammar.input_shape(size, dims)


def _layer(given: dict[str, Any], dims: int) -> Layer:
    kind = "pool" if "pool" in given else "tconv" if "transposed" in given else "conv"
    refused = {"pool": _NOT_FOR_POOL, "tconv": _NOT_FOR_TRANSPOSED}.get(kind, [])
    if wrong := next((name for name in refused if name in given), None):
        raise click.UsageError(
            f"--{wrong.replace('_', '-')} is not for --{'pool' if kind == 'pool' else 'transposed'}."
        )
    if "pad" in given and "padding" in given:
        raise click.UsageError("--pad and --padding: give one of the two.")
    kernel = _sizes(given, "kernel", dims)
    return Layer(
        kind,
        units=grammar.number(given.get("filters", "1"), "--filters"),
        kernel=kernel,
        stride=_sizes(given, "stride", dims) if "stride" in given else kernel if kind == "pool" else (1,),
        dilation=_sizes(given, "dilation", dims) if "dilation" in given else (1,),
        padding=grammar.pairs(given["pad"], "--pad") if "pad" in given else given.get("padding", "valid"),
        groups=grammar.number(given.get("groups", "1"), "--groups"),
        bias="no_bias" not in given,
        ceil="ceil" in given,
    )


def _sizes(given: dict[str, Any], name: str, dims: int) -> tuple[int, ...]:
    sizes = grammar.sizes(given[name], f"--{name}")
    if len(sizes) not in (1, dims):
        depth = "; a kernel is always as deep as its input" if name == "kernel" and len(sizes) == dims + 1 else ""
        raise click.UsageError(f"--{name} {given[name]}: expected one size or {dims}, found {len(sizes)}{depth}.")
    return sizes


def _write_facts(traced: Trace, compare_dense: bool) -> None:
    """The card of one layer: `what: text` lines, separated by a tab in a pipe."""
    from cnncli.explaining import card, dense_twins, facts, twin_facts

    lines = facts(traced.rows[-1])
    if compare_dense:
        lines += [fact for twin in dense_twins(traced) for fact in twin_facts(twin)]
    if console.stdout_is_terminal():
        console.write(card(lines, console.results().width))
    else:
        console.write("".join(f"{what}\t{text}\n" for what, text in lines))


# --- networks -----------------------------------------------------------------------------------------------------


def _write_table(traced: Trace, form: str) -> None:
    from cnncli import layertable

    rows = layertable.trace_rows(traced)
    if form == "csv":
        console.write(layertable.as_csv(layertable.COLUMNS, rows))
    elif form == "markdown":
        console.write(layertable.as_markdown(layertable.COLUMNS, [*rows, layertable.total_cells(traced)]))
    elif console.stdout_is_terminal():
        from cnncli.explaining import totals
        from cnncli.tables import layer_table

        screen = console.results()
        screen.print(layer_table(traced, screen.width))
        screen.print(totals(traced))
    else:
        console.write(layertable.as_tabs([layertable.COLUMNS, *rows, layertable.total_cells(traced)]))


def _write_more(traced: Trace, form: str, explain: bool, compare_dense: bool) -> None:
    from cnncli import explaining

    if compare_dense:
        _write_twins(traced, form)
    if explain:
        fence = "```\n" if form == "markdown" else ""
        width = console.results().width if form == "table" and console.stdout_is_terminal() else None
        console.write(f"\n{fence}{explaining.explanation(traced, width)}{fence}")
    elif form == "table":
        found = [f"{row.node.name}: {text}" for row in traced.layers for text in explaining.notes(row)]
        for text in found[:_MOST_NOTES]:
            console.note(text)
        if len(found) > _MOST_NOTES:
            console.note(f"and {len(found) - _MOST_NOTES} more like these; see --explain")
    if note := explaining.output_note(traced):
        console.note(note)


def _write_twins(traced: Trace, form: str) -> None:
    from cnncli import layertable

    rows = layertable.twin_rows(traced)
    if form == "markdown":
        console.write("\n" + layertable.as_markdown(layertable.TWIN_COLUMNS, rows))
    elif console.stdout_is_terminal():
        from cnncli.tables import twin_table

        console.write("\n")
        screen = console.results()
        screen.print(twin_table(traced, screen.width))
    else:
        console.write("\n" + layertable.as_tabs([layertable.TWIN_COLUMNS, *rows]))


# --- the other way round ------------------------------------------------------------------------------------------


def _solve(size: str | None, dims: int, given: dict[str, Any], form: str) -> None:
    from cnncli import layertable

    solutions = _solutions(_input(size, dims), dims, given)
    if form == "json":
        console.write(json.dumps(layertable.solutions_object(solutions), indent=2) + "\n")
        return
    rows = layertable.solution_rows(solutions)
    if form == "csv":
        console.write(layertable.as_csv(layertable.SOLUTION_COLUMNS, rows))
    elif form == "markdown":
        console.write(layertable.as_markdown(layertable.SOLUTION_COLUMNS, rows))
    elif console.stdout_is_terminal():
        from cnncli.tables import solution_table

        shown = [row for axis in solutions for row in [row for row in rows if row[0] == axis][:_MOST_SOLUTIONS]]
        console.results().print(solution_table(shown))
        if more := len(rows) - len(shown):
            console.note(f"and {more} more, which a pipe and --format json show")
    else:
        console.write(layertable.as_tabs([layertable.SOLUTION_COLUMNS, *rows]))


def _solutions(shape: Shape, dims: int, given: dict[str, Any]) -> dict[str, list[Placement] | list[Spread]]:
    from cnncli.solving import solve_axes

    wanted = _sizes(given, "solve", dims)
    layer = _layer({"kernel": "1", **given}, dims)
    names = {"kernel": "kernel", "stride": "stride", "pad": "padding", "padding": "padding"}
    fixed = {field for option, field in names.items() if option in given}
    return solve_axes(shape[:dims], wanted, layer, fixed)
