"""Reads the graph of layers out of a Keras model's configuration, without Keras and without its weights.

The file is not trusted: its classes are those that `cnncli.modelsafety` allows, numbers are checked, and how far nested
and repeated parts may unfold is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnncli.errors import ModelError
from cnncli.keraslayers import layer_of, sizes_of
from cnncli.layers import Layer, Sizes
from cnncli.networks import Network, Node, resized

MAX_NODES = 20_000  # the largest of Keras Applications has 2 000 layers
MAX_NESTING = 20  # models inside models

_Call = tuple[str, int]  # a layer's name, and which of its calls


def network(config: dict[str, Any], name: str, sizes: Sizes | None = None) -> Network:
    """The network in the content of a `config.json`, with other input `sizes` if they are given (see `resized`).

    Raises ModelError if it holds what cannot be worked out, or an open input size and no `sizes`.
    """
    reader = _Reader(sizes)
    try:
        reader.model(config, [], "", 0)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as problem:
        what = f"{type(problem).__name__}: {problem}"[:200]
        raise ModelError(f"its configuration is not that of a Keras 3 model ({what})") from problem
    return Network(name, tuple(reader.nodes))


class _Reader:
    """Collects nodes, each after its inputs."""

    def __init__(self, given: Sizes | None) -> None:
        self.nodes: list[Node] = []
        self._given = given
        self._used: set[str] = set()

    def model(self, config: dict[str, Any], inputs: list[int], prefix: str, depth: int) -> list[int]:
        """Adds a model's layers after `inputs` and returns the nodes of its outputs."""
        if depth > MAX_NESTING:
            raise ModelError(f"models are nested more than {MAX_NESTING} deep; refused")
        if config["class_name"] == "Sequential":
            return self._sequential(config["config"], inputs, prefix, depth)
        if config["class_name"] == "Functional":
            return self._functional(config["config"], inputs, prefix, depth)
        raise ModelError(f"a {str(config['class_name'])[:80]!r} model; expected a Sequential or Functional one")

    def _add(self, name: str, layer: Layer, inputs: tuple[int, ...] = ()) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise ModelError(f"it has more than {MAX_NODES} layers; refused")
        self.nodes.append(Node(name, layer, inputs, shares=name in self._used))
        self._used.add(name)
        return len(self.nodes) - 1

    def _input(self, name: str, batch_shape: Any) -> int:
        shape = None if batch_shape is None else tuple(batch_shape[1:])
        if not self.nodes and self._given is not None:
            shape = self._resized(shape, self._given)
        if shape is None or None in shape:
            sizes = "" if shape is None else " of " + "x".join("?" if size is None else str(size) for size in shape)
            raise ModelError(f"its input{sizes} leaves sizes open: give them with --input, like 224x224x3")
        return self._add(name, Layer("input", target=sizes_of(shape)))

    def _resized(self, own: tuple[Any, ...] | None, given: Sizes) -> tuple[Any, ...]:
        if own is None:
            return given
        shape = resized(own, given)
        if own[-1] not in (None, shape[-1]):
            raise ModelError(f"the model takes {own[-1]} channels, --input gives {shape[-1]}")
        return shape

    def _sequential(self, config: dict[str, Any], inputs: list[int], prefix: str, depth: int) -> list[int]:
        layers = config["layers"]
        if not inputs and layers[0]["class_name"] != "InputLayer":
            inputs = [self._input(f"{prefix}input", config.get("build_input_shape"))]
        for layer in layers:
            if layer["class_name"] == "InputLayer":
                inputs = inputs or [self._input(prefix + layer["config"]["name"], layer["config"]["batch_shape"])]
            else:
                inputs = self._call(layer, inputs, prefix, depth)
        return inputs

    def _functional(self, config: dict[str, Any], inputs: list[int], prefix: str, depth: int) -> list[int]:
        layers = {layer["name"]: layer for layer in config["layers"]}
        outputs: dict[_Call, list[int]] = {}
        for given, (name, *_) in zip(inputs, _endpoints(config["input_layers"]), strict=bool(inputs)):
            outputs[name, 0] = [given]
        calls = {
            (name, number): list(_tensors(call))
            for name, layer in layers.items()
            for number, call in enumerate(layer["inbound_nodes"])
        }
        calls |= {(name, 0): [] for name, layer in layers.items() if layer["class_name"] == "InputLayer"}
        for key in _in_order({key: [(name, call) for name, call, _ in needs] for key, needs in calls.items()}):
            layer = layers[key[0]]
            if key in outputs:
                continue
            if layer["class_name"] == "InputLayer":
                outputs[key] = [self._input(prefix + key[0], layer["config"]["batch_shape"])]
            else:
                before = [outputs[name, call][tensor] for name, call, tensor in calls[key]]
                outputs[key] = self._call(layer, before, prefix, depth)
        return [outputs[name, call][tensor] for name, call, tensor in _endpoints(config["output_layers"])]

    def _call(self, layer: dict[str, Any], inputs: list[int], prefix: str, depth: int) -> list[int]:
        name = prefix + str(layer["config"].get("name") or layer.get("name"))
        if layer["class_name"] in ("Sequential", "Functional"):
            return self.model(layer, inputs, name + "/", depth + 1)
        return [self._add(name, layer_of(layer["class_name"], layer["config"], len(inputs)), tuple(inputs))]


def _endpoints(found: Any) -> list[tuple[str, int, int]]:
    """Keras writes `[name, call, tensor]` for one and a list of them, or a dict, for several."""
    if isinstance(found, dict):
        found = list(found.values())
    if found and isinstance(found[0], str):
        found = [found]
    return [(str(name), int(call), int(tensor)) for name, call, tensor in found]


def _tensors(call: Any) -> Iterator[tuple[str, int, int]]:
    """The tensors that a layer was called with: the name of the layer each comes from, its call, which output."""
    waiting = [call.get("kwargs"), call.get("args")]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            name, number, tensor = item["config"]["keras_history"]
            yield str(name), int(number), int(tensor)
        elif isinstance(item, dict):
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _in_order(needs: dict[_Call, list[_Call]]) -> list[_Call]:
    """The calls, each after those that it needs, otherwise as they come. Raises ModelError for a circle."""
    done: dict[_Call, None] = {}
    opened: set[_Call] = set()
    waiting = list(reversed(needs))
    while waiting:
        call = waiting[-1]
        missing = [other for other in needs[call] if other not in done]
        if call in done or not missing:
            done[call] = None
            waiting.pop()
        elif call in opened:
            raise ModelError("its layers form a circle; refused")
        else:
            opened.add(call)
            waiting.extend(reversed(missing))
    return list(done)


def read_model_file(path: Path, sizes: Sizes | None = None) -> Network:
    """The network in a `.keras` file; only its configuration is read. Raises ModelError."""
    from cnncli.modelfile import check_members, open_archive, read_json, require_model_format
    from cnncli.modelsafety import check_config

    require_model_format(path)
    if path.suffix != ".keras":
        raise ModelError(f"{path}: a .tflite file no longer says what its layers were; give the .keras file")
    with open_archive(path) as archive:
        check_members(archive, path)
        config = read_json(archive, "config.json", path)
    if not isinstance(config, dict):
        raise ModelError(f"{path}: its config.json is not a JSON object; refused")
    check_config(config, path)
    try:
        return network(config, path.name, sizes)
    except ModelError as problem:
        raise ModelError(f"{path}: {problem}") from problem
