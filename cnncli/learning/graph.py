"""A network without others inside, and every step on the way through it: for looking at what layers answer."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnncli.errors import ModelError
from cnncli.learning import keras

_SHOWN = 12  # layers in a message


class HiddenLayersError(ModelError):
    """The layers of a network cannot be called one by one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a layer."""

    name: str  # `base/conv` for the layer conv of an inner model base
    layer: Any
    input: Any  # the first of its inputs
    tensor: Any  # what it gives

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its output, without the batch."""
        return tuple(self.tensor.shape[1:])


def spread(steps: Sequence[Step], count: int) -> list[Step]:
    """The first, the last, and some at equal distances between: at most `count`."""
    last, shown = len(steps) - 1, min(count, len(steps))
    return [steps[round(place * last / max(1, shown - 1))] for place in range(shown)]


class FlatNetwork:
    """The layers of a network, weights shared, called anew so that none is hidden in a model inside the model.

    They are renamed: Keras wants different names, which models inside the model do not have of themselves.
    """

    def __init__(self, model: Any) -> None:
        """`model` takes one tensor and gives one, as `cnncli.learning.models.load_keras` makes sure.

        Raises HiddenLayersError for a model inside it that gives several.
        """
        self.input = keras.Input(model.inputs[0].shape[1:], name="pixels")
        self.steps: list[Step] = []
        self._names: dict[int, str] = {}  # of the layers, by id
        self.output = self._through(model, "", [self.input])

    def _through(self, model: Any, prefix: str, inputs: Sequence[Any]) -> Any:
        call = functools.partial(self._call, prefix)
        if isinstance(model, keras.Sequential):
            (x,) = inputs
            for layer in model.layers:
                x = call(layer, x)
            return x
        if len(model.outputs) != 1:
            raise HiddenLayersError(f"the inner model {model.name} has {len(model.outputs)} outputs; expected one")
        tensors = keras.tree.pack_sequence_as(model.input, inputs)
        keras.models.clone_model(model, input_tensors=tensors, clone_function=lambda layer: layer, call_function=call)
        # what gives the one output is called last; the clone itself has a graph of its own
        return self.steps[-1].tensor

    def _call(self, prefix: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = [item for item in keras.tree.flatten((args, kwargs)) if isinstance(item, keras.KerasTensor)]
        if isinstance(layer, keras.Model):
            return self._through(layer, f"{prefix}{layer.name}/", inputs)
        name = self._named(prefix, layer)
        output = layer(*args, **kwargs)
        self.steps.append(Step(name, layer, inputs[0], output))
        return output

    def _named(self, prefix: str, layer: Any) -> str:
        """The name of a layer from now on; in Keras, which refuses a slash, it has one that no other layer has."""
        if id(layer) not in self._names:
            self._names[id(layer)] = f"{prefix}{layer.name}"
            layer.name = f"{len(self._names)}_{layer.name}"
        return self._names[id(layer)]

    @property
    def convolutions(self) -> list[Step]:
        """The steps that slide kernels over an image."""
        return [step for step in self.steps if is_convolution(step.layer)]

    def find(self, name: str) -> Step:
        """The last step of the layer called so, or a convolution by its number, from 0; -1 is the last.

        The models that a layer is inside of may be left out where that is clear. Raises ModelError.
        """
        named = {step.name: step for step in self.steps if f"/{step.name}".endswith(f"/{name}")}
        if name in named:
            return named[name]
        if len(named) > 1:
            raise ModelError(f"--layer {name}: several layers are called so; give one of {', '.join(named)}")
        if named:
            return named.popitem()[1]
        found, digits = self.convolutions, name.removeprefix("-")
        if digits.isascii() and digits.isdigit() and -len(found) <= int(name) < len(found):
            return found[int(name)]
        raise ModelError(f"--layer {name}: no layer is called so; {self._hint(name)}")

    def _hint(self, name: str) -> str:
        if close := difflib.get_close_matches(name, [step.name for step in self.steps], n=3):
            return f"did you mean {' or '.join(close)}?"
        return convolution_names([step.name for step in self.convolutions])


def convolution_names(names: Sequence[str]) -> str:
    """The convolutions of a network and their numbers, for a message."""
    if not names:
        return "the network has no convolution"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"its convolutions are {', '.join(names[:_SHOWN])}{more}, or by number 0 to {len(names) - 1}"


def is_convolution(layer: Any) -> bool:
    """Whether a layer slides kernels over an image."""
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.DepthwiseConv2D)
    return isinstance(layer, (*kinds, keras.layers.SeparableConv2D))


def is_map(step: Step) -> bool:
    """Whether a step gives maps of more than one place: `(height, width, channels)`."""
    shape = step.shape
    return len(shape) == 3 and None not in shape and shape[0] * shape[1] > 1
