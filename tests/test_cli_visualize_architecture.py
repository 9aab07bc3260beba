"""`cnncli visualize architecture` as its users meet it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cnncli import networks
from cnncli.architecture_picture import picture
from cnncli.tracing import trace


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_named_network_is_drawn_with_its_own_input_and_with_another(cnncli) -> None:
    lenet = networks.find("lenet")
    assert lenet is not None
    for args, network, name in (
        ([], lenet, "lenet-architecture.png"),
        (["--input", "64", "-o", "large.png"], lenet.with_input((64,)), "large.png"),
    ):
        done = cnncli("visualize", "architecture", "lenet", *args)
        assert (done.code, done.out, done.err) == (0, "", f"lenet -> {name}\n")
        with Image.open(name) as image:
            assert image.tobytes() == picture(trace(network)).tobytes()


def test_layers_and_model_files_are_drawn(cnncli, flat_model) -> None:
    assert cnncli("visualize", "architecture", "-i", "8x8x1", "conv:2:3", "flatten", "dense:2").code == 0
    assert cnncli("visualize", "architecture", flat_model).code == 0
    assert Path("stack-architecture.png").exists() and Path(f"{flat_model.stem}-architecture.png").exists()


def test_run_is_named_after_its_folder(cnncli, flat_model) -> None:
    Path("runs/photos").mkdir(parents=True)
    Path("runs/photos/model.keras").write_bytes(flat_model.read_bytes())
    assert cnncli("visualize", "architecture", "runs/photos").err == "photos -> photos-architecture.png\n"


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["lenett"], 2, "Did you mean lenet?"),
        (["conv:3:3"], 2, "Missing option '--input'"),
        (["-i", "4x4", "conv:3:9"], 1, "larger than its input"),
        (["missing.keras"], 1, "no such file"),
        (["missing.h5"], 1, "missing.h5"),
        (["old.h5"], 1, "old.h5: "),
        (["old.h5", "gap"], 2, "'old.h5' is not a layer. A model file is given alone"),
        (["lenet", "-o", "x.txt"], 2, "expected a name that ends in"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_a_user_can_cause_is_said(cnncli, args: list[str], code: int, text: str) -> None:
    Path("old.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    done = cnncli("visualize", "architecture", *args)
    assert done.code == code and text in done.err and "--model" not in done.err
