"""Follows an input through a network: sizes, parameters, work, memory and receptive fields, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from cnncli.errors import ShapeError
from cnncli.grammar import token
from cnncli.layers import MAX_VALUES, Layer, Measure, Shape, measure
from cnncli.networks import Network, Node
from cnncli.shapes import Spread

FLOAT_BYTES = 4  # activations are float32


@dataclass(frozen=True, slots=True)
class Field:
    """The part of the network's input that one value of a layer can see.

    As Araujo, Norris and Sim derive it (https://distill.pub/2019/computing-receptive-fields); it may reach over the
    input's edge.
    """

    sizes: tuple[int, ...] | None  # elements of the input along each axis; None: all of it
    jump: tuple[Fraction, ...] | None  # how far apart the fields of neighbours are; None where there are none


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of a network with its input worked out."""

    node: Node
    inputs: tuple[Shape, ...]
    measure: Measure
    field: Field

    @property
    def parameters(self) -> int:
        """What it adds to the network's parameters."""
        return 0 if self.node.shares else self.measure.parameters

    @property
    def activation_bytes(self) -> int:
        """Size of its output for one image, in bytes."""
        return FLOAT_BYTES * prod(self.measure.output)


@dataclass(frozen=True, slots=True)
class Trace:
    """A network worked out for one input. Totals leave out what layers share."""

    network: Network
    rows: tuple[Row, ...]

    @property
    def layers(self) -> tuple[Row, ...]:
        """The rows without the inputs."""
        return tuple(row for row in self.rows if row.node.layer.kind != "input")

    @property
    def output(self) -> Shape:
        """Shape of the last layer's output."""
        return self.rows[-1].measure.output

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def statistics(self) -> int:
        """Those parameters that training does not change by gradients."""
        return sum(row.measure.statistics for row in self.rows if not row.node.shares)

    @property
    def macs(self) -> int:
        """Multiplications of convolutions and dense layers, each with its addition, for one image."""
        return sum(row.measure.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Of all layers' outputs together, as training keeps them, for one image."""
        return sum(row.activation_bytes for row in self.layers)


def trace(network: Network) -> Trace:
    """Works `network` out. Raises ShapeError naming the first layer that is impossible."""
    rows: list[Row] = []
    for position, node in enumerate(network.nodes):
        before = [rows[index] for index in node.inputs]
        shapes = tuple(row.measure.output for row in before)
        try:
            found = measure(node.layer, *shapes)
        except ShapeError as problem:
            taken = " and ".join(map(joined, shapes))
            raise ShapeError(f"{node.place(position)} ({token(node.layer)}), of {taken}: {problem}") from None
        field = _field(node.layer, found, [row.field for row in before], shapes)
        if field.jump and max(max(jump.as_integer_ratio()) for jump in field.jump) > MAX_VALUES:
            raise ShapeError(f"{node.place(position)}: the strides up to here multiply to more than 10^100")
        rows.append(Row(node, shapes, found, field))
    return Trace(network, tuple(rows))


def joined(sizes: Iterable[object]) -> str:
    """`32x32x3`."""
    return "x".join(map(str, sizes))


def _field(layer: Layer, found: Measure, before: list[Field], shapes: tuple[Shape, ...]) -> Field:
    axes = len(found.output) - 1
    if layer.kind == "input":
        return Field((1,) * axes or None, (Fraction(1),) * axes or None) if axes else Field((1,), None)
    merged = _merged(before)
    if layer.kind in ("gap", "gmp") or (layer.kind == "dense" and len(shapes[0]) == 1):
        return Field(None, None)
    if found.axes:
        return _widened(found, merged)
    if layer.kind in ("upsample", "resize") and merged.jump is not None:
        scales = map(Fraction, shapes[0][:-1], found.output[:-1])
        return Field(merged.sizes, tuple(jump * scale for jump, scale in zip(merged.jump, scales, strict=True)))
    if layer.kind in ("flatten", "reshape"):
        return Field(merged.sizes, None)
    return merged


def _merged(fields: list[Field]) -> Field:
    """What a value sees that is made of several: the largest field, where the map that has neighbours has them."""
    jump = next((field.jump for field in fields if field.jump is not None), None)
    sizes = [field.sizes for field in fields if field.sizes is not None]
    if len(sizes) < len(fields) or len(set(map(len, sizes))) > 1:
        return Field(None, jump)
    return Field(tuple(map(max, zip(*sizes, strict=True))), jump)


def _widened(found: Measure, before: Field) -> Field:
    if before.jump is None:  # after a reshape no neighbours are known
        return Field(None, None)
    widened, jumps = [], []
    for axis, jump, size in zip(found.axes, before.jump, before.sizes or (0,) * len(found.axes), strict=True):
        if isinstance(axis, Spread):
            widened.append(size + ceil((axis.overlap - 1) * jump))
            jumps.append(jump / axis.window.stride)
        else:
            widened.append(size + ceil((axis.window.extent - 1) * jump))
            jumps.append(jump * axis.window.stride)
    return Field(None if before.sizes is None else tuple(widened), tuple(jumps))
