"""The cache of compiled networks, and the process that compiles."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from official_weights import official_weights
from PIL import Image
from weights_server import serving

from cnncli.backbones import BACKBONES, ImageClass, InputSpec
from cnncli.errors import CacheError, ModelError
from cnncli.inference import cache, child, compiled, models
from cnncli.inference.compiled import Job
from cnncli.inference.request import ModelRequest
from cnncli.modelcard import ModelCard
from cnncli.modelfile import read_card, write_tflite

FLATBUFFER = b"\x1c\x00\x00\x00TFL3" + bytes(100)
CARD = ModelCard("stand-in", (ImageClass("a", "a"), ImageClass("b", "b")), InputSpec(8, 8))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "model.keras"
    path.parent.mkdir()
    path.write_bytes(b"content 1")
    return path


class Compiler:
    """Takes the place of the compiling process: runs a few lines of Python with `job` and `output` set."""

    SUCCESS = "import shutil; shutil.copy(job['ready'], output)"

    def __init__(self, ready: Path) -> None:
        self._ready, self.scripts, self.runs = ready, [self.SUCCESS], 0

    def command(self, job: Job, output: Path) -> list[str]:
        script = self.scripts[min(self.runs, len(self.scripts) - 1)]
        self.runs += 1
        values = json.dumps({"ready": str(self._ready), "path": str(job.path)})
        begin = "import json, sys; job, output = json.loads(sys.argv[1]), sys.argv[2]\n"
        return [sys.executable, "-c", begin + script, values, str(output)]


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """A compiler that takes milliseconds and always makes the same file."""
    write_tflite(FLATBUFFER, CARD, tmp_path / "ready.tflite")
    compiler = Compiler(tmp_path / "ready.tflite")
    monkeypatch.setattr(compiled, "_command", compiler.command)
    return compiler


def obtain(path: Path, notes: list[str] | None = None) -> compiled.Compiled:
    notify: Callable[[str], None] = (lambda text: None) if notes is None else notes.append
    return compiled.obtain(Job("keras", "photos", path), notify)


def in_cache() -> list[str]:
    """What is in the folder of compiled networks, its names shortened."""
    return sorted(path.name[:4] + "".join(path.suffixes) for path in compiled.folder().glob("*"))


# -- the cache ------------------------------------------------------------------------------------------------------


def test_network_is_compiled_once_and_the_user_is_told(source, compiler) -> None:
    notes: list[str] = []
    entry = obtain(source, notes)
    assert obtain(source, notes) == entry and compiler.runs == 1
    assert notes == ["Compiling photos for this machine, once; later runs start at once."]
    assert (entry.name, entry.source, read_card(entry.path).classes) == ("stand-in", str(source), CARD.classes)
    assert list(compiled.entries()) == [entry]
    assert entry.size_bytes == entry.path.stat().st_size > len(FLATBUFFER)
    assert {path.suffix for path in compiled.folder().iterdir()} == {".json", ".tflite"}


def test_touched_or_copied_source_is_not_compiled_again(source, compiler, tmp_path) -> None:
    entry = obtain(source)
    source.touch()
    assert obtain(source) == entry
    shutil.copy(source, tmp_path / "copy.keras")
    assert obtain(tmp_path / "copy.keras") == entry and compiler.runs == 1


def test_key_depends_on_content_kind_and_network_and_on_nothing_else(source, monkeypatch) -> None:
    backbone = Job("backbone", "mobilenet", source).key()
    assert Job("keras", "a", source).key() == Job("keras", "b", source).key() != backbone
    assert Job("backbone", "resnet50", source).key() != backbone
    assert Job("backbone", "mobilenet-0.75", source).key() == backbone  # the weights tell the width
    source.write_bytes(b"content 2")
    changed = Job("backbone", "mobilenet", source).key()
    assert changed != backbone
    monkeypatch.setattr(compiled, "RECIPE", compiled.RECIPE + 1)
    assert Job("backbone", "mobilenet", source).key() != changed


def test_changed_source_is_compiled_again_and_its_older_compilation_removed(source, compiler, tmp_path) -> None:
    other = tmp_path / "other.keras"
    other.write_bytes(b"another model")
    kept, old = obtain(other), obtain(source)
    os.utime(old.path.with_suffix(".json"), (0, 0))  # nobody asked for it in the last minutes
    source.write_bytes(b"content 2")
    new = obtain(source)
    assert compiler.runs == 3 and not old.path.exists()
    assert {entry.path for entry in compiled.entries()} == {kept.path, new.path}
    assert len(list(compiled.folder().iterdir())) == 4


def test_older_compilation_that_may_still_be_opened_stays(source, compiler) -> None:
    old = obtain(source)
    os.utime(old.path.with_suffix(".json"), (0, 0))
    assert obtain(source).path == old.path  # and so it is in use
    source.write_bytes(b"content 2")
    obtain(source)
    assert old.path.exists()


def _flip(entry: compiled.Compiled) -> None:
    content = bytearray(entry.path.read_bytes())
    content[40] ^= 1
    entry.path.write_bytes(content)


def _truncate(entry: compiled.Compiled) -> None:
    entry.path.write_bytes(entry.path.read_bytes()[:50])


def _lose_network(entry: compiled.Compiled) -> None:
    entry.path.unlink()


def _lose_record(entry: compiled.Compiled) -> None:
    entry.path.with_suffix(".json").unlink()


def _garble_record(entry: compiled.Compiled) -> None:
    entry.path.with_suffix(".json").write_text('{"name": "x"')


def _empty_record(entry: compiled.Compiled) -> None:
    entry.path.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize("harm", [_flip, _truncate, _lose_network, _lose_record, _garble_record, _empty_record])
def test_damaged_entry_is_compiled_again(source, compiler, harm) -> None:
    entry = obtain(source)
    content = entry.path.read_bytes()
    harm(entry)
    assert obtain(source) == entry and compiler.runs == 2
    assert entry.path.read_bytes() == content and list(compiled.entries()) == [entry]


def test_removed_entry_leaves_nothing(source, compiler) -> None:
    compiled.remove(obtain(source))
    assert list(compiled.folder().iterdir()) == []


def test_warm_cache_works_when_it_is_read_only(source, compiler, monkeypatch) -> None:
    entry = obtain(source)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert obtain(source) == entry
    source.write_bytes(b"content 2")
    with pytest.raises(CacheError, match="this folder cannot be written; set CNNCLI_CACHE to another"):
        obtain(source)


@pytest.mark.parametrize("failing", ["mkdtemp", "fsync", "replace"])
def test_full_disk_is_said_and_leaves_nothing(source, compiler, monkeypatch, failing) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cache.writable(compiled.folder())
    cache.hashes(source)
    owner = {"mkdtemp": "tempfile.mkdtemp", "fsync": "os.fsync", "replace": "pathlib.Path.replace"}[failing]
    with monkeypatch.context() as patch:
        patch.setattr(owner, full)
        with pytest.raises(CacheError, match=r"cannot be kept here \(No space left on device\); free some space"):
            obtain(source)
    assert list(compiled.folder().iterdir()) == []
    assert obtain(source).path.exists()


# -- a source that changes ------------------------------------------------------------------------------------------

REPLACE = "import os; open(job['path'] + '.new', 'w').write('content 2'); os.replace(job['path'] + '.new', job['path'])"


@pytest.mark.parametrize("end", [Compiler.SUCCESS, "print(json.dumps({'error': 'half a file'})); sys.exit(1)"])
def test_source_that_is_replaced_meanwhile_is_compiled_from_its_new_content(source, compiler, end) -> None:
    compiler.scripts = [f"{REPLACE}\n{end}", Compiler.SUCCESS]
    entry = obtain(source)
    assert compiler.runs == 2 and [e.path for e in compiled.entries()] == [entry.path]
    assert entry.path.stem == Job("keras", "", source).key()
    source.write_bytes(b"content 1")
    assert obtain(source) != entry and compiler.runs == 3  # nothing was kept for the old content


def test_source_that_never_stays_the_same_is_given_up(source, compiler) -> None:
    compiler.scripts = ["import os; open(job['path'], 'wb').write(os.urandom(8))\n" + Compiler.SUCCESS]
    with pytest.raises(ModelError, match=r"model\.keras: it is replaced again and again"):
        obtain(source)
    assert compiler.runs == compiled.ATTEMPTS and list(compiled.folder().iterdir()) == []


def test_source_that_vanishes_meanwhile_is_named(source, compiler) -> None:
    compiler.scripts = ["import os; os.remove(job['path'])\n" + Compiler.SUCCESS]
    with pytest.raises(FileNotFoundError) as caught:
        obtain(source)
    assert caught.value.filename == str(source)
    assert list(compiled.folder().iterdir()) == []


# -- the compiling process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "print('noise'); print(json.dumps({'error': 'these are not the weights'})); sys.exit(1)",
            "^these are not the",
        ),
        ("raise ValueError('odd')", r"photos: it could not be compiled \(ValueError: odd\); -v shows everything"),
        ("sys.exit('out of luck\\n\\n')", r"it could not be compiled \(out of luck\)"),
        ("print(5); sys.exit(1)", r"it could not be compiled \(exit code 1\)"),
        ("sys.exit(7)", r"it could not be compiled \(exit code 7\)"),
        ("import os; os.kill(os.getpid(), 9)", r"by signal 9 \(not enough memory\? .*--backend tensorflow\)"),
    ],
    ids=["own-message", "exception", "text", "number", "silent", "killed"],
)
def test_failed_compilation_says_why_and_leaves_nothing(source, compiler, script, expected) -> None:
    compiler.scripts = ["open(output + '.half', 'w').write('x')\n" + script]
    with pytest.raises(ModelError, match=expected) as caught:
        obtain(source)
    assert "Traceback" not in str(caught.value)
    assert list(compiled.folder().iterdir()) == []
    compiler.scripts = [Compiler.SUCCESS]
    assert obtain(source).path.exists()


def test_compiler_that_is_too_talkative_does_not_hang(source, compiler) -> None:
    compiler.scripts = ["sys.stderr.write('noise ' * 200_000); sys.stdout.write('x' * 1_000_000)\n" + Compiler.SUCCESS]
    assert obtain(source).path.exists()


def test_what_the_compiler_prints_goes_to_the_descriptor_of_native_libraries(source, compiler, capfd) -> None:
    compiler.scripts = ["sys.stderr.write('a message of TensorFlow\\n'); print('out')\n" + Compiler.SUCCESS]
    obtain(source)
    assert capfd.readouterr() == ("", "a message of TensorFlow\n")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stopping_kills_the_compiler_and_leaves_nothing(source, compiler, monkeypatch, tmp_path, stop) -> None:
    compiler.scripts = [
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    ]
    monkeypatch.setattr(compiled, "_BEAT_S", 0.05)

    def beat(work: cache.Work) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise stop

    monkeypatch.setattr(cache.Work, "beat", beat)
    begin = time.monotonic()
    with pytest.raises(stop):
        obtain(source)
    assert time.monotonic() - begin < 30  # half of what the compiler would have taken
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list(compiled.folder().iterdir()) == []


def test_compiler_beats_while_it_works(source, compiler, monkeypatch) -> None:
    monkeypatch.setattr(compiled, "_BEAT_S", 0.05)
    beats = []
    monkeypatch.setattr(cache.Work, "beat", lambda work: beats.append(work.held))
    compiler.scripts = ["import time; time.sleep(0.5)\n" + Compiler.SUCCESS]
    obtain(source)
    assert len(beats) > 3 and all(beats)


def test_what_a_killed_run_left_is_removed_by_the_next(source, compiler) -> None:
    key = Job("keras", "", source).key()
    (compiled.folder() / f"{key}.abandoned").mkdir(parents=True)
    (compiled.folder() / f"{key}.abandoned" / ".network.tflite.0badcafe.tmp").write_bytes(b"half")
    (compiled.folder() / "another-key.abandoned").mkdir()
    (compiled.folder() / f".{key}.json.0badcafe.tmp").write_bytes(b"half")
    obtain(source)
    kept = sorted(path.name for path in compiled.folder().iterdir())
    assert kept == sorted(["another-key.abandoned", f"{key}.json", f"{key}.tflite"])


def test_compiler_imports_nothing_from_the_current_folder(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/one", "", "/two", ""]))
    entries = child.environment()["PYTHONPATH"].split(os.pathsep)
    assert entries[1:] == ["/one", "/two"] and (Path(entries[0]) / "cnncli").is_dir()
    assert compiled._command(Job("keras", "x", Path("x")), Path("y"))[1:4] == ["-P", "-m", "cnncli.learning.compile"]


# -- models that are opened ---------------------------------------------------------------------------------------


def open_model(model: Path | str, weights: Path | None = None, notes: list[str] | None = None) -> models.ReadyModel:
    notify: Callable[[str], None] = (lambda text: None) if notes is None else notes.append
    request = ModelRequest(str(model), weights)
    return models.open_model(request, notify=notify, progress=lambda done, total: None)


def test_network_and_its_classes_are_of_one_file_when_the_model_is_replaced_meanwhile(
    flat_model, tmp_path, compiler
) -> None:
    """The compiler sees a file whose classes have other names than those that were read first."""
    source = tmp_path / "model.keras"
    shutil.copy(flat_model, source)
    compiler.scripts = ["open(job['path'], 'ab').write(b'another')\n" + Compiler.SUCCESS, Compiler.SUCCESS]
    ready = open_model(source)
    assert [c.id for c in ready.card.classes] == ["a", "b"] and ready.card.input == CARD.input


def test_weights_option_is_refused_together_with_a_model_file(flat_model, tmp_path) -> None:
    with pytest.raises(ModelError, match=r"--weights .*w\.h5: .*brightest\.keras has its own"):
        open_model(flat_model, tmp_path / "w.h5")


@pytest.fixture(scope="module")
def small_mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of MobileNet with a quarter of the width, made up."""
    return official_weights("mobilenet-0.25", tmp_path_factory.mktemp("weights") / "given.h5")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler without its process, which spares the seconds of importing TensorFlow again."""
    from cnncli.learning import compile

    def run(job: Job, output: Path, work: cache.Work) -> str | None:
        try:
            compile.compile_job({"kind": job.kind, "name": job.name, "path": str(job.path), "output": str(output)})
        except ModelError as problem:
            return str(problem)
        return None

    monkeypatch.setattr(compiled, "_run_compiler", run)


def test_weights_option_finds_the_width_of_a_mobilenet_and_names_the_network(small_mobilenet, in_process) -> None:
    notes: list[str] = []
    ready = open_model("mobilenet", small_mobilenet, notes)
    assert (ready.name, len(ready.card.classes), ready.backend) == ("mobilenet-0.25", 1000, "litert")
    assert notes == ["Compiling mobilenet for this machine, once; later runs start at once."]
    engine = ready.engine(num_threads=2)
    scores = engine(np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8))
    assert scores.shape == (1000,) and scores.sum() == pytest.approx(1, abs=1e-4)


def _without_layers(path: Path) -> None:
    with h5py.File(path, "w") as root:
        root["layers/conv/vars/0"] = np.zeros(3)  # as Keras 3 writes its .weights.h5


def _of_another_network(path: Path) -> None:
    with h5py.File(path, "w") as root:
        root.attrs["layer_names"] = [b"conv1"]
        root.create_group("conv1").attrs["weight_names"] = [b"kernel"]
        root["conv1/kernel"] = np.zeros((5, 5, 3, 8), np.float32)


def _truncated(path: Path) -> None:
    _of_another_network(path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_without_layers, "expected weights in the layout of Keras Applications, with a list of layer names"),
        (_of_another_network, "not the weights of mobilenet-0.25: layer 1 should be 'conv1' of shapes 3x3x3x8"),
        (_truncated, "its weights are damaged"),
    ],
)
def test_weights_option_says_what_is_wrong_with_a_file(tmp_path, in_process, make, expected) -> None:
    make(tmp_path / "w.h5")
    with pytest.raises(ModelError) as caught:
        open_model("mobilenet-0.25", tmp_path / "w.h5")
    assert str(tmp_path / "w.h5") in str(caught.value) and expected in str(caught.value)
    assert "models remove" not in str(caught.value)
    assert list(compiled.folder().iterdir()) == []


@pytest.mark.parametrize("blamed", [True, False])
def test_cached_weights_are_to_be_fetched_again_only_where_they_are_to_blame(compiler, monkeypatch, blamed) -> None:
    row = replace(BACKBONES["mobilenet"], parameters=600)
    monkeypatch.setitem(BACKBONES, "mobilenet", row)
    row.weights_path.parent.mkdir(parents=True)
    _of_another_network(row.weights_path)
    refusal = "print(json.dumps({'error': job['path'] + ': these are not the weights'})); sys.exit(1)"
    compiler.scripts = [refusal if blamed else "raise OSError(28, 'No space left on device')"]
    with pytest.raises(ModelError) as caught:
        open_model("mobilenet")
    assert ("cnncli models remove mobilenet, then cnncli models pull mobilenet" in str(caught.value)) == blamed


def test_network_that_was_pulled_answers_without_a_network(small_mobilenet, in_process, cnncli, monkeypatch) -> None:
    with serving(small_mobilenet.read_bytes()) as server:
        monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", server.address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        run = cnncli("models", "pull", "mobilenet-0.25")
    assert (run.code, run.out, run.err.splitlines()[-1]) == (0, "", "mobilenet-0.25: ready")
    monkeypatch.setattr(compiled, "_run_compiler", lambda *args: pytest.fail("compiled again"))
    ready = open_model("mobilenet-0.25")
    assert (ready.name, ready.backend, len(server.requests)) == ("mobilenet-0.25", "litert", 1)


# -- with the real compiler -----------------------------------------------------------------------------------------

CNNCLI = Path(sys.executable).with_name("cnncli")  # the console script, as users start it


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat_model: Path) -> Path:
    """The current directory: a red picture, a copy of the small model, and files named like packages."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Image.new("RGB", (60, 40), (250, 10, 10)).save("red.png")
    shutil.copy(flat_model, "brightest.keras")
    for name in ("numpy", "keras", "tensorflow", "h5py", "json", "PIL", "click", "cnncli"):
        Path(f"{name}.py").write_text("raise SystemExit('imported from the current directory')")
    return tmp_path / "here"


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([CNNCLI, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_runs_share_one_compilation_and_neither_import_from_the_folder_nor_leave_anything_there(folder) -> None:
    before = sorted(path.name for path in folder.iterdir())
    runs = [start("predict", "red.png", "--model", "brightest.keras", "--top", "1") for _ in range(8)]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0] * 8, outputs
    assert {out.split("\t")[3] for out, _ in outputs} == {"red"} and len({out for out, _ in outputs}) == 1
    assert sum("Compiling" in err for _, err in outputs) == 1
    assert sorted(path.name for path in folder.iterdir()) == before
    assert sorted(path.suffix for path in compiled.folder().iterdir()) == [".json", ".tflite"]


def compilers(pid: int) -> list[int]:
    """The children of a process that already run the compiler."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in found if b"cnncli.learning.compile" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc, which is Linux's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_stopped_run_takes_its_compiler_with_it(folder, number, code) -> None:
    run = start("predict", "red.png", "--model", "brightest.keras")
    assert run.stderr is not None and run.stderr.readline().startswith("Compiling brightest.keras")
    deadline = time.monotonic() + 20
    while not (found := compilers(run.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # the run is back from starting it
    run.send_signal(number)
    out, err = run.communicate(timeout=10)
    assert (run.returncode, out, err.split()) == (code, "", ["stopped"])
    assert found and not any(Path(f"/proc/{child}").exists() for child in found)
    assert list(compiled.folder().iterdir()) == []
