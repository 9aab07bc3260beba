"""`.keras` files that nobody vouches for: no code of theirs runs, no size of theirs hurts, ordinary ones load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from models_for_tests import changed_config, changed_members, plain_model

from cnncli.errors import ModelError
from cnncli.modelfile import MAX_JSON_BYTES
from cnncli.modelsafety import check_keras_file

SHAPE = (16, 16, 3)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small `.keras` model of three classes, as its owner would save it: no card."""
    from cnncli.learning.models import keras

    layers = keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")
    return plain_model(tmp_path_factory.mktemp("plain") / "plain.keras", *layers)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that shows that foreign code ran: the module `trap_for_tests` on the path makes it when imported."""
    marker = tmp_path / "ran"
    code = (
        f"open({str(marker)!r}, 'w')\nclass Trap:\n    @classmethod\n    def from_config(cls, config): return cls()\n"
    )
    (tmp_path / "trap_for_tests.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return marker


def refusal(path: Path) -> str:
    """The message with which Keras is not given the file at `path`, the name left out."""
    from cnncli.learning.models import load_keras

    with pytest.raises(ModelError) as caught:
        load_keras(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def named(module: object, class_name: object, config: object = None, **more: object) -> dict[str, Any]:
    """An object as a Keras config spells it."""
    return {"module": module, "class_name": class_name, "config": config or {}, "registered_name": None, **more}


def as_layer(node: object, config: dict[str, Any]) -> None:
    config["config"]["layers"].append(node)


def as_activation(node: object, config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["activation"] = node


def as_initializer(node: object, config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["kernel_initializer"] = node


def as_policy(node: object, config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["dtype"] = node


def deep_inside(node: object, config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["notes"] = [{"a": [[{"b": node}]]}]


CODE = "4wAAAAAAAAAAAAAAAAAAAAAAAAAA8wAAAAA="
WORDS = {"vocabulary": "/etc/passwd", "name": "words"}
FOREIGN = {
    "os.system": named("os", "function", "system", registered_name="system"),
    "module of the user": named("trap_for_tests", "Trap"),
    "registered name": named("keras.layers", "Dense", {"units": 3}, registered_name="trap_for_tests>Trap"),
    "custom layer": named(None, "MyLayer", registered_name="my_package>MyLayer"),
    "exec": named("builtins", "function", "exec", registered_name="exec"),
    "download": named("keras.utils", "function", "get_file", registered_name="get_file"),
    "safe mode off": named(
        "keras.config", "function", "enable_unsafe_deserialization", registered_name="enable_unsafe_deserialization"
    ),
    "safe mode object": named("keras.src.saving.serialization_lib", "SafeModeScope", {"safe_mode": False}),
    "SavedModel": named("keras.layers", "TFSMLayer", {"filepath": "/etc", "name": "saved"}),
    "torch": named("keras.layers", "TorchModuleWrapper", {"module": CODE, "name": "torch"}),
    "jax": named("keras.layers", "JaxLayer", {"name": "jax"}),
    "vocabulary": named("keras.layers", "TextVectorization", WORDS),
    "lookup": named("keras.layers", "StringLookup", WORDS),
    "typespec": named("tensorflow", "__typespec__", [], spec_name="TensorSpec"),
    "module like keras": named("keras_evil.layers", "Dense", {"units": 3}),
    "module is a list": named(["keras"], "Dense", {"units": 3}),
    "class is a list": named("keras.layers", ["Dense"]),
    "class is an object": named("keras.layers", {"class_name": "Dense"}),
    "class is null": named("keras.layers", None),
    "unknown": named("keras.layers", "NoSuchLayer"),
}


@pytest.mark.parametrize("place", [as_layer, as_activation, as_initializer, as_policy, deep_inside])
@pytest.mark.parametrize("node", FOREIGN.values(), ids=FOREIGN)
def test_a_class_that_is_not_allowed_is_refused_wherever_it_stands(
    plain: Path, tmp_path: Path, trap: Path, place: Callable[..., None], node: object
) -> None:
    evil = changed_config(plain, tmp_path / "evil.keras", partial(place, node))
    message = refusal(evil)
    assert message.startswith("it contains the class ")
    assert message.endswith("which is not among the layers that cnncli accepts; refused")
    assert not trap.exists() and "trap_for_tests" not in sys.modules


@pytest.mark.parametrize("name", ["Lambda", "__lambda__"])
def test_code_inside_a_config_is_called_that(plain: Path, tmp_path: Path, name: str) -> None:
    node = named("keras.layers", name, {"value": CODE, "name": "f", "function": named("builtins", "__lambda__")})
    evil = changed_config(plain, tmp_path / "evil.keras", partial(as_activation, node))
    assert refusal(evil) == "it contains Python code (a Lambda layer); refused"


def test_a_lambda_layer_as_keras_saves_it_never_runs(tmp_path: Path) -> None:
    from cnncli.learning.models import keras

    marker = str(tmp_path / "ran")
    evil = keras.layers.Lambda(lambda x: [open(marker, "a"), x][1], output_shape=SHAPE)  # noqa: PTH123, SIM115
    path = plain_model(tmp_path / "lambda.keras", evil, keras.layers.Flatten(), keras.layers.Dense(3))
    Path(marker).unlink(missing_ok=True)  # Keras itself may have called it while it built the model
    assert refusal(path) == "it contains Python code (a Lambda layer); refused"
    assert not Path(marker).exists()


def test_a_safe_mode_switch_in_the_config_changes_nothing(plain: Path, tmp_path: Path, trap: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["safe_mode"] = config["config"]["safe_mode"] = False
        as_layer(named("keras.layers", "Lambda", {"function": CODE}), config)

    evil = changed_config(plain, tmp_path / "evil.keras", change)
    assert refusal(evil) == "it contains Python code (a Lambda layer); refused"


def test_how_a_model_was_trained_is_never_looked_at(plain: Path, tmp_path: Path, trap: Path) -> None:
    from cnncli.learning.models import load_keras

    def change(config: dict[str, Any]) -> None:
        code = {"optimizer": named("trap_for_tests", "Trap"), "loss": named("trap_for_tests", "function", "f")}
        config["compile_config"] = code
        config["config"]["layers"][-1]["compile_config"] = code

    compiled = changed_config(plain, tmp_path / "compiled.keras", change)
    assert load_keras(compiled).output_shape == (None, 3)
    assert not trap.exists()


def test_the_check_needs_neither_keras_nor_tensorflow(plain: Path, tmp_path: Path) -> None:
    evil = changed_config(plain, tmp_path / "evil.keras", partial(as_layer, FOREIGN["unknown"]))
    code = (
        "import sys; from pathlib import Path; from cnncli.errors import ModelError\n"
        "from cnncli.modelsafety import check_keras_file\n"
        "check_keras_file(Path(sys.argv[1]))\n"
        "try: check_keras_file(Path(sys.argv[2]))\n"
        "except ModelError as problem: print('refused' in str(problem), {'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, plain, evil], capture_output=True, text=True, check=True)
    assert done.stdout == "True set()\n"


SINGLE_LAYER = json.dumps(named("keras.layers", "Flatten")).encode()


@pytest.mark.parametrize(
    ("member", "content", "expected"),
    [
        ("config.json", b"[" * 200_000 + b"]" * 200_000, "config.json is nested too deeply; refused"),
        ("config.json", b'{"a":' * 200_000 + b"0" + b"}" * 200_000, "config.json is nested too deeply; refused"),
        ("config.json", b" " * (MAX_JSON_BYTES + 1), "config.json is too large"),
        ("config.json", b"[]", "its config.json or metadata.json is not a JSON object; refused"),
        ("config.json", b"{}", "cannot load this model"),
        ("config.json", b'{"class_name": "Functional", "config": {}}', "cannot load this model"),
        ("config.json", SINGLE_LAYER, "expected a model, found a single Flatten"),
        ("config.json", b'"Dense"', "its config.json or metadata.json is not a JSON object; refused"),
        ("metadata.json", b"null", "its config.json or metadata.json is not a JSON object; refused"),
        ("metadata.json", b"{", "metadata.json is not valid JSON"),
        ("model.weights.h5", b"", "its weights are damaged"),
        ("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "its weights are damaged"),
        ("../evil.txt", b"x", "it holds '../evil.txt', which no model of this kind has; refused"),
    ],
)
def test_a_model_with_an_odd_member_is_refused(
    plain: Path, tmp_path: Path, member: str, content: bytes, expected: str
) -> None:
    assert expected in refusal(changed_members(plain, tmp_path / "odd.keras", {member: content}))
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_model_that_keras_cannot_load_names_both_versions(plain: Path, tmp_path: Path) -> None:
    from cnncli.learning.models import keras

    newer = changed_members(plain, tmp_path / "newer.keras", {"metadata.json": b'{"keras_version": "9.1.0"}'})
    newer = changed_config(newer, tmp_path / "new.keras", lambda c: c["config"]["layers"][-1]["config"].update(glow=1))
    assert refusal(newer).startswith(f"Keras {keras.__version__} cannot load this model, which Keras 9.1.0 saved (")


def test_a_changed_byte_in_a_model_is_noticed(plain: Path, tmp_path: Path) -> None:
    whole, content = plain.read_bytes(), check_keras_file(plain)
    changed = tmp_path / "changed.keras"
    noticed = 0
    for position in range(0, len(whole), 50):
        changed.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            assert check_keras_file(changed) == content
        except ModelError as problem:
            assert str(problem).startswith(f"{changed}: ")
            noticed += 1
    assert noticed > len(whole) / 50 * 0.9


def test_weights_that_are_not_finite_are_named(plain: Path, tmp_path: Path) -> None:
    from cnncli.learning.models import keras

    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.Constant(float("nan")))
    path = plain_model(tmp_path / "nan.keras", keras.layers.Flatten(), dense)
    assert "has values that are not finite (NaN or infinite); refused" in refusal(path)


def test_weights_outside_of_the_file_are_refused(plain: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/secret")
    content = (tmp_path / "weights.h5").read_bytes()
    evil = changed_members(plain, tmp_path / "evil.keras", {"model.weights.h5": content})
    assert refusal(evil) == "'0' is a link to elsewhere; refused"


def layer(name: str, **config: object) -> dict[str, Any]:
    return named("keras.layers", name, {"name": name.lower(), "trainable": True, "dtype": "float32", **config})


# The weights of these would need gigabytes up to petabytes; what the file stores is 20 kB.
HUNGRY = {
    "dense": [layer("Flatten"), layer("Dense", units=2_000_000_000)],
    "wide after flat": [layer("Flatten"), layer("Dense", units=100_000)],
    "conv": [layer("Conv2D", filters=1_000_000, kernel_size=[9, 9])],
    "depthwise": [layer("DepthwiseConv2D", kernel_size=[9, 9], depth_multiplier=10**6)],
    "padded": [layer("ZeroPadding2D", padding=[20_000, 20_000]), layer("Flatten"), layer("Dense", units=3)],
    "einsum": [layer("EinsumDense", equation="abcd,de->abce", output_shape=[None, None, 10**9])],
    "mean": [
        layer("ZeroPadding2D", padding=[20_000, 20_000]),
        layer("Flatten"),
        layer("Normalization", axis=[-1], mean=0.5, variance=1.0),
    ],
    "told shape": [
        {**layer("Normalization", axis=[-1], mean=0.5, variance=1.0), "build_config": {"input_shape": [None, 10**10]}},
        layer("Flatten"),
        {**layer("Dense", units=10**6), "build_config": {"input_shape": [None, 10**6]}},
    ],
}


@pytest.mark.parametrize("layers", HUNGRY.values(), ids=HUNGRY)
def test_layers_that_need_more_weights_than_the_file_holds_are_never_built(
    plain: Path, tmp_path: Path, layers: list[dict[str, Any]]
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1:] = layers

    bomb = changed_config(plain, tmp_path / "bomb.keras", change)
    name = layers[-1]["config"]["name"]
    assert refusal(bomb) == f"its layer {name!r} needs more weights than the file holds; refused"


def attention(pixels: Any) -> Any:  # 65 536 queries of 65 536 keys
    from cnncli.learning.models import keras

    tokens = keras.layers.Reshape((65_536, 3))(keras.layers.ZeroPadding2D(120)(pixels))
    return keras.layers.Reshape((256, 256, 3))(keras.layers.MultiHeadAttention(1, 1)(tokens, tokens))


def nested(pixels: Any) -> Any:  # neither its own input nor its output is large
    from cnncli.learning.models import keras

    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.UpSampling2D(5000)])
    return keras.layers.AveragePooling2D(5000)(inner(pixels))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(attention, id="attention"),
        pytest.param(nested, id="nested"),
        pytest.param(lambda x: _layers().UpSampling2D(5000)(x), id="upsampling"),
        pytest.param(lambda x: _layers().ZeroPadding2D(50_000)(x), id="padding"),
        pytest.param(lambda x: _layers().Resizing(100_000, 100_000)(x), id="resizing"),
        pytest.param(lambda x: _layers().Conv2DTranspose(1, 3, strides=20_000)(x), id="transposed"),
        pytest.param(lambda x: _layers().Reshape((1, -1, 3))(_layers().ZeroPadding2D(20_000)(x)), id="reshape"),
        pytest.param(lambda x: _layers().Reshape((-1, 1, 3))(_layers().RepeatVector(10**6)(_flat(x))), id="repeat"),
    ],
)
def test_a_network_whose_arrays_do_not_fit_is_refused_before_it_runs(tmp_path: Path, make: Callable[..., Any]) -> None:
    from cnncli.learning.models import keras

    pixels = keras.Input(SHAPE)
    scores = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(make(pixels)))
    keras.Model(pixels, scores).save(tmp_path / "bomb.keras")
    assert "makes an array of shape (1, " in refusal(tmp_path / "bomb.keras")


def _layers() -> Any:
    from cnncli.learning.models import keras

    return keras.layers


def _flat(pixels: Any) -> Any:
    return _layers().Flatten()(pixels)


def test_bombs_are_refused_in_the_memory_of_an_ordinary_model(plain: Path, tmp_path: Path) -> None:
    def change(layers: list[dict[str, Any]], config: dict[str, Any]) -> None:
        config["config"]["layers"][1:] = layers

    bombs = [
        changed_config(plain, tmp_path / f"{number}.keras", partial(change, layers))
        for number, layers in enumerate(HUNGRY.values())
    ]
    blanks = b"{" + b" " * (MAX_JSON_BYTES - 2) + b"}"
    bombs.append(changed_members(plain, tmp_path / "blanks.keras", {"config.json": blanks}))
    objects = b"[" + b"{}," * (MAX_JSON_BYTES // 3 - 2) + b"{}]"
    bombs.append(changed_members(plain, tmp_path / "objects.keras", {"config.json": objects}))
    code = (
        "import json, resource, sys; from pathlib import Path; from cnncli.errors import ModelError\n"
        "from cnncli.learning.models import load_keras\n"
        "load_keras(Path(sys.argv[1])); peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]; refused = 0\n"
        "for name in sys.argv[2:]:\n"
        "    try: load_keras(Path(name))\n"
        "    except ModelError: refused += 1\n"
        "peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); print(json.dumps([refused, *peaks]))"
    )
    done = subprocess.run([sys.executable, "-c", code, plain, *bombs], capture_output=True, text=True, check=True)
    refused, before_kb, after_kb = json.loads(done.stdout)
    assert refused == len(bombs)
    assert after_kb - before_kb < 300_000


@pytest.mark.parametrize(
    ("shapes", "outputs", "expected"),
    [
        ([SHAPE, SHAPE], 1, "expected one input and one output, found 2 inputs and 1 outputs"),
        ([SHAPE], 2, "expected one input and one output, found 1 inputs and 2 outputs"),
        ([(16, 16, 4)], 1, "its input has shape (None, 16, 16, 4); expected (batch, height, width, 1 or 3)"),
        ([(None, None, 3)], 1, "its input has shape (None, None, None, 3); expected (batch, height, width, 1 or 3)"),
        ([(5000, 16, 3)], 1, "with height and width up to 4096"),
        ([(48,)], 1, "its input has shape (None, 48); expected (batch, height, width, 1 or 3)"),
    ],
)
def test_a_network_of_another_shape_is_refused(
    tmp_path: Path, shapes: list[tuple[int | None, ...]], outputs: int, expected: str
) -> None:
    from cnncli.learning.models import keras

    inputs = [keras.Input(shape) for shape in shapes]
    flat = [keras.layers.GlobalAveragePooling2D()(i) if len(i.shape) == 4 else i for i in inputs]
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    keras.Model(inputs, [keras.layers.Dense(3)(joined) for _ in range(outputs)]).save(tmp_path / "odd.keras")
    assert expected in refusal(tmp_path / "odd.keras")


def test_a_network_with_one_score_is_refused(tmp_path: Path) -> None:
    from cnncli.learning.models import keras

    path = plain_model(tmp_path / "one.keras", keras.layers.Flatten(), keras.layers.Dense(1))
    assert refusal(path) == "its output has shape (None, 1); expected (batch, classes) with two classes or more"


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_network_that_has_never_seen_an_image_is_refused(tmp_path: Path) -> None:
    from cnncli.learning.models import keras

    keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    assert refusal(tmp_path / "unbuilt.keras").startswith("the size of its input is not known")


def test_the_weights_are_those_that_were_checked_also_if_the_file_is_replaced(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnncli.learning import models

    path = tmp_path / "net.keras"
    path.write_bytes(plain.read_bytes())

    def check_then_replace(path: Path) -> Any:
        content = check_keras_file(path)
        path.write_bytes(b"something else")
        return content

    monkeypatch.setattr(models, "check_keras_file", check_then_replace)
    pixels = np.random.default_rng(0).uniform(0, 1, (1, *SHAPE)).astype(np.float32)
    expected = models.keras.saving.load_model(plain)(pixels).numpy()
    assert np.array_equal(models.load_keras(path)(pixels).numpy(), expected)
