"""The model card and the files that carry it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shlex
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models_for_tests import changed_members

from cnncli import modelcard, modelfile
from cnncli.backbones import RESIZES, ImageClass, InputSpec
from cnncli.errors import ModelError
from cnncli.modelcard import ModelCard
from cnncli.modelfile import CARD, check_content, labels_from_file, read_card, write_keras, write_tflite

FLATBUFFER = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 4
CARD_OF_TESTS = ModelCard(
    "birds",
    (ImageClass("n1", "Möwe"), ImageClass("n2", "crane"), ImageClass("n3", "crane")),
    InputSpec(24, 32, "gray", "pad"),
    licence="CC0-1.0",
    description="three birds",
    data_fingerprint="0f" * 8,
    metrics={"val_accuracy": 0.75},
    versions={"keras": "3.15.1"},
)


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    """A `.keras` file with a card. What is in its members does not matter here."""
    plain = tmp_path / "plain.keras"
    with zipfile.ZipFile(plain, "w") as archive:
        for name in modelfile.KERAS_MEMBERS:
            archive.writestr(name, json.dumps({name: "x" * 300}))
    write_keras(plain, CARD_OF_TESTS, tmp_path / "birds.keras")
    return tmp_path / "birds.keras"


@pytest.fixture
def tflite_file(tmp_path: Path) -> Path:
    """A `.tflite` file with a card. Its flatbuffer begins right and goes on anyhow."""
    write_tflite(FLATBUFFER, CARD_OF_TESTS, tmp_path / "birds.tflite")
    return tmp_path / "birds.tflite"


@pytest.fixture(params=["keras", "tflite"])
def carded(request: pytest.FixtureRequest) -> Path:
    """A file with a card, of each format."""
    return Path(request.getfixturevalue(f"{request.param}_file"))


def refusal(path: Path) -> str:
    """The message with which the file at `path` is refused, its name left out."""
    with pytest.raises(ModelError) as caught:
        check_content(path, read_card(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_card_comes_back_from_both_formats_as_it_was_written(carded: Path) -> None:
    card = read_card(carded)
    assert replace(card, sha256=None) == CARD_OF_TESTS
    assert card.sha256 == modelfile.model_sha256(carded)
    check_content(carded, card)


texts = st.text(max_size=20)
cards = st.builds(
    ModelCard,
    name=st.text(min_size=1, max_size=20),
    classes=st.lists(st.builds(ImageClass, texts, texts), min_size=1, max_size=5, unique_by=lambda c: c.id).map(tuple),
    input=st.builds(
        InputSpec,
        st.integers(1, 4096),
        st.integers(1, 4096),
        st.sampled_from(["rgb", "gray"]),
        st.sampled_from(RESIZES),
    ),
    licence=st.none() | texts,
    description=st.none() | texts,
    data_fingerprint=st.none() | texts,
    metrics=st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
    versions=st.dictionaries(texts, texts, max_size=3),
    mirrored=st.booleans(),
    training=st.dictionaries(texts, texts, max_size=3),
    notes=st.lists(texts, max_size=3).map(tuple),
)


@given(card=cards)
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_card_of_any_content_survives_the_file(card: ModelCard, tmp_path: Path) -> None:
    write_tflite(FLATBUFFER, card, tmp_path / "m.tflite")
    assert replace(read_card(tmp_path / "m.tflite"), sha256=None) == card


WRONG = {
    "schema": [2, "1", None, []],
    "name": [1, [], {}],
    "class_ids": [None, "abc", [1, 2, 3], ["a", "b"], ["a", "a", "b"], {}, []],
    "labels": [None, 3, ["a", None, "c"], ["a", "b", "c", "d"], [["a"], "b", "c"]],
    "input_size": [None, 32, [32], [32, 32, 3], [0, 32], [-1, 5], [4097, 32], ["32", "32"], [32.0, 32.0], [True, 5]],
    "color": [None, "bgr", 3, ["rgb"], {}],
    "resize": [None, "stretch", 1, ["crop"]],
    "licence": [1, ["MIT"]],
    "description": [{}, False],
    "data_fingerprint": [12],
    "metrics": [
        {"a": float("nan")},
        {"a": float("inf")},
        [["a", 1]],
        {"accuracy": "0.5"},
        {"accuracy": None},
        {"accuracy": True},
        "good",
        {"a": [1]},
    ],
    "versions": [{"keras": 3}, ["keras"], "3"],
    "mirrored": [None, 1, "yes", []],
    "training": [{"seed": 0}, ["seed"], "0"],
    "notes": [None, "one", [1], ["x" * 20_001]],
    "sha256": [0, ["0"]],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_card_with_a_wrong_value_is_refused_by_the_name_of_the_field(field: str, value: object) -> None:
    with pytest.raises(ModelError, match=rf"^m\.keras: its model card is not valid \(.*{field}"):
        modelcard.card_from_json({**CARD_OF_TESTS.to_json(), field: value}, "m.keras")


@pytest.mark.parametrize("field", ["schema", "class_ids", "labels", "input_size", "color", "resize"])
def test_card_without_a_field_that_it_needs_is_refused_by_the_name_of_the_field(field: str) -> None:
    values = CARD_OF_TESTS.to_json()
    del values[field]
    with pytest.raises(ModelError, match=field):
        modelcard.card_from_json(values, "m.keras")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from([*CARD_OF_TESTS.to_json(), None]), value=json_values)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_card_of_any_json_is_read_or_refused(field: str | None, value: object) -> None:
    values = value if field is None else {**CARD_OF_TESTS.to_json(), field: value}
    try:
        card = modelcard.card_from_json(values, "m.keras")
    except ModelError:
        return
    assert card.classes and 0 < card.input.height <= 4096
    assert all(isinstance(metric, float) for metric in card.metrics.values())


def test_card_ignores_fields_that_later_versions_add() -> None:
    assert modelcard.card_from_json({**CARD_OF_TESTS.to_json(), "later": 1}, "m.keras") == CARD_OF_TESTS


def test_a_changed_byte_anywhere_is_noticed_or_changes_nothing(carded: Path) -> None:
    whole, card = carded.read_bytes(), read_card(carded)
    noticed = 0
    for position in range(0, len(whole), 7):
        carded.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        try:
            found = read_card(carded)
            check_content(carded, found)
        except ModelError as problem:
            assert str(problem).startswith(f"{carded}: ")
            noticed += 1
            continue
        assert found == card
    assert noticed > len(whole) / 7 / 2


def test_an_archive_damaged_in_many_places_never_ends_in_anything_but_a_refusal(carded: Path) -> None:
    whole, rng = carded.read_bytes(), random.Random(0)
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 2, 5))):
            damaged[rng.randrange(len(whole) - 400, len(whole))] = rng.choice((0, 127, 255, rng.randrange(256)))
        carded.write_bytes(damaged)
        with contextlib.suppress(ModelError):
            check_content(carded, read_card(carded))


def test_a_file_cut_anywhere_is_refused_without_saying_that_it_is_missing(carded: Path) -> None:
    whole = carded.read_bytes()
    for percent in range(0, 100, 5):
        carded.write_bytes(whole[: len(whole) * percent // 100])
        message = refusal(carded)
        assert "not found" not in message and "no such" not in message.lower()
        assert carded.suffix == ".tflite" or "the file is there but is not a complete" in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("photo.keras", b"\x89PNG\r\n\x1a\n" + bytes(64), "the file is there but is not a complete .keras model"),
        ("empty.keras", b"", "the file is there but is not a complete .keras model"),
        ("page.tflite", b"<!DOCTYPE html>", "the file is there but is not a complete .tflite model"),
        ("whole.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "save whole models as .keras"),
        ("net.pt", b"PK\x03\x04" + bytes(64), "reading one would run its code"),
        ("net.pkl", b"\x80\x04\x95" + bytes(64), "reading one would run its code"),
        ("net", b"\x80\x04\x95" + bytes(64), "reading one would run its code"),
        ("net.keras", b"\x80\x04\x95" + bytes(64), "not a complete .keras model"),
        ("net.onnx", b"\x08\x07\x12\x07pytorch", "expected .keras or .tflite"),
        ("net.zip", b"PK\x03\x04" + bytes(64), "expected .keras or .tflite"),
    ],
)
def test_other_formats_are_refused_with_a_reason(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert expected in refusal(tmp_path / name)


def test_folders_and_special_files_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "loop.keras").symlink_to("loop.keras")
    assert "a folder without model.keras" in refusal(tmp_path / "run")
    assert "a SavedModel folder" in refusal(tmp_path / "saved")
    assert "no such file" in refusal(tmp_path / "missing.keras")
    for name in ("pipe.keras", "loop.keras"):
        assert "not a regular file" in refusal(tmp_path / name)


def test_a_link_to_a_model_is_read_like_the_model(carded: Path) -> None:
    link = carded.with_name(f"link{carded.suffix}")
    link.symlink_to(carded.name)
    assert read_card(link) == read_card(carded)


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "assets/words.txt", "sub/", "..\\evil", "model.weights.npz"]
)
def test_members_that_a_model_does_not_have_are_refused(keras_file: Path, tmp_path: Path, name: str) -> None:
    evil = changed_members(keras_file, tmp_path / "evil.keras", {name: b"x"})
    assert refusal(evil) == f"it holds {name!r}, which no model of this kind has; refused"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["birds.keras", "evil.keras", "plain.keras"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(keras_file: Path) -> None:
    with zipfile.ZipFile(keras_file, "a") as archive:
        archive.writestr("config.json", "{}")
    assert refusal(keras_file) == "it holds a member twice; refused"


@pytest.mark.parametrize("name", modelfile.KERAS_MEMBERS)
def test_a_missing_member_is_named(keras_file: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(keras_file) as archive, zipfile.ZipFile(tmp_path / "part.keras", "w") as part:
        for member in archive.namelist():
            if member != name:
                part.writestr(member, archive.read(member))
    assert refusal(tmp_path / "part.keras") == f"it lacks {name!r}: not a complete Keras model"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_odd_compression_is_refused(keras_file: Path, tmp_path: Path, method: int) -> None:
    odd = changed_members(keras_file, tmp_path / "odd.keras", {}, method)
    assert "is compressed by method" in refusal(odd)


def test_a_deflated_model_is_as_good_as_a_stored_one(keras_file: Path, tmp_path: Path) -> None:
    deflated = changed_members(keras_file, tmp_path / "deflated.keras", {}, zipfile.ZIP_DEFLATED)
    assert deflated.stat().st_size < keras_file.stat().st_size
    check_content(deflated, read_card(deflated))
    with zipfile.ZipFile(deflated) as archive:
        begin = archive.getinfo("model.weights.h5").header_offset + 30 + len("model.weights.h5")
    whole = deflated.read_bytes()
    deflated.write_bytes(whole[:begin] + b"\xff" * 4 + whole[begin + 4 :])
    assert "not a complete Keras model (Error -3 while decompressing" in refusal(deflated)


def test_an_encrypted_member_is_refused(keras_file: Path) -> None:
    encrypted = bytearray(keras_file.read_bytes())
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):  # offsets of the flags, APPNOTE 4.3.7 and 4.3.12
        start = encrypted.find(signature)
        while start >= 0:
            encrypted[start + flags] |= 1
            start = encrypted.find(signature, start + 1)
    keras_file.write_bytes(encrypted)
    assert refusal(keras_file) == "metadata.json is encrypted; expected a model without a password"


def test_a_zip64_archive_is_read(keras_file: Path, tmp_path: Path) -> None:
    large = tmp_path / "zip64.keras"
    with zipfile.ZipFile(keras_file) as archive, zipfile.ZipFile(large, "w") as copy:
        for name in archive.namelist():
            with copy.open(name, "w", force_zip64=True) as member:
                member.write(archive.read(name))
    check_content(large, read_card(large))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b" " * 5_000_000, "too large (0.0 MB that unpack to 5 MB)"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b"{", "cnncli.json is not valid JSON"),
        (b"\xff\xfe\xfd", "cnncli.json is not valid JSON"),
        (b"9" * 100_000, "cnncli.json is not valid JSON"),
        (b"[]", "its model card is not valid (expected an object)"),
    ],
    ids=["5 MB", "deep", "cut", "not UTF-8", "long number", "list"],
)
def test_a_bomb_or_garbage_as_card_is_refused(carded: Path, tmp_path: Path, content: bytes, expected: str) -> None:
    if carded.suffix == ".keras":
        bomb = changed_members(carded, tmp_path / "bomb.keras", {CARD: content}, zipfile.ZIP_DEFLATED)
    else:
        bomb = tmp_path / "bomb.tflite"
        tail = io.BytesIO()
        with zipfile.ZipFile(tail, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CARD, content)
        bomb.write_bytes(FLATBUFFER + tail.getvalue())
    assert expected in refusal(bomb)


def test_a_card_of_400_mb_of_blanks_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tflite"
    bomb.write_bytes(FLATBUFFER)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(CARD, "w") as member:
        for _ in range(400):
            member.write(b" " * 1_000_000)
    tracemalloc.start()
    assert refusal(bomb) == "cnncli.json is too large (0.4 MB that unpack to 400 MB); refused"
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_labels_full_of_brackets_are_no_nesting(tmp_path: Path) -> None:
    classes = tuple(ImageClass(str(n), ":[" * 50) for n in range(100))
    write_tflite(FLATBUFFER, replace(CARD_OF_TESTS, classes=classes), tmp_path / "sad.tflite")
    assert read_card(tmp_path / "sad.tflite").classes == classes


def test_a_card_of_another_model_is_refused_before_the_model_is_used(tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    write_tflite(FLATBUFFER[:-1] + b"!", CARD_OF_TESTS, other)
    swapped = tmp_path / "swapped.tflite"
    swapped.write_bytes(FLATBUFFER + other.read_bytes()[len(FLATBUFFER) :])
    assert "the model is damaged: its sha256 is" in refusal(swapped)


@pytest.mark.parametrize("suffix", [".keras", ".tflite"])
@pytest.mark.parametrize("folder", ["plain", "it's a folder; rm *"])
def test_a_model_without_a_card_is_refused_with_the_line_that_gives_it_one(
    tmp_path: Path, keras_file: Path, folder: str, suffix: str
) -> None:
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / f"my net{suffix}"
    path.write_bytes((tmp_path / "plain.keras").read_bytes() if suffix == ".keras" else FLATBUFFER)
    words = shlex.split(refusal(path).split("torch): ")[1])
    new = str(path.with_name(f"my net-adopted{suffix}"))
    options = ["--labels", "LABELS.txt", "--input-range", "0..255", "-o", new]
    assert words == ["cnncli", "models", "adopt", str(path), *options]


def test_the_metadata_that_litert_models_come_with_is_no_card(tmp_path: Path) -> None:
    tail = io.BytesIO()
    with zipfile.ZipFile(tail, "w") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    (tmp_path / "hub.tflite").write_bytes(FLATBUFFER + tail.getvalue())
    assert refusal(tmp_path / "hub.tflite").startswith("this model has no card")
    write_tflite((tmp_path / "hub.tflite").read_bytes(), CARD_OF_TESTS, tmp_path / "adopted.tflite")
    check_content(tmp_path / "adopted.tflite", read_card(tmp_path / "adopted.tflite"))


def test_equal_models_give_equal_files(carded: Path, tmp_path: Path) -> None:
    again = tmp_path / f"again{carded.suffix}"
    if carded.suffix == ".keras":
        write_keras(carded, CARD_OF_TESTS, again)  # what was there of a card is replaced
    else:
        write_tflite(FLATBUFFER, CARD_OF_TESTS, again)
    assert again.read_bytes() == carded.read_bytes()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    carded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise fault

    before, names = carded.read_bytes(), sorted(tmp_path.iterdir())
    monkeypatch.setattr("cnncli.files.os.fsync", fail)
    write: dict[str, Callable[[], Any]] = {
        ".keras": lambda: write_keras(tmp_path / "plain.keras", replace(CARD_OF_TESTS, name="new"), carded),
        ".tflite": lambda: write_tflite(FLATBUFFER, replace(CARD_OF_TESTS, name="new"), carded),
    }
    with pytest.raises(type(fault)):
        write[carded.suffix]()
    assert carded.read_bytes() == before and sorted(tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"cat\ndog\n", [("cat", "cat"), ("dog", "dog")]),
        (b"cat\r\ndog", [("cat", "cat"), ("dog", "dog")]),
        (b"cat\rdog\r", [("cat", "cat"), ("dog", "dog")]),
        (b"\xef\xbb\xbfcat\n\n  dog  \n\n", [("cat", "cat"), ("dog", "dog")]),
        (b"n1\tcat\nn2\tcat\n", [("n1", "cat"), ("n2", "cat")]),
        (b"n1 \t big cat \n", [("n1", "big cat")]),
        ("Möwe\n家猫\n👩\u200d🚀\n".encode(), [("Möwe",) * 2, ("家猫",) * 2, ("👩\u200d🚀",) * 2]),
        ("a\u2028b\nc".encode(), [("a\u2028b",) * 2, ("c", "c")]),
        (b"", []),
    ],
)
def test_labels_are_read_from_every_usual_form(tmp_path: Path, content: bytes, expected: list[tuple[str, str]]) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert [tuple(c) for c in labels_from_file(tmp_path / "labels.txt")] == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"cat\ndog\ncat\n", "the class 'cat' stands there twice; use lines of 'id<TAB>label'"),
        (b"n1\tcat\nn1\tdog\n", "the class 'n1' stands there twice"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "the labels cannot be read"),
        ("cat\ndog\n".encode("utf-16"), "the labels cannot be read"),
        ("cat\ndog\n".encode("utf-16-le"), "line 1 holds control characters"),
        (b"cat\nd\x1b[31mog\n", "line 2 holds control characters; expected UTF-8 text, a label a line"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        labels_from_file(tmp_path / "labels.txt")
    assert str(caught.value).startswith(f"{tmp_path / 'labels.txt'}: ")
    assert expected in str(caught.value)


def test_labels_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the labels cannot be read.*No such file"):
        labels_from_file(tmp_path / "labels.txt")
