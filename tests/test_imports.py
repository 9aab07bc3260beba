"""Light commands import little: each runs in a fresh interpreter, and what it imported is compared with a list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

HEAVY = {"numpy", "PIL", "tensorflow", "keras", "h5py", "rich", "requests", "filelock", "ai_edge_litert", "matplotlib"}
RUN = """
import json, sys
from cnncli.cli import main
code = main(sys.argv[1:])
print("\\n" + json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def imported(*args: str | Path) -> tuple[int, set[str]]:
    """The exit code of `cnncli ARGS` and the heavy packages that the run imported."""
    command = [sys.executable, "-c", RUN, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, HEAVY & set(modules)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["predict", "--help"],
        ["train", "--help"],
        ["train"],
        ["train", "photos", "--net", "lenett"],
        ["train", "photos", "--output", "/proc/run"],
        ["models", "--help"],
        ["models", "list"],
        ["models", "path", "resnet50"],
        ["models", "show", "resnet50"],
        ["models", "export", "resnet50", "--to", "keras", "--dtype", "float16"],
        ["shapes", "--input", "7x7", "--kernel", "3"],
        ["shapes", "--input", "32x32x3", "conv:6:5", "--explain", "--compare-dense"],
        ["shapes", "--model", "resnet50", "--format", "csv"],
        ["shapes", "--input", "224", "--solve", "55"],
        ["filter", "--help"],
        ["filter", "--kernel", "sobel-h"],
        ["filter", "--list"],
        ["filter", "--matrix", "course:x7", "--kernel", "cross", "--steps", "--expect", "3 4 2"],
        ["filter", "--matrix", "course:pool4", "--pool", "avg:2"],
        ["visualize", "--help"],
        ["visualize", "gradcam", "--help"],
        ["visualize", "kernels", "--help"],
        ["visualize", "pixels", "--help"],
        ["visualize", "architecture", "lenett"],
        ["data", "--help"],
        ["data", "list"],
        ["data", "list", "--format", "json"],
        ["data", "show", "malaria"],
        ["data", "pull", "nonsense"],
        ["predict", "--no-such-option"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    assert imported(*args)[1] == set()


def test_predict_with_a_compiled_model_imports_neither_tensorflow_nor_keras_nor_h5py(flat_model, tmp_path) -> None:
    image = tmp_path / "red.png"
    Image.new("RGB", (40, 30), (250, 0, 0)).save(image)
    assert imported("predict", image, "--model", flat_model)[0] == 0  # compiles
    assert imported("predict", image, "--model", flat_model) == (0, {"numpy", "PIL", "ai_edge_litert"})


def test_predict_explains_a_compiled_model_without_tensorflow(flat_tflite, tmp_path) -> None:
    image = tmp_path / "red.png"
    Image.new("RGB", (40, 30), (250, 0, 0)).save(image)
    code, modules = imported("predict", image, "--model", flat_tflite, "--explain", tmp_path / "why")
    assert code == 0 and not {"tensorflow", "keras", "matplotlib"} & modules
    code, modules = imported("visualize", "gradcam", flat_tflite, image, "--no-check", "-o", tmp_path / "why.png")
    assert code == 0 and not {"tensorflow", "keras", "matplotlib"} & modules


@pytest.mark.parametrize("args", [["show", "--no-sheet"], ["check"], ["split", "-o", "split.csv", "--test", "0"]])
def test_data_commands_never_import_tensorflow(args: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (number, 0, 0)).save(Path("photos", name))
    assert imported("data", args[0], "photos", *args[1:]) == (0, {"numpy", "PIL"})


@pytest.mark.parametrize(
    "args",
    [["pixels", "red.png"], ["architecture", "resnet50"], ["dataset", "photos"]],
    ids=" ".join,
)
def test_pictures_import_neither_tensorflow_nor_matplotlib(args: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("red.png", "photos/a/1.png", "photos/b/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (9, 0, 0)).save(name)
    assert imported("visualize", *args) == (0, {"numpy", "PIL"})


def test_train_refuses_a_run_that_exists_before_it_imports_anything_slow(tmp_path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert imported("train", "photos", "--output", tmp_path) == (1, {"filelock"})


def test_shapes_of_a_model_file_imports_nothing_heavy(flat_model) -> None:
    assert imported("shapes", "--model", flat_model) == (0, set())


def test_only_learning_imports_tensorflow_and_keras() -> None:
    package = Path(__file__).parent.parent / "cnncli"
    sources = [path for path in package.rglob("*.py") if path.parent.name != "learning"]
    lines = [line.strip() for path in sources for line in path.read_text().splitlines()]
    assert len(sources) > 20
    assert [
        line for line in lines if line.startswith(("import tensorflow", "import keras", "from keras", "from tensorf"))
    ] == []


def test_library_imports_neither_click_nor_rich() -> None:
    package = Path(__file__).parent.parent / "cnncli"
    names = "cli.py console.py tables.py evaluation/tables.py training_display.py __main__.py".split()
    edge = {package / name for name in names}
    library = [path for path in package.rglob("*.py") if package / "commands" not in path.parents and path not in edge]
    lines = [line.strip() for path in library for line in path.read_text().splitlines()]
    arrows = (
        "import click",
        "from click",
        "import rich",
        "from rich",
        "from cnncli.commands",
        "from cnncli.console",
        "print(",
    )
    found = [line for line in lines if line.startswith(arrows)]
    assert set(found) == {
        line for line in found if line.startswith('print(json.dumps({"error": ')
    }  # compiler to parent
