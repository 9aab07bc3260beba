"""Model files: the zip member `cnncli.json` is the card by which a `.keras` or `.tflite` file knows what it is.

A `.keras` file is a zip archive and gets one more member; a `.tflite` file is a flatbuffer, which ends before the
archive that is appended to it. Nothing here trusts the file: members, sizes and every field of the card are checked,
and nothing in it is ever executed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import re
import shlex
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnncli.backbones import ImageClass
from cnncli.errors import ModelError
from cnncli.files import replacing
from cnncli.modelcard import ModelCard, card_from_json

CARD = "cnncli.json"
KERAS_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
TFLITE_IDENTIFIER = b"TFL3"  # bytes 4..8 of a LiteRT flatbuffer

MAX_JSON_BYTES = 8_000_000  # of a config or card: the largest of Keras Applications has 0.8 MB
MAX_MODEL_BYTES = 4_000_000_000
MAX_ARRAY_ELEMENTS = 1 << 28  # that one image needs anywhere in a network: 1 GB of float32
MAX_INFLATION = 20  # a member may unpack to this many times its stored size, or to a megabyte

# What `zipfile` raises for damaged archives: besides its own error those of what it is made of.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)


def read_card(path: Path) -> ModelCard:
    """The card of a `.keras` or `.tflite` file, its members checked; raises ModelError if there is none."""
    require_model_format(path)
    if path.suffix == ".tflite" and not zipfile.is_zipfile(path):
        raise ModelError(_no_card(path))
    with open_archive(path) as archive:
        carded = CARD in archive.namelist()
        if carded or path.suffix == ".keras":  # an archive without a card in a .tflite is LiteRT's own metadata
            check_members(archive, path)
        if not carded:
            raise ModelError(_no_card(path))
        return card_from_json(read_json(archive, CARD, path), str(path))


def has_card(path: Path) -> bool:
    """Whether a model file has a card, valid or not."""
    if not zipfile.is_zipfile(path):
        return False
    with open_archive(path) as archive:
        return CARD in archive.namelist()


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive in the file at `path`. Whatever a damaged one raises while it is used becomes a ModelError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGE as problem:
        raise ModelError(_damaged(path, problem)) from problem
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # other than a place before the beginning, where a damaged one points
            raise
        raise ModelError(_damaged(path, problem)) from problem


def _no_card(path: Path) -> str:
    new = path.with_name(f"{path.stem}-adopted{path.suffix}")
    old_name, new_name = shlex.quote(str(path)), shlex.quote(str(new))
    return (
        f"{path}: this model has no card that names its classes and its input (or it was cut short). Give it one, with "
        "the --input-range that it was trained on (0..255, 0..1, -1..1, caffe, torch): "
        f"cnncli models adopt {old_name} --labels LABELS.txt --input-range 0..255 -o {new_name}"
    )


def _damaged(path: Path, problem: Exception) -> str:
    kind = "Keras model" if path.suffix == ".keras" else "LiteRT model"
    return f"{path}: the file is there but is not a complete {kind} ({problem}): truncated or damaged"


def require_model_format(path: Path) -> None:
    """Raises ModelError unless `path` is a regular `.keras` or `.tflite` file with the right first bytes."""
    if path.is_dir():
        if (path / "run.json").is_file():
            go_on = f"cnncli train --resume --output {shlex.quote(str(path))}"
            raise ModelError(f"{path}: this run has no model yet. If it was stopped: {go_on}")
        what = "a SavedModel folder" if (path / "saved_model.pb").exists() else "a folder without model.keras"
        raise ModelError(f"{path}: this is {what}; expected a .keras or .tflite file or a run folder")
    if not path.is_file():
        what = "not a regular file" if path.exists() or path.is_symlink() else "no such file"
        raise ModelError(f"{path}: {what}; expected a .keras or .tflite file")
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix == ".keras" and head.startswith(b"PK"):
        return
    if path.suffix == ".tflite" and head[4:8] == TFLITE_IDENTIFIER:
        return
    raise ModelError(f"{path}: {_wrong_format(path, head)}")


def _wrong_format(path: Path, head: bytes) -> str:
    if path.suffix in (".keras", ".tflite"):
        return f"the file is there but is not a complete {path.suffix} model: truncated or another format"
    if head.startswith(b"\x89HDF"):
        return "HDF5 is accepted as --weights of a pretrained network only; save whole models as .keras"
    if head[:1] == b"\x80" or path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"):
        return "pickled models (PyTorch, joblib) are not accepted: reading one would run its code"
    return "not a model format that is accepted; expected .keras or .tflite"


def check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises ModelError unless the archive holds only the members that it should, at believable sizes."""
    expected = {*KERAS_MEMBERS, CARD} if path.suffix == ".keras" else {CARD}
    names = [info.filename for info in archive.infolist()]
    if unknown := [name for name in names if name not in expected]:
        raise ModelError(f"{path}: it holds {unknown[0]!r}, which no model of this kind has; refused")
    if len(set(names)) != len(names):
        raise ModelError(f"{path}: it holds a member twice; refused")
    for info in archive.infolist():
        _check_member(info, path)
    if path.suffix == ".keras" and (missing := [name for name in KERAS_MEMBERS if name not in names]):
        raise ModelError(f"{path}: it lacks {missing[0]!r}: not a complete Keras model")


def _check_member(info: zipfile.ZipInfo, path: Path) -> None:
    if info.flag_bits & 1:
        raise ModelError(f"{path}: {info.filename} is encrypted; expected a model without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{path}: {info.filename} is compressed by method {info.compress_type}; expected 0 or 8")
    limit = MAX_MODEL_BYTES if info.filename.endswith(".h5") else MAX_JSON_BYTES
    inflated = info.file_size > max(1_000_000, MAX_INFLATION * info.compress_size)
    if info.file_size > limit or inflated:
        size = f"{info.compress_size / 1e6:.1f} MB that unpack to {info.file_size / 1e6:.0f} MB"
        raise ModelError(f"{path}: {info.filename} is too large ({size}); refused")


def read_json(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    """The parsed JSON member `name` of an archive that `check_members` let pass."""
    text = archive.read(name)
    try:
        return json.loads(text)
    except RecursionError as problem:
        raise ModelError(f"{path}: {name} is nested too deeply; refused") from problem
    except ValueError as problem:  # JSON and UTF-8 errors alike
        raise ModelError(f"{path}: {name} is not valid JSON ({problem})") from problem


def model_sha256(path: Path) -> str:
    """sha256 of what the model computes with: the flatbuffer, or config and weights of a `.keras` file."""
    digest = hashlib.sha256()
    for block in _model_blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _model_blocks(path: Path) -> Iterator[bytes]:
    if path.suffix == ".tflite":
        yield from _blocks(path.open("rb"), flatbuffer_bytes(path))
        return
    with open_archive(path) as archive:
        for name in ("config.json", "model.weights.h5"):
            yield from _blocks(archive.open(name), archive.getinfo(name).file_size)


def _blocks(file: Any, size: int) -> Iterator[bytes]:
    with file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            size -= len(block)
            yield block


def flatbuffer_bytes(path: Path) -> int:
    """Size in bytes of the flatbuffer at the beginning of a `.tflite` file with a card."""
    with open_archive(path) as archive:
        return min(info.header_offset for info in archive.infolist())


def check_content(path: Path, card: ModelCard) -> None:
    """Raises ModelError unless the model's bytes are those that its card, as `read_card` gave it, was written for."""
    actual = model_sha256(path)
    if actual != card.sha256:
        raise ModelError(f"{path}: the model is damaged: its sha256 is {actual}, its card says {card.sha256}")


def write_keras(source: Path, card: ModelCard, target: Path) -> None:
    """Writes `target`, a copy of the `.keras` file `source` with `card` inside, atomically."""
    card = replace(card, sha256=model_sha256(source))
    with (
        zipfile.ZipFile(source) as archive,
        replacing(target) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new,
    ):
        for name in KERAS_MEMBERS:
            with archive.open(name) as member, new.open(_member(name), "w", force_zip64=True) as copy:
                shutil.copyfileobj(member, copy, 1 << 20)
        new.writestr(_member(CARD), _card_text(card))


def write_tflite(flatbuffer: bytes, card: ModelCard, target: Path) -> None:
    """Writes `target`, the flatbuffer with `card` appended, atomically."""
    card = replace(card, sha256=hashlib.sha256(flatbuffer).hexdigest())
    tail = io.BytesIO()
    with zipfile.ZipFile(tail, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(CARD), _card_text(card))
    with replacing(target) as file:
        file.write(flatbuffer)
        file.write(tail.getbuffer())


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # equal models give equal files
    member.external_attr = 0o644 << 16  # what `unzip` makes of it can be read
    return member


def _card_text(card: ModelCard) -> str:
    return json.dumps(card.to_json(), indent=1)


_LABELS = "UTF-8 text, a label a line"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # all but the tab between id and label


def labels_from_file(path: Path) -> tuple[ImageClass, ...]:
    """The classes of a `--labels` file in the model's order: a line each, `label` or `id<TAB>label`."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not text in UTF-8"
        raise ModelError(f"{path}: the labels cannot be read ({why}); expected {_LABELS}") from problem
    if odd := next((number for number, line in enumerate(lines, 1) if _CONTROL.search(line)), None):
        raise ModelError(f"{path}: line {odd} holds control characters; expected {_LABELS}")
    classes = tuple(_class(line) for line in lines if line)
    if repeated := _repeated(c.id for c in classes):
        raise ModelError(f"{path}: the class {repeated!r} stands there twice; use lines of 'id<TAB>label'")
    return classes


def _class(line: str) -> ImageClass:
    id_, tab, label = line.partition("\t")
    return ImageClass(id_.strip(), label.strip() if tab else id_.strip())


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
