"""Downloads of published weights, from a server in this process that misbehaves as it is told."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from weights_server import (
    WeightsServer,
    answers,
    dies_after,
    drip,
    pauses_after,
    ranged,
    serving,
    whole,
)

from cnncli.backbones import BACKBONES, Backbone
from cnncli.errors import CacheError, ModelError, WeightsUnavailableError
from cnncli.inference import cache, download, weights

NUM_WEIGHTS = 75_000


def hdf5(num_weights: int = NUM_WEIGHTS, value: float | None = None) -> bytes:
    """Weights in the official layout: one layer."""
    file = io.BytesIO()
    kernel = np.random.default_rng(0).normal(size=num_weights).astype(np.float32)
    if value is not None:
        kernel[17] = value
    with h5py.File(file, "w") as root:
        root.attrs["layer_names"] = [b"conv1"]
        group = root.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/kernel:0"]
        group["conv1/kernel:0"] = kernel
    return file.getvalue()


CONTENT = hdf5()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(CONTENT) as server:
        monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", server.address)
        yield server


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """ResNet50 as if it were small: its published hash is that of CONTENT."""
    return _in_table(monkeypatch, "resnet50", digest=f"md5:{MD5}", parameters=NUM_WEIGHTS)


@pytest.fixture
def unhashed(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """MobileNet as if it were small; Keras publishes no hash of it."""
    return _in_table(monkeypatch, "mobilenet", parameters=NUM_WEIGHTS)


def _in_table(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> Backbone:
    row = dataclasses.replace(BACKBONES[name], **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(BACKBONES, name, row)
    return row


def obtain(row: Backbone, offline: bool = False, notes: list[str] | None = None) -> Path:
    notify: Callable[[str], None] = (lambda text: None) if notes is None else notes.append
    return weights.obtain(row, offline=offline, notify=notify, progress=lambda done, total: None)


def failure(row: Backbone) -> str:
    """The message of a download that fails; checks that it leaves nothing and says what to do."""
    with pytest.raises(WeightsUnavailableError) as caught:
        obtain(row)
    message = str(caught.value)
    assert left_behind(row) == []
    assert f"cnncli models pull {row.name}" in message
    assert f"save {row.url}\n       as  {row.weights_path}" in message
    return message


def left_behind(row: Backbone) -> list[str]:
    folder = row.weights_path.parent
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- a download that goes well --------------------------------------------------------------------------------------


def test_download_is_announced_with_name_size_wait_address_and_place(server, row) -> None:
    big = dataclasses.replace(row, parameters=25_636_712)
    notes: list[str] = []
    path = obtain(big, notes=notes)
    assert path.read_bytes() == CONTENT
    assert notes == [
        "Downloading the resnet50 weights, once: about 103 MB, 41 s at 20 Mbit/s\n"
        f"  from {server.address}/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5\n"
        f"  to   {path}"
    ]


def test_download_is_done_once_and_then_needs_no_network(server, row, monkeypatch) -> None:
    path = obtain(row)
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    notes: list[str] = []
    assert obtain(row, notes=notes) == obtain(row, offline=True) == path
    assert notes == [] and len(server.requests) == 1
    assert left_behind(row) == [path.name]


def test_download_asks_for_the_file_as_it_is_and_names_its_own_program(server, row) -> None:
    obtain(row)
    path, headers = server.requests[0]
    assert path == "/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5"
    assert headers["Accept-Encoding"] == "identity" and headers["User-Agent"].startswith("cnncli/")


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_network_is_fetched_from_its_own_address_on_the_mirror(server, monkeypatch, name) -> None:
    row = _in_table(monkeypatch, name, parameters=NUM_WEIGHTS, digest=f"md5:{MD5}")
    assert obtain(row).name == row.weights_file
    assert server.requests[0][0] == row.url.removeprefix(server.address)


def test_download_without_a_length_is_taken_whole(server, row) -> None:
    server.behaviours = [answers(200, CONTENT)]
    totals = set()
    weights.obtain(row, offline=False, notify=print, progress=lambda done, total: totals.add(total))
    assert row.weights_path.read_bytes() == CONTENT and totals == {None}


def test_download_in_tiny_chunks_is_taken_whole(server, row) -> None:
    pieces = [CONTENT[:1], CONTENT[1:5], CONTENT[5:]]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"

    def chunked(request) -> None:
        request.protocol_version = "HTTP/1.1"
        answers(200, body, Transfer_Encoding="chunked", Connection="close")(request)

    server.behaviours = [chunked]
    assert obtain(row).read_bytes() == CONTENT


def test_download_that_the_server_packed_is_unpacked(server, row) -> None:
    packed = gzip.compress(CONTENT)
    server.behaviours = [answers(200, packed, Content_Encoding="gzip", Content_Length=len(packed))]
    assert obtain(row).read_bytes() == CONTENT


def test_download_follows_a_redirect(server, row) -> None:
    server.behaviours = [answers(302, Location="/elsewhere"), whole]
    assert obtain(row).read_bytes() == CONTENT
    assert [path for path, _ in server.requests][1] == "/elsewhere"


def test_download_goes_through_the_proxy_of_the_environment(server, row, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", "http://weights.invalid")
    assert obtain(row).read_bytes() == CONTENT
    assert server.requests[0][0] == row.url  # a proxy is asked for the whole address


def test_download_reports_every_byte_once(server, row) -> None:
    seen: list[tuple[int, int | None]] = []
    weights.obtain(row, offline=False, notify=print, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {total for _, total in seen} == {len(CONTENT)}


def test_download_beats_with_every_block_so_that_others_wait(server, row, monkeypatch) -> None:
    beats: list[bool] = []
    monkeypatch.setattr(cache.Work, "beat", lambda work: beats.append(work.held))
    seen: list[int] = []
    weights.obtain(row, offline=False, notify=print, progress=lambda done, total: seen.append(done))
    assert len(beats) == len(seen) + 1 > 5 and all(beats)  # one more when the lock is got


# -- broken connections ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [40_000, 100_000, len(CONTENT) - 1])
def test_broken_download_goes_on_where_it_stopped(server, row, cut) -> None:
    server.behaviours = [dies_after(cut), ranged]
    assert obtain(row).read_bytes() == CONTENT
    begin = int(server.ranges[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= cut and server.requests[1][1]["If-Range"] == server.etag


@pytest.mark.parametrize(
    "second",
    [
        whole,
        answers(206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"),
        answers(206, CONTENT[5:]),
        answers(206, b"xx", Content_Range="nonsense"),
        answers(206, b"xx", Content_Range=f"bytes 98304-98305/{len(CONTENT)}", Content_Encoding="gzip"),
        answers(416, b"", Content_Range=f"bytes */{len(CONTENT)}"),
        answers(503, b"busy"),
        answers(500, b"<html>"),
        dies_after(0),
    ],
    ids=["no-ranges", "another-range", "no-content-range", "odd-range", "packed-range", "416", "503", "500", "dead"],
)
def test_broken_download_survives_a_server_that_cannot_go_on(server, row, second) -> None:
    server.behaviours = [dies_after(100_000), second, ranged]
    assert obtain(row).read_bytes() == CONTENT
    assert len(server.requests) <= 3


def test_broken_download_begins_again_when_the_file_on_the_server_was_replaced(server, unhashed) -> None:
    new = hdf5(value=0.5)

    def replaced(request) -> None:
        dies_after(100_000)(request)
        request.server.content = new

    server.behaviours = [replaced, ranged]
    assert obtain(unhashed).read_bytes() == new


def test_connection_that_breaks_for_ever_is_tried_three_times(server, row) -> None:
    server.behaviours = [dies_after(100_000)]
    assert "could not be fetched: the connection broke off.\n" in failure(row)
    assert len(server.requests) == 3


def test_server_that_sends_nothing_is_tried_once(server, row) -> None:
    server.behaviours = [dies_after(0)]
    failure(row)
    assert len(server.requests) == 1


def test_stalled_download_is_given_up_and_tried_three_times(server, row, monkeypatch) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.2)
    server.behaviours = [pauses_after(100_000)]
    assert "could not be fetched: nothing came for 0 s.\n" in failure(row)
    assert len(server.requests) == 3


def test_server_that_never_answers_is_given_up_after_one_try(server, row, monkeypatch) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.2)
    server.behaviours = [lambda request: request.server.go_on.wait(60)]
    assert "nothing came for" in failure(row)
    assert len(server.requests) == 1


# -- servers that send something else -------------------------------------------------------------------------------

HTML = b"<!DOCTYPE html><title>Welcome to the hotel</title>" + b" " * 1000


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answers(404, b"gone"), "the server answered 404 Not Found"),
        (answers(500), "the server answered 500 Internal Server Error"),
        (answers(503), "the server answered 503 Service Unavailable"),
        (answers(204), "the server answered 204 No Content"),
        (answers(206, CONTENT, Content_Range="bytes 0-9/10"), "the server answered 206 Partial Content"),
        (answers(416), "416"),
        (answers(302, Location="ftp://127.0.0.1/x"), "No connection adapters were found"),
        (answers(302, Location="/again"), "30 redirects"),
        (answers(200, HTML), "sent an HTML page (a login page of the network?) instead of an HDF5 weights file"),
        (answers(200, b"version https://git-lfs"), "sent something else instead of an HDF5 weights file"),
        (answers(200, b""), "a wrong or damaged file: its md5 is d41d8cd98f00b204e9800998ecf8427e, expected is"),
        (answers(200, CONTENT[:-1]), f"expected is the published {MD5}"),
        (answers(200, CONTENT + b"x"), f"expected is the published {MD5}"),
        (answers(200, b"zz", Content_Encoding="gzip"), "incorrect header check"),
        (answers(200, CONTENT, Content_Length=50_000_000), "sends more than the 1 MB it may have"),
    ],
    ids=lambda value: value.replace(" ", "-")[:40] if isinstance(value, str) else "",
)
def test_wrong_answer_is_refused_and_nothing_is_kept(server, row, behaviour, reason) -> None:
    server.behaviours = [behaviour]
    assert f"the weights of {row.name} are not on this machine and could not be fetched: " in (said := failure(row))
    assert reason in said


def test_endless_download_is_stopped_at_one_and_a_half_times_the_size(server, row) -> None:
    sent = 0

    def endless(request) -> None:
        nonlocal sent
        request.begin(200)
        while sent < 100_000_000:
            sent += request.wfile.write(CONTENT)

    server.behaviours = [endless]
    assert "sends more than the 1 MB it may have" in failure(row)
    assert sent < 10_000_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONTENT[: len(CONTENT) // 2], "damaged"),
        (hdf5(NUM_WEIGHTS - 1), "it has 74,999 weights, expected 75,000"),
        (hdf5(value=np.nan), "not finite"),
        (b"\x89HDF\r\n\x1a\n" + bytes(300_000), "damaged"),
    ],
    ids=["truncated", "another-network", "nan", "only-a-signature"],
)
def test_weights_without_a_published_hash_are_checked_by_what_they_hold(server, unhashed, content, reason) -> None:
    server.behaviours = [answers(200, content)]
    assert reason in failure(unhashed)
    server.behaviours = [whole]
    assert obtain(unhashed).read_bytes() == CONTENT


# -- no network at all ----------------------------------------------------------------------------------------------


def test_closed_port_is_said_at_once(server, row, monkeypatch) -> None:
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    assert "could not be fetched: Connection refused.\n" in failure(row)


def test_unknown_host_is_said(server, row, monkeypatch) -> None:
    def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "could not be fetched: Name or service not known.\n" in failure(row)


def test_host_that_does_not_answer_is_given_up_in_seconds(server, row, monkeypatch) -> None:
    monkeypatch.setattr(download, "CONNECT_S", 0.2)
    with socket.socket() as full:  # a listener whose queue is full answers no more
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", f"http://127.0.0.1:{full.getsockname()[1]}")
        assert "no connection within 0 s" in failure(row)
        for client in waiting:
            client.close()


def test_server_without_tls_behind_https_is_said(server, row, monkeypatch) -> None:
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", server.address.replace("http:", "https:"))
    assert "SSL" in failure(row)


def test_proxy_that_is_down_is_said(server, row, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", "http://weights.invalid")
    assert "Connection refused" in failure(row)


@pytest.mark.parametrize("mirror", ["weights.example", "http://", "http://[::1", "http://.", "nonsense://x"])
def test_mirror_that_is_no_address_is_said(server, row, monkeypatch, mirror) -> None:
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", mirror)
    assert "and could not be fetched: " in failure(row)


def test_missing_certificates_are_said(server, row, monkeypatch) -> None:
    monkeypatch.setenv("CNNCLI_WEIGHTS_MIRROR", "https://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/missing/certificates.pem")
    assert "/missing/certificates.pem" in failure(row)


def test_offline_fetches_nothing(server, row) -> None:
    with pytest.raises(WeightsUnavailableError, match="not on this machine and were not fetched: --offline"):
        obtain(row, offline=True)
    assert server.requests == []


# -- disks and folders ----------------------------------------------------------------------------------------------


def test_full_disk_is_noticed_before_the_download(server, row, monkeypatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=40_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    big = dataclasses.replace(row, parameters=25_636_712)
    assert "the disk has 40 MB free, 113 MB are needed" in failure(big)
    assert server.requests == []


def test_disk_that_fills_up_during_the_download_leaves_nothing(server, row) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert "could not be fetched: File too large.\n" in failure(row)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_keras_home_that_is_a_file_is_named(server, row, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"file/models: cannot be made a folder .* set KERAS_HOME to another"):
        obtain(row)


def test_keras_home_that_cannot_be_written_is_named_before_the_download(server, row, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: "models" not in str(path))  # root may write everywhere
    with pytest.raises(CacheError, match=r"keras/models: this folder cannot be written; set KERAS_HOME to another"):
        obtain(row)
    assert server.requests == []


def test_weights_are_found_in_the_folder_of_keras_when_keras_home_is_not_set(
    server, row, monkeypatch, tmp_path
) -> None:
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert obtain(row) == tmp_path / ".keras" / "models" / row.weights_file


# -- cached files ---------------------------------------------------------------------------------------------------


def damage(row: Backbone, how: str) -> None:
    path = row.weights_path
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[200_000] ^= 1
    path.write_bytes(content[: 150_000 if how == "truncated" else None])


@pytest.mark.parametrize("how", ["flipped", "truncated"])
def test_damaged_cached_weights_are_fetched_again(server, row, how) -> None:
    obtain(row)
    damage(row, how)
    notes: list[str] = []
    assert obtain(row, notes=notes).read_bytes() == CONTENT
    assert notes[0].startswith(f"{row.weights_path}: damaged: its md5 is ")
    assert notes[0].endswith(f"expected is the published {MD5}; fetching it again")
    assert len(server.requests) == 2


def test_truncated_weights_without_a_published_hash_are_fetched_again(server, unhashed) -> None:
    """Such files exist: Keras's own download writes to the final name, and leaves a part there when it is killed."""
    obtain(unhashed)
    damage(unhashed, "truncated")
    notes: list[str] = []
    assert obtain(unhashed, notes=notes).read_bytes() == CONTENT
    assert "damaged: its weights are damaged" in notes[0]


@pytest.mark.parametrize("offline", [True, False])
def test_damaged_cached_weights_that_cannot_be_fetched_are_said_and_stay(server, row, offline) -> None:
    obtain(row)
    damage(row, "flipped")
    server.behaviours = [answers(404)]
    with pytest.raises(WeightsUnavailableError) as caught:
        obtain(row, offline=offline)
    found = hashlib.md5(row.weights_path.read_bytes()).hexdigest()
    why = (
        "were not fetched: --offline was given"
        if offline
        else "could not be fetched: the server answered 404 Not Found"
    )
    assert str(caught.value).startswith(
        f"the weights of resnet50 are damaged and {why}.\n"
        f"  Damage: its md5 is {found}, expected is the published {MD5}\n"
    )
    assert left_behind(row) == [row.weights_file]


def test_good_cached_weights_are_read_once(server, row, monkeypatch) -> None:
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)
    obtain(row)
    obtain(row)
    monkeypatch.setattr(cache, "digests", lambda *args: pytest.fail("read again"))
    assert obtain(row) == row.weights_path


# -- several processes, and processes that are stopped --------------------------------------------------------------

OBTAIN = """
import dataclasses, json, sys
from cnncli.backbones import BACKBONES
from cnncli.inference import weights
row = dataclasses.replace(BACKBONES["resnet50"], **json.loads(sys.argv[1]))
notify = lambda text: print(text, flush=True)
weights.obtain(row, offline=False, notify=notify, progress=lambda done, total: None)
"""
CNNCLI = """
import dataclasses, json, sys
from cnncli.backbones import BACKBONES
BACKBONES["resnet50"] = dataclasses.replace(BACKBONES["resnet50"], **json.loads(sys.argv.pop(1)))
from cnncli.cli import entry
entry()
"""


def start(script: str, row: Backbone, *args: str) -> subprocess.Popen[str]:
    changes = json.dumps({"digest": row.digest, "parameters": row.parameters})
    return subprocess.Popen(
        [sys.executable, "-c", script, changes, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("sent", [0, 1, 50_000, 200_000, len(CONTENT)])
def test_killed_download_leaves_nothing_that_counts_and_the_next_one_cleans_up(server, row, sent) -> None:
    server.behaviours = [pauses_after(sent), whole]
    process = start(OBTAIN, row)
    assert server.paused.wait(30)
    if sent < len(CONTENT):
        process.kill()
    process.communicate()
    assert not row.weights_path.exists() or row.weights_path.read_bytes() == CONTENT
    assert obtain(row).read_bytes() == CONTENT
    assert left_behind(row) == [row.weights_file]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["INT", "TERM", "HUP"]
)
def test_stopped_download_says_so_and_leaves_nothing(server, row, number, code) -> None:
    server.behaviours = [pauses_after(100_000)]
    process = start(CNNCLI, row, "models", "pull", "resnet50")
    assert server.paused.wait(30)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "")
    lines = [line for line in err.splitlines() if line]  # an empty one keeps clear of the ^C on the screen
    assert lines[0].startswith("Downloading the resnet50 weights") and lines[3:] == ["stopped"]
    assert left_behind(row) == []


def test_eight_processes_share_one_download(server, row) -> None:
    server.behaviours = [drip(10, threading.Event(), 0.1)]
    processes = [start(OBTAIN, row) for _ in range(8)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert len(server.requests) == 1
    assert sum("Downloading" in out for out, _ in outputs) == 1
    assert left_behind(row) == [row.weights_file] and row.weights_path.read_bytes() == CONTENT


def test_waiting_process_takes_over_when_the_downloading_one_is_killed(server, row) -> None:
    server.behaviours = [pauses_after(100_000), whole]
    first = start(OBTAIN, row)
    assert server.paused.wait(30)
    second = start(OBTAIN, row)
    assert second.stdout is not None
    assert second.stdout.readline() == "another cnncli is downloading resnet50; waiting for it\n"
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=30)
    assert (second.returncode, err) == (0, "") and out.startswith("Downloading")
    assert left_behind(row) == [row.weights_file]


def test_process_that_is_suspended_while_it_downloads_is_not_waited_for(server, row, monkeypatch) -> None:
    monkeypatch.setattr(cache, "STALLED_S", 0.3)
    server.behaviours = [pauses_after(100_000), whole]
    first = start(OBTAIN, row)
    assert server.paused.wait(30)
    first.send_signal(signal.SIGSTOP)
    notes: list[str] = []
    assert obtain(row, notes=notes).read_bytes() == CONTENT
    assert notes[0] == "another cnncli is downloading resnet50; waiting for it"
    first.send_signal(signal.SIGCONT)
    server.go_on.set()
    first.communicate(timeout=30)
    assert first.returncode == 0
    assert left_behind(row) == [row.weights_file] and row.weights_path.read_bytes() == CONTENT


# -- the command line -----------------------------------------------------------------------------------------------


def test_failed_download_is_one_plain_error_on_stderr(cnncli, server, row, tmp_path, monkeypatch) -> None:
    server.behaviours = [answers(200, HTML)]
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("photo.jpg")
    run = cnncli("predict", "photo.jpg", "--model", "resnet50")
    assert (run.code, run.out) == (1, "")
    assert run.err.count("error: ") == 1 and "Traceback" not in run.err
    assert "error: the weights of resnet50 are not on this machine and could not be fetched: the server sent" in run.err
    assert server.address in run.err and str(row.weights_path) in run.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_pull_goes_on_with_the_next_network_after_a_failure(cnncli, server, row, unhashed) -> None:
    server.behaviours = [answers(404)]
    run = cnncli("models", "pull", "resnet50", "mobilenet")
    assert (run.code, run.out) == (1, "")
    assert run.err.count("error: the weights of resnet50") == run.err.count("error: the weights of mobilenet") == 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "not a file"),
        (os.mkfifo, "not a file"),
        (lambda path: path.write_bytes(b""), "not an HDF5 file"),
        (lambda path: path.write_bytes(HTML), "not an HDF5 file"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "not an HDF5 file"),
    ],
    ids=["missing", "folder", "fifo", "empty", "html", "zip"],
)
def test_weights_option_refuses_what_is_no_weights_file(tmp_path, make, reason) -> None:
    make(tmp_path / "w.h5")
    with pytest.raises(ModelError, match=rf"--weights .*w\.h5: {reason}"):
        weights.check_given(tmp_path / "w.h5")
