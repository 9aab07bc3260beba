"""The pixels of a data set: the same as those of `predict`, read once, in memory or in a file that leaves no trace."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncli import images
from cnncli.backbones import ImageClass, InputSpec, Resize
from cnncli.datasets import memory
from cnncli.datasets.dataset import Dataset, Example
from cnncli.datasets.pixels import Failure, Pixels, load, spec_to_show, survey
from cnncli.errors import CacheError
from cnncli.images import Header
from cnncli.inference.models import ReadyModel
from cnncli.inference.pipeline import predict
from cnncli.modelcard import ModelCard
from cnncli.sources import Source

CLASSES = (ImageClass("a", "a"), ImageClass("b", "b"))


def quietly(done: int, total: int | None) -> None:
    pass


def loaded(examples: list[Example], spec: InputSpec) -> Pixels:
    return load(examples, spec, workers=2, progress=quietly)


@pytest.fixture
def files(tmp_path: Path, photo: Image.Image) -> list[Example]:
    """A photo in the formats and ways that need care: turned, transparent, palette, 16 bits, grey, large."""
    turned = Image.Exif()
    turned[0x0112] = 6
    large = photo.resize((1600, 1000))
    ways: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "turned.jpg": (photo, {"exif": turned}),
        "large.jpg": (large, {}),
        "alpha.png": (photo.convert("RGBA").resize((90, 120)), {}),
        "palette.gif": (photo.convert("P"), {}),
        "deep.png": (Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257), {}),
        "gray.webp": (photo.convert("L"), {}),
        "cmyk.tif": (photo.convert("CMYK"), {}),
    }
    for name, (image, options) in ways.items():
        image.save(tmp_path / name, **options)
    return [Example(name, index % 2, tmp_path / name) for index, name in enumerate(ways)]


class Eye:
    """An engine that keeps the pixels it is given."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.seen.append(pixels.copy())
        return np.array([1, 0], np.float32)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_pixels_are_those_that_predict_gives_a_network(
    files: list[Example], resize: Resize, color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, eye = InputSpec(48, 64, color, resize), Eye()
    monkeypatch.setattr(ReadyModel, "engine", lambda model, num_threads: eye)
    model = ReadyModel("eye", ModelCard("eye", CLASSES, spec), Path(__file__), "litert")
    sources = [Source(example.name, path=example.path) for example in files]
    assert [result.error for result in predict(model, sources, top=1, workers=1)] == [None] * len(files)
    found = loaded(files, spec)
    assert found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.images, np.stack(eye.seen))


def test_pixels_of_an_image_of_the_right_size_are_its_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 9, 3), np.uint8)
    for index, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / f"{index}.png")
    found = loaded([Example(str(index), 0, tmp_path / f"{index}.png") for index in range(5)], InputSpec(7, 9))
    np.testing.assert_array_equal(found.images, pixels)


def test_labels_names_and_hashes_come_in_the_order_of_the_examples(files: list[Example]) -> None:
    found = loaded(files, InputSpec(8, 8))
    assert found.labels.dtype == np.int32
    assert found.labels.tolist() == [example.label for example in files]
    assert found.names == tuple(example.name for example in files)
    assert found.digests == tuple(sha256(example.path.read_bytes()).digest() for example in files if example.path)
    assert found.failures == ()


def test_published_arrays_are_taken_as_pictures() -> None:
    rng = np.random.default_rng(2)
    gray, color = rng.integers(0, 256, (28, 28), np.uint8), rng.integers(0, 256, (28, 28, 3), np.uint8)
    examples = [Example("x[0]", 1, pixels=gray), Example("x[1]", 0, pixels=color)]
    found = loaded(examples, InputSpec(28, 28))
    np.testing.assert_array_equal(found.images[0], np.stack([gray] * 3, axis=-1))
    np.testing.assert_array_equal(found.images[1], color)
    assert found.digests == (sha256(gray.tobytes()).digest(), sha256(color.tobytes()).digest())
    np.testing.assert_array_equal(loaded(examples[:1], InputSpec(28, 28, "gray")).images[0, :, :, 0], gray)
    dataset = Dataset("x", CLASSES, {"train": (examples[0],), "test": (examples[1],)})
    assert survey(dataset, workers=2, progress=quietly).sizes == {(28, 28): 2}


# --- bad files -------------------------------------------------------------------------------------------------------


def test_bad_files_are_all_named_and_left_out(tmp_path: Path) -> None:
    examples = []
    for index in range(100):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", (6, 4), (index, 0, 0)).save(path)
        if index % 3 == 0:
            path.write_bytes(path.read_bytes()[: index % 40 + 1])
        examples.append(Example(path.name, index % 2, path))
    examples.append(Example("gone.png", 0, tmp_path / "gone.png"))
    before = [example.path.read_bytes() for example in examples[:100] if example.path]
    found = loaded(examples, InputSpec(4, 6))
    good = [index for index in range(100) if index % 3]
    assert found.images[:, 0, 0, 0].tolist() == good
    assert found.names == tuple(f"{index}.png" for index in good)
    assert found.labels.tolist() == [index % 2 for index in good]
    assert len(found.digests) == len(good)
    assert [failure.name for failure in found.failures] == [*(f"{i}.png" for i in range(0, 100, 3)), "gone.png"]
    assert found.failures[-1] == Failure("gone.png", "no such file")
    assert [example.path.read_bytes() for example in examples[:100] if example.path] == before
    surveyed = survey(Dataset("d", CLASSES, {"train": tuple(examples)}), workers=2, progress=quietly)
    assert {failure.name for failure in surveyed.failures} <= {failure.name for failure in found.failures}
    assert Failure("gone.png", "no such file") in surveyed.failures


def test_folder_of_bad_files_gives_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("<html>")
    found = loaded([Example("x.jpg", 0, tmp_path / "x.jpg")], InputSpec(4, 6))
    assert found.images.shape == (0, 4, 6, 3)
    assert found.labels.shape == (0,)
    assert found.failures[0].reason.startswith("not an image: this is an HTML page")


def test_file_is_read_once(files: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = Source.open

    def watched(source: Source) -> io.BufferedIOBase:
        if source.path is not None:
            opened.append(source.name)
        return real(source)  # type: ignore[return-value]

    monkeypatch.setattr(Source, "open", watched)
    loaded(files, InputSpec(8, 8))
    assert sorted(opened) == sorted(example.name for example in files)


def test_bug_or_interrupt_ends_the_reading_soon(files: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    num_threads = threading.active_count()

    def interrupted(source: Source, **options: object) -> images.Picture:
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loaded(files * 100, InputSpec(8, 8))
    assert len(calls) < 100
    assert threading.active_count() == num_threads


def test_progress_counts_images(files: list[Example]) -> None:
    seen: list[tuple[int, int | None]] = []
    load(files * 5, InputSpec(8, 8), workers=2, progress=lambda *values: seen.append(values))
    assert seen == [(16, 35), (32, 35), (35, 35)]


# --- survey ----------------------------------------------------------------------------------------------------------


def surveyed(tmp_path: Path, *pictures: Image.Image, **options: object):
    examples = []
    for index, picture in enumerate(pictures):
        picture.save(tmp_path / f"{index}.png", **options)
        examples.append(Example(f"{index}.png", 0, tmp_path / f"{index}.png"))
    half = len(examples) // 2
    splits = {"train": tuple(examples[:half]), "test": tuple(examples[half:])}
    return survey(Dataset("d", CLASSES, splits), workers=2, progress=quietly)


def test_survey_finds_the_common_size_and_colour(tmp_path: Path) -> None:
    gray, color, tall = Image.new("L", (9, 5)), Image.new("RGB", (9, 5)), Image.new("L", (5, 9))
    assert (surveyed(tmp_path, gray, gray).common_size, surveyed(tmp_path, gray, gray).gray) == ((5, 9), True)
    assert (surveyed(tmp_path, gray, color).common_size, surveyed(tmp_path, gray, color).gray) == ((5, 9), False)
    assert (surveyed(tmp_path, gray, tall).common_size, surveyed(tmp_path, gray, tall).gray) == (None, True)
    assert surveyed(tmp_path, gray, tall, gray).sizes == {(5, 9): 2, (9, 5): 1}
    assert surveyed(tmp_path).common_size is None


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "size", "expected"),
    [
        ([Header(20, 10, True)], None, InputSpec(10, 20, "gray", "pad")),
        ([Header(20, 10, True), Header(20, 10, False)], None, InputSpec(10, 20, "rgb", "pad")),
        ([Header(20, 10, False), Header(10, 20, False)], None, InputSpec(128, 128, "rgb", "pad")),
        ([Header(129, 10, False)], None, InputSpec(128, 128, "rgb", "pad")),
        ([Header(20, 10, True), Header(900, 10, True)], (48, 64), InputSpec(48, 64, "gray", "pad")),
    ],
)
def test_images_to_show_decide_size_and_colour(
    headers: list[Header], size: tuple[int, int] | None, expected: InputSpec
) -> None:
    assert spec_to_show(headers, size, "pad") == expected


def test_array_that_does_not_fit_lies_in_the_cache_folder(
    files: list[Example], monkeypatch: pytest.MonkeyPatch, own_caches: Path
) -> None:
    in_memory = loaded(files, InputSpec(48, 64))
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    in_file = loaded(files, InputSpec(48, 64))
    assert in_memory.images.base is None or not isinstance(in_memory.images.base, memory.mmap.mmap)
    np.testing.assert_array_equal(in_file.images, in_memory.images)
    in_file.images[0] = 7  # it may be written like any array
    assert list((own_caches / "cnncli" / "pixels").iterdir()) == []  # its file has no name
    assert sorted(path.name for path in files[0].path.parent.iterdir()) == sorted(e.name for e in files)  # type: ignore[union-attr]


def test_half_of_the_free_memory_may_be_taken(monkeypatch: pytest.MonkeyPatch, own_caches: Path) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 2000)
    assert memory.bytes_array((10, 100)).shape == (10, 100)
    assert not (own_caches / "cnncli").exists()
    assert memory.bytes_array((1, 1001)).shape == (1, 1001)
    assert (own_caches / "cnncli" / "pixels").is_dir()


def test_full_disk_is_found_before_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    with pytest.raises(
        CacheError, match=r"pixels: the decoded images need 4000000.0 GB here, which has .* CNNCLI_CACHE"
    ):
        memory.bytes_array((10**6, 10**9, 4))


def test_container_limits_the_free_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    unlimited = memory.free_bytes()
    assert 1e8 < unlimited < 1e14
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.free_bytes() == pytest.approx(unlimited, rel=0.2)
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.free_bytes() == 4000


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_process_leaves_no_file(own_caches: Path) -> None:
    program = (
        "from cnncli.datasets import memory\nmemory.free_bytes = lambda: 0\n"
        "array = memory.bytes_array((100, 1000)); array[:] = 1; print('ready', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path for path in (own_caches / "cnncli").rglob("*") if path.is_file()] == []


@pytest.fixture
def peak_mb() -> Callable[[str], float]:
    """The most memory that a program takes, in MB."""

    def run(program: str) -> float:
        measured = program + "\nprint(*[l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')])"
        done = subprocess.run([sys.executable, "-c", measured], capture_output=True, timeout=60, check=True)
        return float(done.stdout) * 1024 / 1e6

    return run


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_loading_takes_little_more_memory_than_the_array(tmp_path: Path, peak_mb: Callable[[str], float]) -> None:
    Image.new("RGB", (300, 300), (9, 8, 7)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"bad")
    program = (
        "from pathlib import Path; from cnncli.backbones import InputSpec\n"
        "from cnncli.datasets.dataset import Example; from cnncli.datasets.pixels import load\n"
        f"good, bad = (Example(n, 0, Path({str(tmp_path)!r}, n)) for n in ('a.png', 'b.png'))\n"
        "found = load([bad, *[good] * NUMBER], InputSpec(300, 300), workers=2, progress=lambda *x: None)\n"
        "assert len(found.images) == NUMBER"
    )
    little, much = (peak_mb(program.replace("NUMBER", str(number))) for number in (1, 600))
    assert 162 < much - little < 162 * 1.2  # 600 x 300 x 300 x 3 bytes
