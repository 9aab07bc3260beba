"""`cnncli models` as its users meet it."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from models_for_tests import plain_model
from PIL import Image

from cnncli import bundled
from cnncli.backbones import BACKBONES, ImageClass, InputSpec
from cnncli.inference import compiled
from cnncli.modelcard import ModelCard
from cnncli.modelfile import flatbuffer_bytes, write_tflite


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def weights() -> Path:
    """Weights of mobilenet-0.25 where Keras keeps them: as many as it has, all in one layer."""
    row = BACKBONES["mobilenet-0.25"]
    path = row.weights_path
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        file.create_group("conv1").attrs["weight_names"] = [b"conv1/kernel:0"]
        file["conv1/conv1/kernel:0"] = np.ones(row.parameters, np.float32)
    return path


def in_cache(name: str, source: Path | str, flatbuffer: bytes = b"network" * 100) -> Path:
    """An entry in the cache of compiled networks, as if `source` had been compiled."""
    folder = compiled.folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(f'{name} {source}'.encode()).hexdigest()[:32]}.tflite"
    path.write_bytes(flatbuffer)
    record = {"name": name, "source": str(source), "sha256": hashlib.sha256(flatbuffer).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


def on_a_terminal(*args: str, columns: int = 80) -> str:
    """What `cnncli` shows on a terminal of that width, colours left out."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "cnncli", *args],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    )
    os.close(slave)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([master], [], [], 60)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # Linux: the child has closed its side
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert child.wait(30) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def test_list_in_a_pipe_is_separated_by_tabs_and_has_every_network(cnncli) -> None:
    run = cnncli("models", "list")
    header, *rows = [line.split("\t") for line in run.out.splitlines()]
    assert header == "name,px,params M,MB,top-1,top-5,cached,compiled,disk MB".split(",")
    assert [row[0] for row in rows] == [*BACKBONES, "tiny200"]
    assert rows[0] == ["resnet50", "224", "25.6", "103", "74.9%", "92.1%", "-", "-", "-"]
    assert rows[-1] == ["tiny200", "64", "4.3", "9", "-", "-", "bundled", "yes", "9"]
    assert (run.code, run.err) == (0, "")


def test_list_on_a_terminal_fits_80_columns_a_network_a_line() -> None:
    lines = on_a_terminal("models", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["name", *BACKBONES, "tiny200"]
    assert max(map(len, lines)) <= 80


def test_list_on_a_narrow_terminal_keeps_a_network_a_line() -> None:
    lines = on_a_terminal("models", "list", columns=50).splitlines()
    assert lines[0].split() == ["name", "MB", "top-1", "cached", "compiled"]
    assert [line.split()[0] for line in lines] == ["name", *BACKBONES, "tiny200"]
    assert max(map(len, lines)) <= 50


def test_show_on_a_terminal_shows_the_first_classes_and_how_many_more() -> None:
    lines = on_a_terminal("models", "show", "resnet50").splitlines()
    assert lines[-2].split() == ["19", "n01592084", "chickadee"]
    assert lines[-1].strip().startswith("and 980 more")


def test_verify_on_a_terminal_gives_each_file_two_lines(weights) -> None:
    first, second = on_a_terminal("models", "verify").splitlines()[2:]  # after those of the bundled model
    assert first.split()[:2] == ["ok", "mobilenet-0.25"]
    assert second.strip() == str(weights)


def test_list_says_what_is_cached_and_what_it_takes(cnncli, weights, flat_model) -> None:
    first = in_cache("mobilenet-0.25", weights, bytes(3_000_000))
    own = in_cache("brightest", flat_model, bytes(2_000_000))
    found = json.loads(cnncli("models", "list", "--format", "json").out)
    row = next(row for row in found["models"] if row["name"] == "mobilenet-0.25")
    assert (row["cached"], row["compiled"]) == (True, True)
    assert row["disk_bytes"] == weights.stat().st_size + first.stat().st_size
    assert found["compiled_files"] == [
        {"name": "brightest", "source": str(flat_model), "disk_bytes": own.stat().st_size}
    ]
    assert [row["name"] for row in found["models"] if row["cached"]] == ["mobilenet-0.25"]


def test_list_never_takes_a_file_for_the_network_whose_name_it_has(cnncli, flat_model) -> None:
    in_cache("resnet50", flat_model)
    found = json.loads(cnncli("models", "list", "--format", "json").out)
    assert not any(row["compiled"] for row in found["models"])
    assert [entry["name"] for entry in found["compiled_files"]] == ["resnet50"]
    assert "nothing to remove" in cnncli("models", "remove", "resnet50").err


def test_show_says_what_a_network_takes_and_answers(cnncli) -> None:
    text = cnncli("models", "show", "vgg16").out
    assert "224x224 rgb, pixels 0..255" in text
    assert "caffe: RGB to BGR, minus the ImageNet mean" in text
    assert "   281  n02123045  tabby" in text
    found = json.loads(cnncli("models", "show", "VGG-16", "--format", "json").out)
    assert (found["name"], found["parameters"], len(found["labels"])) == ("vgg16", 138_357_544, 1000)


@pytest.mark.parametrize("name", ["model.keras", "run", "./run/model.keras"])
def test_show_reads_the_card_of_a_file_and_of_a_run(cnncli, folder, flat_model, name) -> None:
    (folder / "run").mkdir()
    for copy in (folder / "model.keras", folder / "run" / "model.keras"):
        copy.write_bytes(flat_model.read_bytes())
    found = json.loads(cnncli("models", "show", name, "--format", "json").out)
    assert (found["class_ids"], found["labels"]) == (["r", "g", "b"], ["red", "green", "blue"])
    assert (found["input_size"], found["color"], found["resize"]) == ([32, 32], "rgb", "crop")


def test_show_of_a_hostile_label_breaks_no_line(cnncli, folder) -> None:
    classes = (ImageClass("a\tb", "one\ntwo"), ImageClass("c", "\x1b]0;title\x07"))
    write_tflite(b"\x1c\0\0\0TFL3" + bytes(64), ModelCard("x\x1b[31m", classes, InputSpec(8, 8)), folder / "m.tflite")
    run = cnncli("models", "show", "m.tflite")
    assert "\x1b" not in run.out and "\x07" not in run.out
    assert run.out.splitlines()[-2:] == ["     0  a\\x09b  one\\x0atwo", "     1  c  \\x1b]0;title\\x07"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mobilnet",
            "error: mobilnet: neither a pretrained network nor a model file or run folder.\nDid you mean mobilenet?",
        ),
        ("no/such.keras", "error: no/such.keras: no such file"),
        (
            "empty",
            "error: empty: this is a folder without model.keras; expected a .keras or .tflite file or a run folder",
        ),
        ("page.keras", "error: page.keras: the file is there but is not a complete .keras model"),
    ],
)
def test_show_of_something_else_fails_with_1(cnncli, folder, name, expected) -> None:
    (folder / "empty").mkdir()
    (folder / "page.keras").write_text("<html>")
    run = cnncli("models", "show", name)
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith(expected)


def test_a_network_wins_over_a_file_of_its_name_unless_it_is_written_as_a_path(cnncli, folder, flat_model) -> None:
    (folder / "vgg16").mkdir()
    (folder / "vgg16" / "model.keras").write_bytes(flat_model.read_bytes())
    assert json.loads(cnncli("models", "show", "vgg16", "--format", "json").out)["name"] == "vgg16"
    assert json.loads(cnncli("models", "show", "./vgg16", "--format", "json").out)["name"] == "brightest"


def test_path_prints_where_weights_are_or_belong(cnncli, weights) -> None:
    run = cnncli("models", "path", "mobilenet-0.25", "ResNet50")
    assert run.out == f"{weights}\n{BACKBONES['resnet50'].weights_path}\n"
    assert run.err == "resnet50: not there yet; 'cnncli models pull resnet50' fetches it\n"
    assert run.code == 0


@pytest.mark.parametrize(("names", "code"), [(["resnet50", "nosuch", "vgg16"], 3), (["nosuch", "nowhere"], 1)])
@pytest.mark.parametrize("command", ["path", "remove"])
def test_one_unknown_name_of_several_is_said_and_the_rest_is_done(cnncli, command, names, code) -> None:
    run = cnncli("models", command, *names)
    assert run.code == code
    unknown = [name for name in names if name not in BACKBONES]
    assert [line.split(":")[1].strip() for line in run.err.splitlines() if line.startswith("error")] == unknown
    known = sum(name in BACKBONES for name in names)
    assert (len(run.out.splitlines()) if command == "path" else run.err.count("nothing to remove")) == known


@pytest.mark.parametrize("command", ["path", "pull", "remove", "show", "adopt"])
def test_a_command_without_a_name_is_a_usage_error(cnncli, command) -> None:
    run = cnncli("models", command)
    assert (run.code, run.out) == (2, "")
    assert "Missing argument" in run.err


def test_pull_offline_names_file_and_address_of_what_is_missing(cnncli) -> None:
    run = cnncli("models", "pull", "vgg16", "nosuch", "--offline")
    row = BACKBONES["vgg16"]
    assert run.code == 1 and run.out == ""
    assert "the weights of vgg16 are not on this machine and were not fetched: --offline was given" in run.err
    assert row.url in run.err and str(row.weights_path) in run.err
    assert "error: nosuch: no pretrained network has this name" in run.err


def test_verify_checks_the_bundled_model_where_nothing_is_cached(cnncli) -> None:
    run = cnncli("models", "verify")
    assert (run.code, run.out, run.err) == (0, f"ok\ttiny200\t{bundled.path()}\tcard, sha256\n", "")


def test_verify_names_each_file_and_what_was_compared(cnncli, weights, flat_model, flat_tflite) -> None:
    entry = in_cache("mobilenet-0.25", weights)
    run = cnncli("models", "verify", "mobilenet-0.25", flat_model, flat_tflite)
    assert [line.split("\t") for line in run.out.splitlines()] == [
        ["ok", "mobilenet-0.25", str(weights), "structure and values; no hash is published"],
        ["ok", "mobilenet-0.25", str(entry), "sha256 taken when it was compiled"],
        ["ok", str(flat_model), str(flat_model), "card, classes of layers, sizes, values, sha256"],
        ["ok", str(flat_tflite), str(flat_tflite), "card, sha256"],
    ]
    assert (run.code, run.err) == (0, "")


def changed(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_verify_finds_damaged_weights(cnncli, weights) -> None:
    weights.write_bytes(weights.read_bytes()[:-500])
    run = cnncli("models", "verify")
    assert run.code == 3
    assert run.out.splitlines()[1].startswith(f"FAULT\tmobilenet-0.25\t{weights}\t")
    assert "its weights are damaged" in run.err


def test_verify_compares_weights_with_the_published_hash(cnncli) -> None:
    path = BACKBONES["vgg16"].weights_path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    run = cnncli("models", "verify", "vgg16")
    assert run.code == 1
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert f"{path}: its md5 is {md5}, expected is the published {BACKBONES['vgg16'].digest[4:]}" in run.err


def test_verify_knows_weights_of_another_width(cnncli, weights) -> None:
    other = BACKBONES["mobilenet-0.5"].weights_path
    weights.rename(other)
    run = cnncli("models", "verify", "mobilenet-0.5")
    assert run.code == 1
    assert run.err == f"error: {other}: it has 475,544 weights, expected 1,342,536\n"


def test_verify_finds_a_damaged_compiled_network(cnncli, weights, flat_model) -> None:
    changed(in_cache("mobilenet-0.25", weights), 30)
    changed(in_cache("brightest", flat_model), 30)
    run = cnncli("models", "verify")
    assert run.code == 3
    assert [line.split("\t")[:2] for line in run.out.splitlines()] == [
        ["ok", "tiny200"],
        ["ok", "mobilenet-0.25"],
        ["FAULT", "mobilenet-0.25"],
        ["FAULT", "brightest"],
    ]
    assert run.err.count("damaged: its sha256 is not the one it was written with; it will be compiled anew") == 2


def test_verify_finds_damaged_model_files(cnncli, folder, flat_model, flat_tflite) -> None:
    (folder / "a.keras").write_bytes(flat_model.read_bytes())
    (folder / "b.tflite").write_bytes(flat_tflite.read_bytes())
    changed(folder / "a.keras", flat_model.stat().st_size // 2)
    changed(folder / "b.tflite", flatbuffer_bytes(flat_tflite) // 2)
    run = cnncli("models", "verify", "a.keras", "b.tflite", "c.keras", flat_model)
    assert run.code == 3
    assert [line.split("\t")[0] for line in run.out.splitlines()] == ["FAULT", "FAULT", "FAULT", "ok"]
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert "Bad CRC-32" in errors[0]
    assert errors[1].startswith("error: b.tflite: the model is damaged: its sha256 is")
    assert errors[2] == "error: c.keras: no such file"


def test_remove_deletes_weights_and_compiled_copies(cnncli, weights) -> None:
    entry = in_cache("mobilenet-0.25", weights)
    other = in_cache("mobilenet-0.5", "elsewhere.h5")
    run = cnncli("models", "remove", "mobilenet-0.25")
    assert (run.code, run.out) == (0, "")
    assert run.err == f"removed {entry}\nremoved {weights}\n"
    assert not entry.exists() and not weights.exists() and other.exists()


def test_remove_compiled_leaves_the_weights(cnncli, weights) -> None:
    entry = in_cache("mobilenet-0.25", weights)
    assert cnncli("models", "remove", "mobilenet-0.25", "--compiled").err == f"removed {entry}\n"
    assert weights.exists() and not entry.exists()


def test_remove_never_deletes_a_file_of_the_user(cnncli, folder, flat_model, weights) -> None:
    own = folder / "own.h5"  # was given as --weights
    own.write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(own)
    (folder / "run").mkdir()
    (folder / "run" / "model.keras").write_bytes(flat_model.read_bytes())
    entries = [in_cache("mobilenet-0.25", own), in_cache("brightest", folder / "run" / "model.keras")]
    run = cnncli("models", "remove", "mobilenet-0.25", "run")
    assert run.code == 0
    assert own.exists() and (folder / "run" / "model.keras").exists()
    assert not any(entry.exists() for entry in entries) and not weights.is_symlink()


@pytest.mark.parametrize("name", ["run", "run/model.keras"])
def test_remove_finds_the_compiled_copy_of_a_model_that_is_gone(cnncli, folder, name) -> None:
    entry = in_cache("brightest", folder / "run" / "model.keras")
    assert cnncli("models", "remove", name).err == f"removed {entry}\n"
    assert cnncli("models", "remove", name).code == 1


def test_a_file_that_cannot_be_removed_does_not_stop_the_rest(cnncli, weights, monkeypatch) -> None:
    entry = in_cache("mobilenet-0.5", "elsewhere.h5")
    unlink = Path.unlink

    def stubborn(path: Path, missing_ok: bool = False) -> None:
        if path == weights:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stubborn)
    run = cnncli("models", "remove", "mobilenet-0.25", "mobilenet-0.5")
    assert run.code == 3
    assert run.err == f"error: {weights}: Permission denied\nremoved {entry}\n"


def test_the_line_that_a_refusal_prints_gives_the_model_its_card(cnncli, folder, flat_tflite) -> None:
    model = folder / "it's my net.tflite"
    model.write_bytes(flat_tflite.read_bytes()[: flatbuffer_bytes(flat_tflite)])
    (folder / "LABELS.txt").write_text("red\ngreen\nblue\n")
    Image.new("RGB", (40, 40), (0, 0, 250)).save("blue.png")
    refused = cnncli("predict", "blue.png", "--model", model.name)
    assert refused.code == 1
    program, *line = shlex.split(refused.err.split("torch): ")[1])
    assert program == "cnncli"
    run = cnncli(*line)
    assert run.code == 0
    assert run.err.splitlines()[-1] == "Next: cnncli predict PHOTO --model 'it'\"'\"'s my net-adopted.tflite'"
    answer = cnncli("predict", "blue.png", "--model", "it's my net-adopted.tflite", "--top", "1")
    assert answer.out.split("\t")[3] == "blue"


def test_adopt_gives_a_keras_model_a_card_and_says_what_it_did(cnncli, folder) -> None:
    from cnncli.learning import keras

    plain_model(folder / "net.keras", keras.layers.GlobalAveragePooling2D())
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    arguments = ["models", "adopt", "net.keras", "--labels", "labels.txt", "--input-range", "0..1", "-o", "new.keras"]
    run = cnncli(*arguments)
    assert (run.code, run.out) == (0, "")
    assert run.err == (
        "new.keras: written; its scores were logits; a softmax was appended\n"
        "Next: cnncli predict PHOTO --model new.keras\n"
    )
    again = cnncli(*arguments)
    assert again.code == 1
    assert again.err == "error: new.keras: exists; choose another name or add --force\n"
    assert cnncli(*arguments, "--force").code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--input-range", "0..1", "-o", "b.keras"], "Missing option '--labels'"),
        (["--labels", "l.txt", "-o", "b.keras"], "Missing option '--input-range'"),
        (["--labels", "l.txt", "--input-range", "0..1"], "Missing option '-o' / '--output'"),
        (["--labels", "l.txt", "--input-range", "0..2", "-o", "b.keras"], "'0..2' is not one of '0..255', '0..1'"),
    ],
)
def test_adopt_wants_every_option_that_it_cannot_guess(cnncli, options, expected) -> None:
    run = cnncli("models", "adopt", "a.keras", *options)
    assert run.code == 2
    assert expected in run.err


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("net.pkl", b"\x80\x04\x95\x00", "pickled models (PyTorch, joblib) are not accepted: reading one would run"),
        ("net.pt", b"PK\x03\x04", "pickled models (PyTorch, joblib) are not accepted: reading one would run its code"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "HDF5 is accepted as --weights of a pretrained network only"),
        ("net.onnx", b"\x08\x07", "not a model format that is accepted; expected .keras or .tflite"),
        ("net.keras", b"\x89PNG\r\n\x1a\n", "the file is there but is not a complete .keras model"),
        ("net.tflite", b"\x1c\0\0\0TFL3", "this model has no card that names its classes and its input"),
    ],
)
def test_predict_refuses_what_is_no_model_of_ours(cnncli, folder, name, content, expected) -> None:
    (folder / name).write_bytes(content)
    Image.new("RGB", (9, 9)).save("photo.png")
    run = cnncli("predict", "photo.png", "--model", name)
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith(f"error: {name}: {expected}")


def test_a_pickle_is_never_opened(cnncli, folder) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
            return os.system, (f"touch {folder / 'ran'}",)

    for name in ("net.pkl", "net.keras", "net.tflite", "net.pt"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
        assert cnncli("models", "show", name).code == 1
        assert cnncli("models", "verify", name).code == 1
    assert not (folder / "ran").exists()
