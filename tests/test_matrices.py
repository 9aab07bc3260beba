"""Matrix arguments: the course's matrices, files of every kind, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cnncli.claims import claim
from cnncli.errors import KernelError
from cnncli.kernels import matrix
from cnncli.matrices import MAX_FILE_BYTES, claim_argument, course, matrix_argument
from cnncli.worked import shape, transposed

RING = matrix("1 1 1;1 0 1;0 1 1")


@pytest.mark.parametrize(
    ("name", "size", "total"),
    [
        ("x7", (7, 7), 28),
        ("digit-b", (16, 16), None),
        ("x9", (9, 9), 13 - (81 - 13)),
        ("m10", (10, 10), 47),
        ("pool4", (4, 4), 65),
        ("letters", (5, 5), 325),
        ("d4", (5, 5), 13),
        ("conv-arithmetic", (5, 5), 51),
    ],
)
def test_course_matrices_have_the_size_and_sum_of_the_printed_ones(
    name: str, size: tuple[int, int], total: int
) -> None:
    found = course()[name]
    assert found.name == f"course:{name}" and found.title and found.source
    assert shape(found.matrix) == size
    if total is not None:
        assert sum(map(sum, found.matrix)) == total


def test_every_course_matrix_is_listed_by_name() -> None:
    assert set(course()) == {"x7", "digit-b", "x9", "m10", "pool4", "letters", "d4", "conv-arithmetic"}
    assert [matrix_argument(f"course:{name}") for name in course()] == list(course().values())


def test_x9_has_1_on_the_diagonals_of_its_inner_7x7_only() -> None:
    rows = course()["x9"].matrix
    ones = {(r, c) for r, row in enumerate(rows) for c, value in enumerate(row) if value == 1}
    assert ones == {(at, at) for at in range(1, 8)} | {(at, 8 - at) for at in range(1, 8)}
    assert rows == transposed(rows)


def test_digit_has_its_first_light_pixel_in_column_8_counted_from_0() -> None:
    rows = course()["digit-b"].matrix
    assert rows[0][8:10] == (Fraction(9, 10), 0)  # -0 is a small negative number, rounded
    assert rows[14][11] == Fraction(1, 5)
    assert {value for row in rows for value in row if abs(value) > 1} == set()


@pytest.mark.parametrize(
    "text", ["1 1 1;1 0 1;0 1 1", "1 1 1 / 1 0 1 / 0 1 1", "1,1,1\n1,0,1\n0,1,1\n", "1\t1 2/2;1 0 1;0.0 1e0 +1;"]
)
def test_numbers_typed_in_are_a_matrix(text: str) -> None:
    assert matrix_argument(text).matrix == RING


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "1 1 1\n1 0 1\n0 1 1\n"),
        ("a.txt", "1 1 1;1 0 1;0 1 1"),
        ("a.csv", "\ufeff1,1,1\r\n1,0,1\r\n0,1,1\r\n"),
        ("semicolons.csv", "1;1;1\n1;0;1\n0;1;1\n"),
        ("a.json", '[[1, 1, 1], [1, "0/3", 1.0], [0, 1e0, 1]]'),
        ("no suffix", "1 1 1\n\n1 0 1\n0 1 1"),
    ],
)
def test_files_are_a_matrix(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    found = matrix_argument(str(path))
    assert (found.name, found.matrix) == (name, RING)


@pytest.mark.parametrize("kind", ["int8", "uint64", "float32", "float64", "float16", "bool"])
def test_numpy_files_are_a_matrix(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1]]).astype(kind))
    assert matrix_argument(str(tmp_path / "a.npy")).matrix == RING


def test_numpy_floats_mean_the_decimals_that_they_are_shown_as(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.1, -0.25]], dtype="float32"))
    assert matrix_argument(str(tmp_path / "a.npy")).matrix == ((Fraction(1, 10), Fraction(-1, 4)),)
    assert claim_argument(str(tmp_path / "a.npy")).decimals == 2


def test_an_existing_file_wins_over_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("1").write_text("7 8")
    assert matrix_argument("1").matrix == ((7, 8),)
    assert matrix_argument("2").matrix == ((2,),)


def test_a_claim_keeps_its_decimals_and_open_cells(tmp_path: Path) -> None:
    found = claim_argument(".77 -.11;1.00 ?")
    assert found == claim(".77 -.11 / 1.00 ?") and found.decimals == 2
    assert found.known == {(1, 1): Fraction(77, 100), (1, 2): Fraction(-11, 100), (2, 1): 1}
    (tmp_path / "a.json").write_text('[[0.770, "?"]]')
    assert claim_argument(str(tmp_path / "a.json")).decimals == 3
    assert claim_argument("course:d4").known[(1, 1)] == 1
    assert [claim(text).decimals for text in ("1 2", "1/3 2", "1e-3 1", "?")] == [0, 0, 3, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': no such file, and not a matrix"),
        ("nothing.txt", r"'nothing.txt': no such file, and not a matrix: expected numbers like .* \(x7, digit-b, "),
        ("course:x8", "course:x8: no such matrix; there are course:x7, course:digit-b, "),
        ("1 2;3", "expected rows of equal length, found rows of 2, 1 numbers"),
        ("1/0", "'1/0': expected a number like 1, -0.25 or 1/9"),
        ("1 ?", "'[?]': expected a number"),
        ("e", "'e': expected a number"),
        ("1e999999999", "expected a number like 1"),
        ("1" * 41, "expected a number like 1"),
        ("9" * 5000, "expected a number like 1"),
        ("nan", "'nan': no such file, and not a matrix"),
        ("\0", "no such file, and not a matrix"),
        (";;", "expected rows of equal length, found rows of none numbers"),
    ],
)
def test_what_is_no_matrix_is_refused(text: str, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        matrix_argument(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "expected rows of equal length"),
        ("a.txt", b"a b", "'a': expected a number"),
        ("a.txt", b"\xff\xfe1\x00", "not text in UTF-8; a NumPy array must be called .npy"),
        ("a.txt", b"1 " * (MAX_FILE_BYTES // 2 + 1), "1,000,002 bytes; a matrix file has at most 1,000,000"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b"[1, 2]", "expected JSON of two dimensions: rows of numbers"),
        ("a.json", b"[[1, [2]]]", "expected JSON of two dimensions"),
        ("a.json", b"[[1, true]]", "expected JSON of two dimensions"),
        ("a.json", b"[[NaN]]", "'NaN': expected a number"),
        ("a.json", b"[[1e999999999]]", "expected a number like 1"),
        ("a.json", b"[]", "expected rows of equal length"),
        ("a.npy", b"", "not a NumPy array of numbers"),
        ("a.npy", b"\x93NUMPY\x01\x00\x10\x00garbage", "not a NumPy array of numbers"),
        ("a.npy", b"PK\x03\x04", "not a NumPy array of numbers"),
    ],
)
def test_files_that_are_no_matrix_are_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(KernelError, match=message) as caught:
        matrix_argument(str(path))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros((2, 2, 2)), np.array([[np.nan]]), np.array([["1"]]), np.array([[1j]]), np.zeros((0, 3))],
    ids=["1-D", "3-D", "NaN", "text", "complex", "empty"],
)
def test_numpy_files_that_are_no_matrix_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(KernelError, match="expected"):
        matrix_argument(str(tmp_path / "a.npy"))


def test_numpy_files_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(KernelError, match="not a NumPy array of numbers"):
        matrix_argument(str(tmp_path / "a.npy"))


def test_a_numpy_header_that_promises_terabytes_is_not_believed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    raw = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(raw.replace(b"(2, 2), }" + b" " * 12, b"(2000000, 2000000), }"[:21]))
    with pytest.raises(KernelError, match="not a NumPy array of numbers"):
        matrix_argument(str(tmp_path / "a.npy"))


def test_a_damaged_numpy_file_is_refused_or_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    raw = (tmp_path / "a.npy").read_bytes()
    for at in range(len(raw)):
        (tmp_path / "a.npy").write_bytes(raw[:at] + bytes([raw[at] ^ 0x21]) + raw[at + 1 :])
        try:
            matrix_argument(str(tmp_path / "a.npy"))
        except KernelError as error:
            assert "a.npy" in str(error)


def test_folders_and_pipes_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(KernelError, match="not a regular file"):
            matrix_argument(str(path))


def test_matrices_and_worked_exercises_import_nothing_heavy() -> None:
    code = """
import sys
from cnncli import matrices, verdicts, worked_text
from cnncli.explanations import Exercise
from cnncli.kernels import Kernel, matrix
named = matrices.matrix_argument("course:x7")
exercise = Exercise(named.matrix, Kernel("ones", (matrix("1 1 1;1 1 1;1 1 1"),)))
verdict = verdicts.compare(matrices.claim_argument("6 5"), exercise)
assert list(worked_text.report(named, exercise, walk=True, patches=True, verdict=verdict))
assert not {"numpy", "click", "rich", "tensorflow", "keras", "h5py"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
