"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from cnncli import backbones, console
from cnncli.backbones import RESIZES
from cnncli.inference.request import BACKENDS, ModelRequest

F = TypeVar("F", bound=Callable[..., Any])


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        setattr(console.settings, str(param.name), True)
        if param.name == "verbose":
            console.show_native_output()


def common_options(command: F) -> F:
    """`--quiet`, `-v` and `--traceback`, which work before and after the subcommand."""
    for names, text in (
        (("--traceback",), "Show Python's traceback when cnncli itself fails."),
        (("-v", "--verbose"), "Say more, including what TensorFlow and LiteRT print."),
        (("-q", "--quiet"), "Print results, warnings and errors only."),
    ):
        flag = click.option(*names, is_flag=True, expose_value=False, callback=_remember, help=text)
        command = flag(command)
    return command


class Probability(click.ParamType[float]):
    """A number from 0 to 1; Click's own range lets `nan` through and speaks of floats."""

    name = "probability"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            self.fail(f"{value!r}: expected a number from 0 to 1", param, ctx)
        return number


PROBABILITY = Probability()


def complete_network(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Pretrained networks, for the shell's completion."""
    return [CompletionItem(name) for name in backbones.names() if name.startswith(incomplete)]


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, for the shell's completion."""
    return [CompletionItem(incomplete, type="file")]


def complete_kernel(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Kernels of the catalogue or, where none begins so, files."""
    from cnncli.kernels import ALIASES, CATALOGUE

    found = [CompletionItem(name) for name in (*CATALOGUE, *ALIASES) if name.startswith(incomplete)]
    return found or complete_file(ctx, param, incomplete)


class Pair(click.ParamType[tuple[int, int]]):
    """Two whole numbers, `2x3`, or one for both, `2`; with another separator both are needed."""

    name = "pair"

    def __init__(self, separator: str = "x", least: int = 1) -> None:
        self._separator, self._least = separator, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        parts = str(value).split(self._separator)
        if len(parts) == 1 and self._separator == "x":
            parts *= 2
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            example = "2 or 2x3" if self._separator == "x" else f"10{self._separator}20"
            self.fail(f"{value!r}: expected {example}", param, ctx)
        first, second = map(int, parts)
        if min(first, second) < self._least:
            self.fail(f"{value!r}: expected {self._least} or more", param, ctx)
        return first, second


def padding_of(text: str | None, default: Any) -> Any:
    """What `--padding` says: same, valid or a number of elements. Raises UsageError."""
    if text is None or text in ("same", "valid"):
        return text or default
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text)
    raise click.UsageError(f"--padding {text!r}: expected same, valid or a number of elements")


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Pretrained networks or, where none begins so, files."""
    return complete_network(ctx, param, incomplete) or complete_file(ctx, param, incomplete)


_MODEL = click.option(
    "-m",
    "--model",
    metavar="NAME|FILE|RUN_DIR",
    shell_complete=complete_model,
    help="A pretrained network (see 'cnncli models list'), a .keras or .tflite file, or a run folder.  "
    "[default: resnet50; where that cannot be had, tiny200, which comes with cnncli]",
)
_WEIGHTS = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights (.h5, Keras Applications' layout) for the pretrained network.",
)
_RESIZE = click.option(
    "--resize",
    type=click.Choice(RESIZES),
    help="How a photo becomes the network's input: crop the centre, squash, or pad.  "
    "[default: the model's own, crop for pretrained networks]",
)
_BACKEND = click.option(
    "--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="What runs the network."
)
_OFFLINE = click.option("--offline", is_flag=True, help="Use what is on this machine; fetch nothing.")
_WORKERS = click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Cores to use.  [default: all]")
images_argument = click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_file)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a model; the command receives them as one `request: ModelRequest`."""
    return _MODEL(request_options(command))


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`model_options` without `--model`, for a command that takes models as arguments."""

    @functools.wraps(command)
    def with_request(
        *args: Any,
        weights: Path | None,
        resize: str | None,
        backend: str,
        offline: bool,
        workers: int | None,
        model: str | None = None,
        **kwargs: Any,
    ) -> Any:
        request = ModelRequest(model, weights, resize, backend, offline, workers)
        return command(*args, request=request, **kwargs)

    for option in (_WORKERS, _OFFLINE, _BACKEND, _RESIZE, _WEIGHTS):
        with_request = option(with_request)
    return with_request
