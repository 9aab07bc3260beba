"""What a model's name means. Imports no numpy, so that `cnncli models` answers at once."""

from __future__ import annotations

import os
from pathlib import Path

from cnncli import backbones, bundled
from cnncli.backbones import BACKBONES, BUNDLED, Backbone, Resize
from cnncli.errors import ModelError
from cnncli.modelcard import ModelCard
from cnncli.modelfile import has_card, read_card
from cnncli.networks import NAMED_NETS


def locate(name: str) -> Backbone | Path:
    """What `--model NAME` means: a row of the table or the bundled model, a file or run folder, a looser spelling."""
    if not name:
        raise ModelError(f"the model's name is empty.\n{_networks(name)}")
    if name in BACKBONES:
        return BACKBONES[name]
    if name == BUNDLED:
        return bundled.path()
    path = Path(name)
    if path.is_dir() and (path / "model.keras").exists():
        return path / "model.keras"
    if os.path.lexists(path):
        return path
    if backbones.is_bundled(name):
        return bundled.path()
    row = backbones.find(name)
    if row is None and (path.suffix in (".keras", ".tflite") or os.sep in name):
        raise ModelError(f"{name}: no such file")
    if row is None and name in NAMED_NETS:
        raise ModelError(f"{name}: this network comes without weights; 'cnncli train DATA --net {name}' gives it some")
    if row is None:
        raise ModelError(f"{name}: neither a pretrained network nor a model file or run folder.\n{_networks(name)}")
    return row


def pretrained(name: str) -> Backbone:
    """The row of the table called `name`. Raises ModelError listing the names."""
    row = backbones.find(name)
    if row is None:
        raise ModelError(f"{name}: no pretrained network has this name.\n{_networks(name)}")
    return row


def _networks(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name.lower(), backbones.names(), n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"{guess}Networks: {', '.join(backbones.names())}"


def describe(name: str) -> tuple[ModelCard, Backbone | None]:
    """The card of a model, and its row if it is a pretrained network."""
    location = locate(name)
    if isinstance(location, Backbone):
        return backbone_card(location), location
    return read_card(location), None


def resize_of(name: str) -> Resize:
    """How a model brings photos to its input; `crop` where nothing says: a named net, or a file without a card.

    Raises ModelError, also for a card that is damaged.
    """
    if name in NAMED_NETS:
        return "crop"
    location = locate(name)
    if isinstance(location, Backbone):
        return location.input.resize
    return read_card(location).input.resize if has_card(location) else "crop"


def backbone_card(row: Backbone) -> ModelCard:
    """The card of a pretrained network."""
    return ModelCard(row.name, backbones.imagenet_classes(), row.input, row.licence, f"ImageNet weights, {row.paper}")
