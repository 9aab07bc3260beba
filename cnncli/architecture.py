"""A network in as few blocks as one looks at: layers that only touch values fold into the block before them,
branches that meet again are one block, and equal blocks in a row are counted. Standard library only.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnncli.layers import MERGES, WINDOWED, Layer, Shape
from cnncli.tracing import Row, Trace, joined

MOST_BLOCKS = 16  # of a picture that is not cluttered

_OWN = {*WINDOWED, *MERGES, "concat", "gap", "gmp", "dense", "flatten", "reshape", "upsample", "resize", "input"}
_NAMES = {
    "conv": "conv", "dwconv": "depthwise", "sepconv": "separable", "tconv": "transposed", "pool": "max pool",
    "avgpool": "avg pool", "gap": "global avg pool", "gmp": "global max pool", "zeropad": "zero padding",
    "crop": "cropping",
}  # fmt: skip
_JOINED = {"add": "residual block", "concat": "branches", "mul": "gated block"}


@dataclass(frozen=True, slots=True)
class Block:
    """Some layers one after the other that are drawn as one."""

    kinds: tuple[str, ...]  # of the layers that give it its name
    titles: tuple[str, ...]  # one for each layer or branched part, in order
    then: tuple[str, ...]  # what follows and leaves the shape as it is: bn, relu
    output: Shape
    parameters: int
    join: str = ""  # how its branches meet: add, concat, ...; empty without branches
    count: int = 1  # how many equal ones it stands for

    @property
    def lines(self) -> tuple[str, ...]:
        """Its titles, equal ones counted: `3 x residual block`."""
        counted = Counter(self.titles)
        return tuple(f"{count} x {title}" if count > 1 else title for title, count in counted.items())


def blocks(trace: Trace, most: int = MOST_BLOCKS) -> tuple[Block, ...]:
    """The blocks of a network in order, about `most` at most; their parameters add up to the network's.

    More are merged: first neighbours that are alike, then those of one output shape, then those of one map size.
    """
    found = list(_folded(_parts(trace.rows)))
    for alike in (_same, _shape, _sizes):
        if len(found) <= most:
            break
        found = [_merged(list(group)) for _, group in itertools.groupby(found, alike)]
    return tuple(found)


def _same(block: Block) -> Any:
    return block.kinds, block.titles, block.output, block.join


def _shape(block: Block) -> Any:
    return block.output if block.kinds[-1] != "input" else "input"


def _sizes(block: Block) -> Any:
    if len(block.output) == 1 or block.kinds[-1] == "input":
        return sorted(set(block.kinds))  # vectors have no map
    return block.output[:-1]


def _merged(group: list[Block]) -> Block:
    first, last = group[0], group[-1]
    then = tuple(dict.fromkeys(what for block in group for what in block.then))
    kinds = tuple(kind for block in group for kind in block.kinds)
    titles = tuple(title for block in group for title in block.titles)
    parameters = sum(block.parameters for block in group)
    join = next((block.join for block in group if block.join), "")
    return first if first is last else Block(kinds, titles, then, last.output, parameters, join, len(group))


def _parts(rows: Sequence[Row]) -> Iterator[tuple[Row, ...]]:
    """The network cut at each layer that everything goes through: single layers, and parts with branches."""
    jumping = [0] * (len(rows) + 1)  # how many connections pass a layer by, as differences
    for index, row in enumerate(rows):
        for before in row.node.inputs:
            jumping[before + 1] += 1
            jumping[index] -= 1
    start = 0
    for index, passing in enumerate(itertools.accumulate(jumping[: len(rows)])):
        if passing == 0:
            yield tuple(rows[start : index + 1])
            start = index + 1
    if start < len(rows):
        yield tuple(rows[start:])  # several outputs


def _folded(parts: Iterator[tuple[Row, ...]]) -> Iterator[Block]:
    block: Block | None = None
    for part, after in itertools.pairwise((*parts, ())):
        last = part[-1]
        kind = last.node.layer.kind
        if len(part) == 1 and kind == "zeropad" and after and after[0].node.layer.kind in WINDOWED:
            continue  # it belongs to the layer that it pads for, whose output tells
        folds = len(part) == 1 and kind not in _OWN
        if folds and block is not None and last.measure.output == block.output:
            parameters = block.parameters + last.parameters
            block = Block(block.kinds, block.titles, (*block.then, kind), block.output, parameters, block.join)
        else:
            if block is not None:
                yield block
            block = _block(part)
    if block is not None:
        yield block


def _block(part: tuple[Row, ...]) -> Block:
    last = part[-1]
    layer, output = last.node.layer, last.measure.output
    parameters = sum(row.parameters for row in part)
    if len(part) == 1:
        then = (layer.activation,) if layer.activation not in ("", "linear") else ()
        return Block((layer.kind,), (title(layer),), then, output, parameters)
    return Block((layer.kind,), (_JOINED.get(layer.kind, "branches"),), (), output, parameters, layer.kind)


def title(layer: Layer) -> str:
    """What a layer is called in a picture: `conv 5x5 /2`, the number after the slash being its stride."""
    name = _NAMES.get(layer.kind, layer.kind)
    if layer.kind not in WINDOWED:
        return name
    kernel = joined(layer.kernel * 2 if len(layer.kernel) == 1 else layer.kernel)
    usual = layer.kernel if "pool" in layer.kind else (1,)
    stride = "" if set(layer.stride) == set(usual) else f" /{joined(sorted(set(layer.stride)))}"
    return f"{name} {kernel}{stride}"
