"""Photos with their labels on a panel below: legible, complete, and never written over an input."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFont

from cnncli import annotate, fonts
from cnncli.annotate import annotated, path_for, save
from cnncli.errors import CnncliError
from cnncli.images import Picture, read
from cnncli.outputs import Names
from cnncli.sources import Source

SIZES = [(1, 1), (10, 3000), (3000, 10), (320, 200), (200, 320), (6000, 4000)]
LONG = "a label that somebody wrote who had a lot to say about a cat, and its tail, and its whiskers, and its paws"
LINES = [("tabby", 0.631), ("Egyptian cat", 0.31), ("Mjgpqy", 1.0)]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def panel(canvas: Image.Image, picture: Image.Image) -> np.ndarray:
    """What is below the picture: bool of shape `(height, width)`, True where something is drawn."""
    return (np.asarray(canvas)[picture.height :] != 255).any(axis=-1)


def bands(drawn: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], drawn, [False])).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


# --- the panel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_annotated_hides_nothing_of_the_picture(size: tuple[int, int]) -> None:
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    canvas = annotated(image, LINES)
    left = (canvas.width - image.width) // 2
    box = (left, 0, left + image.width, image.height)
    assert canvas.crop(box).tobytes() == image.tobytes()
    outside = np.delete(np.asarray(canvas)[: image.height], np.s_[left : left + image.width], axis=1)
    assert (outside == 255).all()


@pytest.mark.parametrize("lines", [LINES, [("short", 0.5), (LONG, 0.4), ("x", 0.0)]], ids=["short", "long"])
@pytest.mark.parametrize("size", SIZES)
def test_annotated_draws_a_row_for_each_label_and_cuts_none(
    size: tuple[int, int], lines: list[tuple[str, float]]
) -> None:
    image = Image.new("RGB", size)
    drawn = panel(annotated(image, lines), image)
    rows = bands(drawn.any(axis=1))
    assert len(rows) == len(lines)  # white between them: none touches another
    assert min(end - begin for begin, end in rows) >= 10
    margin = 8
    assert not drawn[:, :margin].any() and not drawn[:, -margin:].any() and not drawn[-2:].any()


@pytest.mark.parametrize("size", SIZES)
def test_annotated_keeps_bar_percentage_and_label_apart(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    columns = {label: panel(annotated(image, [(label, 1.0)]), image).any(axis=0) for label in ("", "Mj")}
    without, width = bands(columns[""]), min(map(len, columns.values()))
    label_begins = np.flatnonzero(columns["Mj"][:width] & ~columns[""][:width])
    if columns["Mj"].size > columns[""].size:  # the canvas grew with the label
        label_begins = np.flatnonzero(columns["Mj"][without[-1][1] :]) + without[-1][1]
    bar, first_digit = without[0], without[1]
    assert first_digit[0] - bar[1] >= 4
    assert label_begins.min() - without[-1][1] >= 4


def test_annotated_text_grows_with_the_picture_and_stays_legible() -> None:
    heights = []
    for side in (1, 400, 1000, 4000):
        image = Image.new("RGB", (side, side))
        heights.append(annotated(image, LINES).height - side)
    assert heights == [3 * 24 + 16, 3 * 24 + 16, 3 * 54 + 36, 3 * 214 + 143]  # 1.5 times the text, and a margin


def test_annotated_shrinks_the_text_of_a_long_label_before_it_widens_the_canvas() -> None:
    image = Image.new("RGB", (2000, 2000))
    assert annotated(image, [(LONG, 0.5)]).width == 2000
    assert annotated(image, [(LONG, 0.5)]).height < annotated(image, [("short", 0.5)]).height


def test_annotated_leaves_out_the_end_of_an_endless_label() -> None:
    image = Image.new("RGB", (1, 1))
    expected = annotated(image, [("x" * 97 + "...", 0.5)])
    assert annotated(image, [("x" * 1_100_000, 0.5)]).tobytes() == expected.tobytes()


def test_annotated_bars_are_as_long_as_the_scores() -> None:
    image = Image.new("RGB", (1000, 1000))
    canvas = np.asarray(annotated(image, [("", 0.0), ("", 0.25), ("", 0.5), ("", 1.0)]))[1000:]
    blue = (canvas == annotate._BAR).all(axis=-1)
    lengths = [int(blue[begin:end].any(axis=0).sum()) for begin, end in bands(blue.any(axis=1))]
    assert lengths == [1, 46, 91, 181]  # of a track of 5 times 36 px, and the pixel where it begins


def test_annotated_says_that_there_is_no_label() -> None:
    image = Image.new("RGB", (50, 50))
    drawn = panel(annotated(image, []), image)
    assert len(bands(drawn.any(axis=1))) == 1 and drawn.any(axis=0).sum() > 100
    assert not drawn[:, -8:].any()


def test_annotated_draws_control_characters_as_spaces() -> None:
    image = Image.new("RGB", (300, 300))
    expected = annotated(image, [("a b c", 0.5)]).tobytes()
    assert annotated(image, [("a\nb\x1bc", 0.5)]).tobytes() == expected


def test_annotated_takes_a_grey_picture() -> None:
    image = Image.new("L", (300, 300), 77)
    canvas = annotated(image, LINES)
    assert canvas.mode == "RGB" and canvas.getpixel((150, 150)) == (77, 77, 77)


class FakeFont:
    """A font that has the given characters and draws a box for all others."""

    def __init__(self, characters: str) -> None:
        self.characters = characters

    def getmask(self, character: str) -> bytes:
        return character.encode() if character in self.characters else b"box"


def test_a_label_is_drawn_in_the_first_font_that_has_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {None: FakeFont("cat"), "latin": FakeFont("catö"), "all": FakeFont("catö猫")}

    def font(face: str | None, size: int) -> FakeFont:
        if face not in known:
            raise OSError("cannot open resource")
        return known[face]

    monkeypatch.setattr(fonts, "font_of", font)
    monkeypatch.setattr(fonts, "_SYSTEM_FONTS", ("absent", "latin", "all"))
    find = fonts.typeface.__wrapped__
    assert [find(frozenset(label)) for label in ("cat", "cöt", "猫", "ж")] == [None, "latin", "all", None]


def test_pillows_own_font_draws_the_labels_of_imagenet_and_knows_what_it_lacks() -> None:
    assert fonts.typeface(frozenset(map(chr, range(0x20, 0x7F)))) is None
    font = ImageFont.load_default(16)
    assert bytes(font.getmask("猫")) == bytes(font.getmask(fonts._UNASSIGNED))


def test_annotated_draws_a_label_that_no_font_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_SYSTEM_FONTS", ("no such font.ttf",))
    fonts.typeface.cache_clear()
    image = Image.new("RGB", (300, 300))
    assert panel(annotated(image, [("🐈猫", 0.5)]), image)[:, 160:].any()
    fonts.typeface.cache_clear()


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_save_keeps_the_colour_profile_and_drops_where_the_photo_was_taken(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker of the camera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # GPS latitude
    photo = io.BytesIO()
    Image.new("RGB", (300, 200), (9, 99, 199)).save(photo, "JPEG", icc_profile=SRGB, exif=exif)
    assert b"Maker of the camera" in photo.getvalue()
    picture = read(Source("photo.jpg", content=photo.getvalue()))
    path = tmp_path / f"photo-labels{suffix}"
    save(annotated(picture.image, LINES), picture, path)
    with Image.open(path) as written:
        assert written.info["icc_profile"] == SRGB
        assert written.format == {".jpg": "JPEG", ".png": "PNG"}[suffix]
        assert len(written.getexif()) == 0
        np.testing.assert_allclose(written.getpixel((150, 100)), (9, 99, 199), atol=3)
    assert b"Maker of the camera" not in path.read_bytes()


def test_save_drops_the_profile_of_a_grey_picture_because_the_panel_is_coloured(tmp_path: Path) -> None:
    image = Image.new("L", (30, 20))
    save(annotated(image, LINES), Picture(image, icc_profile=b"a grey profile"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert "icc_profile" not in written.info


def test_save_fits_a_very_tall_photo_into_a_jpeg(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 65_500), (200, 0, 0))
    canvas = annotated(image, LINES)
    assert canvas.height > 65_535  # more than the format can hold
    save(canvas, Picture(image), tmp_path / "tall.jpg")
    with Image.open(tmp_path / "tall.jpg") as written:
        assert written.height == 65_500


def test_save_replaces_an_earlier_result(tmp_path: Path) -> None:
    path = tmp_path / "a-labels.png"
    for colour in ((255, 0, 0), (0, 0, 255)):
        picture = Picture(Image.new("RGB", (20, 20), colour))
        save(picture.image, picture, path)
        with Image.open(path) as written:
            assert written.getpixel((0, 0)) == colour
    assert [entry.name for entry in tmp_path.iterdir()] == ["a-labels.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_save_on_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, suffix: str) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from PIL import Image\n"
        "from cnncli.annotate import save; from cnncli.images import Picture; from cnncli.errors import CnncliError\n"
        "image = Image.effect_noise((400, 400), 90).convert('RGB')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: save(image, Picture(image), Path(sys.argv[1]))\n"
        "except CnncliError as problem: print(problem)\n"
    )
    path = tmp_path / f"a.{suffix}"
    for old in (None, b"the old picture"):
        if old is not None:
            path.write_bytes(old)
        run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60)
        assert run.stdout == f"{path}: cannot be written (File too large)\n", run.stderr
        assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if old is None else [old])


def test_save_says_that_the_folder_is_gone(tmp_path: Path) -> None:
    picture = Picture(Image.new("RGB", (2, 2)))
    with pytest.raises(CnncliError, match=r"gone/a\.png: cannot be written \(No such file or directory\)"):
        save(picture.image, picture, tmp_path / "gone" / "a.png")


# --- names -----------------------------------------------------------------------------------------------------------


def name_of(names: Names, name: str, *, stream: bool = False) -> str:
    source = Source(name, content=b"") if stream else Source(name, path=Path(name))
    return path_for(names, source).name


def test_names_are_made_from_the_inputs_and_never_given_twice() -> None:
    names = Names(Path("out"), ["b-labels.png", "B-LABELS-2.png"])
    assert path_for(names, Source("x/cat.jpg", path=Path("x/cat.jpg"))) == Path("out/cat-labels.jpg")
    inputs = ["cat.jpg", "y/cat.jpeg", "y/CAT.JPG", "cat.png", "b.webp", "noextension", ".hidden", "a.b.jfif"]
    assert [name_of(names, name) for name in inputs] == [
        "cat-labels-2.jpg",
        "cat-labels-3.jpg",
        "CAT-labels-4.jpg",  # the same name where capitals do not count
        "cat-labels.png",
        "b-labels-3.png",  # two inputs are called as the first two would be
        "noextension-labels.png",
        ".hidden-labels.png",
        "a.b-labels.jpg",
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("-", "stdin-labels.png"),
        ("http://example.org/photos/cat.jpg", "cat-labels.jpg"),
        ("http://example.org/cat.jpg?width=200&x=/../y.png#top", "cat-labels.jpg"),
        ("https://example.org/my%20cat%2F1.jpeg", "1-labels.jpg"),
        ("https://example.org/a*b.png", "a_b-labels.png"),
        ("https://example.org/", "stdin-labels.png"),
        ("https://example.org/..", "stdin-labels.png"),
    ],
)
def test_names_of_streams_are_safe(address: str, expected: str) -> None:
    assert name_of(Names(Path("out"), ()), address, stream=True) == expected


@pytest.mark.parametrize("letter", ["x", "é", "猫", "🐈"])
def test_names_fit_the_file_system_in_every_script(tmp_path: Path, letter: str) -> None:
    stem = letter * (250 // len(letter.encode()))
    names = Names(tmp_path, ())
    picture = Picture(Image.new("RGB", (2, 2)))
    for _ in range(2):
        path = path_for(names, Source(f"{stem}.jpg", path=Path(f"{stem}.jpg")))
        save(picture.image, picture, path)
        assert path.name.startswith(letter * 30) and path.is_file()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes in names")
@pytest.mark.parametrize("stem", ["new\nline", "[red]", "\udcff", "-dash", "esc\x1b"])
def test_names_keep_what_is_odd_in_a_name(tmp_path: Path, stem: str) -> None:
    picture = Picture(Image.new("RGB", (2, 2)))
    path = path_for(Names(tmp_path, ()), Source(f"{stem}.png", path=Path(f"{stem}.png")))
    save(picture.image, picture, path)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{stem}-labels.png"]
