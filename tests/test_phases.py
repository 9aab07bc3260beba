"""What a run is made of: its phases, and what each epoch of them shows the network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cnncli.backbones import ImageClass, InputSpec
from cnncli.learning.phases import FromScratch, Recipe
from cnncli.settings import Settings


def sizes(epochs: int, height: int, width: int) -> list[Any]:
    """The size that images are brought to in each epoch of a progressive run; None is their own."""
    data: Any = SimpleNamespace(
        spec=InputSpec(height, width),
        classes=(ImageClass("a", "a"), ImageClass("b", "b")),
        train=SimpleNamespace(rows=range(40)),
        val=None,
    )
    network = FromScratch(Recipe(Settings(net="conv:2:3 gap", epochs=epochs, progressive=True), data))
    phase = network.phase(0, None)
    assert phase is not None and network.phase(1, None) is None
    return [phase.objectives(epoch).size for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("epochs", "half", "three_quarters", "whole"),
    [(1, 0, 0, 1), (2, 1, 0, 1), (3, 1, 1, 1), (5, 2, 2, 1), (10, 4, 4, 2), (15, 6, 6, 3)],
)
def test_progressive_run_is_mostly_one_on_small_images(epochs: int, half: int, three_quarters: int, whole: int) -> None:
    assert sizes(epochs, 64, 48) == [(32, 24)] * half + [(48, 36)] * three_quarters + [None] * whole


def test_progressive_run_of_small_images_has_fewer_sizes() -> None:
    assert sizes(5, 20, 20) == [(16, 16)] * 4 + [None]
    assert sizes(5, 16, 16) == [None] * 5
