"""A network without others inside, and every step on the way through it: for looking at what layers answer."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnncli.errors import ModelError
from cnncli.learning import keras

_SHOWN = 12  # layers in a message


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a layer."""

    layer: Any
    input: Any  # the first of its inputs
    tensor: Any  # what it gives

    @property
    def name(self) -> str:
        return str(self.layer.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its output, without the batch."""
        return tuple(self.tensor.shape[1:])


def spread(steps: Sequence[Step], count: int) -> list[Step]:
    """The first, the last, and some at equal distances between: at most `count`."""
    last, shown = len(steps) - 1, min(count, len(steps))
    return [steps[round(place * last / max(1, shown - 1))] for place in range(shown)]


class FlatNetwork:
    """The layers of a network, weights shared, called anew so that none is hidden in a model inside the model."""

    def __init__(self, model: Any) -> None:
        """`model` takes one tensor and gives one, as `cnncli.learning.models.load_keras` makes sure."""
        self.input = keras.Input(model.inputs[0].shape[1:], name="pixels")
        self.steps: list[Step] = []
        self.output = self._through(model, self.input)

    def _through(self, model: Any, *inputs: Any) -> Any:
        if isinstance(model, keras.Sequential):
            (x,) = inputs
            for layer in model.layers:
                x = self._call(layer, x)
            return x
        if len(model.outputs) != 1:
            raise ModelError(f"its inner model {model.name} has {len(model.outputs)} outputs; expected one")
        tensors = keras.tree.pack_sequence_as(model.input, keras.tree.flatten(inputs))
        keras.models.clone_model(
            model, input_tensors=tensors, clone_function=lambda layer: layer, call_function=self._call
        )
        return self.steps[
            -1
        ].tensor  # what gives the one output is called last; the clone itself has a graph of its own

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            return self._through(layer, *args)
        output = layer(*args, **kwargs)
        first = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
        self.steps.append(Step(layer, first, output))
        return output

    @property
    def convolutions(self) -> list[Step]:
        """The steps that slide kernels over an image."""
        return [step for step in self.steps if is_convolution(step.layer)]

    def find(self, name: str) -> Step:
        """The last step of the layer called so, or a convolution by its number, from 0; -1 is the last.

        Raises ModelError.
        """
        named = [step for step in self.steps if step.name == name]
        if named:
            return named[-1]
        found, digits = self.convolutions, name.removeprefix("-")
        if digits.isascii() and digits.isdigit() and -len(found) <= int(name) < len(found):
            return found[int(name)]
        raise ModelError(f"--layer {name}: no layer is called so; {self._names(name)}")

    def _names(self, name: str) -> str:
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
