"""Networks: how they are written, the named ones, the tables of the pretrained ones and model files, against Keras."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from generate_networks import keras_network, table
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import changed_config

from cnncli import kerasgraph
from cnncli.backbones import BACKBONES, Backbone
from cnncli.errors import CnncliError, GrammarError, ModelError, ShapeError
from cnncli.grammar import input_shape, parse, parse_table_token, token
from cnncli.layers import Layer
from cnncli.layertable import trace_object
from cnncli.learning import keras
from cnncli.networks import NAMED_NETS, find, from_table, names, stack
from cnncli.tracing import trace


@pytest.fixture(autouse=True)
def without_values() -> Iterator[None]:
    """Keras builds layers without drawing their weights."""
    with keras.src.backend.StatelessScope(initialize_variables=False):
        yield


def params_of(layer: Any) -> int:
    return layer.count_params() if hasattr(layer, "count_params") else 0


def keras_rows(model: Any, prefix: str = "") -> dict[str, tuple[tuple[int, ...], int]]:
    """Output shape and parameters of each layer of a Keras model by its name, those of models inside it included."""
    rows: dict[str, tuple[tuple[int, ...], int]] = {}
    for layer in model.operations if hasattr(model, "operations") else model.layers:
        if hasattr(layer, "layers"):
            rows |= keras_rows(layer, f"{prefix}{layer.name}/")
        elif not prefix or not isinstance(layer, keras.layers.InputLayer):
            rows[prefix + layer.name] = (tuple(layer.output.shape[1:]), params_of(layer))
    return rows


@pytest.mark.parametrize("row", BACKBONES.values(), ids=lambda row: row.name)
def test_table_of_a_pretrained_network_is_what_keras_builds(row: Backbone) -> None:
    model = keras_network(row)
    network = find(row.name)
    assert network is not None
    found = trace(network)
    assert {r.node.name: (r.measure.output, r.parameters) for r in found.rows} == keras_rows(model)
    assert found.parameters == model.count_params() == row.parameters
    assert table(kerasgraph.network(json.loads(model.to_json()), row.name)) == table(network)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("vgg16", 212),
        ("resnet50", 483),
        ("resnet101", 1027),
        ("resnet152", 1507),
        ("inceptionv3", 1311),
        ("mobilenet", 315),
    ],
)
def test_receptive_field_is_the_one_that_araujo_norris_and_sim_published(name: str, field: int) -> None:
    network = find(name)
    assert network is not None
    last_map = next(row for row in reversed(trace(network).rows) if row.field.sizes)
    assert last_map.field.sizes == (field, field)


@pytest.mark.parametrize("name", NAMED_NETS)
def test_named_net_has_the_shapes_and_parameters_that_keras_gives_its_layers(name: str) -> None:
    network = find(name)
    assert network is not None
    outputs = [keras.Input(network.input)]
    parameters = 0
    for row in trace(network).layers:
        inputs = [outputs[index] for index in row.node.inputs]
        x = inputs if row.node.layer.kind == "add" else inputs[0]
        for layer in in_keras(row.node.layer):
            x = layer(x)
            parameters += layer.count_params()
        outputs.append(x)
        assert row.measure.output == tuple(x.shape[1:])
    assert trace(network).parameters == parameters
    assert network.nodes[-1].layer.kind == "dense" and network.nodes[-1].layer.activation == "softmax"


def in_keras(layer: Layer) -> list[Any]:
    """A layer of the named nets as Keras has it."""
    layers = keras.layers
    if layer.kind == "conv":
        padding = "same" if layer.padding == "same" else "valid"
        bias = {"use_bias": layer.bias}
        made = layers.Conv2D(layer.units, layer.kernel[0], layer.stride[0], padding, groups=layer.groups, **bias)
        if isinstance(layer.padding, str):
            return [made]
        return [layers.ZeroPadding2D(layer.padding[0][0]), made]
    if layer.kind == "pool":
        return [layers.MaxPooling2D(layer.kernel[0], layer.stride[0])]
    if layer.kind == "avgpool":
        return [layers.AveragePooling2D(layer.kernel[0], layer.stride[0], str(layer.padding))]
    if layer.kind == "dense":
        return [layers.Dense(layer.units, use_bias=layer.bias)]
    if layer.kind == "dropout":
        return [layers.Dropout(float(layer.rate))]
    others = {
        "flatten": "Flatten",
        "bn": "BatchNormalization",
        "relu": "ReLU",
        "add": "Add",
        "gap": "GlobalAveragePooling2D",
    }
    return [getattr(layers, others[layer.kind])()]


@pytest.mark.parametrize(
    ("name", "parameters", "fields", "jumps"),
    [
        ("simple", 52_084, [5], [1]),
        ("pyramid", 8_490, [5, 6, 14, 16], [1, 2, 2, 4]),
        ("lenet", 62_006, [5, 6, 14, 16], [1, 2, 2, 4]),
        ("course-cifar", 40_682, [3, 4, 8, 10, 18, 22], [1, 2, 2, 4, 4, 8]),
        ("alexnet", 62_378_344, [11, 19, 51, 67, 99, 131, 163, 195], [4, 8, 8, 16, 16, 16, 16, 32]),
        ("alexnet-grouped", 60_965_224, [11, 19, 51, 67, 99, 131, 163, 195], [4, 8, 8, 16, 16, 16, 16, 32]),
    ],
)
def test_named_net_has_the_published_figures(name: str, parameters: int, fields: list[int], jumps: list[int]) -> None:
    network = find(name)
    assert network is not None
    found = trace(network)
    windows = [row for row in found.layers if row.measure.axes]
    assert found.parameters == parameters
    assert [row.field.sizes for row in windows] == [(size, size) for size in fields]
    assert [row.field.jump for row in windows] == [(jump, jump) for jump in jumps]


def test_every_name_finds_its_network_in_other_spellings_too() -> None:
    for name in names():
        network = find(name)
        assert network is not None and network.name == name
    assert find("ResNet50") == find("resnet50") and find("nonesuch") is None


def test_named_net_takes_other_classes_and_a_pretrained_one_does_not() -> None:
    network = find("lenet", 100)
    assert network is not None and trace(network).output == (100,)
    with pytest.raises(GrammarError, match="resnet50 answers with 1000 classes"):
        find("resnet50", 10)


# --- the grammar ---------------------------------------------------------------------------------------------------


def test_parse_reads_layers_with_all_their_suffixes() -> None:
    assert parse(["conv:32:3x5:s2:p1x0+2:g2:nobias:relu pool:3:s2", "tconv:4:2:same"]) == [
        Layer("conv", 32, (3, 5), (2,), padding=((1, 1), (0, 2)), groups=2, bias=False, activation="relu"),
        Layer("pool", kernel=(3,), stride=(2,)),
        Layer("tconv", 4, (2,), padding="same"),
    ]


def test_parse_gives_pooling_the_stride_of_its_window() -> None:
    assert parse(["avgpool:2x3"])[0].stride == (2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convv:3:3", "layer 1, 'convv:3:3': 'convv' is not a layer. Did you mean conv?"),
        ("relu qqqq", "layer 2, 'qqqq': 'qqqq' is not a layer. Layers: conv:FILTERS:K, dwconv:K"),
        ("conv:32", "layer 1, 'conv:32': expected conv:FILTERS:K"),
        ("conv:0:3", "the number of filters or units '0': expected a whole number from 1 to 10^18"),
        ("conv:32:3:s0", "stride '0': expected a whole number from 1"),
        ("conv:32:-3", "kernel '-3': expected a whole number"),
        ("conv:32:1.5", "kernel '1.5': expected a whole number"),
        ("conv:32:nan", "kernel 'nan'"),
        ("conv:32:3x", "kernel '3x': expected numbers like 3 or 3x5"),
        ("conv:32:٣", "expected a whole number"),
        ("conv:32:9999999999999999999", "to 10^18"),
        ("conv:32:3:q2", "':q2' cannot follow conv:FILTERS:K; expected conv:FILTERS:K, then any of :sN"),
        ("conv:32:3:s2:s3", "':s3' sets the stride a second time"),
        ("conv:32:3:same:p1", "':p1' sets the padding a second time"),
        ("conv:32:3:p1+2+3", "padding '1+2+3': expected numbers like 1, 1x2 or 0+1"),
        ("pool:2:relu", "pool:K has no activation; write 'relu' as a layer of its own after it"),
        ("dropout:1", "expected a number from 0 to below 1"),
        ("add", "'add' is not a layer"),
        ("flatten:3", "':3' cannot follow flatten; expected flatten"),
        ("input:3x3x1", "is not a layer"),
    ],
)
def test_parse_says_which_layer_is_wrong_and_what_was_expected(words: str, message: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse([words])
    assert message in str(caught.value)


SIZES = st.lists(st.integers(1, 99), min_size=1, max_size=3).map(tuple)
LAYERS = st.builds(
    Layer,
    st.sampled_from(["conv", "tconv"]),
    st.integers(1, 10**18),
    SIZES,
    SIZES,
    SIZES,
    st.one_of(
        st.sampled_from(["same", "valid"]),
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=3).map(tuple),
    ),
    bias=st.booleans(),
    activation=st.sampled_from(["", "relu", "softmax"]),
)


@given(LAYERS)
@settings(deadline=None)
def test_token_writes_what_parse_reads(layer: Layer) -> None:
    assert parse([token(layer)]) == [layer]


@given(st.text(alphabet="convplgab:0123459xs+-.relu ", max_size=24))
@settings(deadline=None)
def test_parse_never_fails_but_with_its_own_error(text: str) -> None:
    try:
        assert all(isinstance(layer, Layer) for layer in parse([text]))
    except GrammarError as problem:
        assert str(problem).startswith("layer ")


@pytest.mark.parametrize(
    ("text", "dims", "vector", "shape"),
    [
        ("32x32x3", 2, False, (32, 32, 3)),
        ("28x28", 2, False, (28, 28, 1)),
        ("224", 2, False, (224, 224, 1)),
        ("784", 2, True, (784,)),
        ("28x28", 2, True, (28, 28, 1)),
        ("100", 1, False, (100, 1)),
        ("100x3", 1, False, (100, 3)),
        ("100", 1, True, (100,)),
        ("16x64x64", 3, False, (16, 64, 64, 1)),
        ("16X64X64x2", 3, False, (16, 64, 64, 2)),
    ],
)
def test_input_shape_reads_sizes_then_channels(text: str, dims: int, vector: bool, shape: tuple[int, ...]) -> None:
    assert input_shape(text, dims, vector=vector) == shape


@pytest.mark.parametrize("text", ["", "0x3", "3x", "axb", "1x2x3x4", "1e3", "-5x5", "3,3", "٣x٣", "9" * 40])
def test_input_shape_refuses_what_is_not_sizes(text: str) -> None:
    with pytest.raises(GrammarError, match="input"):
        input_shape(text, 2)


def test_trace_names_the_layer_that_is_impossible() -> None:
    with pytest.raises(ShapeError, match=r"layer 3, conv2 \(conv:16:5\), of 2x2x6: height: a window of 5 does not fit"):
        trace(stack("", (8, 8, 1), parse(["conv:6:5 pool:2 conv:16:5"])))


def test_from_table_reads_branches_by_the_names_of_their_inputs() -> None:
    network = from_table("fork", "in\tinput:4x4x2\na\tconv:3:1\nb\tconv:5:1\tin\nboth\tconcat\ta,b\n")
    assert trace(network).output == (4, 4, 8) and network.nodes[3].inputs == (1, 2)
    assert parse_table_token("reshape:0x4").target == (0, 4)


# --- model files ---------------------------------------------------------------------------------------------------


def functional_model() -> Any:
    """A branching model with a model inside, a shared layer, arithmetic on tensors and an input of open size."""
    layers = keras.layers
    pixels = keras.Input((32, 24, 3), name="pixels")
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.ZeroPadding2D(((0, 1), (1, 2)))(x)
    x = layers.Conv2D(8, (3, 5), strides=2, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    inner = keras.Sequential(
        [keras.Input((16, 12, 8)), layers.SeparableConv2D(16, 3, padding="same"), layers.LayerNormalization()],
        name="inner",
    )
    y = inner(x) if x.shape[1:3] == (16, 12) else inner(layers.Resizing(16, 12)(x))
    shared = layers.Dense(16, name="shared")
    y = shared(y) + shared(layers.PReLU(shared_axes=[1, 2])(y)) * 0.5
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(y)
    y = layers.Multiply()([y, layers.Conv2D(16, 1, activation="sigmoid")(squeezed)])
    y = layers.Concatenate()([y, layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(y)])
    y = layers.Conv2DTranspose(6, 4, strides=2, padding="same", output_padding=1)(y)
    y = layers.UpSampling2D(2)(layers.Cropping2D(((1, 0), (2, 1)))(y))
    y = layers.AveragePooling2D((2, 3), padding="same")(y)
    y = layers.Reshape((-1, 6))(y)
    y = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(y)
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(layers.Flatten()(y)))


def test_model_file_is_read_as_keras_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = functional_model()
    config = json.loads(model.to_json())
    found = trace(kerasgraph.network(config, "model"))
    assert found.output == (5,) and found.parameters == model.count_params()
    own = {row.node.name: row.measure.output for row in found.rows if not row.node.shares}
    assert own == {name: shape for name, (shape, _) in keras_rows(model).items()}
    assert [row.node.name for row in found.rows if row.node.shares] == ["shared"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.keras` file of a Sequential model."""
    path = tmp_path_factory.mktemp("models") / "plain.keras"
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()]
    keras.Sequential([*layers, keras.layers.Dense(2)]).save(path)
    return path


def test_sequential_file_is_read_with_its_own_input_or_another(model_file: Path) -> None:
    assert [row.measure.output for row in trace(kerasgraph.read_model_file(model_file)).rows] == [
        (16, 16, 3),
        (14, 14, 4),
        (4,),
        (2,),
    ]
    assert trace(kerasgraph.read_model_file(model_file, (40, 30, 3))).rows[1].measure.output == (38, 28, 4)
    assert trace(kerasgraph.read_model_file(model_file, (40,))).rows[0].measure.output == (40, 40, 3)
    with pytest.raises(ModelError, match="the model takes 3 channels, --input gives 1"):
        kerasgraph.read_model_file(model_file, (16, 16, 1))


def test_model_with_an_open_size_asks_for_input() -> None:
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(2, 3)(pixels))
    config = json.loads(model.to_json())
    with pytest.raises(ModelError, match=r"its input of \?x\?x3 leaves sizes open: give them with --input"):
        kerasgraph.network(config, "open")
    assert trace(kerasgraph.network(config, "open", (9, 9, 3))).output == (7, 7, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"]["layers"][1].update(class_name="Lambda"), "Python code"),
        (lambda c: c["config"]["layers"][1].update(class_name="Evil"), "not among the layers"),
        (lambda c: c["config"]["layers"][1]["config"].update(filters=-3), "'-3' where a size belongs"),
        (lambda c: c["config"]["layers"][1]["config"].update(filters=True), "where a size belongs"),
        (lambda c: c["config"]["layers"][1]["config"].update(filters=10**300), "where a size belongs"),
        (lambda c: c["config"]["layers"][1]["config"].update(kernel_size="3"), "where a size belongs"),
        (lambda c: c["config"]["layers"][1]["config"].update(padding=3), "padding"),
        (lambda c: c["config"]["layers"][1]["config"].update(data_format="channels_first"), "channels first"),
        (lambda c: c["config"]["layers"][1].update(class_name="MultiHeadAttention"), "cannot be worked out"),
        (lambda c: c["config"].update(layers=[]), "not that of a Keras 3 model"),
        (lambda c: c["config"].update(layers={"a": 1}), "not that of a Keras 3 model"),
        (lambda c: c.update(config=None), "not that of a Keras 3 model"),
        (lambda c: c.update(class_name="Dense"), "expected a Sequential or Functional one"),
    ],
)
def test_model_file_that_is_not_what_it_should_be_is_refused(change, message, model_file, tmp_path) -> None:
    with pytest.raises(ModelError) as caught:
        kerasgraph.read_model_file(changed_config(model_file, tmp_path / "changed.keras", change))
    assert message in str(caught.value) and "changed.keras" in str(caught.value)


def call_of(name: str) -> dict[str, Any]:
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [name, 0, 0]}}
    return {"args": [tensor], "kwargs": {}}


def test_models_that_unfold_without_end_or_in_a_circle_are_refused() -> None:
    def dense(name: str, *inputs: str) -> dict[str, Any]:
        config = {"name": name, "units": 4, "use_bias": False, "activation": "linear"}
        return {"class_name": "Dense", "name": name, "config": config, "inbound_nodes": [call_of(i) for i in inputs]}

    pixels = {
        "class_name": "InputLayer",
        "name": "in",
        "config": {"name": "in", "batch_shape": [None, 4]},
        "inbound_nodes": [],
    }

    def model(name: str, layers: list[Any], output: str) -> dict[str, Any]:
        config = {"name": name, "layers": [pixels, *layers], "input_layers": [["in", 0, 0]]}
        return {"class_name": "Functional", "name": name, "config": {**config, "output_layers": [[output, 0, 0]]}}

    circle = model("circle", [dense("a", "b"), dense("b", "a")], "b")
    with pytest.raises(ModelError, match="circle"):
        kerasgraph.network(circle, "circle")
    bomb = model("m0", [dense("d", "in")], "d")
    for depth in range(1, 18):
        doubled = {**bomb, "inbound_nodes": [call_of("in"), call_of("in")]}
        bomb = model(f"m{depth}", [doubled], doubled["name"])
    with pytest.raises(ModelError, match="more than 20000 layers"):
        kerasgraph.network(bomb, "bomb")
    for depth in range(18, 25):
        bomb = model(f"m{depth}", [{**bomb, "inbound_nodes": [call_of("in")]}], bomb["name"])
    with pytest.raises(ModelError, match="nested more than 20 deep"):
        kerasgraph.network(bomb, "deep")


def test_a_model_file_changed_anywhere_is_worked_out_or_refused_and_nothing_else() -> None:
    text = functional_model().to_json()
    rng = random.Random(4)
    values: list[Any] = [None, True, 0, -1, 10**30, float("inf"), "", "relu", [], [[]], {}, [1, 2, 3], ["a", 0, 0]]
    outcomes = Counter[str]()
    for _ in range(800):
        config = json.loads(text)
        places = list(containers(config))
        for _ in range(rng.randint(1, 2)):
            container = rng.choice(places)
            if container:
                key = rng.choice(list(container)) if isinstance(container, dict) else rng.randrange(len(container))
                container[key] = rng.choice(values)
        try:
            network = kerasgraph.network(config, "changed")
            trace_object(trace(network), explain=True, compare_dense=True)
            outcomes["worked out"] += 1
        except CnncliError as refusal:
            outcomes[type(refusal).__name__] += 1
    assert outcomes["worked out"] > 50 and outcomes["ModelError"] > 50


def containers(item: Any) -> Iterator[Any]:
    """Every object and list in a configuration."""
    if isinstance(item, dict | list):
        yield item
        for inner in item.values() if isinstance(item, dict) else item:
            yield from containers(inner)


def test_strides_without_end_are_refused_before_their_digits_fill_the_screen() -> None:
    for word in ("pool:1:s1000000000000000000", "tconv:1:1:p0:s1000000000000000000"):
        with pytest.raises(ShapeError, match=r"multiply to more than 10\^100"):
            trace(stack("", (1, 1, 1), parse([word] * 300)))


def test_res_is_two_convolutions_and_a_shortcut_that_fits() -> None:
    network = stack("", (9, 9, 4), parse(["res:4 res:4:s2 res:6 gap"]))
    names = [node.name for node in network.nodes]
    inputs = {node.name: [names[index] for index in node.inputs] for node in network.nodes}
    assert inputs["add1"] == ["bn2", "input"]  # the same channels and size: the input itself
    assert inputs["add2"] == ["bn4", "avgpool"] and inputs["avgpool"] == ["relu2"]
    assert inputs["add3"] == ["bn7", "bn6"] or inputs["add3"] == ["bn6", "bn7"]  # other channels: a convolution of 1x1
    shapes = {row.node.name: row.measure.output for row in trace(network).rows}
    assert (shapes["add1"], shapes["add2"], shapes["add3"]) == ((9, 9, 4), (5, 5, 4), (5, 5, 6))
    assert trace(network).parameters == 2 * 2 * (9 * 4 * 4 + 16) + (9 * 4 * 6 + 9 * 6 * 6 + 4 * 6) + 3 * 24


def test_res_after_flatten_is_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"layer 2, res:4:s2, its conv1 \(conv:4:3:s2:same:nobias\), of 64: conv needs"
    ):
        trace(stack("", (8, 8, 1), parse(["flatten res:4:s2"])))
    with pytest.raises(ShapeError, match="layer 3, pool "):
        trace(stack("", (8, 8, 1), parse(["res:4 res:4 pool:40"])))
