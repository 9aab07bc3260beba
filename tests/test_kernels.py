"""The catalogue against tables written by hand from the course, and every way to write a kernel down."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import changed_config

from cnncli.errors import GrammarError, KernelError, ModelError
from cnncli.kernelfiles import MAX_FILE_BYTES
from cnncli.kernels import ALIASES, CATALOGUE, Kernel, find, flipped, is_symmetric, matrix, normalised

COURSE = {  # the course's ledger, section 2: matrix and sum
    "box-3": ("1 1 1 / 1 1 1 / 1 1 1", 9),
    "smooth-weighted": ("0 1 0 / 1 4 1 / 0 1 0", 8),
    "blur": (".0625 .125 .0625 / .125 .25 .125 / .0625 .125 .0625", 1),
    "blur-plus": ("0 .2 0 / .2 .2 .2 / 0 .2 0", 1),
    "sharpen": ("0 -1 0 / -1 5 -1 / 0 -1 0", 1),
    "sharpen-strong": ("-1 -1 -1 / -1 9 -1 / -1 -1 -1", 1),
    "outline": ("-1 -1 -1 / -1 8 -1 / -1 -1 -1", 0),
    "sobel-v": ("-1 0 1 / -2 0 2 / -1 0 1", 0),
    "sobel-h": ("-1 -2 -1 / 0 0 0 / 1 2 1", 0),
    "edge-v": ("-1 0 1 / -1 0 1 / -1 0 1", 0),
    "edge-h": ("-1 -1 -1 / 0 0 0 / 1 1 1", 0),
    "line-v": ("0 1 0 / 0 1 0 / 0 1 0", 3),
    "line-h": ("0 0 0 / 1 1 1 / 0 0 0", 3),
    "cross": ("0 1 0 / 1 1 1 / 0 1 0", 5),
    "tri-lower": ("0 0 1 / 0 1 1 / 1 1 1", 6),
    "tri-upper": ("1 1 1 / 1 1 0 / 1 0 0", 6),
    "antidiag-15": ("0 0 15 / 0 15 0 / 15 0 0", 45),
    "cross-10": ("0 10 0 / 10 10 10 / 0 10 0", 50),
    "ring": ("1 1 1 / 1 0 1 / 1 1 1", 8),
    "hole": ("1 1 1 / 1 -1 1 / 1 1 1", 7),
    "x-binary": ("1 0 1 / 0 1 0 / 1 0 1", 5),
}
OTHERS = {  # what the course prints wrongly or not at all
    "motion-blur-h": ("0 0 0 / 1/3 1/3 1/3 / 0 0 0", 1),
    "diag": ("1/9 -1/9 -1/9 / -1/9 1/9 -1/9 / -1/9 -1/9 1/9", Fraction(-1, 3)),
    "antidiag": ("-1/9 -1/9 1/9 / -1/9 1/9 -1/9 / 1/9 -1/9 -1/9", Fraction(-1, 3)),
    "x": ("1/9 -1/9 1/9 / -1/9 1/9 -1/9 / 1/9 -1/9 1/9", Fraction(1, 9)),
    "scharr-h": ("-3 -10 -3 / 0 0 0 / 3 10 3", 0),
    "scharr-v": ("-3 0 3 / -10 0 10 / -3 0 3", 0),
    "laplacian": ("0 1 0 / 1 -4 1 / 0 1 0", 0),
    "emboss": ("-2 -1 0 / -1 1 1 / 0 1 2", 1),
    "identity": ("0 0 0 / 0 1 0 / 0 0 0", 1),
}


@pytest.mark.parametrize(("name", "row"), (COURSE | OTHERS).items())
def test_the_catalogue_has_the_weights_and_the_sum_of_the_table(name: str, row: tuple[str, Fraction]) -> None:
    kernel = CATALOGUE[name]
    assert [[str(weight) for weight in line] for line in kernel.planes[0]] == [
        [str(Fraction(word)) for word in line.split()] for line in row[0].split(" / ")
    ]
    assert (kernel.sum, kernel.name, len(kernel.planes)) == (row[1], name, 1)


def test_the_table_covers_the_catalogue_and_every_kernel_says_what_it_shows_and_where_it_is_from() -> None:
    assert set(CATALOGUE) == set(COURSE | OTHERS)
    assert all(kernel.shows and kernel.source for kernel in CATALOGUE.values())


def test_aliases_lead_into_the_catalogue_and_hide_nothing() -> None:
    assert set(ALIASES.values()) <= set(CATALOGUE)
    assert not set(ALIASES) & set(CATALOGUE)
    assert find("prewitt-v") is CATALOGUE["edge-v"]


def test_cards_name_the_mistakes_of_the_course() -> None:
    assert "0.2 each: a sum of 0.6" in find("motion-blur-h").shows
    assert "not" in find("smooth-weighted").shows
    assert "from top to bottom" in find("sobel-h").shows


def test_flipping_makes_no_difference_to_a_kernel_with_point_symmetry() -> None:
    assert is_symmetric(find("blur"))
    assert is_symmetric(find("x"))
    assert not is_symmetric(find("sobel-h"))
    assert flipped(find("1 2;3 4;5 6")).planes == find("6 5;4 3;2 1").planes


def test_a_normalised_kernel_sums_to_1_exactly() -> None:
    assert normalised(find("box-3")).planes[0][0][0] == Fraction(1, 9)
    assert normalised(find("random:4x3")).sum == 1
    with pytest.raises(KernelError, match="sobel-h: its weights sum to 0, so it cannot be normalised"):
        normalised(find("sobel-h"))


def test_a_gaussian_sums_to_1_falls_off_and_is_as_the_formula_says() -> None:
    kernel = find("gaussian:5:1.2")
    weights = np.array([[float(weight) for weight in row] for row in kernel.planes[0]])
    x = np.arange(-2, 3)
    bell = np.exp(-(x**2) / (2 * 1.2**2))
    assert kernel.sum == 1
    assert np.allclose(weights, np.outer(bell, bell) / bell.sum() ** 2, rtol=1e-12)


@pytest.mark.parametrize("spec", ["gaussian:3:0.01", "gaussian:4:0.01", "gaussian:201:1000", "gaussian:3x8:2"])
def test_extreme_gaussians_still_sum_to_1(spec: str) -> None:
    assert find(spec).sum == 1


def test_boxes_may_be_rectangular_height_first() -> None:
    kernel = find("box:3x5")
    assert (kernel.height, kernel.width, kernel.sum) == (3, 5, 1)
    assert find("box:2").planes == (matrix("1/4 1/4;1/4 1/4"),)


def test_random_kernels_are_the_same_on_every_machine_for_a_seed() -> None:
    assert find("random:2x3").planes == (matrix("0.689 0.516 -0.159;-0.482 0.023 -0.190"),)
    assert find("random:2x3", seed=1).planes != find("random:2x3").planes
    weights = [weight for row in find("random:100").planes[0] for weight in row]
    assert (min(weights), max(weights)) == (-1, 1)


@pytest.mark.parametrize(
    ("spec", "height", "width"), [("0 1 0;1 -4 1;0 1 0", 3, 3), ("-1,1", 1, 2), ("1/9 .5\n1e-3 +2", 2, 2), ("7", 1, 1)]
)
def test_a_kernel_may_be_written_out(spec: str, height: int, width: int) -> None:
    kernel = find(spec)
    assert (kernel.height, kernel.width) == (height, width)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sobl-h", "unknown kernel 'sobl-h'. Did you mean 'sobel-h'\\? Expected a name, which"),
        ("Blur", "Did you mean 'blur'\\?"),
        ("", "unknown kernel ''"),
        ("x" * 5000, "unknown kernel"),
        ("\0", "unknown kernel"),
        ("gaussian:5", "with SIGMA, in pixels, from 0.01 to 1000"),
        ("gaussian:5:0", "from 0.01 to 1000"),
        ("gaussian:5:wide", "expected a number"),
        ("box:0", "expected a size like 5 or 3x5"),
        ("box:257", "at most 65,536 weights"),
        ("random:3x", "expected a size"),
        ("1 2;3", "rows of equal length, found rows of 2, 1 numbers"),
        ("1 2;a 3", "'a': expected a number like 1, -0.25 or 1/9"),
        ("1/0", "expected a number"),
        ("1e9999 1", "expected a number"),
        ("0 inf", "expected a number"),
        (" ".join(["1"] * 65_537), "expected at most 65,536 weights"),
        ("missing.csv", "missing.csv: no such file"),
        ("/dev/zero", "not a regular file"),
    ],
)
def test_what_is_no_kernel_is_refused_with_what_was_expected(spec: str, message: str) -> None:
    with pytest.raises((GrammarError, KernelError), match=message):
        find(spec)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("k.txt", "# mine\n0 1 0\n1 -4 1  # the middle\n\n0 1 0\n"),
        ("k.csv", "\ufeff0,1,0\r\n1,-4,1\r\n0,1,0\r\n"),
        ("k.json", "[[0, 1, 0], [1, -4.0, 1], [0, 1e0, 0]]"),
        ("kernel", "0 1 0;1 -4 1;0 1 0"),
    ],
)
def test_text_files_give_the_matrix_in_them(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    kernel = find(str(tmp_path / name))
    assert kernel.planes == CATALOGUE["laplacian"].planes
    assert kernel.source == str(tmp_path / name)


def test_json_decimals_are_exact(tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text("[[0.1, -1.25e-2]]")
    assert find(str(tmp_path / "k.json")).planes == (matrix("1/10 -1/80"),)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_npy_files_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]) -> None:
    path = tmp_path_factory.mktemp("kernel") / "k.npy"
    np.save(path, np.array(rows, np.float32))
    assert [[float(weight) for weight in row] for row in find(str(path)).planes[0]] == rows


def test_a_third_axis_is_the_channels(tmp_path: Path) -> None:
    weights = np.arange(12).reshape(2, 2, 3)
    np.save(tmp_path / "k.npy", weights)
    (tmp_path / "k.json").write_text(json.dumps(weights.tolist()))
    for name in ("k.npy", "k.json"):
        kernel = find(str(tmp_path / name))
        assert len(kernel.planes) == 3
        assert kernel.planes[2] == matrix("2 5;8 11")


def test_name_wins_over_file_and_a_path_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blur").write_text("1 2 3")
    assert find("blur") is CATALOGUE["blur"]
    assert find("./blur").planes == find("1 2 3").planes


def refused_files() -> list[tuple[str, bytes, str]]:
    return [
        ("k.json", b"{}", "expected a list of rows"),
        ("k.json", b"[[1, true]]", "expected numbers only"),
        ("k.json", b"[[1, NaN]]", "expected a number"),
        ("k.json", b"[[[1, 2], [3]]]", "as many channels"),
        ("k.json", b"[[1, 2], [3]]", "rows of 2, 1 numbers"),
        ("k.json", b"[" * 100_000, "not a kernel"),
        ("k.txt", b"\xff\xfe\x00", "not a kernel"),
        ("k.txt", b"", "expected rows of equal length, found rows of none"),
        ("k.txt", b"1 " * (MAX_FILE_BYTES // 2 + 1), "a kernel takes at most"),
        ("k.npy", b"PK\x03\x04 not", "not a .npy file"),
        ("k.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 99), }",
         "not a kernel|cannot be read"),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), refused_files())
def test_a_file_that_holds_no_kernel_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KernelError, match=message) as refusal:
        find(str(tmp_path / name))
    assert str(tmp_path / name) in str(refusal.value)


@pytest.mark.parametrize(
    "weights", [np.array([[1, np.nan]]), np.zeros((2, 2, 2, 2)), np.zeros((0, 3)), np.array([[1j]])]
)
def test_an_array_that_is_no_kernel_is_refused(tmp_path: Path, weights: np.ndarray) -> None:
    np.save(tmp_path / "k.npy", weights)
    with pytest.raises(KernelError):
        find(str(tmp_path / "k.npy"))


def test_npy_is_never_unpickled(tmp_path: Path) -> None:
    class Marker:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(tmp_path / "PWNED"), "w")  # type: ignore[return-value]

    np.save(tmp_path / "k.npy", np.array([[Marker()]], dtype=object), allow_pickle=True)
    with pytest.raises(KernelError, match="not a kernel"):
        find(str(tmp_path / "k.npy"))
    assert not (tmp_path / "PWNED").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A model with every kind of convolution, and its layers' weights as Keras gives them."""
    from cnncli.learning import keras

    layers = keras.layers
    inner = keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(2, (1, 3), name="deep")], name="inner")
    x = pixels = keras.Input((16, 16, 3))
    for layer in (
        layers.Conv2D(4, 3, name="conv1"),
        layers.BatchNormalization(name="bn"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw"),
        layers.Conv2D(4, (2, 3), name="conv2", dtype="bfloat16"),
        inner,
    ):
        x = layer(x)
    model = keras.Model(pixels, x)
    path = tmp_path_factory.mktemp("model") / "my.model.keras"
    model.save(path)
    named = {layer.name: layer for layer in (*model.layers, *inner.layers)}
    names = ("conv1", "dw", "conv2", "deep")
    return path, {name: np.asarray(named[name].get_weights()[0], np.float32) for name in names}


@pytest.mark.parametrize(("layer", "count"), [("conv1", 4), ("conv2", 4), ("deep", 2)])
def test_a_trained_filter_is_read_bit_for_bit_with_a_plane_for_each_channel(trained, layer: str, count: int) -> None:
    path, weights = trained
    for number in range(count):
        kernel = find(f"{path}:{layer}:{number}")
        planes = np.array([[[float(w) for w in row] for row in plane] for plane in kernel.planes])
        assert np.array_equal(planes.transpose(1, 2, 0), weights[layer][:, :, :, number])


def test_a_depthwise_filter_has_one_plane_and_is_counted_as_keras_orders_its_maps(trained) -> None:
    path, weights = trained
    kernel = find(f"{path}:dw:5")
    assert len(kernel.planes) == 1
    assert np.array_equal(np.array(kernel.planes[0], float), weights["dw"][:, :, 2, 1])


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (
            "",
            "expected my.model.keras:LAYER:N; its convolution layers: conv1 \\(4 filters\\), dw \\(8 filters\\), conv2",
        ),
        (":conv9:0", "no convolution layer 'conv9'; its convolution layers: conv1"),
        (":bn:0", "no convolution layer 'bn'"),
        (":conv1", "layer 'conv1' has 4 filters; expected conv1:N with N from 0 to 3"),
        (":conv1:4", "expected conv1:N with N from 0 to 3"),
        (":conv1:-1", "no convolution layer 'conv1:-1'"),
    ],
)
def test_a_wrong_layer_or_filter_is_answered_with_those_there_are(trained, tail: str, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        find(f"{trained[0]}{tail}")


def test_a_model_is_checked_before_a_kernel_is_taken_from_it(trained, tmp_path: Path) -> None:
    evil = tmp_path / "evil.keras"
    changed_config(trained[0], evil, lambda config: config.update(class_name="Lambda"))
    with pytest.raises(ModelError, match="Python code"):
        find(f"{evil}:conv1:0")
    with pytest.raises(ModelError, match="no such file"):
        find(f"{tmp_path / 'none.keras'}:conv1:0")


def test_sizes_sums_and_whole_numbers_are_told_from_the_weights() -> None:
    kernel = Kernel("k", (matrix("1 2 3"), matrix("4 5 1/2")))
    assert (kernel.height, kernel.width, kernel.sum, kernel.is_integer) == (1, 3, Fraction(31, 2), False)


def test_a_kernel_that_is_not_in_a_file_needs_neither_numpy_nor_h5py() -> None:
    code = "import sys; from cnncli.kernels import find; find('blur'); find('gaussian:5:1'); find('1 2;3 4'); "
    code += "sys.exit(bool({'numpy', 'h5py', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
