"""Which epoch's model is the best, and when to stop looking for a better one. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Stopping:
    """The best epoch so far: the one with the highest validation accuracy, of equal ones that with the lowest loss."""

    patience: int | None = None  # epochs in a row without a better one after which to stop; None: never
    best_accuracy: float | None = None  # None before the first epoch
    best_loss: float | None = None
    bad_epochs: int = 0  # since the best one

    def after(self, accuracy: float, loss: float) -> Stopping:
        """The state after one more epoch. An epoch whose loss is no number is never the best."""
        best = (-math.inf, -math.inf)
        if self.best_accuracy is not None and self.best_loss is not None:
            best = (self.best_accuracy, -self.best_loss)
        if not math.isnan(loss) and (accuracy, -loss) > best:
            return replace(self, best_accuracy=accuracy, best_loss=loss, bad_epochs=0)
        return replace(self, bad_epochs=self.bad_epochs + 1)

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.best_accuracy is not None and not self.bad_epochs

    @property
    def should_stop(self) -> bool:
        return self.patience is not None and 0 < self.bad_epochs >= self.patience

    def to_json(self) -> dict[str, Any]:
        """The state as plain values that JSON keeps exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Stopping:
        """The state that `to_json` gave. Raises TypeError for other fields."""
        return cls(**values)
