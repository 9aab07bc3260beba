"""What IMAGE arguments stand for: files, folders, patterns, lists, addresses and standard input."""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from cnncli import network
from cnncli.errors import ImageError
from cnncli.imagekinds import EXTENSIONS
from cnncli.images import read
from cnncli.sources import Source, count, find, names_in


def png_bytes() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (250, 0, 0)).save(file, "PNG")
    return file.getvalue()


PNG = png_bytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str | bytes) -> None:
    """Writes a picture under each name, and the folders above it."""
    for name in names:
        path = Path(os.fsdecode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


def found(*arguments: str, recursive: bool = True, offline: bool = True) -> list[Source]:
    return list(find(arguments, recursive=recursive, offline=offline, notify=lambda message: None))


def names(*arguments: str, recursive: bool = True) -> list[str]:
    """The names that arguments stand for, none of which may be missing."""
    result = found(*arguments, recursive=recursive)
    assert [source.fault for source in result] == [None] * len(result)
    return [source.name for source in result]


def fault(argument: str) -> str:
    """Why an argument stands for nothing."""
    [source] = found(argument)
    with pytest.raises(ImageError) as caught:
        source.open()
    return str(caught.value)


def content(source: Source) -> bytes:
    with source.open() as file:
        return file.read()


def notes(*arguments: str) -> list[str]:
    told: list[str] = []
    list(find(arguments, recursive=True, offline=True, notify=told.append))
    return told


def give_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


# --- files and folders -----------------------------------------------------------------------------------------------


def test_find_yields_arguments_in_their_order_and_as_often_as_they_are_given(here: Path) -> None:
    make("b.png", "a.png")
    assert names("b.png", "a.png", "./b.png") == ["b.png", "a.png", "./b.png"]
    assert [source.path for source in found("b.png")] == [Path("b.png")]


def test_find_reads_folders_in_natural_order(here: Path) -> None:
    make("d/10.png", "d/2.png", "d/1/x.png", "d/B.png", "d/a.png", "d/ä.png")
    assert names("d") == ["d/1/x.png", "d/2.png", "d/10.png", "d/B.png", "d/a.png", "d/ä.png"]
    assert names("d/", recursive=False) == ["d/2.png", "d/10.png", "d/B.png", "d/a.png", "d/ä.png"]


def test_find_does_not_depend_on_the_order_of_the_file_system(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("d/10.png", "d/2.png", "d/1.png")
    listdir = os.listdir
    for shuffle in (sorted, lambda listed: sorted(listed, reverse=True)):
        monkeypatch.setattr(os, "listdir", lambda path, shuffle=shuffle: shuffle(listdir(path)))
        assert names("d") == ["d/1.png", "d/2.png", "d/10.png"]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "tr_TR.UTF-8", "de_DE.UTF-8"])
def test_find_does_not_depend_on_the_locale(here: Path, locale: str) -> None:
    make("d/I.png", "d/i.png", "d/\u0131.png", "d/Z.png", "d/ä.png")  # U+0131: the Turkish i without a dot
    program = (
        "import sys; from cnncli.sources import find\n"
        "for s in find(['d'], recursive=True, offline=True, notify=print):"
        " sys.stdout.buffer.write(s.name.encode('utf-8', 'surrogateescape') + b'\\n')"
    )
    environment = {**os.environ, "LC_ALL": locale}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=60, check=True)
    assert run.stdout.decode().split() == ["d/I.png", "d/Z.png", "d/i.png", "d/ä.png", "d/\u0131.png"]


def test_find_leaves_out_hidden_files_and_the_junk_of_systems(here: Path) -> None:
    make("d/.hidden.png", "d/._a.png", "d/.git/a.png", "d/__MACOSX/a.png", "d/@eaDir/a.png", "d/Thumbs.db", "d/a.png")
    assert names("d") == ["d/a.png"]
    assert notes("d") == []
    assert names("d/.git") == ["d/.git/a.png"]  # asked for by name


def test_find_recognises_an_image_with_an_unknown_extension_and_counts_the_other_files(here: Path) -> None:
    make("d/photo", "d/photo.dat", "d/a.PNG")
    for name in ("notes.txt", "more.TXT", "BMW.txt", "Makefile", "data.json"):
        Path("d", name).write_text("BMW makes cars, and this is text.")
    Path("d/empty").touch()
    assert names("d") == ["d/a.PNG", "d/photo", "d/photo.dat"]
    assert notes("d") == ["d: passed over files in formats that are not read (1 .json, 3 .txt, 2 without extension)"]


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_find_takes_files_with_the_extension_of_an_image_whatever_is_in_them(here: Path, extension: str) -> None:
    Path("d").mkdir()
    Path(f"d/x{extension.upper()}").write_text("text")
    assert names("d") == [f"d/x{extension.upper()}"]


def test_find_says_that_a_folder_has_no_images(here: Path) -> None:
    make("d/sub/a.png")
    Path("e").mkdir()
    assert fault("e") == "no images in this folder"
    [source] = found("d", recursive=False)
    assert source.fault == "no images in this folder; --no-recursive leaves out those inside"


@pytest.mark.parametrize("name", ["missing.png", "a.png/b", "nul\0l.png", "x" * 5000])
def test_find_says_that_a_file_is_missing(here: Path, name: str) -> None:
    make("a.png")
    assert fault(name) in ("no such file or folder", "file name too long")


def test_find_does_not_take_an_empty_argument_for_the_current_folder(here: Path) -> None:
    make("a.png")
    assert fault("") == "the name is empty"


def test_find_follows_links_but_reads_no_folder_twice(here: Path) -> None:
    make("d/a.png", "other/b.png")
    for name, target in (("d/again", "."), ("d/up", ".."), ("d/there", "../other"), ("d/there2", "../other")):
        Path(name).symlink_to(target)
    Path("d/link.png").symlink_to("a.png")
    assert names("d") == ["d/a.png", "d/link.png", "d/there/b.png"]


@pytest.fixture
def deep_picture(here: Path) -> Iterator[str]:
    """A picture 1100 folders down; removed at the end, because pytest itself would fail to."""
    for _ in range(1100):
        Path("d").mkdir()
        os.chdir("d")
    make("a.png")
    os.chdir(here)
    yield "d/" * 1100 + "a.png"
    while Path("d").is_dir():
        os.chdir("d")
    Path("a.png").unlink()
    for _ in range(1100):
        os.chdir("..")
        Path("d").rmdir()


def test_find_reads_folders_deeper_than_pythons_recursion(deep_picture: str) -> None:
    assert names("d") == [deep_picture]
    assert names("**/a.png") == [deep_picture]


def test_find_goes_on_after_a_folder_that_cannot_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("d/a/1.png", "d/b/2.png")
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path == "d/a":
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert [(source.name, source.fault) for source in found("d")] == [
        ("d/a", "this folder cannot be read (permission denied)"),
        ("d/b/2.png", None),
    ]


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder `d` in the current one whose permissions hold, also if the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        make("d/closed/a.png", "d/listed/b.png", "d/locked.png", "d/z.png")
        for name, mode in ((".", 0o755), ("d/closed", 0), ("d/listed", 0o444), ("d/locked.png", 0)):
            Path(name).chmod(mode)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # nobody
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            Path("d/closed").chmod(0o755)
            Path("d/listed").chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_find_names_what_may_not_be_read(forbidden: Path) -> None:
    result = {source.name: source for source in found("d", "d/closed/a.png")}
    assert result["d/closed"].fault == "this folder cannot be read (permission denied)"
    assert result["d/closed/a.png"].fault == "permission denied"
    for name in ("d/locked.png", "d/listed/b.png"):
        with pytest.raises(ImageError, match=r"^permission denied$"):
            result[name].open()
    assert content(result["d/z.png"]) == PNG


def test_find_is_lazy(here: Path) -> None:
    make("d/a.png", "d/b.png", "e/c.png")
    sources_of_both = find(["d", "e"], recursive=True, offline=True, notify=lambda message: None)
    assert next(sources_of_both).name == "d/a.png"
    make("e/d.png")  # not read yet
    assert [source.name for source in sources_of_both] == ["d/b.png", "e/c.png", "e/d.png"]


ODD_NAMES = [
    "new\nline.png",
    "sp ace.png",
    "cat[red].png",
    "a[/b].png".replace("/", "_"),
    "-dash.png",
    "--help.png",
    "@list.png",
    "🐈.png",
    "esc\x1b]0;pwn\x07.png",
    "*.png",
    "[1].png",
    "tab\t.png",
    "x" * 251 + ".png",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_find_takes_odd_names_as_they_are(here: Path, name: str) -> None:
    make(name, "d/" + name, "1.png")
    assert names(name) == [name]
    assert names("d") == ["d/" + name]
    assert read(found(name)[0]).image.size == (4, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes in names")
def test_find_takes_names_that_are_not_utf8(here: Path) -> None:
    make(b"d/\xff.png", b"\xfe.png")
    assert names("d", "\udcfe.png") == ["d/\udcff.png", "\udcfe.png"]
    assert names("*.png") == ["\udcfe.png"]
    Path("list.txt").write_bytes(b"\xfe.png\nd/\xff.png\n")
    assert names("@list.txt") == ["\udcfe.png", "d/\udcff.png"]
    assert read(found("d")[0]).image.size == (4, 4)


# --- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX file types")
def test_source_never_opens_what_could_block_or_never_end(here: Path) -> None:
    os.mkfifo("pipe.png")
    Path("self.png").symlink_to("self.png")
    Path("dangling.png").symlink_to("nowhere.png")
    Path("folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
    start = time.monotonic()
    for name in ("pipe.png", "socket.png", "/dev/zero", "/dev/null"):
        assert fault(name).startswith("not a regular file; give its bytes on standard input")
    assert fault("self.png") == "too many levels of symbolic links"
    assert fault("dangling.png") == "no such file"
    with pytest.raises(ImageError, match=r"^this is a folder$"):
        Source("folder.png", path=Path("folder.png")).open()
    assert time.monotonic() - start < 2


def test_source_refuses_a_file_larger_than_any_image(here: Path) -> None:
    make("big.webp")
    os.truncate("big.webp", 3_000_000_000)  # sparse: it takes no space
    assert fault("big.webp") == "3.0 GB, more than the 2 GB that are read"


def test_source_says_that_a_file_went_away(here: Path) -> None:
    make("a.png")
    [source] = found("a.png")
    Path("a.png").unlink()
    with pytest.raises(ImageError, match=r"^no such file$"):
        source.open()


def test_source_opens_a_file_anew_each_time(here: Path) -> None:
    make("a.png")
    [source] = found("a.png")
    assert content(source) == content(source) == PNG
    assert source.fetched() is source


# --- patterns --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(here: Path) -> Path:
    make("1.png", "2.png", "10.png", "d/1.png", "d/e/2.png", "d/e/.hidden.png", ".secret/3.png", "[x]/4.png")
    Path("notes.txt").write_text("text")
    return here


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["1.png", "2.png", "10.png"]),
        ("./?.png", ["./1.png", "./2.png"]),
        ("[12].png", ["1.png", "2.png"]),
        ("[!1].png", ["2.png"]),
        ("d/*", ["d/1.png", "d/e/2.png"]),
        ("*/1.png", ["d/1.png"]),
        ("**/*.png", ["1.png", "2.png", "10.png", "[x]/4.png", "d/1.png", "d/e/2.png"]),
        ("**/2.png", ["2.png", "d/e/2.png"]),
        ("d/**/*.png", ["d/1.png", "d/e/2.png"]),
        ("d/**", ["d/1.png", "d/e/2.png"]),
        ("d/**/", ["d/1.png", "d/e/2.png"]),
        ("d/**/*", ["d/1.png", "d/e/2.png"]),
        ("**/e/**/*.png", ["d/e/2.png"]),
        ("**/**/2.png", ["2.png", "d/e/2.png"]),
        ("**", ["1.png", "2.png", "10.png", "[x]/4.png", "d/1.png", "d/e/2.png"]),
        ("[[]x]/*.png", ["[x]/4.png"]),
        ("d/e/.*.png", ["d/e/.hidden.png"]),
        ("*.pn[g]", ["1.png", "2.png", "10.png"]),
    ],
)
def test_find_expands_patterns_each_picture_once(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected


def test_find_expands_an_absolute_pattern(tree: Path) -> None:
    assert names(f"{tree}/d/**/*.png") == [f"{tree}/d/1.png", f"{tree}/d/e/2.png"]


def test_find_expands_a_pattern_without_recursion_as_far_as_it_says(tree: Path) -> None:
    assert names("d/*", recursive=False) == ["d/1.png", "d/e/2.png"]
    assert names("d*", recursive=False) == ["d/1.png"]


@pytest.mark.parametrize("pattern", ["*.jpg", "nowhere/*.png", "**/*.jpg", "[z].png"])
def test_find_says_that_no_file_matches(tree: Path, pattern: str) -> None:
    assert fault(pattern) == "no file matches this pattern"


def test_find_takes_an_existing_path_for_itself_before_a_pattern(here: Path) -> None:
    make("[1].png", "1.png", "@1.png", "http:/x/1.png")
    assert names("[1].png", "@1.png", "http://x/1.png") == ["[1].png", "@1.png", "http://x/1.png"]


def test_a_file_that_a_pattern_matches_is_never_read_as_something_else(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("-", "@")
    give_stdin(monkeypatch, b"not this")
    assert [content(source) for source in found("?")] == [PNG, PNG]


def test_a_pattern_does_not_go_round_in_circles(here: Path) -> None:
    make("d/a.png")
    Path("d/loop1").symlink_to(".")
    Path("d/loop2").symlink_to("..")
    assert names("d/**/*.png") == ["d/a.png"]


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"b.png\na.png\n",
        b"b.png\na.png",
        b"b.png\r\na.png\r\n",
        b"\n  \nb.png\n\n\na.png\n\n",
        b"\xef\xbb\xbfb.png\na.png\n",
        b"b.png\0a.png\0",
        b"b.png\0a.png",
    ],
)
def test_find_reads_a_list(here: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    make("a.png", "b.png")
    Path("list.txt").write_bytes(content)
    assert names("@list.txt") == ["b.png", "a.png"]
    give_stdin(monkeypatch, content)
    assert names("@-") == ["b.png", "a.png"]


def test_a_nul_separated_list_may_hold_any_name(here: Path) -> None:
    make("new\nline.png", "end\r", " ")
    Path("list").write_bytes(b"new\nline.png\0end\r\0")
    assert names("@list") == ["new\nline.png", "end\r"]


def test_a_list_may_hold_folders_patterns_and_addresses_but_no_list_and_no_stream(tree: Path) -> None:
    Path("list").write_text("d\n[12].png\nhttp://localhost/1.png\n-\n@list\n")
    assert [(source.name, source.fault) for source in found("@list")] == [
        ("d/1.png", None),
        ("d/e/2.png", None),
        ("1.png", None),
        ("2.png", None),
        ("http://localhost/1.png", "not fetched because of --offline"),
        ("-", "no such file or folder"),
        ("@list", "no such file or folder"),
    ]


def test_find_takes_an_existing_name_before_a_list(here: Path) -> None:
    make("@list", "a.png")
    Path("list").write_text("a.png\n")
    assert names("@list") == ["@list"]
    assert names("@./list") == ["a.png"]
    make("@-")
    assert names("@-") == ["@-"] and count(["@-"], recursive=True) == 1


def test_find_reads_a_list_longer_than_a_block(here: Path) -> None:
    make("a.png")
    for separator in ("\n", "\0"):
        Path("list").write_text(f"a.png{separator}" * 30_000)
        assert names("@list") == ["a.png"] * 30_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "this list is empty"),
        (b"\n\r\n  \n", "this list is empty"),
        (b"\xef\xbb\xbf", "this list is empty"),
        (PNG, "this is an image, not a list of names; leave out the @"),
        ("a.png\n".encode("utf-16"), "this list is UTF-16 text; save it as UTF-8"),
        (b"x" * 1_200_000, "this is no list of names: it has a line of more than a megabyte"),
    ],
)
def test_find_says_what_is_wrong_with_a_list(here: Path, content: bytes, expected: str) -> None:
    Path("list").write_bytes(content)
    assert fault("@list") == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("@missing", "this list cannot be read (no such file)"),
        ("@", "this list cannot be read (is a directory)"),
        ("@folder", "this list cannot be read (is a directory)"),
        ("@/dev/zero", "this is a device; expected a list of names"),
    ],
)
def test_find_says_that_a_list_cannot_be_read(here: Path, argument: str, expected: str) -> None:
    Path("folder").mkdir()
    assert fault(argument) == expected


# --- standard input --------------------------------------------------------------------------------------------------


def test_find_takes_an_image_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, PNG)
    first, second = found("-", "-")
    assert read(first).image.size == (4, 4) and first.name == "-"
    assert second.fault == "nothing came on standard input; expected the bytes of an image"


def test_find_refuses_too_much_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MAX_STREAM_BYTES", len(PNG))
    give_stdin(monkeypatch, PNG)
    assert read(found("-")[0]).image.size == (4, 4)
    give_stdin(monkeypatch, PNG + b"\0")
    assert fault("-") == f"more than {len(PNG) / 1e6:g} MB on standard input"


# --- addresses -------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Answers by path; see `answers` for the plain ones."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        action = getattr(self, "answer_" + self.path.strip("/").split(".")[0], None)
        try:
            action() if action else self.plain(404, b"gone")
        except OSError:  # the client had enough
            self.close_connection = True

    def plain(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_cat(self) -> None:
        assert self.headers["User-Agent"].startswith("cnncli/")
        self.plain(200, PNG)

    def answer_page(self) -> None:
        self.plain(200, b"<!doctype html><p>Log in")

    def answer_moved(self) -> None:
        self.plain(302, b"", Location="/cat.png")

    def answer_circle(self) -> None:
        self.plain(302, b"", Location="/circle")

    def answer_file(self) -> None:
        self.plain(302, b"", Location="file:///etc/passwd")

    def answer_zipped(self) -> None:
        self.plain(200, gzip.compress(PNG), Content_Encoding="gzip")

    def answer_bomb(self) -> None:
        self.plain(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")

    def answer_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (PNG[:20], PNG[20:], b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))

    def answer_short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PNG)))
        self.end_headers()
        self.wfile.write(PNG[:-10])
        self.close_connection = True

    def answer_announced(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "999999999999")
        self.end_headers()
        self.close_connection = True

    def answer_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(65_536))

    def answer_silent(self) -> None:
        time.sleep(2)
        self.close_connection = True

    def answer_trickle(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(300):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        listening.block_on_close = False
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def fetch(url: str) -> Source:
    [source] = found(url, offline=False)
    return source


@pytest.mark.parametrize("path", ["cat.png", "moved", "zipped", "chunked", "cat.png?size=2#top"])
def test_find_fetches_an_image(server: str, path: str) -> None:
    url = f"{server}/{path}"
    source = fetch(url.replace("?size=2", ""))
    assert read(source).image.size == (4, 4)
    assert source.name == url.replace("?size=2", "")


def test_find_takes_the_scheme_in_capitals(server: str) -> None:
    assert read(fetch(server.replace("http", "HTTP") + "/cat.png")).image.size == (4, 4)


def test_fetched_fetches_only_once(server: str) -> None:
    source = fetch(f"{server}/cat.png").fetched()
    assert (source.url, source.content, source.name) == (None, PNG, f"{server}/cat.png")
    assert source.fetched() is source


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nothing.png", "the server answered 404 Not Found"),
        ("page.jpg", "not an image: this is an HTML page"),
        ("circle", "cannot be fetched (Exceeded 30 redirects"),
        ("file", "cannot be fetched (No connection adapters were found"),
        ("short", "cannot be fetched (IncompleteRead("),
    ],
)
def test_source_says_why_nothing_was_fetched(server: str, path: str, expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(fetch(f"{server}/{path}"))
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize("path", ["endless", "announced", "bomb"])
def test_source_stops_at_the_limit_of_size(server: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MAX_STREAM_BYTES", 1_000_000)
    with pytest.raises(ImageError, match=r"^more than 1 MB behind this address$"):
        fetch(f"{server}/{path}").open()


def test_source_does_not_wait_for_a_silent_server(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "READ_S", 0.2)
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"^the server sent nothing for 0\.2 s$"):
        fetch(f"{server}/silent").open()
    assert time.monotonic() - start < 1.5


def test_source_stops_at_the_limit_of_time_however_little_comes(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TOTAL_S", 0.3)
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"^it takes more than 0\.3 s to fetch; download it first$"):
        fetch(f"{server}/trickle").open()
    assert time.monotonic() - start < 3


def test_source_says_that_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but not listening
        with pytest.raises(ImageError, match=r"^cannot be fetched \(Connection refused\)$"):
            fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/cat.png").open()


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://.bad./x", "http://127.0.0.1:99999/x"])
def test_source_says_that_an_address_makes_no_sense(url: str) -> None:
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch(url).open()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://localhost/a.png", "s3://bucket/a.png"])
def test_find_says_which_addresses_are_fetched(url: str) -> None:
    assert fault(url) == "only addresses that begin with http:// or https:// are fetched"


def test_offline_fetches_nothing(server: str) -> None:
    assert fault(f"{server}/cat.png") == "not fetched because of --offline"


# --- what is known beforehand ----------------------------------------------------------------------------------------


def test_count_is_the_number_of_sources(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("list").write_text("1.png\nmissing.png\n")
    arguments = ["d", "*.png", "missing", "@list", "http://localhost/x.png", "-", "-"]
    monkeypatch.setattr(sys, "stdin", None)  # must not be touched
    assert count(arguments, recursive=True) == 2 + 3 + 1 + 2 + 1 + 2
    assert count(["d"], recursive=False) == 1
    assert count(["d", "@-"], recursive=True) is None


def test_names_in_a_folder_are_those_of_its_images_among_the_sources(tree: Path) -> None:
    Path("d/link.png").symlink_to("../2.png")
    assert names_in(tree, ["d", "1.png", "./d/../10.png", "missing.png"], recursive=True) == {
        "1.png",
        "2.png",
        "10.png",
    }
    assert names_in(tree / "d", [".", "-"], recursive=True) == set()  # not read, because results go there
    assert names_in(tree / "d", ["d", "-"], recursive=True) == {"1.png", "link.png"}
    assert names_in(tree, ["@-"], recursive=True) >= {"1.png", "2.png", "10.png", "notes.txt"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX pipes")
def test_a_list_that_comes_through_a_pipe_is_read_only_once(tree: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"1.png\n2.png\n")
    os.close(writing)
    argument = f"@/dev/fd/{reading}"  # what @<(find ...) is in a shell
    assert stat.S_ISFIFO(Path(argument[1:]).stat().st_mode)
    assert count([argument], recursive=True) is None
    assert names_in(tree, [argument], recursive=True) >= {"1.png", "2.png", "10.png"}
    assert names(argument) == ["1.png", "2.png"]
    os.close(reading)


def test_finding_files_keeps_none_of_them_in_memory(here: Path) -> None:
    import tracemalloc

    make("d/0.png")
    for number in range(1, 3000):
        os.link("d/0.png", f"d/{number}.png")
    tracemalloc.start()
    try:
        assert sum(1 for _ in find(["d"], recursive=True, offline=True, notify=print)) == 3000
        assert tracemalloc.get_traced_memory()[1] < 3000 * 1000  # names and sort keys: less than 1 kB each
    finally:
        tracemalloc.stop()
