"""Networks as blocks, and as a picture of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnncli import networks
from cnncli.architecture import MOST_BLOCKS, blocks
from cnncli.architecture_picture import cuboid, picture
from cnncli.grammar import parse, parse_table_token
from cnncli.networks import Network, stack
from cnncli.tracing import Trace, trace


def traced(name: str) -> Trace:
    network = networks.find(name)
    assert network is not None
    return trace(network)


def typed(text: str, shape: tuple[int, ...] = (16, 16, 3)) -> Trace:
    return trace(stack("typed", shape, parse([text])))


@pytest.mark.parametrize("name", networks.names())
def test_blocks_of_every_network_add_up_and_are_few(name: str) -> None:
    network = traced(name)
    found = blocks(network)
    assert len(found) <= MOST_BLOCKS
    assert sum(block.parameters for block in found) == network.parameters
    assert found[0].kinds == ("input",) and found[-1].output == network.output


def test_layers_that_leave_the_shape_stand_below_the_block_they_follow() -> None:
    found = blocks(typed("conv:4:3:nobias bn relu dropout:0.5 flatten dense:2:softmax"))
    assert [(block.titles, block.then) for block in found] == [
        (("input",), ()), (("conv 3x3",), ("bn", "relu", "dropout")), (("flatten",), ()), (("dense",), ("softmax",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv:4:3 crop:2 relu", [(("conv 3x3",), (), (14, 14, 4)), (("cropping",), ("relu",), (10, 10, 4))]),
        ("conv:4:3 zeropad:1", [(("conv 3x3",), (), (14, 14, 4)), (("zero padding",), (), (16, 16, 4))]),
        ("zeropad:2 bn gap", [(("zero padding",), ("bn",), (20, 20, 3)), (("global avg pool",), (), (3,))]),
        ("zeropad:1 conv:4:3 relu", [(("conv 3x3",), ("relu",), (16, 16, 4))]),
    ],
)
def test_layers_that_change_the_shape_are_blocks_of_their_own(text: str, expected: list[tuple[object, ...]]) -> None:
    made = trace(stack("made", (16, 16, 3), [parse_table_token(token) for token in text.split()]))
    assert [(block.titles, block.then, block.output) for block in blocks(made)[1:]] == expected


def test_stride_is_told_where_it_is_unusual() -> None:
    found = blocks(typed("conv:4:5x3:s2 pool:2 pool:3:s1 avgpool:2", (32, 32, 3)))
    titles = [block.titles[0] for block in found[1:]]
    assert titles == [
        "conv 5x3 /2",
        "max pool 2x2",
        "max pool 3x3 /1",
        "avg pool 2x2",
    ]


def test_branches_that_meet_are_one_block() -> None:
    found = blocks(typed("conv:4:3:same res:4 res:8:s2 gap"))
    assert [block.join for block in found] == ["", "", "add", "add", ""]
    assert [block.lines for block in found[2:4]] == [("residual block",)] * 2
    assert found[3].output == (8, 8, 8)


def test_stages_of_resnet50_are_those_of_the_paper() -> None:
    """He et al., arXiv:1512.03385, table 1: 3, 4, 6 and 3 blocks."""
    stages = [block for block in blocks(traced("resnet50")) if block.join]
    assert [block.lines for block in stages] == [(f"{count} x residual block",) for count in (3, 4, 6, 3)]
    assert [block.output for block in stages] == [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048)]


def test_many_layers_are_merged_step_by_step() -> None:
    long = typed(" ".join(["conv:4:3:same:relu"] * 12 + ["conv:8:3:same"] * 12))
    assert [block.count for block in blocks(long, most=16)] == [1, 12, 12]
    assert [block.output for block in blocks(long, most=2)] == [(16, 16, 3), (16, 16, 8)]
    assert len(blocks(long, most=30)) == 25


def test_any_number_of_dense_layers_makes_a_picture() -> None:
    many = trace(stack("x", (5,), parse(["dense:3 dense:4 " * 200 + "dense:2"])))
    assert [block.lines for block in blocks(many)] == [("input",), ("401 x dense",)]


def test_cuboids_grow_with_the_map_and_the_channels() -> None:
    assert cuboid((224, 224, 3), 224).height == 240 and cuboid((56, 56, 3), 224).height == 120
    assert cuboid((7, 7, 64), 224).height < cuboid((14, 14, 64), 224).height
    assert cuboid((7, 7, 64), 224).thick < cuboid((7, 7, 512), 224).thick
    assert cuboid((10,), 224).height < cuboid((1000,), 224).height


@pytest.mark.parametrize(
    "network",
    [networks.find("lenet"), networks.find("tiny200"), networks.find("nasnetmobile"),
     stack("x", (100, 2), parse(["conv:4:3 pool:2"])), stack("x", (8, 9, 10, 1), parse(["conv:4:3"])),
     stack("[red]\x1b", (5,), parse(["dense:3"]))],
)  # fmt: skip
def test_picture_draws_each_block_in_the_colour_of_its_kind(network: Network) -> None:
    image = picture(trace(network))
    assert image.mode == "RGB"
    colours = {colour for _, colour in image.getcolors(1 << 24) or []}
    kinds = {kind for block in blocks(trace(network)) for kind in block.kinds}
    assert ((86, 180, 233) in colours) == bool(kinds & {"conv", "dwconv"})
    assert ((230, 159, 0) in colours) == ("dense" in kinds)


def test_shortcuts_run_above_the_blocks_with_branches() -> None:
    green = (0, 126, 92)
    plain, branched = (np.asarray(picture(typed(text))) for text in ("conv:4:3:same gap", "res:4 res:4 gap"))
    assert not (plain == green).all(axis=-1).any()
    lines = (branched == green).all(axis=-1)
    top = np.flatnonzero(lines.any(axis=1)).min()
    assert len(np.flatnonzero(np.diff(lines[top + 1].astype(int)) == 1)) == 2


def test_picture_is_the_same_each_time() -> None:
    assert picture(traced("lenet")).tobytes() == picture(traced("lenet")).tobytes()
    assert isinstance(picture(traced("lenet")), Image.Image)
