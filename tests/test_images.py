"""The image reader: every format, every oddity and every kind of damage, and the pixels that a network gets."""

from __future__ import annotations

import functools
import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUADRANTS
from PIL import EpsImagePlugin, Image, ImageCms, ImageDraw, ImageFile, JpegImagePlugin, PngImagePlugin

from cnncli.annotate import annotated
from cnncli.backbones import InputSpec
from cnncli.errors import ImageError
from cnncli.imagekinds import sniff
from cnncli.images import MAX_PIXELS, PADDING, Header, Picture, network_input, probe, read
from cnncli.sources import Source

SIDE = 224  # of the networks that the reduced decoding is measured with
MAGICS = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"MM\0+"]


# --- pictures that the tests make ------------------------------------------------------------------------------------


def source(content: bytes) -> Source:
    return Source("picture", content=content)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(read(source(content)).image)


def encoded(image: Image.Image, form: str, append_images: tuple[Image.Image, ...] = (), **options: object) -> bytes:
    """The bytes of an image file; from copies, because Pillow leaves settings of one encoder behind for the next."""
    file = io.BytesIO()
    if append_images:
        options |= {"save_all": True, "append_images": [further.copy() for further in append_images]}
    image.copy().save(file, form, **options)
    return file.getvalue()


def scene(seed: int = 3) -> Image.Image:
    """A small picture with gradients and noise."""
    y, x = np.mgrid[0:32, 0:48].astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 12, (32, 48, 3))
    waves = np.stack([127 + 100 * np.sin(x / a + y / b) for a, b in ((11, 8), (7, 15), (20, 6))], axis=-1)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    result = image.copy()
    result.putalpha(image.convert("L"))
    return result


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, color: int, rows: list[bytes], *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand; `extra` chunks go before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return MAGICS[1] + header + b"".join(chunk(*e) for e in extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(
    width: int, bits: int, data: bytes, *, order: str = "<", white_is_zero: bool = False, sample: int = 1
) -> bytes:
    """A TIFF of one grey row by hand. `sample` is the SampleFormat: 1 unsigned, 2 signed, 3 floating point."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: 1}
    tags |= {279: len(data), 339: sample}
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    return start + data + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0"


def run_length_bmp() -> bytes:
    """An 8-bit BMP with run-length encoding, which Pillow reads but does not write: 32 px wide, 8 px high."""
    rows = b"".join(bytes([16, row % 4, 16, (row + 1) % 4]) + b"\0\0" for row in range(8)) + b"\0\1"
    palette = bytes([10, 20, 30, 0, 200, 0, 0, 0, 0, 200, 0, 0, 0, 0, 200, 0])
    start = 14 + 40 + len(palette)
    header = struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return b"BM" + header + struct.pack("<IiiHHIIiiII", 40, 32, 8, 1, 8, 1, len(rows), 0, 0, 4, 4) + palette + rows


@functools.cache
def corpus() -> dict[str, bytes]:
    """Valid files of every accepted format, in the kinds that decoders treat differently."""
    rgb, second = scene(), scene(4)
    gray, palette, bilevel = rgb.convert("L"), rgb.quantize(64), rgb.convert("1")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    files = {
        "jpeg": encoded(rgb, "JPEG", quality=90),
        "jpeg progressive": encoded(rgb, "JPEG", progressive=True),
        "jpeg gray": encoded(gray, "JPEG"),
        "jpeg cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "jpeg 4:4:4": encoded(rgb, "JPEG", subsampling=0),
        "jpeg restarts": encoded(rgb, "JPEG", restart_marker_rows=1),
        "mpo": encoded(rgb, "MPO", (second,)),
        "png": encoded(rgb, "PNG"),
        "png rgba": encoded(with_alpha(rgb), "PNG"),
        "png palette": encoded(palette, "PNG", transparency=3),
        "png 1 bit": encoded(bilevel, "PNG"),
        "png 16 bits": encoded(deep, "PNG"),
        "apng": encoded(rgb, "PNG", (second,)),
        "gif": encoded(palette, "GIF"),
        "gif not interlaced": encoded(palette, "GIF", interlace=0),
        "gif animated": encoded(palette, "GIF", (second.quantize(64),)),
        "bmp": encoded(rgb, "BMP"),
        "bmp palette": encoded(palette, "BMP"),
        "bmp 1 bit": encoded(bilevel, "BMP"),
        "bmp run lengths": run_length_bmp(),
        "webp": encoded(rgb, "WEBP"),
        "webp lossless": encoded(rgb, "WEBP", lossless=True),
        "webp alpha": encoded(with_alpha(rgb), "WEBP"),
        "webp animated": encoded(rgb, "WEBP", (second,)),
        "tiff": encoded(rgb, "TIFF"),
        "tiff 16 bits": encoded(deep, "TIFF"),
        "tiff float": encoded(Image.fromarray(np.asarray(gray, np.float32) / 255), "TIFF"),
        "tiff cmyk": encoded(rgb.convert("CMYK"), "TIFF"),
        "tiff pages": encoded(rgb, "TIFF", (second,)),
        "tiff strips": encoded(rgb, "TIFF", compression="tiff_lzw", strip_size=1024),
        "tiff group 4": encoded(bilevel, "TIFF", compression="group4"),
        "tiff group 3": encoded(bilevel, "TIFF", compression="group3"),
        "avif": encoded(rgb, "AVIF"),
        "avif alpha": encoded(with_alpha(rgb), "AVIF"),
        "avif animated": encoded(rgb, "AVIF", (second,)),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        files[f"tiff {compression}"] = encoded(rgb, "TIFF", compression=compression)
    return files


every_format = pytest.mark.parametrize("name", list(corpus()))


@functools.cache
def heic() -> bytes:
    """A HEIC file; skips the test where pillow-heif is not installed."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra cnncli[heif]")
    pillow_heif.register_heif_opener()
    return encoded(scene(), "HEIF", quality=90)


# --- what is no image, and what is damaged ---------------------------------------------------------------------------


@every_format
def test_reader_refuses_a_cut_file_or_reads_the_whole_picture(name: str) -> None:
    content = corpus()[name]
    whole = pixels(content)
    refused = 0
    for cut in sorted({len(content) * percent // 100 for percent in range(0, 100, 5)} | {len(content) - 1}):
        try:
            part = pixels(content[:cut])
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(part, whole, f"{name} cut to {cut} of {len(content)} bytes")
    assert refused >= 8  # of animations and multi-page files the second half may go


def test_reader_refuses_a_cut_heic_file_or_reads_the_whole_picture() -> None:
    for percent in range(0, 100, 5):
        with pytest.raises(ImageError):
            read(source(heic()[: len(heic()) * percent // 100]))


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "bmp", "tiff", "webp", "avif"])
def test_reader_says_that_a_cut_file_is_truncated(name: str) -> None:
    with pytest.raises(ImageError, match="truncated"):
        read(source(corpus()[name][: len(corpus()[name]) // 2]))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"x", "this is text"),
        (b"\x00", "not an image that is accepted"),
        (b"hello\n", "this is text"),
        (b"<!DOCTYPE html><p>404", "an HTML page"),
        (b"\xef\xbb\xbf\n<!-- proxy --><html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; run 'git lfs pull'"),
        (b"\0\x05\x16\x07\0\2\0\0", "macOS metadata (AppleDouble)"),
        (b"%PDF-1.7", "a PDF"),
        (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg>", "an SVG drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript (EPS), which is not accepted"),
        (b"PK\x03\x04", "an archive"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "a video"),
        (b"BM is a short (name) of a maker of cars\n", "this is text"),
        *((magic, "damaged or truncated") for magic in MAGICS),
    ],
)
def test_reader_says_what_a_file_is_that_is_no_image(content: bytes, what: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(source(content))
    assert what in str(caught.value)
    assert "object at 0x" not in str(caught.value)


def test_reader_gives_each_refusal_the_accepted_formats() -> None:
    with pytest.raises(ImageError, match="expected JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC"):
        read(source(b"%PDF-1.7"))


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `gs` first on PATH; returns the file that it leaves behind when it runs."""
    marker = tmp_path / "gs-was-run"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return marker


def test_reader_never_runs_ghostscript_for_postscript_named_png(ghostscript: Path, tmp_path: Path) -> None:
    path = tmp_path / "harmless.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ImageError, match="PostScript"):
        read(Source("harmless.png", path=path))
    assert not ghostscript.exists()
    with pytest.raises(OSError), Image.open(path) as image:  # while Pillow, left alone, would have
        image.load()
    assert ghostscript.exists()


@pytest.mark.parametrize(("name", "wrong"), [("png", "x.jpg"), ("jpeg", "x.png"), ("webp", "x.gif"), ("tiff", "x")])
def test_reader_goes_by_content_and_not_by_extension(name: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / wrong
    path.write_bytes(corpus()[name])
    np.testing.assert_array_equal(read(Source(wrong, path=path)).image, pixels(corpus()[name]))


def test_reader_loads_the_pixels_before_it_looks_at_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    load, getexif = JpegImagePlugin.JpegImageFile.load, Image.Image.getexif
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (calls.append("load"), load(self))[1])
    monkeypatch.setattr(Image.Image, "getexif", lambda self: (calls.append("exif"), getexif(self))[1])
    read(source(corpus()["jpeg"]))
    assert calls[0] == "load" and "exif" in calls
    calls.clear()
    with pytest.raises(ImageError):  # after an error, a second attempt would give grey bands as a picture
        read(source(corpus()["jpeg"][:-400]))
    assert calls == ["load"]


def tiff_with_strip_offset_of_type_float() -> bytes:
    content = bytearray(tiff(2, 8, b"\1\2"))
    entry = content.index(struct.pack("<HHI", 273, 4, 1))
    content[entry : entry + 12] = struct.pack("<HHIf", 273, 11, 1, 8.5)
    return bytes(content)


def tiff_with_overflowing_strip_offset() -> bytes:
    big = struct.pack("<HHQQ", 273, 16, 1, 2**64 - 1)
    tags = ((256, 2), (257, 1), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1), (279, 2))
    entries = sorted([*(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags), big])
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(entries)) + b"".join(entries) + bytes(8)


def avif_without_a_timescale() -> bytes:
    content = bytearray(corpus()["avif animated"])
    header = content.index(b"mdhd")
    length = 8 if content[header + 4] else 4  # version 1 has 64-bit times
    start = header + 8 + 2 * length
    content[start : start + 4] = bytes(4)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(1, 1, 8, 3, [b"\0"]), id="AssertionError: a palette PNG without palette"),
        pytest.param(tiff_with_strip_offset_of_type_float(), id="TypeError: a TIFF tag of the wrong type"),
        pytest.param(tiff_with_overflowing_strip_offset(), id="OverflowError: a TIFF offset beyond 64 bits"),
        pytest.param(avif_without_a_timescale(), id="ZeroDivisionError: an AVIF animation without timescale"),
        pytest.param(png(1, 1, 8, 0, [b"\0"], (b"gAMA", b"\0")), id="ValueError: a PNG chunk too short"),
        pytest.param(png(1, 1, 8, 0, [b"\0"], (b"iCCP", b"p\0\x80x")), id="SyntaxError: an unknown compression"),
    ],
)
def test_reader_turns_whatever_a_decoder_raises_into_an_image_error(content: bytes) -> None:
    with pytest.raises(ImageError, match=r"the file is (damaged|truncated)"):
        read(source(content))


def test_reader_says_that_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ImageError, match="not enough memory"):
        read(source(corpus()["jpeg"]))


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with one to three wrong bytes, half of the time in its first 200, and sometimes some missing."""
    result = bytearray(content)
    end = len(result) if rng.integers(2) else min(200, len(result))
    for position in rng.integers(0, end, rng.integers(1, 4)):
        result[position] = rng.choice([result[position] ^ (1 << rng.integers(8)), rng.integers(256), 0, 255])
    if rng.integers(5) == 0:
        start = rng.integers(len(result))
        del result[start : start + rng.integers(20)]
    return bytes(result)


def read_damaged(content: bytes, seed: int, attempts: int) -> int:
    """Reads damaged copies; returns how many were refused. Any exception but ImageError fails the test."""
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(attempts):
        copy = damaged(content, rng)
        try:
            picture = read(source(copy), max_pixels=1_000_000)
        except ImageError as problem:
            refused += 1
            assert str(problem).isprintable()
        else:
            assert picture.image.mode in ("L", "RGB") and picture.image.width * picture.image.height <= 1_000_000
    return refused


@every_format
def test_reader_raises_nothing_but_image_errors_for_damaged_files(name: str) -> None:
    assert read_damaged(corpus()[name], seed=len(name), attempts=60) > 0


def test_reader_refuses_heic_whose_pixels_end_too_soon() -> None:
    content = bytearray(heic())
    start = content.index(b"mdat") + 4
    content[start : start + 4] = b"\xff\xff\xff\xff"  # the length of what follows
    with pytest.raises(ImageError, match=r"^the file is truncated"):
        read(source(bytes(content)))


def test_reader_raises_nothing_but_image_errors_for_damaged_heic_files() -> None:
    assert read_damaged(heic(), seed=1, attempts=60) > 0


# --- bombs -----------------------------------------------------------------------------------------------------------


def jpeg_of(width: int, height: int) -> bytes:
    content = bytearray(corpus()["jpeg"])
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


BOMBS = {
    "png": (png(60_000, 60_000, 8, 2, [b""]), "3,600 megapixels"),
    "gif": (
        b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
        "4,294.836 megapixels",
    ),
    "bmp": (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**21, 2**21, 1, 24, 0, 0, 0, 0, 0, 0),
        "4,398,046.511 megapixels",
    ),
    "jpeg": (jpeg_of(60_000, 60_000), "3,600 megapixels"),
    "tiff": (
        tiff(2_000_000, 8, b"\0").replace(struct.pack("<HHII", 257, 4, 1, 1), struct.pack("<HHII", 257, 4, 1, 1000)),
        "2,000 megapixels",
    ),
    "between one and two times Pillow's limit": (png(18_000, 10_000, 8, 0, [b""]), "180 megapixels"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_reader_refuses_a_decompression_bomb_by_its_header(name: str) -> None:
    content, size = BOMBS[name]
    with pytest.raises(ImageError) as caught:
        read(source(content))
    assert str(caught.value) == f"{size}, the limit is 178.957 megapixels; predict and filter have --max-pixels"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's unit of ru_maxrss")
def test_bombs_take_hardly_any_memory(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.img").write_bytes(content)
    webp = b"RIFF\x16\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + (16_382).to_bytes(3, "little") * 2
    (tmp_path / "w.img").write_bytes(webp)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from cnncli.images import read; from cnncli.sources import Source; from cnncli.errors import ImageError\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000\n"
        "read(Source('', path=Path(sys.argv[2]))); before = used()\n"
        "for path in Path(sys.argv[1]).glob('*.img'):\n"
        "    try: read(Source('', path=path)); print('read', path)\n"
        "    except ImageError: pass\n"
        "print(used() - before)\n"
    )
    good = tmp_path / "good.png"
    good.write_bytes(corpus()["png"])
    run = subprocess.run([sys.executable, "-c", program, tmp_path, good], capture_output=True, text=True, timeout=60)
    assert int(run.stdout) < 100, run.stderr  # MB


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(1, 1, 8, 0, [b"\0"], (b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8)))), id="zTXt"),
        pytest.param(png(1, 1, 8, 0, [b"\0"], (b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(10**8)))), id="iTXt"),
        pytest.param(png(1, 1, 8, 0, [b"\0"], (b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8)))), id="iCCP"),
        pytest.param(MAGICS[1] + struct.pack(">I", 2**31 - 1) + b"tEXtk\0v", id="chunk of 2 GB"),
        pytest.param(b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 256, 1, 2**32 - 1, 8), id="TIFF tag of 4 GB"),
    ],
)
def test_reader_refuses_bombs_in_metadata(content: bytes) -> None:
    with pytest.raises(ImageError):
        read(source(content))


def test_max_pixels_is_the_largest_size_that_is_read() -> None:
    content = encoded(Image.new("L", (40, 30)), "PNG")
    assert read(source(content), max_pixels=1200).image.size == (40, 30)
    with pytest.raises(
        ImageError, match=r"^1,200 pixels, the limit is 1,199 pixels; predict and filter have --max-pixels$"
    ):
        read(source(content), max_pixels=1199)


def test_max_pixels_of_one_call_does_not_hamper_drawing_or_later_calls() -> None:
    picture = read(source(encoded(Image.new("L", (10, 10)), "PNG")), max_pixels=100)
    assert annotated(picture.image, [("a label that takes more than one hundred pixels", 0.5)]).height > 10
    assert read(source(corpus()["png"])).image.size == (48, 32)


def test_max_pixels_can_be_raised_beyond_the_limit_of_pillow() -> None:
    content = png(60_000, 60_000, 8, 0, [b""])
    with pytest.raises(ImageError, match="the file is"):  # it gets as far as the pixels, which are missing
        read(source(content[: content.index(b"IDAT")]), max_pixels=4 * 10**9)
    assert Image.MAX_IMAGE_PIXELS == 4 * 10**9
    with pytest.raises(ImageError, match="megapixels"):
        read(source(content))
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS


# --- upright, as a viewer shows it -----------------------------------------------------------------------------------

# What a file with each EXIF orientation stores of a picture that is displayed as `p` (EXIF 2.32, table of tag 0x0112).
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[::-1],
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}
every_orientation = pytest.mark.parametrize("orientation", STORED)


def stored(displayed: Image.Image, orientation: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(displayed))))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def assert_quadrants(image: Image.Image) -> None:
    """The fixture `quadrants`, as it is displayed, but for a scale and compression."""
    assert image.width / image.height == pytest.approx(100 / 60)
    places = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    found = [image.convert("RGB").getpixel((int(x * image.width), int(y * image.height))) for x, y in places]
    np.testing.assert_allclose(found, QUADRANTS, atol=8)


@every_orientation
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
def test_reader_turns_the_picture_as_exif_says(form: str, orientation: int, quadrants: Image.Image) -> None:
    content = encoded(stored(quadrants, orientation), form, exif=exif(orientation))
    assert_quadrants(read(source(content)).image)


@every_orientation
def test_reader_turns_a_heic_picture_once(orientation: int, quadrants: Image.Image) -> None:
    assert heic()
    content = encoded(stored(quadrants, orientation), "HEIF", exif=exif(orientation).tobytes(), quality=90)
    assert_quadrants(read(source(content)).image)


def with_xmp(image: Image.Image, form: str, orientation: int) -> bytes:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="{orientation}"/></x:xmpmeta>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    options = {"PNG": {"pnginfo": info}, "WEBP": {"xmp": xmp.encode()}, "TIFF": {"tiffinfo": {700: xmp.encode()}}}
    return encoded(image, form, **options[form])


@every_orientation
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_reader_turns_the_picture_as_xmp_says(form: str, orientation: int, quadrants: Image.Image) -> None:
    assert_quadrants(read(source(with_xmp(stored(quadrants, orientation), form, orientation))).image)


@every_orientation
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
def test_header_has_the_size_that_is_displayed(form: str, orientation: int, quadrants: Image.Image) -> None:
    image = stored(quadrants, orientation)
    assert probe(source(encoded(image, form, exif=exif(orientation)))) == Header(100, 60, gray=False)
    if form in ("PNG", "WEBP", "TIFF"):
        assert probe(source(with_xmp(image, form, orientation))) == Header(100, 60, gray=False)


def test_header_finds_an_orientation_behind_the_pixels_of_a_png(quadrants: Image.Image) -> None:
    content = encoded(stored(quadrants, 6), "PNG", exif=exif(6))
    begin = content.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(content[begin : begin + 4], "big")
    late = content[:begin] + content[end:-12] + content[begin:end] + content[-12:]  # IEND is 12 bytes long
    assert probe(source(late)) == Header(100, 60, gray=False)
    assert_quadrants(read(source(late)).image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F", "P", "RGB", "RGBA", "CMYK"])
def test_header_tells_grey_from_colour(mode: str) -> None:
    content = encoded(Image.new(mode, (3, 2)), "TIFF")
    assert probe(source(content)) == Header(3, 2, gray=mode in ("1", "L", "LA", "I;16", "I", "F"))


@pytest.mark.parametrize("content", [b"", b"<html>", encoded(Image.new("RGB", (9, 9)), "PNG")[:20]])
def test_header_fails_as_the_picture_does(content: bytes) -> None:
    with pytest.raises(ImageError) as of_read:
        read(source(content))
    with pytest.raises(ImageError) as of_probe:
        probe(source(content))
    assert str(of_probe.value) == str(of_read.value)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_reader_leaves_the_picture_as_it_is_for_an_orientation_that_does_not_exist(
    orientation: int, quadrants: Image.Image
) -> None:
    assert_quadrants(read(source(encoded(quadrants, "JPEG", exif=exif(orientation)))).image)


@every_orientation
def test_reader_turns_a_picture_that_is_decoded_at_a_reduced_scale(orientation: int, quadrants: Image.Image) -> None:
    content = encoded(stored(quadrants.resize((1000, 600)), orientation), "JPEG", exif=exif(orientation))
    picture = read(source(content), shorter_side_px=64)
    assert sorted(picture.image.size) == [150, 250]
    assert_quadrants(picture.image)


@pytest.mark.parametrize(
    "metadata",
    [
        b"Exif\0\0MM\0*\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x09\1",
        b"Exif\0\0",
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
def test_reader_reads_a_good_picture_with_broken_exif(form: str, metadata: bytes, quadrants: Image.Image) -> None:
    assert_quadrants(read(source(encoded(quadrants, form, exif=metadata))).image)


# --- depth, colour and transparency ----------------------------------------------------------------------------------

U16 = struct.pack("<3H", 0, 25_700, 65_535)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(png(3, 1, 16, 0, [struct.pack(">3H", 0, 25_700, 65_535)]), [0, 100, 255], id="PNG 16 bits"),
        pytest.param(tiff(3, 16, U16), [0, 100, 255], id="TIFF 16 bits"),
        pytest.param(tiff(3, 16, struct.pack(">3H", 0, 25_700, 65_535), order=">"), [0, 100, 255], id="big-endian"),
        pytest.param(tiff(3, 16, U16, white_is_zero=True), [255, 155, 0], id="TIFF 16 bits, white is zero"),
        pytest.param(tiff(2, 12, bytes([0x00, 0x0F, 0xFF])), [0, 255], id="TIFF 12 bits"),
        pytest.param(tiff(3, 16, struct.pack("<3H", 0, 128, 255)), [0, 0, 1], id="a dark picture stays dark"),
        pytest.param(tiff(3, 32, struct.pack("<3I", 0, 1 << 31, 2**32 - 1)), [0, 128, 255], id="TIFF 32 bits"),
        pytest.param(tiff(2, 32, struct.pack("<2i", 0, 65_535), sample=2), [0, 255], id="32 bits that hold 16"),
        pytest.param(tiff(3, 32, struct.pack("<3i", 0, 128, 255), sample=2), [0, 128, 255], id="32 bits that hold 8"),
        pytest.param(tiff(3, 32, struct.pack("<3f", 0, 0.4, 1), sample=3), [0, 102, 255], id="floats 0..1"),
        pytest.param(tiff(3, 32, struct.pack(">3f", 0, 0.4, 1), sample=3, order=">"), [0, 102, 255], id="floats, big"),
        pytest.param(tiff(3, 32, struct.pack("<3f", 0, 99.6, 255), sample=3), [0, 100, 255], id="floats 0..255"),
        pytest.param(tiff(3, 32, bytes(12), sample=3), [0, 0, 0], id="floats, all black"),
        pytest.param(tiff(3, 8, b"\0\1\xff", white_is_zero=True), [255, 254, 0], id="TIFF 8 bits, white is zero"),
        pytest.param(png(8, 1, 1, 0, [b"\x55"]), [0, 255] * 4, id="1 bit"),
        pytest.param(png(4, 1, 2, 0, [b"\x1b"]), [0, 85, 170, 255], id="2 bits"),
        pytest.param(png(2, 1, 16, 0, [b"\1\1\2\2"], (b"tRNS", b"\1\1")), [255, 2], id="16 bits, one transparent"),
    ],
)
def test_reader_scales_every_depth_of_grey_to_eight_bits(content: bytes, expected: list[int]) -> None:
    picture = read(source(content))
    assert picture.image.mode == "L"
    assert np.asarray(picture.image).ravel().tolist() == expected


def test_reader_scales_a_gradient_of_16_bits_and_does_not_clip_it() -> None:
    gradient = np.linspace(0, 65_535, 256, dtype=np.uint16)[np.newaxis].repeat(4, axis=0)
    for form in ("PNG", "TIFF"):
        found = pixels(encoded(Image.fromarray(gradient), form))
        np.testing.assert_array_equal(found, np.rint(gradient / 257))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(2, 32, struct.pack("<2f", float("nan"), 0), sample=3), "not numbers"),
        (tiff(2, 32, struct.pack("<2f", float("inf"), 0), sample=3), "not numbers"),
        (tiff(2, 32, struct.pack("<2f", -1, 0.5), sample=3), "range from -1.0 to 0.5"),
        (tiff(2, 32, struct.pack("<2f", 0, 4096), sample=3), "range from 0.0 to 4096.0"),
        (tiff(2, 16, struct.pack("<2h", -5, 3000), sample=2), "range from -5 to 3000"),
    ],
)
def test_reader_refuses_grey_values_of_unknown_range(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(source(content))


def test_reader_takes_the_high_bytes_of_16_bit_colour() -> None:
    content = png(2, 1, 16, 2, [bytes([10, 0, 20, 0, 30, 0, 255, 255, 0, 0, 128, 128])])
    assert pixels(content).tolist() == [[[10, 20, 30], [255, 0, 128]]]


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_reader_turns_cmyk_into_the_colours_that_were_meant(form: str, quadrants: Image.Image) -> None:
    assert_quadrants(read(source(encoded(quadrants.convert("CMYK"), form))).image)  # Pillow's JPEG is Adobe's, inverted


def test_reader_reads_ycck() -> None:
    content = encoded(Image.new("CMYK", (16, 16), (200, 127, 127, 0)), "JPEG")
    assert content.count(b"Adobe\0\x64\0\0\0\0\0") == 1  # the last byte says which transform was used
    picture = read(source(content.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")))
    # inverted as Adobe does, the components are luma 55 and neutral chroma: C = M = Y = 255 - 55, inverted again
    np.testing.assert_allclose(np.asarray(picture.image)[8, 8], (200, 200, 200), atol=2)


def test_reader_reads_lab() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.new("RGB", (4, 4), (120, 100, 80)), *profiles, outputMode="LAB")
    np.testing.assert_allclose(pixels(encoded(lab, "TIFF"))[0, 0], (120, 100, 80), atol=3)


RED_GREEN_BLUE = (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            png(3, 1, 8, 3, [b"\0\1\2"], RED_GREEN_BLUE), [(255, 0, 0), (0, 255, 0), (0, 0, 255)], id="palette"
        ),
        pytest.param(
            png(3, 1, 8, 3, [b"\0\1\2"], RED_GREEN_BLUE, (b"tRNS", b"\0\x80")),
            [(255, 255, 255), (127, 255, 127), (0, 0, 255)],
            id="palette with transparency in bytes",
        ),
        pytest.param(
            png(2, 1, 8, 3, [b"\0\1"], RED_GREEN_BLUE, (b"tRNS", b"\0")), [(255, 255, 255), (0, 255, 0)], id="one entry"
        ),
        pytest.param(png(2, 1, 8, 4, [b"\x40\0\x40\xff"]), [(255, 255, 255), (64, 64, 64)], id="LA"),
        pytest.param(png(2, 1, 8, 6, [b"\1\2\3\0\1\2\3\xff"]), [(255, 255, 255), (1, 2, 3)], id="RGBA"),
        pytest.param(png(1, 1, 8, 6, [b"\0\0\0\x80"]), [(127, 127, 127)], id="RGBA, half transparent"),
        pytest.param(
            png(2, 1, 8, 2, [b"\1\2\3\4\5\6"], (b"tRNS", b"\0\1\0\2\0\3")), [(255, 255, 255), (4, 5, 6)], id="RGB+tRNS"
        ),
        pytest.param(
            png(2, 1, 8, 0, [b"\x40\x80"], (b"tRNS", b"\0\x40")), [(255, 255, 255), (128, 128, 128)], id="L+tRNS"
        ),
    ],
)
def test_reader_lays_transparent_pixels_on_white(content: bytes, expected: list[tuple[int, int, int]]) -> None:
    picture = read(source(content))
    assert picture.image.mode == "RGB"
    assert [tuple(pixel) for pixel in pixels(content)[0].tolist()] == expected


@pytest.mark.parametrize(("color", "row"), [(6, b"\xff\0\0\0"), (4, b"\x40\0")])
def test_reader_refuses_a_picture_of_which_every_pixel_is_transparent(color: int, row: bytes) -> None:
    with pytest.raises(ImageError, match="every pixel is transparent"):
        read(source(png(1, 1, 8, color, [row])))


@every_format
def test_every_picture_that_is_read_can_be_written_as_png_without_a_change(name: str) -> None:
    picture = read(source(corpus()[name])).image
    np.testing.assert_array_equal(pixels(encoded(picture, "PNG")), np.asarray(picture))


def test_reader_shows_the_colours_of_a_palette_bmp(quadrants: Image.Image) -> None:
    assert_quadrants(read(source(encoded(quadrants.quantize(4), "BMP"))).image)


@pytest.mark.parametrize("size", [(1, 1), (13, 1), (1, 13), (7, 13)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_reader_reads_the_smallest_pictures(form: str, size: tuple[int, int]) -> None:
    picture = read(source(encoded(Image.new("RGB", size, (90, 90, 90)), form)), shorter_side_px=SIDE)
    assert picture.image.size == size
    np.testing.assert_allclose(np.asarray(picture.image), 90, atol=2)


# --- several frames --------------------------------------------------------------------------------------------------

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")


def red_then_blue(form: str) -> bytes:
    blue = Image.new("RGB", (64, 48), (0, 0, 255))
    return encoded(Image.new("RGB", (64, 48), (255, 0, 0)), form, (blue,))


@pytest.mark.parametrize("form", ANIMATED)
def test_reader_takes_the_first_of_several_frames_and_says_so(form: str) -> None:
    picture = read(source(red_then_blue(form)))
    np.testing.assert_allclose(np.asarray(picture.image)[24, 32], (255, 0, 0), atol=3)
    expected = "several pages: only the first is used" if form == "TIFF" else "animated: only its first frame is used"
    assert picture.notes == (expected,)


@pytest.mark.parametrize("name", ["jpeg", "mpo", "png", "gif", "webp", "tiff", "avif"])
def test_reader_says_nothing_about_a_single_picture(name: str) -> None:
    assert read(source(corpus()[name])).notes == ()


@pytest.mark.parametrize("name", ["gif animated", "apng", "webp animated", "avif animated", "tiff pages"])
def test_reader_does_not_mind_a_broken_second_frame(name: str) -> None:
    content = corpus()[name]
    start = {"gif animated": 0.7, "apng": 0.7, "webp animated": 0.8, "avif animated": 0.8, "tiff pages": 0.6}[name]
    place = int(len(content) * start)
    broken = content[:place] + bytes(255 - byte for byte in content[place : place + 64]) + content[place + 64 :]
    np.testing.assert_array_equal(pixels(broken), pixels(content))


class CountingSource:
    """A source that counts the bytes that are read of it."""

    def __init__(self, content: bytes) -> None:
        self.num_bytes = 0
        outer = self

        class File(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                data = super().read(size)
                outer.num_bytes += len(data)
                return data

        self.open = lambda: File(content)


def test_reader_does_not_walk_through_the_frames_of_a_long_animation() -> None:
    short = red_then_blue("GIF")
    frame = short[short.rindex(b",\0\0\0\0" + struct.pack("<HH", 64, 48)) : -1]
    amounts = []
    for num_frames in (2, 9000):
        counting = CountingSource(short[:-1] + frame * (num_frames - 2) + b";")
        assert read(counting).notes  # type: ignore[arg-type]
        amounts.append(counting.num_bytes)
    assert amounts[1] < 100_000 < 9000 * len(frame) / 10  # a block of Pillow's, of a file of a megabyte


@pytest.mark.parametrize("transparent", [True, False])
def test_reader_shows_a_gif_whose_first_frame_is_smaller_on_its_white_canvas(transparent: bool) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    content = bytearray(encoded(image, "GIF", optimize=False, **({"transparency": 0} if transparent else {})))
    content[6:10] = struct.pack("<HH", 10, 8)  # the canvas
    frame = content.index(b"\x2c\0\0\0\0")
    content[frame + 1 : frame + 5] = struct.pack("<HH", 3, 2)  # where the frame begins
    found = pixels(bytes(content))
    expected = np.full((8, 10, 3), 255)
    expected[2:6, 3:7] = 0, 255, 0
    np.testing.assert_array_equal(found, expected)


# --- colour profiles -------------------------------------------------------------------------------------------------

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
CMYK = SRGB[:16] + b"CMYK" + SRGB[20:]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_reader_keeps_the_colour_profile(form: str) -> None:
    assert read(source(encoded(scene(), form, icc_profile=SRGB))).icc_profile == SRGB


@pytest.mark.parametrize(
    ("mode", "profile", "kept"),
    [("L", GRAY, True), ("L", SRGB, False), ("RGB", GRAY, False), ("CMYK", CMYK, False), ("RGB", b"broken", False)],
)
def test_reader_keeps_a_colour_profile_only_if_it_is_for_the_picture_as_it_is_now(
    mode: str, profile: bytes, kept: bool
) -> None:
    picture = read(source(encoded(scene().convert(mode), "JPEG", icc_profile=profile)))
    assert picture.icc_profile == (profile if kept else None)
    assert picture.image.size == (48, 32)


# --- HEIC and AVIF ---------------------------------------------------------------------------------------------------


def test_reader_reads_heic() -> None:
    picture = read(source(heic()))
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(scene())).mean() < 12
    assert picture.notes == ()


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_reader_says_which_extra_heic_needs(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"^HEIC needs an extra: pip install 'cnncli\[heif\]'$"):
        read(source(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic"))


def test_reader_reads_avif_whose_first_brand_is_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = corpus()["avif"].replace(b"ftypavif", b"ftypmif1", 1)
    np.testing.assert_array_equal(pixels(content), pixels(corpus()["avif"]))


def test_reader_says_that_pillow_cannot_read_avif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    with pytest.raises(ImageError, match="no AVIF decoder"):
        read(source(corpus()["avif"]))


@every_format
def test_sniff_needs_64_bytes_to_know_the_format(name: str) -> None:
    expected = {"mpo": "JPEG", "apng": "PNG"}.get(name, name.split()[0].upper())
    assert sniff(corpus()[name][:64]) == expected


# --- what the network gets -------------------------------------------------------------------------------------------


def picture_of(array: np.ndarray) -> Picture:
    return Picture(Image.fromarray(array))


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("gray", 1)])
@pytest.mark.parametrize("size", [(320, 200), (200, 320), (1000, 10), (10, 1000), (1, 1), (64, 48)])
def test_network_input_has_the_shape_of_the_network(
    resize: str, color: str, channels: int, size: tuple[int, int], photo: Image.Image
) -> None:
    for mode in ("RGB", "L"):
        found = network_input(Picture(photo.resize(size).convert(mode)), InputSpec(48, 64, color, resize))  # type: ignore[arg-type]
        assert found.shape == (48, 64, channels) and found.dtype == np.uint8


def test_network_input_crops_the_exact_centre() -> None:
    thirds = np.zeros((100, 300, 3), np.uint8)
    thirds[:, :100, 0], thirds[:, 100:200, 1], thirds[:, 200:, 2] = 255, 255, 255
    found = network_input(picture_of(thirds), InputSpec(32, 32))
    assert (found[:, 2:-2] == (0, 255, 0)).all()  # the filter of the outer pixels reaches into the other thirds
    found = network_input(picture_of(thirds.transpose(1, 0, 2)), InputSpec(32, 32))
    assert (found[2:-2] == (0, 255, 0)).all()


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(321, 200), (200, 321), (37, 53)])
def test_network_input_of_the_mirror_image_is_the_mirror_image(
    resize: str, size: tuple[int, int], photo: Image.Image
) -> None:
    spec = InputSpec(64, 64, "rgb", resize)  # type: ignore[arg-type]
    array = np.asarray(photo.resize(size))
    found, mirrored = network_input(picture_of(array), spec), network_input(picture_of(array[:, ::-1].copy()), spec)
    if resize == "pad" and size[0] < size[1]:  # an odd margin is one pixel wider on the right
        found, mirrored = (side[(side != PADDING).any(axis=-1)] for side in (found, mirrored[:, ::-1]))
        np.testing.assert_allclose(found.astype(int), mirrored.astype(int), atol=1)
    else:
        np.testing.assert_allclose(found.astype(int), mirrored[:, ::-1].astype(int), atol=1)


def extent_of_disc(resize: str, size: tuple[int, int], spec_size: tuple[int, int]) -> tuple[int, int]:
    """Width and height, in the network's input, of a disc in the middle of a picture of `size`."""
    image = Image.new("RGB", size, (0, 0, 0))
    radius = min(size) // 8
    middle = size[0] // 2, size[1] // 2
    disc = (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)
    ImageDraw.Draw(image).ellipse(disc, fill=(255, 255, 255))
    found = network_input(Picture(image), InputSpec(spec_size[1], spec_size[0], "rgb", resize))  # type: ignore[arg-type]
    light = (found > 127).all(axis=-1)
    return int(light.any(axis=0).sum()), int(light.any(axis=1).sum())


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1000, 300)])
@pytest.mark.parametrize("spec_size", [(224, 224), (200, 120), (120, 200)])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_network_input_keeps_a_circle_round(resize: str, size: tuple[int, int], spec_size: tuple[int, int]) -> None:
    width, height = extent_of_disc(resize, size, spec_size)
    assert abs(width - height) <= 1
    scale = (max if resize == "crop" else min)(spec_size[0] / size[0], spec_size[1] / size[1])
    assert width == pytest.approx(2 * scale * (min(size) // 8), abs=2)


def test_network_input_squashes_a_circle() -> None:
    width, height = extent_of_disc("squash", (800, 400), (200, 200))
    assert height == pytest.approx(2 * width, abs=2)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("side", [1000, 1001])
def test_network_input_turns_a_fine_checkerboard_into_even_grey(resize: str, side: int) -> None:
    y, x = np.mgrid[0:side, 0:side]
    board = ((x + y) % 2 * 255).astype(np.uint8)
    found = network_input(picture_of(board), InputSpec(SIDE, SIDE, "gray", resize))  # type: ignore[arg-type]
    assert np.abs(found[2:-2, 2:-2].astype(float) - 127.5).max() <= 2


def test_network_input_pads_with_the_mean_colour_of_imagenet() -> None:
    white = picture_of(np.full((100, 200, 3), 255, np.uint8))
    found = network_input(white, InputSpec(64, 64, "rgb", "pad"))
    assert (found[:16] == PADDING).all() and (found[48:] == PADDING).all() and (found[16:48] == 255).all()
    gray = network_input(white, InputSpec(64, 64, "gray", "pad"))
    assert (gray[:16] == 115).all() and (gray[16:48] == 255).all()  # (124 + 116 + 104) / 3


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000)])
def test_network_input_pads_a_line_without_losing_it(size: tuple[int, int]) -> None:
    found = network_input(Picture(Image.new("RGB", size, (255, 255, 255))), InputSpec(64, 64, "rgb", "pad"))
    assert (found == 255).all(axis=-1).sum() == 64


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_network_input_enlarges_a_single_pixel(resize: str) -> None:
    found = network_input(Picture(Image.new("RGB", (1, 1), (9, 99, 199))), InputSpec(32, 32, "rgb", resize))  # type: ignore[arg-type]
    assert (found == (9, 99, 199)).all()


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_network_input_enlarges_a_ramp_without_steps(resize: str) -> None:
    ramp = np.tile(np.arange(0, 256, 17, dtype=np.uint8), (16, 1))
    found = network_input(picture_of(ramp), InputSpec(128, 128, "gray", resize))  # type: ignore[arg-type]
    rises = np.diff(found[64, 12:-12, 0].astype(int))
    assert rises.min() >= 1 and rises.max() <= 4  # 17 / 8 on average


def test_network_input_of_the_right_size_is_the_picture_itself(photo: Image.Image) -> None:
    for resize in ("crop", "squash", "pad"):
        found = network_input(Picture(photo), InputSpec(200, 320, "rgb", resize))  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, np.asarray(photo))


def test_network_input_in_gray_is_the_luma_of_the_picture() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    found = network_input(picture_of(colours), InputSpec(1, 3, "gray"))
    assert found.ravel().tolist() == [76, 150, 29]  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B


# --- decoding at a reduced scale -------------------------------------------------------------------------------------

TWELVE_MEGAPIXELS = (4000, 3000)


@functools.cache
def large_photo(kind: str) -> Image.Image:
    """A picture of 12 megapixels: smooth, or with edges of all sizes and noise in every pixel."""
    rng = np.random.default_rng(5)
    base = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    image = base.resize(TWELVE_MEGAPIXELS, Image.Resampling.BICUBIC)
    if kind == "smooth":
        return image
    draw = ImageDraw.Draw(image)
    for x, y, radius, *colour in rng.integers(0, (4000, 3000, 200, 256, 256, 256), (500, 6)).tolist():
        shape = draw.ellipse if radius % 2 else draw.rectangle
        shape((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour))
    noise = np.tile(rng.normal(0, 12, (750, 1000, 3)).astype(np.int16), (4, 4, 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


@functools.cache
def large_jpeg(kind: str, subsampling: int) -> bytes:
    return encoded(large_photo(kind), "JPEG", quality=90, subsampling=subsampling)


def differences(content: bytes, spec: InputSpec) -> np.ndarray:
    """How far the network's input is from the one that full decoding gives, in grey levels of 255."""
    full, reduced = (network_input(read(source(content), shorter_side_px=side), spec) for side in (None, SIDE))
    return np.abs(full.astype(int) - reduced)


@pytest.mark.parametrize("subsampling", [0, 2], ids=["4:4:4", "4:2:0"])
@pytest.mark.parametrize("kind", ["smooth", "detailed"])
def test_reduced_decoding_of_a_large_photo_loses_nothing_visible(kind: str, subsampling: int) -> None:
    content = large_jpeg(kind, subsampling)
    assert read(source(content), shorter_side_px=SIDE).image.size == (1000, 750)
    for resize in ("crop", "squash", "pad"):
        found = differences(content, InputSpec(SIDE, SIDE, "rgb", resize))  # type: ignore[arg-type]
        assert found.mean() < 1.0
        assert found.max() <= 8


def test_reduced_decoding_is_faster() -> None:
    content = large_jpeg("smooth", 2)
    seconds = {}
    for side in (None, SIDE):
        runs = []
        for _ in range(3):
            start = time.process_time()
            read(source(content), shorter_side_px=side)
            runs.append(time.process_time() - start)
        seconds[side] = min(runs)
    assert seconds[SIDE] < seconds[None] / 2  # five times as fast when measured alone


@pytest.mark.parametrize(
    ("shorter", "expected"),
    [(100, 100), (447, 447), (448, 448), (895, 895), (896, 448), (897, 449), (1791, 896), (1792, 448), (3584, 448)],
)
@pytest.mark.parametrize("upright", [True, False])
def test_reduced_decoding_keeps_twice_the_side_that_is_wanted(
    shorter: int, expected: int, upright: bool, photo: Image.Image
) -> None:
    size = (shorter, shorter * 5 // 4) if upright else (shorter * 5 // 4, shorter)
    content = encoded(photo.resize(size), "JPEG", quality=92)
    picture = read(source(content), shorter_side_px=SIDE)
    assert min(picture.image.size) == expected
    assert differences(content, InputSpec(SIDE, SIDE)).mean() < 1.0


def test_reduced_decoding_never_happens_unasked() -> None:
    assert read(source(large_jpeg("smooth", 2))).image.size == TWELVE_MEGAPIXELS


def kept(image: Image.Image, form: str = "PNG", **options: Any) -> Picture:
    content = io.BytesIO()
    image.save(content, form, **options)
    return read(Source("made", content=content.getvalue()), keep=True)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_keep_leaves_16_bit_grey_at_16_bits(form: str) -> None:
    values = (np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)
    picture = kept(Image.fromarray(values), form)
    assert picture.image.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(picture.image), values)


@pytest.mark.parametrize(("mode", "colour", "plain"), [("RGBA", (9, 8, 7, 100), (9, 8, 7)), ("LA", (9, 100), 9)])
def test_keep_leaves_transparency_beside_the_colours(mode: str, colour: tuple[int, ...], plain: object) -> None:
    picture = kept(Image.new(mode, (4, 3), colour))
    assert picture.image.getpixel((0, 0)) == plain
    assert picture.alpha is not None and picture.alpha.getextrema() == (100, 100)


def test_keep_turns_transparency_with_the_picture() -> None:
    image = Image.new("RGBA", (4, 3), (1, 2, 3, 255))
    image.putpixel((0, 0), (1, 2, 3, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture = kept(image, exif=exif)
    assert picture.image.size == (3, 4) and picture.alpha is not None
    assert np.argwhere(np.asarray(picture.alpha) == 0).tolist() == [[0, 2]]


def test_keep_says_that_deep_colour_loses_its_depth() -> None:
    rows = b"".join(b"\0" + struct.pack(">9H", *range(0, 9000, 1000)) for _ in range(2))
    header = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    picture = read(Source("deep", content=content), keep=True)
    assert picture.notes == ("16 bits a channel in colour or with transparency are read as 8",)
    assert picture.image.mode == "RGB"
