"""Fixtures: every test has caches of its own, no network by accident, and makes its own images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = os.environ.get("CNNCLI_TEST_DATA")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DATA is None:
        missing = pytest.mark.skip(reason="CNNCLI_TEST_DATA does not name a folder with real weights and images")
        for item in items:
            if "realdata" in item.keywords:
                item.add_marker(missing)


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KERAS_HOME and CNNCLI_CACHE for each test; no mirror but one that refuses at once."""
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
    monkeypatch.setenv("CNNCLI_CACHE", str(folder / "cnncli"))
    for name in ("CNNCLI_WEIGHTS_MIRROR", "CNNCLI_DATA_MIRROR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody listens
    proxies = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(name, raising=False)
    return folder


@dataclass(frozen=True)
class Run:
    """What a run of `cnncli` left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def cnncli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs `cnncli` in this process: quick, but without its own streams and signals."""
    from cnncli.cli import main

    def run(*args: str | Path) -> Run:
        code = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Run(code, out, err)

    return run


@pytest.fixture
def process() -> Callable[..., Run]:
    """Runs `cnncli` as a user does: a process of its own, through the installed entry point."""

    def run(*args: str | Path, **options: object) -> Run:
        done = subprocess.run(
            [sys.executable, "-m", "cnncli", *map(str, args)],
            capture_output=True,
            timeout=120,
            **options,  # type: ignore[call-overload]
        )
        return Run(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="replace"))

    return run


QUADRANTS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))  # top left, top right, bottom left, bottom right


@pytest.fixture
def quadrants() -> Image.Image:
    """A picture 100 px wide and 60 px high: red and green above, blue and white below."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:30, :50], pixels[:30, 50:], pixels[30:, :50], pixels[30:, 50:] = QUADRANTS
    return Image.fromarray(pixels)


@pytest.fixture
def photo() -> Image.Image:
    """A picture 320 px wide and 200 px high that is smooth like a photo, the same in every run."""
    y, x = np.mgrid[0:200, 0:320].astype(np.float32)
    rng = np.random.default_rng(7)
    channels = [
        127 + 100 * np.sin(x / a + y / b) + rng.normal(0, 4, x.shape) for a, b in ((40, 31), (25, 60), (70, 22))
    ]
    return Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def flat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.keras` model with a card: three classes named after the channel that is brightest in the picture."""
    from models_for_tests import brightest_channel_model

    return brightest_channel_model(tmp_path_factory.mktemp("models") / "brightest.keras")


@pytest.fixture(scope="session")
def flat_tflite(flat_model: Path) -> Path:
    """`flat_model` compiled, with its card: starts in a moment."""
    from models_for_tests import compiled_copy

    return compiled_copy(flat_model, flat_model.with_suffix(".tflite"))
