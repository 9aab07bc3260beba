"""Networks as graphs of layers: the named nets, what people write, and the tables of the pretrained ones."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TypeVar

from cnncli import backbones
from cnncli.backbones import BACKBONES
from cnncli.errors import GrammarError
from cnncli.grammar import parse, parse_table_token, token
from cnncli.layers import Layer, Shape, Sizes


@dataclass(frozen=True, slots=True)
class Node:
    """A layer at its place in a network."""

    name: str
    layer: Layer
    inputs: tuple[int, ...] = ()  # earlier nodes, by their index
    shares: bool = False  # it is an earlier layer used again, and brings no parameters of its own
    number: int | None = None  # from 1, of the layer as it was written; None: its place among the nodes
    block: str = ""  # the token of the block that it is a part of, if it is

    def place(self, index: int) -> str:
        """What messages call it, `index` being its own: `layer 3, pool`, or `layer 3, res:16, its conv2`."""
        number = index if self.number is None else self.number
        return f"layer {number}, {self.block}, its {self.name}" if self.block else f"layer {number}, {self.name}"


@dataclass(frozen=True, slots=True)
class Network:
    """A graph whose nodes come after their inputs; the inputs are nodes of kind `input`."""

    name: str
    nodes: tuple[Node, ...]

    @property
    def input(self) -> Shape:
        """The shape of its (first) input: `(sizes..., channels)` or `(n,)`."""
        return self.nodes[0].layer.target

    def with_input(self, given: Sizes) -> Network:
        """The same layers on another input: see `resized`."""
        first = replace(self.nodes[0], layer=_input(resized(self.input, given)))
        return replace(self, nodes=(first, *self.nodes[1:]))


T = TypeVar("T")


def resized(own: tuple[T, ...], given: tuple[T, ...]) -> tuple[T, ...]:
    """The input shape of a network with other sizes: one for a square, or all; channels left out stay its own.

    Raises GrammarError if `given` has too many numbers or too few.
    """
    axes = len(own) - 1
    if len(given) == len(own):
        return given
    if axes and len(given) in (1, axes):
        return (*given * (axes // len(given)), own[-1])
    shown = "x".join("?" if size is None else str(size) for size in own)
    raise GrammarError(f"the input has {len(given)} numbers: expected as many as {shown} has; channels may be left out")


def _input(shape: Shape) -> Layer:
    return Layer("input", target=shape)


_Placed = tuple[Layer, tuple[int, ...]]  # a layer, and the indices of the nodes that it takes


def stack(name: str, shape: Shape, layers: Sequence[Layer]) -> Network:
    """A network of one layer after the other, `res` being several: see `_residual`.

    Layers are named after their kind and counted: conv1, pool1, conv2.
    """
    nodes = [Node("input", _input(shape))]
    channels = shape[-1]
    for number, layer in enumerate(layers, 1):
        before, is_block = len(nodes) - 1, layer.kind == "res"
        block = token(layer) if is_block else ""
        placed = _residual(layer, channels, before) if is_block else [(layer, (before,))]
        nodes += [Node("", part, inputs, number=number, block=block) for part, inputs in placed]
        channels = _channels(layer, channels)
    return Network(name, tuple(_named(nodes)))


def _named(nodes: Sequence[Node]) -> Iterator[Node]:
    totals, seen = Counter(node.layer.kind for node in nodes), Counter[str]()
    for node in nodes:
        kind = node.layer.kind
        seen[kind] += 1
        yield replace(node, name=kind if totals[kind] == 1 else f"{kind}{seen[kind]}")


def _residual(block: Layer, channels: int, before: int) -> list[_Placed]:
    """The layers of a residual block whose input is node `before`: two convolutions, and a shortcut that is added.

    The basic block of ResNet (arXiv:1512.03385). Its shortcut averages where the block has a stride (ResNet-D,
    arXiv:1812.01187), and is a convolution of 1x1 where the number of channels changes.
    """
    conv = Layer("conv", units=block.units, kernel=(3,), stride=block.stride, padding="same", bias=False)
    body = [conv, Layer("bn"), Layer("relu"), replace(conv, stride=(1,)), Layer("bn")]
    shortcut = []
    if max(block.stride) > 1:
        shortcut.append(Layer("avgpool", kernel=block.stride, stride=block.stride, padding="same"))
    if block.units != channels:
        shortcut += [Layer("conv", units=block.units, kernel=(1,), bias=False), Layer("bn")]
    end = before + len(body)
    placed = [(layer, (before + offset,)) for offset, layer in enumerate(body)]
    placed += [(layer, (end + offset if offset else before,)) for offset, layer in enumerate(shortcut)]
    last = before + len(placed)
    return [*placed, (Layer("add"), (end, last if shortcut else before)), (Layer("relu"), (last + 1,))]


def _channels(layer: Layer, channels: int) -> int:
    """How many channels leave a layer that `channels` enter."""
    if layer.kind in ("conv", "tconv", "dense", "res"):
        return layer.units
    return channels * layer.multiplier


def _conv_bn(padding: str, *filters: int) -> str:
    """Convolutions of 3x3, each with batch normalisation, which makes a bias useless, and ReLU."""
    return " ".join(f"conv:{count}:3:{padding}:nobias bn relu" for count in filters)


@dataclass(frozen=True, slots=True)
class NamedNet:
    """A network that the layer grammar can write, and that has a name. Its last layer is `dense:classes`."""

    name: str
    input: Shape
    body: str  # the layers before the last, in the layer grammar
    classes: int
    source: str

    def layers(self, classes: int | None = None) -> list[Layer]:
        """All its layers, the last for `classes` classes (default: its own)."""
        return parse([self.body, f"dense:{classes or self.classes}:softmax"])


_ALEXNET = (
    "conv:96:11:s4:relu pool:3:s2 conv:256:5:p2{0}:relu pool:3:s2 conv:384:3:p1:relu conv:384:3:p1{0}:relu "
    "conv:256:3:p1{0}:relu pool:3:s2 flatten dense:4096:relu dropout:0.5 dense:4096:relu dropout:0.5"
)
_KRIZHEVSKY = "Krizhevsky, Sutskever, Hinton 2012; its picture of 224x224 cannot give 55x55, one of 227x227 does"

NAMED_NETS: dict[str, NamedNet] = {
    net.name: net
    for net in (
        NamedNet("simple", (28, 28, 1), "conv:9:5:relu flatten", 10, "nine filters whose weights can be looked at"),
        NamedNet(
            "pyramid", (28, 28, 1), "conv:10:5:relu pool:2 conv:20:5:relu pool:2 flatten", 10, "two levels for digits"
        ),
        NamedNet(
            "lenet", (32, 32, 3), "conv:6:5:relu pool:2 conv:16:5:relu pool:2 flatten dense:120:relu dense:84:relu", 10,
            "after LeCun et al. 1998, with ReLU and max pooling and in colour",
        ),
        NamedNet(
            "course-cifar", (32, 32, 3),
            "conv:16:3:relu pool:2 conv:32:3:relu pool:2 conv:64:3:relu pool:2 flatten dense:64:relu", 10,
            "a first network for CIFAR-10",
        ),
        NamedNet(
            "deep", (32, 32, 3),
            "conv:32:3:same:relu conv:32:3:relu pool:2 conv:64:3:same:relu conv:64:3:relu pool:2 flatten "
            "dense:256:relu dropout:0.5 dense:128:relu dropout:0.5", 10,
            "four convolutions and two hidden layers with dropout",
        ),
        NamedNet(
            "digits", (28, 28, 1),
            f"{_conv_bn('valid', 32, 32)} pool:2 {_conv_bn('valid', 64, 64)} pool:2 dropout:0.3 "
            "flatten dense:128:nobias bn relu dropout:0.3", 10,
            "pairs of 3x3 convolutions as in VGG (arXiv:1409.1556) with batch normalisation (arXiv:1502.03167)",
        ),
        NamedNet(
            "compact", (32, 32, 3),
            f"{_conv_bn('same', 32, 32)} pool:2 {_conv_bn('same', 64, 64)} pool:2 "
            f"{_conv_bn('same', 128, 128)} pool:2 {_conv_bn('same', 256, 256)} gap dropout:0.3", 10,
            "for photos of any size from 32 pixels: VGG's pairs of 3x3 convolutions (arXiv:1409.1556) with batch "
            "normalisation (arXiv:1502.03167), and global average pooling (arXiv:1312.4400) in place of large layers",
        ),
        NamedNet(
            "tiny200", (64, 64, 3),
            f"conv:32:3:s2:same:nobias bn relu {_conv_bn('same', 32)} "
            "res:64:s2 res:64 res:160:s2 res:160 res:320:s2 res:320 gap", 200,
            "six residual blocks (arXiv:1512.03385); what the bundled model of this name is made of",
        ),
        NamedNet("alexnet", (227, 227, 3), _ALEXNET.format(""), 1000, _KRIZHEVSKY),
        NamedNet("alexnet-grouped", (227, 227, 3), _ALEXNET.format(":g2"), 1000, _KRIZHEVSKY + "; on two GPUs"),
    )
}  # fmt: skip


def names() -> list[str]:
    """Every network that `find` knows."""
    return [*NAMED_NETS, *BACKBONES]


def find(name: str, classes: int | None = None) -> Network | None:
    """The network called `name`: a named net or a pretrained one. None if there is none.

    Raises GrammarError if `classes` is given for a pretrained network, whose last layer is fixed.
    """
    if name in NAMED_NETS:
        net = NAMED_NETS[name]
        return stack(name, net.input, net.layers(classes))
    row = backbones.find(name)
    if row is None:
        return None
    if classes is not None:
        raise GrammarError(f"{row.name} answers with 1000 classes: --classes is for {', '.join(NAMED_NETS)}")
    return from_table(row.name, (files("cnncli") / "data" / "networks" / f"{row.name}.tsv").read_text("utf-8"))


def from_table(name: str, table: str) -> Network:
    """The network in a table: a line each of name, layer and inputs, separated by tabs.

    Inputs are names separated by commas; left out, the line before is meant. `tests/generate_networks.py` writes it.
    """
    nodes: list[Node] = []
    places: dict[str, int] = {}
    for index, line in enumerate(table.splitlines()):
        node_name, text, *inputs = line.split("\t")
        before = tuple(places[name] for name in inputs[0].split(",")) if inputs else (index - 1,)
        nodes.append(Node(node_name, parse_table_token(text), before if index else ()))
        places[node_name] = index
    return Network(name, tuple(nodes))


def similar(name: str) -> str | None:
    """The network whose name is most like `name`, if there is one."""
    return next(iter(difflib.get_close_matches(name.lower(), names(), n=1)), None)
