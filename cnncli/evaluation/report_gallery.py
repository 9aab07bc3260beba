"""The report's pictures: the most confident mistakes, and images on which two models differ."""

from __future__ import annotations

from collections.abc import Sequence

from cnncli.backbones import ImageClass
from cnncli.datasets.contact import thinned, thumbnail
from cnncli.datasets.dataset import Example
from cnncli.errors import ImageError
from cnncli.evaluation.comparison import Comparison, Difference
from cnncli.evaluation.evaluation import Answer, Evaluation
from cnncli.evaluation.markup import Markup, class_name, element, joined
from cnncli.evaluation.mistake_maps import MistakeMap, MistakeMaps
from cnncli.evaluation.report_matrix import data_uri

_THUMBNAIL_PX = 224  # the longer side: sharp on a telephone, where it takes half as many
_QUALITY = 82
_TOP = 3  # predictions of a mistake
_MOST_DIFFERENCES = 24


def mistakes(evaluation: Evaluation, maps: MistakeMaps) -> Markup:
    """A card for each of the most confident mistakes: the image, what it is, the best predictions and, where `maps`
    has them, where the model looked.
    """
    cards = (_mistake(answer, evaluation.classes, maps.get(answer.example.name, ())) for answer in evaluation.mistakes)
    return _gallery(list(cards))


def differences(comparison: Comparison) -> Markup:
    """Cards of images that two models call by different names."""
    return _gallery([_difference(found, comparison) for found in _chosen(comparison)])


def num_shown(comparison: Comparison) -> int:
    return len(_chosen(comparison))


def _chosen(comparison: Comparison) -> Sequence[Difference]:
    """Some of the differences, those where one model is right if there are any, spread over the data."""
    telling = [found for found in comparison.differences if found.a_right != found.b_right]
    return thinned(telling or comparison.differences, _MOST_DIFFERENCES)


def _gallery(cards: Sequence[Markup]) -> Markup:
    return element("ul", *(element("li", card) for card in cards), class_="gallery")


def _mistake(answer: Answer, classes: Sequence[ImageClass], maps: Sequence[MistakeMap]) -> Markup:
    truth = classes[answer.truth]
    rank = f"its answer number {answer.truth_rank:,}, with {answer.truth_score:.1%}"
    return element(
        "figure",
        _picture(answer.example),
        element(
            "figcaption",
            _is(truth, rank),
            element("ol", *(_bar(p.image_class, p.score, p.index == answer.truth) for p in answer.predictions[:_TOP])),
            *([element("div", *map(_map, maps), class_="why")] if maps else []),
            _file(answer.example),
        ),
    )


def _map(found: MistakeMap) -> Markup:
    """A heat map and the class that its hot places speak for."""
    name, picture = found.image_class.words, found.picture
    address = data_uri(picture, "JPEG", quality=_QUALITY, subsampling=0)
    image = element("img", src=address, alt=f"what speaks for {name}", width=picture.width, height=picture.height)
    return element("div", image, element("small", "speaks for ", element("bdi", name)))


def _bar(image_class: ImageClass, score: float, right: bool) -> Markup:
    kind = "right" if right else "wrong"
    name = element("span", class_name(image_class), class_="name")
    figure = element("span", f"{score:.1%}", class_="n")
    bar = element("span", element("span", style=f"width:{score:.1%}"), class_="bar", aria_hidden="true")
    return element("li", name, figure, bar, class_=kind)


def _difference(found: Difference, comparison: Comparison) -> Markup:
    return element(
        "figure",
        _picture(found.example),
        element(
            "figcaption",
            _is(found.truth),
            element(
                "dl",
                *_verdict(comparison.a, found.a, found.a_right),
                *_verdict(comparison.b, found.b, found.b_right),
            ),
            _file(found.example),
        ),
    )


def _verdict(model: str, said: ImageClass, right: bool) -> tuple[Markup, Markup]:
    kind, sign = ("right", "\u2713 right: ") if right else ("wrong", "\u2717 wrong: ")
    return element("dt", element("bdi", model)), element("dd", sign, element("bdi", said.words), class_=kind)


def _is(truth: ImageClass, more: str = "") -> Markup:
    parts = (element("span", "is ", class_="faint"), class_name(truth))
    return element("p", *parts, *([element("small", more)] if more else []), class_="truth")


def _file(example: Example) -> Markup:
    """The image's name, which may go on in the next line after a slash."""
    folders = (joined([part, "/", Markup("<wbr>")]) for part in example.name.split("/")[:-1])
    return element("small", element("bdi", *folders, example.name.rpartition("/")[2]), class_="file")


def _picture(example: Example) -> Markup:
    """The image as a thumbnail, or a word where it cannot be read any more."""
    try:
        image = thumbnail(example, _THUMBNAIL_PX)
    except ImageError:
        return element("div", "this image cannot be read any more", class_="picture gone")
    address = data_uri(image, "JPEG", quality=_QUALITY, subsampling=0)
    return element(
        "div", element("img", src=address, alt=example.name, width=image.width, height=image.height), class_="picture"
    )
