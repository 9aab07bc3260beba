"""Whether one model is better than another on the same images, or was only lucky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnncli.backbones import ImageClass
from cnncli.datasets.dataset import Example
from cnncli.evaluation import metrics
from cnncli.evaluation.evaluation import Evaluation

_LEAST_P = 0.0001  # smaller ones are not written out
SIGNIFICANT = 0.05  # a smaller p-value is taken for a real difference


@dataclass(frozen=True, slots=True)
class Difference:
    """An image that two models call by different names."""

    example: Example
    truth: ImageClass
    a: ImageClass  # what the first model says
    b: ImageClass
    a_right: bool
    b_right: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the images that both could be asked about."""

    a: str  # the models' names
    b: str
    both_right: int
    only_a: int  # images that only the first has right
    only_b: int
    both_wrong: int
    differences: tuple[Difference, ...]  # first those where one of them is right, in the order of the data

    @property
    def images(self) -> int:
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def p_value(self) -> float:
        """The chance of so large a difference between equally good models: McNemar's exact test, two-sided."""
        return metrics.mcnemar(self.only_a, self.only_b)

    @property
    def chance(self) -> str:
        """`p_value` as text: `p = 0.012`, `p < 0.0001`."""
        return f"p < {_LEAST_P:g}" if self.p_value < _LEAST_P else f"p = {self.p_value:.2g}"

    @property
    def better(self) -> str | None:
        """The model that is better beyond chance (p < 0.05), or None."""
        if self.p_value >= SIGNIFICANT:
            return None
        return self.a if self.only_a > self.only_b else self.b


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """Compares two evaluations of the same examples, image by image."""
    places = {example.name: place for place, example in enumerate(b.examples)}
    b_rows = {row: place for place, row in enumerate(b.columns.rows.tolist())}
    pairs = [
        (place, b_rows[places[a.examples[row].name]])
        for place, row in enumerate(a.columns.rows.tolist())
        if places.get(a.examples[row].name) in b_rows
    ]
    of_a, of_b = np.array(pairs, np.int64).reshape(-1, 2).T
    a_right, b_right = a.columns.right[of_a], b.columns.right[of_b]
    differences = [
        Difference(
            a.examples[a.columns.rows[i]],
            a.classes[a.columns.truth[i]],
            a.classes[a.columns.predicted[i]],
            b.classes[b.columns.predicted[j]],
            bool(a.columns.right[i]),
            bool(b.columns.right[j]),
        )
        for i, j in pairs
        if not (a.columns.right[i] and b.columns.right[j])  # the class may have another name in each model
        and a.classes[a.columns.predicted[i]].id != b.classes[b.columns.predicted[j]].id
    ]
    return Comparison(
        a.model,
        b.model,
        both_right=int((a_right & b_right).sum()),
        only_a=int((a_right & ~b_right).sum()),
        only_b=int((~a_right & b_right).sum()),
        both_wrong=int((~a_right & ~b_right).sum()),
        differences=tuple(sorted(differences, key=lambda found: found.a_right == found.b_right)),
    )
