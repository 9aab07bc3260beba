"""What a training run is asked to do. Standard library only: `--help` reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

OPTIMIZERS = {"adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3, "sgd": 1e-2}  # with the rate they begin with
PRECISIONS = ("float32", "bfloat16")
COLORS = ("auto", "rgb", "gray")
HEAD_FACTOR = 10  # a head on fixed features bears, and in few steps needs, a higher rate than a whole network
FINE_TUNE_RATE = 0.01  # of the head's rate: what was learned before shall move little

# Options that belong together; what is given beside `--preset` wins.
PRESETS: dict[str, dict[str, Any]] = {
    "best": {
        "augment": "auto", "optimizer": "adamw", "lr": 3e-3, "schedule": "one-cycle", "weight_decay": 0.01,
        "label_smoothing": 0.05, "ema": 0.99, "batch_size": 64, "epochs": 15,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `cnncli train` that decide what comes out; None means: decided from the data or the network."""

    net: str | None = None  # a named net or the layer grammar
    backbone: str | None = None
    weights: str | None = None  # of the backbone: a file instead of the published ones
    from_scratch: bool = False  # the backbone without weights
    start_from: str | None = None  # a run or model file of the same network, whose weights come first
    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.0  # epochs
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema: float | None = None  # decay of the moving average of the weights
    dropout: float = 0.0  # before the output layer
    class_weights: str | None = None
    augment: str = "none"
    progressive: bool = False
    fine_tune: int | None = None  # blocks of the backbone
    fine_tune_epochs: int = 5
    patience: int | None = None  # epochs without a better validation accuracy
    precision: str = "float32"
    rescale: bool = True
    val_split: float = 0.1
    color: str = "auto"
    image_size: str | None = None  # N or HxW
    resize: str = "crop"
    seed: int = 0

    @property
    def rate(self) -> float:
        """The learning rate that schedules start from."""
        if self.lr is not None:
            return self.lr
        return OPTIMIZERS[self.optimizer] * (HEAD_FACTOR if self.backbone and not self.from_scratch else 1)

    @property
    def total_epochs(self) -> int:
        """Those of the head and of fine-tuning together."""
        return self.epochs + (self.fine_tune_epochs if self.fine_tune else 0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def differences(self, given: dict[str, Any]) -> list[str]:
        """The options in `given` that say something else, as lines for the user."""
        lines = []
        for field in fields(self):
            if field.name in given and given[field.name] != getattr(self, field.name):
                option = "--" + field.name.replace("_", "-")
                own = getattr(self, field.name)
                lines.append(f"{option}: the run has {'none' if own is None else own}, given is {given[field.name]}")
        return lines


def from_json(values: dict[str, Any]) -> Settings:
    """The settings that `to_json` stored. Raises TypeError for entries that are none."""
    return Settings(**values)


def with_preset(preset: str | None, given: dict[str, Any]) -> Settings:
    """The settings that the options in `given` make, on top of a preset's."""
    return Settings(**({} if preset is None else PRESETS[preset]) | given)
