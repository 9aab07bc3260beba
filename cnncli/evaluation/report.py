"""An evaluation as one self-contained HTML page: it needs no network, no server and, to be read, no script."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from cnncli.evaluation import report_comparison, report_model
from cnncli.evaluation.comparison import Comparison
from cnncli.evaluation.evaluation import Evaluation
from cnncli.evaluation.markup import Markup, element, joined
from cnncli.evaluation.mistake_maps import MistakeMaps
from cnncli.history import EpochRow
from cnncli.outputs import saving


def write(
    path: Path,
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    histories: Mapping[str, Sequence[EpochRow]],
    *,
    made: str,
    maps: Mapping[str, MistakeMaps] | None = None,
) -> None:
    """Writes the report of at least one evaluation, atomically; the same input gives the same bytes.

    `histories` has the training of those models, by name, that are a run; `made` says at the end of the page how it
    came about; `maps` has heat maps of the mistakes, by model, where they were asked for. Raises CnncliError where the
    file cannot be written.
    """
    content = page(evaluations, comparisons, histories, made=made, maps=maps).encode()
    with saving(path) as file:
        file.write(content)


def page(
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    histories: Mapping[str, Sequence[EpochRow]],
    *,
    made: str,
    maps: Mapping[str, MistakeMaps] | None = None,
) -> str:
    """The report as HTML."""
    sections = [
        report_model.section(
            evaluation, histories.get(evaluation.model, ()), number, (maps or {}).get(evaluation.model, {})
        )
        for number, evaluation in enumerate(evaluations, 1)
    ]
    compared = [report_comparison.section(evaluations, comparisons)] if len(evaluations) > 1 else []
    first = evaluations[0]
    title = first.model if len(evaluations) == 1 else f"{len(evaluations)} models"
    return string.Template(_resource("html")).substitute(
        title=element("title", f"{title} on {first.data}"),
        style=_resource("css"),
        header=_header(evaluations),
        main=element("main", *compared, *sections),
        footer=element("footer", element("p", made)),
        script=_resource("js"),
    )


def _resource(suffix: str) -> str:
    return files("cnncli").joinpath(f"data/report.{suffix}").read_text(encoding="utf-8")


def _header(evaluations: Sequence[Evaluation]) -> Markup:
    first = evaluations[0]
    which = "all images" if first.split == "all" else f"the {first.split} split"
    about = element(
        "p", "How well ", _models(evaluations), " names the images of ", element("bdi", first.data), f", {which}."
    )
    links = [("#comparison", "Comparison")] if len(evaluations) > 1 else []
    links += [(f"#model-{number}", one.model) for number, one in enumerate(evaluations, 1)]
    menu = element("nav", *(element("a", element("bdi", name), href=to) for to, name in links), aria_label="Contents")
    return element("header", element("h1", "Evaluation"), about, *([menu] if len(evaluations) > 1 else []))


def _models(evaluations: Sequence[Evaluation]) -> Markup:
    if len(evaluations) > 1:
        return joined([f"each of {len(evaluations)} models"])
    return element("bdi", evaluations[0].model)
