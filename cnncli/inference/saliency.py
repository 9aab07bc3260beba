"""Explains a network's answer to a photo: which places speak for a class, and how far that can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cnncli import images
from cnncli.backbones import ImageClass
from cnncli.errors import ModelError
from cnncli.framing import Framing, framing
from cnncli.images import MAX_PIXELS, Picture
from cnncli.inference import models, pipeline
from cnncli.inference.engine import Pixels, Scores
from cnncli.inference.faithfulness import Faithfulness, faithfulness
from cnncli.inference.models import Notify, ReadyModel
from cnncli.inference.occlusion import Maps, Progress, occlusion_grid, occlusion_maps
from cnncli.inference.pipeline import Prediction
from cnncli.inference.request import ModelRequest, usable_cores
from cnncli.mapgrid import MapGrid
from cnncli.sources import Source

Method = Literal["gradcam", "occlusion"]
METHODS: tuple[Method, ...] = ("gradcam", "occlusion")


class Explainer(Protocol):
    """A network that can be asked where it looks."""

    @property
    def model(self) -> ReadyModel: ...

    @property
    def method(self) -> Method: ...

    @property
    def told(self) -> str:
        """What the maps are made from, in a few words."""

    @property
    def grid(self) -> MapGrid:
        """Where the cells of the maps lie in the input."""

    def scores(self, inputs: Iterable[Pixels]) -> Iterator[Scores]:
        """Probabilities of shape `(classes,)` for each input, in order."""

    def maps(self, pixels: Pixels, indices: Sequence[int], progress: Progress) -> Maps:
        """A map for each class, `(classes, rows, columns)`."""


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """What speaks for one class."""

    prediction: Prediction
    values: npt.NDArray[np.float32]  # (rows, columns), signed: above zero speaks for the class
    peak: tuple[int, int] | None  # x, y in pixels of the photo: the middle of the hottest cell; None: nothing is hot
    faithfulness: Faithfulness | None


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One photo with a heat map for each of some classes."""

    source: Source
    model: str
    method: Method
    told: str
    picture: Picture  # the photo, upright, whole
    view: Framing  # of the photo in the network's input
    grid: MapGrid  # of the maps in the network's input
    heat_maps: tuple[HeatMap, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained."""

    classes: tuple[int, ...] = ()  # in the model's order; empty: the best ones
    top: int = 3
    check: bool = True  # whether to measure how faithful the maps are
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True)
class OcclusionExplainer:
    """Asks any network that runs, by covering parts of the photo."""

    model: ReadyModel
    workers: int
    method: Method = "occlusion"
    told: str = "how much a class's probability falls when a grey patch covers the place"

    @property
    def grid(self) -> MapGrid:
        """Where the cells of the maps lie in the input."""
        return occlusion_grid((self.model.card.input.width, self.model.card.input.height))

    def scores(self, inputs: Iterable[Pixels]) -> Iterator[Scores]:
        """Probabilities of shape `(classes,)` for each input, in order."""
        yield from pipeline.each(self.model, inputs, lambda pixels, run: run(pixels), workers=self.workers)

    def maps(self, pixels: Pixels, indices: Sequence[int], progress: Progress) -> Maps:
        """A map for each class, `(classes, rows, columns)`."""
        return occlusion_maps(pixels, indices, self.scores, progress)


def open_explainer(
    request: ModelRequest, method: Method | None, layer: str | None, *, notify: Notify, progress: Progress
) -> Explainer:
    """The model of `request`, ready to be asked; without a `method` Grad-CAM, or occlusion where nothing else can be.

    `layer` is the one whose maps Grad-CAM weighs: a name, or the number of a convolution. Raises CnncliError.
    """
    compiled = models.is_compiled(request)
    if compiled or request.backend == "litert":
        if method == "gradcam":
            what = f"{request.model}: a .tflite file" if compiled else "--backend litert"
            raise ModelError(f"{what} gives no gradients; give the .keras model, or --method occlusion")
        if method is None:
            notify("LiteRT gives no gradients for Grad-CAM: the maps are made by covering parts of the photo")
            method = "occlusion"
    if method != "occlusion":
        from cnncli.learning.explanation import GradCamExplainer, NoConvolutionError
        from cnncli.learning.graph import HiddenLayersError

        ready = models.open_layers(request, notify=notify, progress=progress)
        try:
            return GradCamExplainer(ready, layer)
        except (NoConvolutionError, HiddenLayersError) as problem:
            if method == "gradcam":
                raise
            notify(f"{problem}: the maps are made by covering parts of the photo")
    if layer is not None:
        raise ModelError(f"--layer {layer}: occlusion does not look into layers; it goes with --method gradcam")
    ready = models.open_model(request, notify=notify, progress=progress)
    return OcclusionExplainer(ready, request.workers or usable_cores())


def explain(explainer: Explainer, source: Source, question: Question, progress: Progress) -> Explanation:
    """Explains the answer to one photo. Raises ImageError and ModelError.

    The network gets exactly the pixels that `predict` gives it; the maps belong to the whole photo.
    """
    spec = explainer.model.card.input
    source = source.fetched()
    reduced = images.read(source, shorter_side_px=max(spec.height, spec.width), max_pixels=question.max_pixels)
    whole = images.read(source, max_pixels=question.max_pixels)
    return explain_pictures(explainer, source, reduced, whole, question, progress)


def explain_pictures(
    explainer: Explainer, source: Source, reduced: Picture, whole: Picture, question: Question, progress: Progress
) -> Explanation:
    """`explain` for a photo that was read: as the network is to get it, and as it is to be shown. Raises ModelError."""
    card = explainer.model.card
    pixels = images.network_input(reduced, card.input)
    scores = next(explainer.scores([pixels]))
    predictions = _predictions(scores, card.classes, question)
    seen = framing(reduced.image.size, card.input).of_size(whole.image.size)
    heat_maps = _heat_maps(explainer, pixels, predictions, seen, question.check, progress)
    return Explanation(
        source, explainer.model.name, explainer.method, explainer.told, whole, seen, explainer.grid, heat_maps
    )


def _predictions(scores: Scores, classes: Sequence[ImageClass], question: Question) -> tuple[Prediction, ...]:
    """The best classes, or those that were asked for, with their ranks."""
    ranked = pipeline.best(scores, tuple(classes), len(classes))
    if not question.classes:
        return ranked[: question.top]
    by_index = {prediction.index: prediction for prediction in ranked}
    return tuple(by_index[index] for index in question.classes)


def _heat_maps(
    explainer: Explainer,
    pixels: Pixels,
    predictions: Sequence[Prediction],
    seen: Framing,
    check: bool,
    progress: Progress,
) -> tuple[HeatMap, ...]:
    indices = [prediction.index for prediction in predictions]
    maps = explainer.maps(pixels, indices, progress)
    found: Sequence[Faithfulness | None] = [None] * len(indices)
    if check:
        found = faithfulness(pixels, maps, explainer.grid, indices, explainer.scores, progress)
    return tuple(
        HeatMap(prediction, values, _peak(values, explainer.grid, seen), faith)
        for prediction, values, faith in zip(predictions, maps, found, strict=True)
    )


def _peak(values: npt.NDArray[np.float32], grid: MapGrid, seen: Framing) -> tuple[int, int] | None:
    """The pixel of the photo under the middle of the hottest cell; None where no cell is above zero."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    if not values[row, column] > 0:
        return None
    at = seen.to_photo(*grid.middle(int(row), int(column)))
    across, down = (min(max(int(place), 0), side - 1) for place, side in zip(at, seen.photo, strict=True))
    return across, down
