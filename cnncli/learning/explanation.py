"""Grad-CAM: which places of a convolution's feature maps speak for a class. Selvaraju et al., arXiv:1610.02391."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from cnncli import kerasgraph, receptive
from cnncli.errors import CnncliError, ModelError
from cnncli.inference.engine import Pixels, Scores
from cnncli.inference.models import ReadyModel
from cnncli.inference.occlusion import Maps, Progress
from cnncli.inference.saliency import Method
from cnncli.learning import keras, tf
from cnncli.learning.engine import load
from cnncli.learning.graph import FlatNetwork, Step, is_convolution, is_map
from cnncli.mapgrid import MapGrid, even_grid
from cnncli.tracing import trace

LOGIT, LOG_SCORE = "the class's logit (its score before the softmax)", "the logarithm of the class's score"
_BATCH = 16  # images that the network sees at a time


class NoConvolutionError(ModelError):
    """A network has no maps that Grad-CAM could weigh."""


class GradCamExplainer:
    """A network that Keras runs, and one of its layers whose maps are weighed."""

    method: Method = "gradcam"

    def __init__(self, model: ReadyModel, layer: str | None = None) -> None:
        """`layer`: a name or a convolution's number; None: the last one with maps. Raises ModelError."""
        self.model = model
        self._network = FlatNetwork(load(model.path, model.row))
        self.step = _target(self._network, layer, model.name)
        tensor, self._to_logits, self._explained = _answer(self._network)
        outputs = [self.step.tensor, tensor, self._network.output]
        self._cells = self.grid = _grid(self._network, self.step)
        if model.card.mirrored:
            self.grid = self._cells.centred(self.step.shape[1], model.card.input.width)
        self._watched = keras.Model(self._network.input, outputs, name="watched")

    @property
    def told(self) -> str:
        """What the maps are made from, in a few words."""
        rows, columns, maps = self.step.tensor.shape[1:]
        what = f"the {maps} feature maps ({rows}x{columns}) of {self.step.name}"
        return f"{what}, each weighed by how much it raises {self._explained}"

    def scores(self, inputs: Iterable[Pixels]) -> Iterator[Scores]:
        """Probabilities of shape `(classes,)` for each input, in order."""
        left = iter(inputs)
        while batch := list(itertools.islice(left, _BATCH)):
            pixels = np.stack(batch).astype(np.float32)
            found = self._watched.predict_on_batch(pixels)[2]
            if self.model.card.mirrored:
                found = (found + self._watched.predict_on_batch(pixels[:, :, ::-1])[2]) / 2
            yield from found

    def maps(self, pixels: Pixels, indices: Sequence[int], progress: Progress) -> Maps:
        """A map for each class, `(classes, rows, columns)`, not cut at zero: Grad-CAM's own shows what is above it.

        A map's weight is the mean of the class's gradient over it (the paper's equation 1). For a model that is shown
        the mirror image too, it is the mean of both, that of the mirror image turned back; where padding moves the
        cells to one side, both are first brought to a grid that the mirror leaves as it is.
        """
        found = self._maps(pixels, indices)
        if not self.model.card.mirrored:
            return found
        sides = (found, self._maps(pixels[:, ::-1], indices))
        straight, turned = (self._cells.shifted(side, self.grid) for side in sides)
        return ((straight + turned[:, :, ::-1]) / 2).astype(np.float32)

    def _maps(self, pixels: Pixels, indices: Sequence[int]) -> Maps:
        batch = tf.constant(pixels[np.newaxis], tf.float32)
        try:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(batch)
                maps, before, _ = self._watched(batch, training=False)
                scores = self._to_logits(before)
                answers = [scores[0, index] for index in indices]  # type: ignore[index]
            found = [self._weighed(maps, tape.gradient(answer, maps)) for answer in answers]
        except tf.errors.OpError as problem:  # not enough memory, say
            raise ModelError(f"{self.model.name}: TensorFlow cannot run it ({problem.message})") from problem
        return np.concatenate(found).astype(np.float32)

    def _weighed(self, maps: Any, gradients: Any) -> Maps:
        """The sum of maps `(1, rows, columns, maps)`, each times the mean of its gradients: `(1, rows, columns)`."""
        if gradients is None:
            raise ModelError(f"{self.model.name}: its answer does not depend on {self.step.name}; give another --layer")
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        found: Maps = tf.reduce_sum(weights * maps, axis=-1).numpy()
        return found


def _target(network: FlatNetwork, layer: str | None, model: str) -> Step:
    """The layer whose maps are weighed."""
    if layer is not None:
        step = network.find(layer)
        if not is_map(step):
            raise ModelError(f"--layer {layer}: its output has shape {step.shape}; Grad-CAM needs maps")
        return step
    first = next((place for place, step in enumerate(network.steps) if is_convolution(step.layer)), None)
    if first is None:
        raise NoConvolutionError(f"{model}: it has no convolution, so Grad-CAM has nothing to weigh")
    dropped = keras.layers.Dropout, keras.layers.SpatialDropout2D  # which change nothing once training is over
    maps = (step for step in reversed(network.steps[first:]) if is_map(step) and not isinstance(step.layer, dropped))
    found = next(maps, None)
    if found is None:
        raise NoConvolutionError(f"{model}: no layer has maps of more than one place, so Grad-CAM has nothing to weigh")
    return found


def _grid(network: FlatNetwork, step: Step) -> MapGrid:
    """Where the cells of a layer's map lie in the input: in the middle of what each of them sees of it.

    Padding at one end and borders without any move the cells, so that they do not divide the input evenly. They are
    taken to do so where a layer on the way is one that cannot be worked out, or each cell sees all of the input.
    """
    name = str(step.layer.name)
    height, width = network.input.shape[1:3]
    rows, columns = step.shape[:2]
    even = even_grid(rows, columns, (width, height))
    try:
        config = json.loads(keras.Model(network.input, step.tensor).to_json())
        traced = trace(kerasgraph.network(config, name))
        last = next(place for place, row in reversed(list(enumerate(traced.rows))) if row.node.name == name)
        corners = [receptive.view(traced, last, cell).field for cell in ((0, 0), (rows - 1, columns - 1))]
    except (CnncliError, StopIteration):
        return even
    fields = [field for field in corners if field is not None]
    if len(fields) < len(corners):
        return even
    (y, x), (last_y, last_x) = ([(low + high) / 2 for low, high in field] for field in fields)
    if last_y <= y or last_x <= x:
        return even
    return MapGrid((x, y), ((last_x - x) / (columns - 1), (last_y - y) / (rows - 1)))


def _answer(network: FlatNetwork) -> tuple[object, Callable[[object], object], str]:
    """A tensor, what makes class scores of it that no softmax has squeezed, and how these are called.

    Probabilities add up to one, so that their gradients also speak of what the other classes lose.
    """
    last = network.steps[-1].layer
    if isinstance(last, keras.layers.Softmax):
        return network.steps[-1].input, lambda logits: logits, LOGIT
    if getattr(last, "activation", None) is keras.activations.softmax:
        if isinstance(last, keras.layers.Activation):
            return network.steps[-1].input, lambda logits: logits, LOGIT
        if isinstance(last, keras.layers.Dense):
            return network.steps[-1].input, lambda features: _dense(last, features), LOGIT
    return network.output, lambda scores: tf.math.log(scores + keras.config.epsilon()), LOG_SCORE


def _dense(layer: object, features: object) -> object:
    """What a dense layer computes before its activation."""
    logits = keras.ops.matmul(features, layer.kernel)  # type: ignore[attr-defined]
    return logits if layer.bias is None else logits + layer.bias  # type: ignore[attr-defined]
