"""Receptive fields against networks that are run: which pixels change a cell, tried one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from cnncli import networks
from cnncli.backbones import InputSpec
from cnncli.errors import ShapeError
from cnncli.grammar import parse
from cnncli.layers import Layer
from cnncli.networks import Network, Node, stack
from cnncli.palette import DISTINCT
from cnncli.receptive import MOST_SHOWN, View, last_with_window, nested, view
from cnncli.receptive_picture import caption, picture
from cnncli.tracing import Trace, trace


def typed(text: str, height: int = 21, width: int = 18) -> Trace:
    return trace(stack("typed", (height, width, 1), parse([text])))


def influence(text: str, height: int, width: int) -> np.ndarray:
    """Whether a pixel changes a cell, shape `(height, width, map height, map width)`, by a Keras model that is run.

    All weights are positive and the image is black, so that no two influences cancel.
    """
    from cnncli.learning import keras
    from cnncli.learning.networks import build

    model: Any = build(parse([text, "gap dense:1"]), InputSpec(height, width, "gray", "crop"), rescale=False)
    model = keras.Model(model.inputs, model.layers[-3].output)
    for layer in model.layers:
        if "bn" not in layer.name:
            layer.set_weights([np.ones_like(weight) for weight in layer.get_weights()])
            if getattr(layer, "bias", None) is not None:
                layer.bias.assign(0 * layer.bias)
    pixels = np.eye(height * width, dtype=np.float32).reshape(-1, height, width, 1)
    maps = model.predict(pixels, verbose=0).max(axis=-1)
    return maps.reshape(height, width, *maps.shape[1:]) > 0


NETS = [
    "conv:2:3",
    "conv:2:3:same conv:2:3:same:s2 conv:1:3",
    "conv:2:5x3:s2 pool:2 conv:2:3:same",
    "conv:2:4:same:s2 conv:2:3:p1:s2 avgpool:3:s1:same",
    "conv:2:3:d2 dwconv:3:s2 conv:2:1 pool:3:s2:same",
    "conv:2:3:same res:2 res:3:s2",
    "pool:3:s3:same res:2:s2 conv:2:3:valid",
    "conv:2:3:p2 conv:2:5:s3",
    "conv:2:3:s2 tconv:1:3:s2:same conv:1:3",
    "conv:2:3:s2:same tconv:2:2:s2",
]


@pytest.mark.parametrize("text", NETS)
def test_pixels_seen_are_exactly_those_that_change_the_cell(text: str) -> None:
    height, width = 21, 18
    traced, changes = typed(text, height, width), influence(text, height, width)
    index = len(traced.rows) - 1
    rows, columns = traced.output[:2]
    assert changes.shape[2:] == (rows, columns)
    for cell in np.ndindex(rows, columns):
        (top, bottom), (left, right) = view(traced, index, cell).seen
        ys, xs = np.nonzero(changes[:, :, *cell])
        assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (top, bottom, left, right), cell


@pytest.mark.parametrize("name", ["lenet", "tiny200", "resnet50", "mobilenetv2", "inceptionv3", "efficientnetb0"])
def test_sizes_are_those_of_shapes(name: str) -> None:
    network = networks.find(name)
    assert network is not None
    traced = trace(network)
    for index, row in list(enumerate(traced.rows))[1::7]:
        if len(row.measure.output) == 3:
            found = view(traced, index)
            assert (None if found.gated else found.field and found.size) == row.field.sizes


def test_field_reaches_over_the_edge_by_the_padding() -> None:
    traced = typed("conv:1:3:same conv:1:5:same")
    corner = view(traced, 2, (0, 0))
    assert corner.field == ((-3, 4), (-3, 4)) and corner.seen == ((0, 4), (0, 4)) and corner.size == (7, 7)
    assert view(traced, 2, (20, 17)).field == ((17, 24), (14, 21))


def test_neighbouring_cells_are_a_stride_apart() -> None:
    traced = typed("conv:1:3:s2 conv:1:3:s2")
    assert view(traced, 2, (1, 1)).field == ((4, 11), (4, 11))
    assert view(traced, 2, (2, 1)).field == ((8, 15), (4, 11))


def gated(*, whole: bool) -> Trace:
    """Two convolutions, the maps of the first weighed by numbers made from all of them, as squeeze and excitation does.

    With `whole` the numbers are spread over the map before.
    """
    nodes = [
        Node("pixels", Layer("input", target=(16, 16, 3))),
        Node("stem", Layer("conv", kernel=(3,), units=4, padding="same"), (0,)),
        Node("mean", Layer("gap"), (1,)),
        Node("gate", Layer("reshape", target=(1, 1, 4)), (2,)),
        *([Node("spread", Layer("upsample", target=(16,)), (3,))] if whole else []),
        Node("weighed", Layer("mul"), (1, 4 if whole else 3)),
        Node("top", Layer("conv", kernel=(3,), units=4, padding="same"), (5 if whole else 4,)),
    ]
    return trace(Network("gated", tuple(nodes)))


def test_gates_are_left_out_and_said() -> None:
    traced = gated(whole=False)
    found = view(traced, len(traced.rows) - 1, (5, 6))
    assert found.field == ((3, 8), (4, 9)) == found.seen and found.gated
    assert [one.gated for one in nested(traced, len(traced.rows) - 1, (5, 6))] == [False, True]


def test_after_global_pooling_everything_is_seen() -> None:
    traced = gated(whole=True)
    found = view(traced, len(traced.rows) - 1)
    assert found.field is None and found.seen == ((0, 16), (0, 16)) and not found.gated


def test_frames_of_a_network_with_gates_grow() -> None:
    efficient = networks.find("efficientnetb0")
    assert efficient is not None
    traced = trace(efficient)
    sizes = [found.size for found in nested(traced, last_with_window(traced))]
    # kernels and strides from the stem on (arXiv:1905.11946, table 1), as far as the layers with the last of each size
    kernels = ((3, 2), (3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), *[(3, 1)] * 2, *[(5, 1)] * 3, (5, 2))
    size, jump, by_hand = 1, 1, []
    for kernel, stride in (*kernels, *[(5, 1)] * 3, (3, 1)):
        size, jump = size + (kernel - 1) * jump, jump * stride
        by_hand.append(size)
    assert sizes == [(by_hand[place],) * 2 for place in (1, 3, 5, 11, 16)]


def test_nested_fields_grow_and_lie_within_each_other() -> None:
    for name in networks.names():
        network = networks.find(name)
        assert network is not None
        traced = trace(network)
        views = nested(traced, last_with_window(traced))
        assert 1 <= len(views) <= MOST_SHOWN <= len(DISTINCT)
        for inner, outer in itertools.pairwise(views):
            if inner.field is not None and outer.field is not None:
                for (a, b), (c, d) in zip(inner.field, outer.field, strict=True):
                    assert c <= a < b <= d, name


def test_cell_in_the_padding_sees_nothing_of_the_input_nor_of_the_layers_between() -> None:
    traced = typed("conv:1:3 conv:1:3:p5 conv:1:1")
    corner = view(traced, 3, (0, 0))
    assert (corner.field, corner.seen) == (((-5, 0), (-5, 0)), ((0, 0), (0, 0)))
    assert [(one.row.node.name, one.cell) for one in nested(traced, 3, (0, 0))] == [(traced.rows[3].node.name, (0, 0))]


def test_cell_between_the_windows_of_a_transposed_convolution_sees_nothing() -> None:
    traced = typed("conv:1:3 tconv:1:1:s2")
    assert [view(traced, 2, (at, 0)).seen for at in (0, 1, 2)] == [((0, 3),) * 2, ((0, 0),) * 2, ((1, 4), (0, 3))]


@pytest.mark.parametrize("cell", [(19, 0), (0, 16), (0,), (-1, 0), (0, -2)])
def test_cell_that_the_layer_does_not_have_is_refused(cell: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"conv: no cell .* in a map of 19x16"):
        view(typed("conv:1:3"), 1, cell)


def test_layer_without_a_map_is_refused() -> None:
    traced = trace(stack("x", (8, 8, 1), parse(["flatten dense:2"])))
    with pytest.raises(ShapeError, match="its output is a vector"):
        view(traced, 1)
    with pytest.raises(ShapeError, match="no convolution or pooling layer"):
        last_with_window(traced)


def frames(views: list[View], height: int = 21, width: int = 18) -> np.ndarray:
    return np.asarray(picture(np.zeros((height, width, 1), np.uint8), views))


def test_frame_lies_around_exactly_the_pixels_that_are_seen() -> None:
    traced, scale = typed("conv:1:3:s2 conv:1:3:s2"), round(800 / 21)
    corner = 16 + 6  # the margin, and the room for a frame
    pixels = frames([view(traced, 2, (1, 1))])[: corner + 21 * scale, : corner + 18 * scale]
    inked = np.argwhere((pixels == DISTINCT[0]).all(axis=-1))
    (top, left), (bottom, right) = inked.min(axis=0), inked.max(axis=0)
    assert (top, left) == (corner + 4 * scale - 3, corner + 4 * scale - 3)
    assert (bottom, right) == (corner + 11 * scale + 2, corner + 11 * scale + 2)


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
@pytest.mark.parametrize("text", [" ".join(["conv:8:3"] * count) for count in (2, 6)])
@pytest.mark.parametrize("side", [224, 600])
def test_nested_frames_in_a_corner_lie_where_their_fields_are(side: int, text: str, corner: tuple[int, int]) -> None:
    traced = trace(stack("typed", (side, side, 3), parse([text])))
    index = len(traced.rows) - 1
    views = nested(traced, index, tuple(place % traced.output[0] for place in corner))
    scale, origin = round(800 / side), 16 + 6 * len(views)
    drawn = np.asarray(picture(np.zeros((side, side, 3), np.uint8), views))[:, : origin + side * scale + 6]
    assert len(views) == len(text.split())
    shown = views if scale > 1 else views[:1]  # a pixel apart, the smallest covers the others
    for one, colour in zip(shown, DISTINCT, strict=False):
        ys, xs = np.nonzero((drawn == colour).all(axis=-1))
        (top, bottom), (left, right) = one.field or one.seen
        # a smaller frame may cover the line on the corner's sides, where all of them end
        far = {0: (ys.max() - 2, xs.max() - 2), -1: (ys.min() + 3, xs.min() + 3)}
        ends = {0: (bottom, right), -1: (top, left)}
        for axis in (0, 1):
            assert far[corner[axis]][axis] == origin + ends[corner[axis]][axis] * scale, (one.row.node.name, axis)


def test_ground_is_shown_where_a_field_reaches_over_the_edge() -> None:
    traced = typed("conv:1:3:same conv:1:5:same")
    inside, over = frames([view(traced, 2, (9, 9))]), frames([view(traced, 2, (0, 0))])
    grey = (205, 205, 205)
    assert not (inside == grey).all(axis=-1).any() and (over[60, 60] == grey).all()


def test_frame_that_reaches_very_far_ends_at_the_edge() -> None:
    traced = typed("conv:1:3:same:s2 conv:1:41:same", 16, 16)
    picture = frames([view(traced, 2, (4, 4))], 16, 16)
    side = 16 + 2 * 12  # margins of three quarters of the image
    inked = np.argwhere((picture[:, : 16 + side * 20] == DISTINCT[0]).all(axis=-1))
    assert inked.min() == 16 + 6 - 3 and inked.max() == 16 + 6 + side * 20 + 2


def test_field_that_lies_beyond_the_ground_is_a_line_at_its_edge() -> None:
    traced = typed("conv:1:3:p40", 16, 16)
    ground = frames([view(traced, 1, (0, 48))], 16, 16)[:, : 16 + 40 * 20]
    ys, xs = np.nonzero((ground == DISTINCT[0]).all(axis=-1))
    assert (ys.min(), ys.max()) == (16 + 6 - 3, 16 + 6 + 2)
    assert (xs.min(), xs.max()) == (16 + 6 + (12 + 8) * 20 - 3, 16 + 6 + (12 + 11) * 20 + 2)


def test_caption_says_which_cell_sees_how_much() -> None:
    traced = typed("conv:1:3:s2 pool:2")
    assert caption(view(traced, 2, (1, 2))) == ("pool (max pool 2x2) sees 5x5 pixels", "cell 2,1 of 5x4")
    padded = typed("conv:1:3:p9")
    assert caption(view(padded, 1, (0, 0)))[0] == "conv (conv 3x3) sees nothing of the image"
