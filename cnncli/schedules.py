"""Learning rates over a run: what step takes which rate. Standard library only, and no state but Plateau's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from cnncli.errors import TrainingError

ScheduleName = Literal["constant", "cosine", "one-cycle", "step", "plateau"]
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)

_RISE = 0.3  # of a one-cycle run: the part in which its rate rises, as in PyTorch's OneCycleLR
_START_DIVISOR = 25  # a one-cycle run starts at the highest rate divided by this, as in OneCycleLR


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate as a function of the step alone, so that a resumed run goes on where it was.

    With the highest rate `r`, `n` steps, `w` of them warm-up, and `t = (step - w) / (n - w)`:

    - constant: `r`
    - cosine: `r (1 + cos(pi t)) / 2`, so 0 when all is done (SGDR without restarts, arXiv 1608.03983)
    - one-cycle: up on a line from `r / 25`, then down as cosine does. The warm-up is its rise, 0.3 `n` steps unless
      given (Smith, arXiv 1803.09820; momentum is left as it is)
    - step: `r`, from half of the steps on `r / 10`, from three quarters on `r / 100` (He et al., arXiv 1512.03385)
    - plateau: `r`, to be multiplied by `Plateau.factor`

    The others warm up on a line, `r (step + 1) / w` (Goyal et al., arXiv 1706.02677).
    """

    name: ScheduleName
    base_rate: float  # the highest
    total_steps: int
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps < self.total_steps:
            raise TrainingError(
                f"a warm-up of {self.warmup_steps} steps does not fit into a run of {self.total_steps}; "
                "expected fewer steps than the run has: shorten it, or train for more epochs"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs. Past the end it is that of the end."""
        warmup = self._warmup()
        if step < warmup:
            return self.base_rate * self._rise(step, warmup)
        if self.name == "step":
            return self.base_rate * 0.1 ** ((2 * step >= self.total_steps) + (4 * step >= 3 * self.total_steps))
        if self.name in ("cosine", "one-cycle"):
            done = min(1.0, (step - warmup) / (self.total_steps - warmup))
            return self.base_rate * (1 + math.cos(math.pi * done)) / 2
        return self.base_rate

    def _warmup(self) -> int:
        if self.name == "one-cycle" and not self.warmup_steps:
            return int(_RISE * self.total_steps)
        return self.warmup_steps

    def _rise(self, step: int, warmup: int) -> float:
        """The part of the highest rate that a step of the warm-up takes."""
        if self.name == "one-cycle":
            return (1 + (_START_DIVISOR - 1) * step / warmup) / _START_DIVISOR
        return (step + 1) / warmup


@dataclass(frozen=True, slots=True)
class Plateau:
    """Divides the rate when the validation loss no longer falls, as He et al. did by hand (arXiv 1512.03385)."""

    patience: int = 3  # epochs in a row without a lower loss
    division: float = 10.0
    factor: float = 1.0  # what the schedule's rate is multiplied by now
    best: float | None = None  # the lowest loss so far
    bad_epochs: int = 0  # since then, or since the last division

    def after(self, loss: float) -> Plateau:
        """The state after one more epoch, with its validation loss. A loss that is no number is not lower."""
        if loss < (math.inf if self.best is None else self.best):
            return replace(self, best=loss, bad_epochs=0)
        if self.bad_epochs + 1 < self.patience:
            return replace(self, bad_epochs=self.bad_epochs + 1)
        return replace(self, factor=self.factor / self.division, bad_epochs=0)

    def to_json(self) -> dict[str, Any]:
        """The state as plain values that JSON keeps exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plateau:
        """The state that `to_json` gave. Raises TypeError for other fields."""
        return cls(**values)
