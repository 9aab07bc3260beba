"""Networks on the command line: by name, written in the layer grammar, or in a model file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from cnncli import grammar, networks
from cnncli.networks import Network, stack

_MODEL_FILES = (".keras", ".tflite", ".h5")


def any_network(words: tuple[str, ...], size: str | None) -> Network:
    """What NET|FILE|LAYER... stand for: a file or run folder that exists, else as `stacked`.

    Raises UsageError, GrammarError, ModelError.
    """
    if len(words) == 1 and networks.find(words[0]) is None:
        path = Path(words[0])
        if path.exists() or path.suffix in _MODEL_FILES:
            found = of_model(words[0], size, None, None)
            return replace(found, name=path.resolve().name) if path.is_dir() else found  # of a run: its folder's
    return stacked(words, size, None, None, "A model file is given alone")


def stacked(words: tuple[str, ...], size: str | None, dims: int | None, classes: str | None, for_files: str) -> Network:
    """The network that LAYER... or NAME stand for, with another input if `size` is given.

    `for_files` says how a model file is given. Raises UsageError, GrammarError.
    """
    number = None if classes is None else grammar.number(classes, "--classes")
    if len(words) == 1 and (network := networks.find(words[0], number)):
        if dims is not None:
            raise click.UsageError(f"--dims is not for {words[0]}, whose input has its own.")
        return _with_size(network, size)
    if classes is not None:
        raise click.UsageError("--classes is for a named net; write the last layer as dense:N.")
    if meant := _other_meaning(words[0], for_files):
        raise click.UsageError(meant)
    layers = grammar.parse(words)
    if not layers:
        raise click.UsageError("LAYER is empty: expected layers like conv:32:3 pool:2 flatten dense:10.")
    if size is None:
        raise click.UsageError("Missing option '--input'.")
    return stack("stack", grammar.input_shape(size, dims or 2, vector=grammar.starts_with_vector(layers)), layers)


def _other_meaning(word: str, for_files: str) -> str | None:
    """What to say where a word was not meant as a layer but as a model file or, misspelt, as a network."""
    if word.split(":")[0].strip() in grammar.GRAMMAR or " " in word:
        return None
    if word.endswith(_MODEL_FILES) or os.path.lexists(word):
        return f"{word!r} is not a layer. {for_files}"
    close = networks.similar(word)
    if networks.find(word):
        return f"{word!r} is a whole network: nothing can follow it"
    return f"{word!r} is neither a layer nor a network. Did you mean {close}?" if close else None


def _with_size(network: Network, size: str | None) -> Network:
    return network if size is None else network.with_input(grammar.sizes(size, "input"))


def of_model(name: str, size: str | None, dims: int | None, classes: str | None) -> Network:
    """The network that --model names, which may be a file. Raises UsageError, GrammarError, ModelError."""
    if dims is not None:
        raise click.UsageError("--dims is not for --model, whose input has its own.")
    number = None if classes is None else grammar.number(classes, "--classes")
    if name in networks.NAMED_NETS and (network := networks.find(name, number)):
        return _with_size(network, size)
    from cnncli.backbones import Backbone
    from cnncli.inference.locate import locate

    location = locate(name)
    if isinstance(location, Backbone):
        found = networks.find(location.name, number)
        assert found is not None  # there is a table for every row: test_networks
        return _with_size(found, size)
    if classes is not None:
        raise click.UsageError("--classes is for a named net.")
    from cnncli.kerasgraph import read_model_file

    return read_model_file(location, None if size is None else grammar.sizes(size, "input"))
