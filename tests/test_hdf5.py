"""Weights in HDF5 files that nobody vouches for."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cnncli import hdf5
from cnncli.backbones import BACKBONES
from cnncli.errors import ModelError

CANARY = b"the canary of this machine sings " * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its HDF5 file; beside it lies one with a secret."""
    (tmp_path / "secret.bin").write_bytes(CANARY)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.frombuffer(CANARY, np.uint8)
    return tmp_path / "weights.h5"


def refusal(path: Path) -> str:
    """The message with which the weights at `path` are refused, without the name."""
    with pytest.raises(ModelError) as caught:
        hdf5.check(path, path.stat().st_size, "net.keras")
    assert str(caught.value).startswith("net.keras: ") and "canary" not in str(caught.value)
    return str(caught.value).removeprefix("net.keras: ")


def external_storage(file: h5py.File) -> None:
    secret = str(Path(file.filename).with_name("secret.bin"))
    file.create_dataset("kernel", (16,), "f4", external=[(secret, 0, 64)])


def external_link(file: h5py.File) -> None:
    file["kernel"] = h5py.ExternalLink("secret.h5", "/secret")


def soft_link(file: h5py.File) -> None:
    file["kernel"] = np.ones(3, np.float32)
    file["layer/other"] = h5py.SoftLink("/kernel")


def virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((len(CANARY),), "u1")
    layout[:] = h5py.VirtualSource(str(Path(file.filename).with_name("secret.h5")), "secret", (len(CANARY),))
    file.create_virtual_dataset("kernel", layout)


def references(file: h5py.File) -> None:
    file["a"] = np.ones(3, np.float32)
    file.create_dataset("kernel", data=np.array([file["a"].ref], h5py.ref_dtype), dtype=h5py.ref_dtype)


def texts(file: h5py.File) -> None:
    file.create_dataset("kernel", data=["a", "b"], dtype=h5py.string_dtype())


def ragged(file: h5py.File) -> None:
    kernel = file.create_dataset("kernel", (2,), h5py.vlen_dtype(np.float32))
    kernel[0] = np.full(5, np.nan)


def compound(file: h5py.File) -> None:
    file["kernel"] = np.zeros(3, [("a", "f4"), ("b", "f4")])


def complex_numbers(file: h5py.File) -> None:
    file["kernel"] = np.zeros(3, np.complex64)


def loop(file: h5py.File) -> None:
    group = file.create_group("a/b")
    group["again"] = file["a"]


def forks(file: h5py.File) -> None:  # 2^40 ways lead to the end
    group = file.create_group("g")
    for _ in range(40):
        child = group.create_group("left")
        group["right"] = child
        group = child


def terabytes(file: h5py.File) -> None:
    file.create_dataset("kernel", (1_000_000, 1_000_000), "f4", chunks=(1000, 1000))


def many_megabytes(file: h5py.File) -> None:
    for number in range(200):
        file.create_dataset(f"kernel{number}", (1000, 240), "f4", chunks=(1000, 240))


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (external_storage, "/kernel keeps its data in another file; refused"),
        (external_link, "'kernel' is a link to elsewhere; refused"),
        (soft_link, "'other' is a link to elsewhere; refused"),
        (virtual_dataset, "/kernel keeps its data in another file; refused"),
        (references, "/kernel holds object where numbers are expected; refused"),
        (texts, "/kernel holds object where numbers are expected; refused"),
        (ragged, "/kernel holds object where numbers are expected; refused"),
        (compound, "where numbers are expected; refused"),
        (complex_numbers, "/kernel holds complex64 where numbers are expected; refused"),
        (loop, "is linked twice; refused"),
        (forks, "is linked twice; refused"),
        (terabytes, "up to /kernel it claims 4,000,000,000,000 bytes in a file of"),
        (many_megabytes, "bytes in a file of"),
    ],
)
def test_weights_that_are_not_plain_numbers_in_the_file_are_refused(
    path: Path, write: Callable[[h5py.File], None], expected: str
) -> None:
    with h5py.File(path, "w") as file:
        write(file)
    assert expected in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weights_that_are_not_finite_are_refused(path: Path, value: float, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = np.array([1, value, 2], dtype)
    assert refusal(path) == "/layer/kernel has values that are not finite (NaN or infinite); refused"


@pytest.mark.parametrize(("bits", "finite"), [(0x7F7F, True), (0x7F80, False), (0xFF80, False), (0x7FC0, False)])
def test_bfloat16_as_keras_stores_it_is_read_by_its_bits(path: Path, bits: int, finite: bool) -> None:
    with h5py.File(path, "w") as file:
        file["kernel"] = np.array([0, bits], np.uint16).view("V2")
    if finite:
        hdf5.check(path, path.stat().st_size, "net.keras")
    else:
        assert "not finite" in refusal(path)


def test_weights_of_every_usual_kind_pass(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for dtype in ("float16", "float32", "float64", "int64", "uint32", "bool"):
            file[f"layers/{dtype}/vars/0"] = np.ones((3, 4), dtype)
        file["layers/float32/vars/1"] = np.float32(2)
        file["empty"] = np.zeros((0, 3), np.float32)
        file.create_dataset("packed", data=np.arange(9000, dtype=np.float32), compression="gzip")
    hdf5.check(path, path.stat().st_size, "net.keras")
    hdf5.check(io.BytesIO(path.read_bytes()), path.stat().st_size, "net.keras")


def test_a_cut_file_of_weights_is_called_damaged(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["kernel"] = np.arange(5000, dtype=np.float32)
    whole = path.read_bytes()
    for percent in (0, 1, 30, 60, 99):
        path.write_bytes(whole[: len(whole) * percent // 100])
        assert refusal(path).startswith("its weights are damaged (")


def test_a_changed_byte_in_weights_never_gives_anything_but_a_refusal(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.arange(20, dtype=np.float32)
        file["layers/dense/vars/1"] = np.arange(4, dtype=np.float32)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 11):
        changed = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        try:
            hdf5.check(io.BytesIO(changed), len(changed), "net.keras")
        except ModelError:
            refused += 1
    assert refused > 20


def official(path: Path, first_kernel: tuple[int, ...] = (3, 3, 3, 24)) -> Path:
    """Writes weights in the layout of Keras Applications: two layers, one of them without weights."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", b"conv1"]
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0)
        file.create_group("conv1").attrs["weight_names"] = [b"conv1/kernel:0"]
        file["conv1/conv1/kernel:0"] = np.ones(first_kernel, np.float32)
    return path


def test_stored_layers_are_those_with_weights(path: Path) -> None:
    assert hdf5.stored_layers(official(path)) == [("conv1", [(3, 3, 3, 24)])]


def test_stored_layers_joins_a_list_that_was_cut_in_pieces(path: Path) -> None:
    with h5py.File(official(path), "a") as file:
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"input_1"], [b"conv1"]
    assert hdf5.stored_layers(path) == [("conv1", [(3, 3, 3, 24)])]


def no_layer(file: h5py.File) -> None:
    del file["conv1"]


def names_are_a_number(file: h5py.File) -> None:
    file.attrs["layer_names"] = 3


def names_are_not_utf8(file: h5py.File) -> None:
    file.attrs["layer_names"] = [b"\xff\xfe"]


def layer_is_a_dataset(file: h5py.File) -> None:
    del file["conv1"]
    file["conv1"] = np.ones(3, np.float32)
    file["conv1"].attrs["weight_names"] = [b"kernel"]


def weight_is_a_group(file: h5py.File) -> None:
    del file["conv1/conv1/kernel:0"]
    file.create_group("conv1/conv1/kernel:0")


@pytest.mark.parametrize(
    "damage", [no_layer, names_are_a_number, names_are_not_utf8, layer_is_a_dataset, weight_is_a_group]
)
def test_a_damaged_list_of_layers_is_refused(path: Path, damage: Callable[[h5py.File], None]) -> None:
    with h5py.File(official(path), "a") as file:
        damage(file)
    with pytest.raises(ModelError, match=r"its list of layers is damaged"):
        hdf5.stored_layers(path)


def test_a_whole_model_as_weights_gets_the_way_to_use_it(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones(3, np.float32)
    with pytest.raises(ModelError, match=r"save the model as \.keras and adopt it instead"):
        hdf5.stored_layers(path)


@pytest.mark.parametrize(
    ("filters", "name"), [(8, "mobilenet-0.25"), (16, "mobilenet-0.5"), (24, "mobilenet-0.75"), (32, "mobilenet")]
)
def test_the_width_of_a_mobilenet_is_read_from_its_weights(path: Path, filters: int, name: str) -> None:
    weights = official(path, (3, 3, 3, filters))
    assert hdf5.row_of(BACKBONES["mobilenet"], weights).name == name
    assert hdf5.row_of(BACKBONES["resnet50"], weights).name == "resnet50"


def test_weights_of_no_width_leave_the_mobilenet_that_was_asked_for(path: Path) -> None:
    assert hdf5.row_of(BACKBONES["mobilenet-0.5"], official(path, (3, 3, 3, 7))).name == "mobilenet-0.5"
