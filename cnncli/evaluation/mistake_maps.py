"""Where a model looked when it was surely wrong: heat maps for the mistakes that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from cnncli.backbones import ImageClass
from cnncli.datasets.pixels import picture_of
from cnncli.errors import ImageError, ModelError
from cnncli.evaluation.evaluation import Answer, Evaluation
from cnncli.explained import class_overlay
from cnncli.inference.models import Notify
from cnncli.inference.occlusion import Progress
from cnncli.inference.saliency import Explainer, Question, explain_pictures
from cnncli.sources import Source

_SIDE_PX = 224  # the longer side of a picture


@dataclass(frozen=True, slots=True, eq=False)
class MistakeMap:
    """What speaks for one class in one image, drawn over it."""

    image_class: ImageClass
    picture: Image.Image


MistakeMaps = Mapping[str, tuple[MistakeMap, ...]]  # by the name of an image: for what was answered and for the truth


def mistake_maps(evaluation: Evaluation, explainer: Explainer, *, notify: Notify, progress: Progress) -> MistakeMaps:
    """The maps of all mistakes that are kept; an image whose maps cannot be made has none, and `notify` hears of it."""
    found = {}
    for done, answer in enumerate(evaluation.mistakes, 1):
        try:
            found[answer.example.name] = _maps(answer, explainer)
        except (ImageError, ModelError) as problem:
            notify(f"{answer.example.name}: no heat map: {problem}")
        progress(done, len(evaluation.mistakes))
    return found


def _maps(answer: Answer, explainer: Explainer) -> tuple[MistakeMap, ...]:
    picture, _ = picture_of(answer.example, explainer.model.card.input)
    question = Question((answer.predictions[0].index, answer.truth), check=False)
    source = Source(answer.example.name, path=answer.example.path)
    explanation = explain_pictures(explainer, source, picture, picture, question, lambda done, total: None)
    return tuple(
        MistakeMap(heat_map.prediction.image_class, class_overlay(explanation, heat_map, _SIDE_PX))
        for heat_map in explanation.heat_maps
    )
