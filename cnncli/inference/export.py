"""Writes a model as a file of its own in another form, once it is known to answer as the original does."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from cnncli import bundled
from cnncli.backbones import Backbone
from cnncli.errors import ImageError, ModelError, ParityError
from cnncli.files import replacing
from cnncli.inference import compiled, samples
from cnncli.inference.adoption import check_output
from cnncli.inference.locate import locate
from cnncli.inference.models import open_model
from cnncli.inference.parity import Parity, compare
from cnncli.inference.request import EXPORT_SUFFIXES, ModelRequest
from cnncli.inference.samples import Sample
from cnncli.modelfile import read_card
from cnncli.runs import Run

# Most that a probability may differ by. float32: what another order of additions does to the networks in the table
# (up to 1.2e-5 for mobilenet-0.75). float16: rounding the weights moves those of mobilenet-0.75 by up to 2.7e-2 on
# 1000 images (by 2.9e-2 where the same rounding is done in Keras).
TOLERANCES = {"float32": 1e-4, "float16": 5e-2}

MOST_CHANGED = 0.05  # of the images may get another best class: of mobilenet-0.75 in float16 1.3 % did, at near ties

Notify = Callable[[str], None]
Progress = Callable[[int, int | None], None]
Meter = Callable[[str, str], AbstractContextManager[Progress]]  # (what, unit) -> what hears how far it is


@dataclass(frozen=True, slots=True)
class Export:
    """What is to become of a model. `output` is where it goes; None: a name made from the model's."""

    request: ModelRequest
    to: str  # a key of EXPORT_SUFFIXES
    dtype: str  # a key of TOLERANCES
    images: tuple[str, ...] = ()  # to check it on
    output: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A new model file, and how far it agrees with the original."""

    path: Path
    parity: Parity
    origin: str  # of the images
    tolerance: float


def export(wanted: Export, *, notify: Notify, meter: Meter) -> Exported:
    """Writes the model file that is wanted; what was in its place stays unless all goes well.

    The original and the new file are run on real images, one by Keras and the other by LiteRT, and compared. Raises
    ParityError if they disagree, and other CnncliErrors for what else the user can mend.
    """
    location = locate(wanted.request.model or "")
    if isinstance(location, Path) and location.suffix == ".tflite" and location != bundled.path():
        raise ModelError(_no_way_back(location, wanted))
    if isinstance(location, Path):
        read_card(location)  # refuses what is no model before anything else is said
    output = wanted.output or _name(location, wanted)
    source = location if isinstance(location, Path) else wanted.request.weights
    why = f"which --to {wanted.to} writes"
    check_output(output, EXPORT_SUFFIXES[wanted.to], why, source=source, force=wanted.force)
    sample = _sample(location, wanted, notify)
    backends = ("tensorflow", "litert") if wanted.to == "litert" else ("auto", "tensorflow")
    with meter("weights", "bytes") as downloaded:
        original = open_model(replace(wanted.request, backend=backends[0]), notify=notify, progress=downloaded)
    if original.card.mirrored:
        notify(
            f"{original.name} is shown a photo and its mirror image, and the mean counts; other programs have to do so "
            "too for the accuracy that its card gives"
        )
    with _workspace(output) as made:
        _make(_job(location, original.name, wanted), made, notify)
        new = open_model(ModelRequest(str(made), backend=backends[1]), notify=notify, progress=lambda *_: None)
        with meter("check", "images") as compared:
            parity = compare(original, new, sample.sources, progress=compared)
        _require_agreement(parity, wanted, output)
        made.replace(output)
    return Exported(output, parity, sample.origin, TOLERANCES[wanted.dtype])


def _no_way_back(path: Path, wanted: Export) -> str:
    if wanted.to == "litert" and wanted.dtype == "float32":
        return f"{path}: this is a LiteRT network already; copy the file"
    what = "a Keras model" if wanted.to == "keras" else f"{wanted.dtype} weights"
    return f"{path}: a LiteRT network cannot be given {what}; export the .keras file or run that it was made from"


def _name(location: Backbone | Path, wanted: Export) -> Path:
    """A name in the current folder: that of the network, the run or the file, and what is special about the export."""
    if isinstance(location, Backbone):
        stem = location.name
    else:
        stem = location.stem if location.name != "model.keras" else location.resolve().parent.name or "model"
    return Path(f"{stem}{'' if wanted.dtype == 'float32' else f'-{wanted.dtype}'}{EXPORT_SUFFIXES[wanted.to]}")


def _sample(location: Backbone | Path, wanted: Export, notify: Notify) -> Sample:
    """The images to compare on, found before anything slow begins."""
    if wanted.images:
        return samples.given(wanted.images, offline=wanted.request.offline, notify=notify)
    if isinstance(location, Path) and location.name == "model.keras":
        sample = samples.of_run(Run(location.parent))
        if sample is not None:
            return sample
    notify("It is checked on photos that come with cnncli; --images names others.")
    return samples.bundled()


def _job(location: Backbone | Path, name: str, wanted: Export) -> compiled.Job:
    form: compiled.Form = "keras" if wanted.to == "keras" else "litert"
    if wanted.dtype == "float16":
        form = "litert-float16"
    if isinstance(location, Path):
        return compiled.Job("keras", name, location, form)
    return compiled.Job("backbone", name, wanted.request.weights or location.weights_path, form)


@contextlib.contextmanager
def _workspace(output: Path) -> Iterator[Path]:
    """A file beside `output` to make the model in, gone afterwards. What fails there is said of the place itself."""
    folder = place = str(output.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".cnncli-export.", dir=place) as folder:
            folder = str(Path(folder))  # as messages have it: without ./
            yield Path(folder) / output.name
    except ModelError as problem:
        raise ModelError(str(problem).replace(folder, place)) from problem
    except OSError as problem:
        where = str(problem.filename or place).replace(folder, place)
        raise ModelError(f"{where}: {problem.strerror}; free some space, or choose another folder") from problem


def _make(job: compiled.Job, made: Path, notify: Notify) -> None:
    """Writes the new file; a LiteRT network in float32 is the one that `predict` runs, byte for byte."""
    if job.form == "litert":
        content = compiled.obtain(job, notify).path.read_bytes()
        with replacing(made) as file:
            file.write(content)
    else:
        notify(f"Converting {job.name}.")
        compiled.build(job, made)


def _require_agreement(parity: Parity, wanted: Export, output: Path) -> None:
    """Raises ParityError if the two differ by too much, ImageError if no image could be read."""
    if not parity.images:
        name, reason = parity.failures[0]
        raise ImageError(f"{output}: not written: no image could be read to check it on ({name}: {reason})")
    allowed = TOLERANCES[wanted.dtype]
    changed = parity.images - parity.same_first
    if not parity.difference <= allowed or changed > max(1, MOST_CHANGED * parity.images):  # also true of NaN
        instead = "" if wanted.dtype == "float32" else "; --dtype float32 keeps the weights as they are"
        raise ParityError(
            f"{output}: not written: its probabilities differ from the original's by up to {parity.difference:.2g} "
            f"({allowed:g} is allowed). On {parity.images} images the best class is the same on {parity.same_first}, "
            f"the top {parity.top} on {parity.same_top}{instead}"
        )
