"""Figures that a model has to reach, for scripts: `--min-accuracy 0.9`, `--min f1-macro=0.8`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cnncli.errors import GrammarError
from cnncli.evaluation.evaluation import Evaluation

_FIGURES: dict[str, Callable[[Evaluation], float]] = {
    "accuracy": lambda found: found.accuracy,
    "precision-macro": lambda found: found.macro.precision,
    "recall-macro": lambda found: found.macro.recall,
    "f1-macro": lambda found: found.macro.f1,
    "precision-weighted": lambda found: found.weighted.precision,
    "recall-weighted": lambda found: found.weighted.recall,
    "f1-weighted": lambda found: found.weighted.f1,
}
NAMES = ("topN (top3)", *_FIGURES)
_TOP = re.compile(r"top-?([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure and the least that it may be, from 0 to 1."""

    name: str
    least: float

    @staticmethod
    def parse(text: str) -> Gate:
        """A gate from `NAME=P`. Raises ValueError."""
        name, equals, number = text.replace("_", "-").partition("=")
        try:
            least = float(number)
        except ValueError:
            least = -1.0
        if not equals or not 0 <= least <= 1:
            raise ValueError(f"{text!r}: expected NAME=P with P from 0 to 1, as top3=0.95")
        if name not in _FIGURES and not _TOP.fullmatch(name):
            raise ValueError(f"{text!r}: no figure is called {name!r}; there are {', '.join(NAMES)}")
        return Gate(name, least)

    def require_meaning(self, model: str, choices: int) -> None:
        """Raises GrammarError if a model that chooses among so many classes cannot miss the gate."""
        if (top := _TOP.fullmatch(self.name)) and int(top[1]) >= choices:
            raise GrammarError(f"--min {self.name}: {model} has {choices} classes to choose from, so it cannot fail")

    def value(self, found: Evaluation) -> float:
        """The figure that the gate is about."""
        if top := _TOP.fullmatch(self.name):
            return found.top_k(int(top[1]))
        return _FIGURES[self.name](found)

    def fault(self, found: Evaluation) -> str | None:
        """Why the gate is not met, or None."""
        value = self.value(found)
        return None if value >= self.least else f"{found.model}: {self.name} is {value:.4f}, below {self.least:g}"
