"""How sizes and layers are written: `32x32x3`, `conv:32:3:same:relu`. Read here, and written back."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from cnncli.errors import GrammarError
from cnncli.layers import ACTIVATIONS, MERGES, Layer, Pairs, Shape, Sizes

MAX_NUMBER = 10**18


def number(text: str, what: str, least: int = 1) -> int:
    """A whole number from `least` to 10^18. Raises GrammarError."""
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not least <= int(text) <= MAX_NUMBER:
        raise GrammarError(f"{what} {text!r}: expected a whole number from {least} to 10^18")
    return int(text)


def sizes(text: str, what: str, least: int = 1) -> Sizes:
    """`3` or `3x5`: one number for all axes, or one for each. Raises GrammarError."""
    parts = re.split("[xX]", text)
    if len(parts) > 1 and not all(parts):
        raise GrammarError(f"{what} {text!r}: expected numbers like 3 or 3x5")
    return tuple(number(part, what, least) for part in parts)


def pairs(text: str, what: str) -> Pairs:
    """`1`, `1x2` or, with different ends, `0+1`: one pair (before, after) for all axes, or one for each."""
    ends = [part.split("+") for part in re.split("[xX]", text)]
    if not all(all(end) and len(end) <= 2 for end in ends):
        raise GrammarError(f"{what} {text!r}: expected numbers like 1, 1x2 or 0+1")
    return tuple((number(end[0], what, 0), number(end[-1], what, 0)) for end in ends)


def input_shape(text: str, dims: int, *, vector: bool = False) -> Shape:
    """What `--input` gives: `dims` sizes, then channels (1 if left out). A single number is a square, or a vector.

    Raises GrammarError.
    """
    given = sizes(text, "input")
    if len(given) == 1 and vector:
        return given
    if len(given) == 1:
        return (*given * dims, 1)
    if len(given) == dims:
        return (*given, 1)
    if len(given) != dims + 1:
        example = ("100 or 100x3", "28x28 or 32x32x3", "16x64x64 or 16x64x64x3")[dims - 1]
        raise GrammarError(
            f"input {text!r} has {len(given)} numbers: expected {dims} sizes and then, if more than 1, the channels, "
            f"like {example}; --dims says how many sizes there are"
        )
    return given


def starts_with_vector(layers: Sequence[Layer]) -> bool:
    """Whether the first layer that cares takes a vector, so that a bare number as input is one."""
    indifferent = {"bn", "ln", "dropout", *ACTIVATIONS}
    return next((layer.kind in ("flatten", "dense") for layer in layers if layer.kind not in indifferent), False)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a token between its colons: how it is read into a field of Layer, and written back."""

    field: str
    read: Callable[[str, str], Any]
    write: Callable[[Any], str] = str


def _joined(values: Sizes) -> str:
    return "x".join(map(str, values))


def written_pairs(values: Pairs) -> str:
    """`1`, `1x2` or `0+1x1`: the inverse of `pairs`."""
    return "x".join(str(a) if a == b else f"{a}+{b}" for a, b in values)


def _rate(text: str, what: str) -> str:
    if not re.fullmatch(r"0?\.[0-9]{1,6}|0", text, re.ASCII):
        raise GrammarError(f"{what} {text!r}: expected a number from 0 to below 1, like 0.5")
    return text


def _zero_sizes(text: str, what: str) -> Sizes:
    return sizes(text, what, 0)


_UNITS, _FILTERS = Part("units", number), Part("units", number)
_KERNEL = Part("kernel", sizes, _joined)
_TARGET = Part("target", _zero_sizes, _joined)
_PADS = Part("padding", pairs, written_pairs)
_NUMBERED = {
    "s": Part("stride", sizes, _joined),
    "p": _PADS,
    "d": Part("dilation", sizes, _joined),
    "e": Part("extra", _zero_sizes, _joined),
    "g": Part("groups", number),
    "m": Part("multiplier", number),
}
_WORDS: dict[str, tuple[str, Any]] = {
    "same": ("padding", "same"),
    "valid": ("padding", "valid"),
    "nobias": ("bias", False),
    "noscale": ("scale", False),
    "keep": ("keep", True),
    "ceil": ("ceil", True),  # written only: Keras has no such layer, so that no token may ask for one
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of layer: what its token looks like."""

    form: str  # as it is shown to people
    parts: tuple[Part, ...] = ()
    suffixes: str = ""  # letters of _NUMBERED and words of _WORDS, separated by spaces; "act" for an activation


# What people write, and `train --net` builds.
GRAMMAR = {
    "conv": Kind("conv:FILTERS:K", (_FILTERS, _KERNEL), "s p d g same valid nobias act"),
    "dwconv": Kind("dwconv:K", (_KERNEL,), "s p d m same valid nobias act"),
    "tconv": Kind("tconv:FILTERS:K", (_FILTERS, _KERNEL), "s p d same valid nobias act"),
    "res": Kind("res:FILTERS", (_FILTERS,), "s"),
    "pool": Kind("pool:K", (_KERNEL,), "s p same valid"),
    "avgpool": Kind("avgpool:K", (_KERNEL,), "s p same valid"),
    "gap": Kind("gap"),
    "gmp": Kind("gmp"),
    "bn": Kind("bn"),
    "dropout": Kind("dropout:RATE", (Part("rate", _rate),)),
    "flatten": Kind("flatten"),
    "dense": Kind("dense:N", (_UNITS,), "nobias act"),
    **{name: Kind(name) for name in ACTIVATIONS},
}
# What the tables of branching networks hold besides.
_TABLE_GRAMMAR = GRAMMAR | {
    "input": Kind("input:SIZES", (_TARGET,)),
    "tconv": Kind("tconv:FILTERS:K", (_FILTERS, _KERNEL), "s p d e same valid nobias act"),
    "sepconv": Kind("sepconv:FILTERS:K", (_FILTERS, _KERNEL), "s p d m same valid nobias act"),
    "gap": Kind("gap", (), "keep"),
    "gmp": Kind("gmp", (), "keep"),
    "bn": Kind("bn", (), "nobias noscale"),
    "ln": Kind("ln", (), "nobias noscale"),
    "prelu": Kind("prelu:SHARED", (_TARGET,)),
    "reshape": Kind("reshape:SIZES", (_TARGET,)),
    "resize": Kind("resize:SIZES", (_TARGET,)),
    "upsample": Kind("upsample:FACTORS", (_TARGET,)),
    "zeropad": Kind("zeropad:PADDING", (_PADS,)),
    "crop": Kind("crop:CROPPING", (_PADS,)),
    **{name: Kind(name) for name in ("scale", "standardise", "rescale", "identity", "concat", *MERGES)},
}


def parse(words: Sequence[str]) -> list[Layer]:
    """The layers in `words`, each a token or several tokens separated by spaces.

    Raises GrammarError naming the token by its number.
    """
    tokens = [token for word in words for token in word.split()]
    layers = []
    for position, token in enumerate(tokens, 1):
        try:
            layers.append(_layer(token, GRAMMAR))
        except GrammarError as problem:
            raise GrammarError(f"layer {position}, {token!r}: {problem}") from None
    return layers


@cache
def parse_table_token(token: str) -> Layer:
    """One layer as the tables of branching networks write it, hundreds of them alike. Raises GrammarError."""
    return _layer(token, _TABLE_GRAMMAR)


def _layer(token: str, grammar: dict[str, Kind]) -> Layer:
    name, *rest = token.split(":")
    if name not in grammar:
        raise GrammarError(f"{name!r} is not a layer{_similar(name, grammar)}")
    kind = grammar[name]
    if len(rest) < len(kind.parts):
        raise GrammarError(f"expected {_form(kind)}")
    values: dict[str, Any] = {"kind": name}
    for part, text in zip(kind.parts, rest, strict=False):
        values[part.field] = part.read(text, _WHAT.get(part.field, part.field))
    for suffix in rest[len(kind.parts) :]:
        field, value = _suffix(suffix, kind)
        if field in values:
            raise GrammarError(f"':{suffix}' sets the {_WHAT.get(field, field)} a second time")
        values[field] = value
    if name in ("pool", "avgpool"):
        values.setdefault("stride", values["kernel"])
    return Layer(**values)


_WHAT = {"units": "the number of filters or units", "kernel": "kernel", "target": "sizes"}


def _suffix(text: str, kind: Kind) -> tuple[str, Any]:
    allowed = kind.suffixes.split()
    if text in _WORDS and text in allowed:
        return _WORDS[text]
    if text in ACTIVATIONS and "act" in allowed:
        return "activation", text
    if text[:1] in allowed and text[:1] in _NUMBERED and not text[1:].isalpha():
        part = _NUMBERED[text[0]]
        return part.field, part.read(text[1:], part.field)
    if text in ACTIVATIONS:
        raise GrammarError(f"{kind.form} has no activation; write '{text}' as a layer of its own after it")
    raise GrammarError(f"':{text}' cannot follow {kind.form}; expected {_form(kind)}")


def _form(kind: Kind) -> str:
    shown = {"act": ":ACTIVATION", **{letter: f":{letter}N" for letter in _NUMBERED}}
    suffixes = " ".join(shown.get(name, f":{name}") for name in kind.suffixes.split())
    return kind.form + (f", then any of {suffixes}" if suffixes else "")


def _similar(name: str, grammar: dict[str, Kind]) -> str:
    close = difflib.get_close_matches(name.lower(), grammar, n=1)
    others = [kind.form for key, kind in grammar.items() if key not in ACTIVATIONS]
    return f". Did you mean {close[0]}?" if close else f". Layers: {', '.join([*others, *ACTIVATIONS])}"


@cache
def token(layer: Layer) -> str:
    """`layer` as it is written; `parse` reads it back."""
    kind = _TABLE_GRAMMAR[layer.kind]
    parts = [layer.kind, *(part.write(getattr(layer, part.field)) for part in kind.parts)]
    written = {"kind", *(part.field for part in kind.parts)}
    default = parse_table_token(":".join(parts))
    for field in (field.name for field in fields(Layer)):
        value = getattr(layer, field)
        if field not in written and value != getattr(default, field):
            parts.append(_written_suffix(field, value))
    return ":".join(parts)


def _written_suffix(field: str, value: Any) -> str:
    if field == "activation":
        return str(value)
    word = next((word for word, meaning in _WORDS.items() if meaning == (field, value)), None)
    if word is not None:
        return word
    return next(letter + part.write(value) for letter, part in _NUMBERED.items() if part.field == field)
