"""The streaming pipeline with networks and sources that the tests control."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.backbones import ImageClass, InputSpec
from cnncli.errors import ModelError
from cnncli.inference.pipeline import Result, best, predict
from cnncli.modelcard import ModelCard
from cnncli.sources import Source

CLASSES = tuple(ImageClass(str(n), f"class {n}") for n in range(256))


@dataclass
class StubModel:
    """Stands for a ReadyModel: its answer is the class with the number of the picture's brightness."""

    run: Callable[[int], None] = lambda brightness: None
    most: int = 99
    made: int = 0
    name: str = "stub"
    fallback_from: str | None = None
    card: ModelCard = ModelCard("stub", CLASSES, InputSpec(8, 8))  # noqa: RUF009 - frozen

    def most_engines(self, at_once: int) -> int:
        return min(at_once, self.most)

    def engine(self, num_threads: int) -> Any:
        self.made += 1
        self.threads = num_threads

        def answer(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            brightness = int(pixels[0, 0, 0])
            self.run(brightness)
            return np.eye(256, dtype=np.float32)[brightness]

        return answer


@pytest.fixture
def pictures(tmp_path: Path) -> list[Source]:
    """Forty pictures; number n is of brightness n."""
    sources = []
    for number in range(40):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (9, 9), (number,) * 3).save(path)
        sources.append(Source(path.name, path=path))
    return sources


def run(model: StubModel, sources: Any, workers: int = 4, **options: Any) -> Iterator[Result]:
    return predict(model, sources, top=1, workers=workers, **options)  # type: ignore[arg-type]


def numbers(results: Iterator[Result]) -> list[int]:
    return [result.predictions[0].index for result in results]


def test_results_come_in_order_whichever_is_ready_first(pictures) -> None:
    model = StubModel(run=lambda brightness: time.sleep(0.02 if brightness % 4 == 0 else 0))
    assert numbers(run(model, pictures)) == list(range(40))


def test_first_result_comes_before_the_second_source_is_known(pictures) -> None:
    known = threading.Event()

    def slow() -> Iterator[Source]:
        yield pictures[0]
        assert known.wait(10)
        yield pictures[1]

    results = run(StubModel(), slow())
    assert next(results).predictions[0].index == 0
    known.set()
    assert numbers(results) == [1]


def test_sources_are_drawn_only_a_little_ahead(pictures) -> None:
    drawn = 0

    def count() -> Iterator[Source]:
        nonlocal drawn
        for picture in pictures * 50:
            drawn += 1
            yield picture

    results = run(StubModel(), count(), workers=2)
    next(results)
    time.sleep(0.3)
    assert drawn <= 12  # four for each worker under way, and those on either side
    results.close()  # type: ignore[attr-defined]


def test_closing_early_stops_the_work(pictures) -> None:
    started: list[int] = []
    results = run(StubModel(run=lambda brightness: started.append(brightness)), pictures * 50, workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    before = len(started)
    time.sleep(0.2)
    assert len(started) == before < 40


def test_file_that_cannot_be_read_keeps_its_place(pictures, tmp_path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    sources = [*pictures[:3], Source("bad.png", path=tmp_path / "bad.png"), *pictures[3:]]
    results = list(run(StubModel(), sources))
    assert [result.source.name for result in results] == [source.name for source in sources]
    assert [result.error for result in results if result.error] == ["the file is empty"]
    assert results[3].predictions == ()


def test_network_that_fails_ends_the_run_in_its_place(pictures) -> None:
    def fail(brightness: int) -> None:
        if brightness == 5:
            raise ModelError("broken")

    seen = []
    with pytest.raises(ModelError, match="broken"):
        for result in run(StubModel(run=fail), pictures):
            seen.append(result.source.name)
    assert seen == ["0.png", "1.png", "2.png", "3.png", "4.png"]


def test_whatever_the_sources_raise_comes_out_after_the_results_before_it(pictures) -> None:
    def broken() -> Iterator[Source]:
        yield from pictures[:2]
        raise ZeroDivisionError

    results = run(StubModel(), broken())
    assert [next(results).source.name, next(results).source.name] == ["0.png", "1.png"]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_is_refused(pictures, value) -> None:
    model = StubModel()
    model.engine = lambda num_threads: lambda pixels: np.full(256, value, np.float32)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="not finite"):
        next(run(model, pictures))


def test_fewer_engines_than_threads_are_shared_and_never_run_twice_at_once(pictures) -> None:
    running, most = 0, 0
    guard = threading.Lock()

    def watch(brightness: int) -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with guard:
            running -= 1

    model = StubModel(run=watch, most=2)
    assert numbers(run(model, pictures, workers=8)) == list(range(40))
    assert (model.made, model.threads, most) == (2, 4, 2)


def test_two_pictures_do_not_pay_for_an_engine_on_every_core(pictures) -> None:
    model = StubModel()
    assert numbers(run(model, pictures[:2], workers=64)) == [0, 1]
    assert model.made <= 2


def test_a_single_picture_has_all_threads_for_its_network(pictures) -> None:
    model = StubModel()
    assert numbers(run(model, pictures[:1], workers=8, single=True)) == [0]
    assert (model.made, model.threads) == (1, 8)


def test_best_puts_the_lower_index_first_among_equal_scores() -> None:
    scores = np.array([0.2, 0.3, 0.3, 0.2], np.float32)
    assert [(p.rank, p.index) for p in best(scores, CLASSES[:4], 3)] == [(1, 1), (2, 2), (3, 0)]
    assert [p.index for p in best(scores, CLASSES[:4], 9, min_confidence=0.25)] == [1, 2]
