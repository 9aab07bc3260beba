"""Published data sets: what is in Keras's cache is used, what is not is fetched, and nothing unchecked is read."""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from published_files import archive, as_published, batch, digits, idx, npz, put
from weights_server import WeightsServer, answers, serving

from cnncli.datasets import archives, published
from cnncli.datasets.dataset import Dataset
from cnncli.datasets.published import PUBLISHED, PublishedData
from cnncli.errors import DataError

RNG = np.random.default_rng(5)
MNIST = npz(digits())
COLOURS = RNG.integers(0, 256, (6, 32, 32, 3), np.uint8)
CIFAR10 = archive(
    {
        "cifar-10-batches-py/batches.meta": pickle.dumps({b"label_names": [b"airplane", b"cat"]}, protocol=3),
        "cifar-10-batches-py/data_batch_2": batch(COLOURS[2:4], [1, 1]),
        "cifar-10-batches-py/readme.html": b"<p>never unpickled</p>",
        "cifar-10-batches-py/test_batch": batch(COLOURS[4:], [1, 0]),
        "cifar-10-batches-py/data_batch_1": batch(COLOURS[:2], [0, 1]),
    }
)


def load(row: PublishedData, *, offline: bool = True, notes: list[str] | None = None) -> Dataset:
    notify = (lambda text: None) if notes is None else notes.append
    return published.load(row, offline=offline, notify=notify, progress=lambda done, total: None)


def pixels(data: Dataset, split: str) -> np.ndarray:
    return np.stack([example.pixels for example in data.splits[split]])


def labels(data: Dataset, split: str) -> list[int]:
    return [example.label for example in data.splits[split]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    with serving(MNIST) as server:
        monkeypatch.setenv("CNNCLI_DATA_MIRROR", server.address)
        yield server


# -- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_addresses_and_hashes_are_those_in_keras_source(module: str, monkeypatch) -> None:
    monkeypatch.delenv("CNNCLI_DATA_MIRROR")
    keras = importlib.util.find_spec("keras")
    text = Path(keras.origin).parent.joinpath("src", "datasets", f"{module}.py").read_text(encoding="utf-8")
    for file in PUBLISHED[module.replace("_", "-")].files:
        folder, _, name = file.url.rpartition("/")
        assert folder in text and name in text
        assert ("file_hash" in text) == (file.digest is not None)
        assert file.digest is None or file.digest.removeprefix("sha256:") in text
        assert file.name.removesuffix("_archive").split("/")[-1] in text


def test_files_lie_where_keras_keeps_them() -> None:
    names = [str(file.path.relative_to(os.environ["KERAS_HOME"])) for row in PUBLISHED.values() for file in row.files]
    assert names == [
        "datasets/mnist.npz",
        "datasets/fashion-mnist/train-images-idx3-ubyte.gz",
        "datasets/fashion-mnist/train-labels-idx1-ubyte.gz",
        "datasets/fashion-mnist/t10k-images-idx3-ubyte.gz",
        "datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz",
        "datasets/cifar-10-batches-py-target_archive",
        "datasets/cifar-100-python-target_archive",
    ]


def test_archive_of_an_older_keras_is_used(monkeypatch) -> None:
    row = as_published(monkeypatch, "cifar10", CIFAR10)
    older = row.files[0].path.with_name("cifar-10-batches-py.tar.gz")
    older.parent.mkdir(parents=True)
    older.write_bytes(CIFAR10)
    assert row.cached and len(load(row).splits["train"]) == 4


# -- reading --------------------------------------------------------------------------------------------------------


def test_mnist_is_read_as_it_was_written(monkeypatch) -> None:
    row = as_published(monkeypatch, "mnist", MNIST)
    put(row, MNIST)
    data, expected = load(row), digits()
    assert [image_class.label for image_class in data.classes] == list("0123456789")
    for split in ("train", "test"):
        assert np.array_equal(pixels(data, split), expected[f"x_{split}"])
        assert labels(data, split) == expected[f"y_{split}"].tolist()
    assert data.splits["test"][3].name == "mnist/test/3"


def test_fashion_mnist_is_read_from_idx_files(monkeypatch) -> None:
    arrays = digits()
    contents = [idx(arrays[name]) for name in ("x_train", "y_train", "x_test", "y_test")]
    row = as_published(monkeypatch, "fashion-mnist", *contents)
    put(row, *contents)
    data = load(row)
    assert np.array_equal(pixels(data, "train"), arrays["x_train"])
    assert np.array_equal(pixels(data, "test"), arrays["x_test"])
    assert data.classes[0] == ("T-shirt-top", "T-shirt/top")  # an id can be a folder's name


def test_cifar_batches_come_in_order_with_channels_last(monkeypatch) -> None:
    row = as_published(monkeypatch, "cifar10", CIFAR10)
    put(row, CIFAR10)
    data = load(row)
    assert [image_class.label for image_class in data.classes] == ["airplane", "cat"]
    assert np.array_equal(pixels(data, "train"), COLOURS[:4]) and labels(data, "train") == [0, 1, 1, 1]
    assert np.array_equal(pixels(data, "test"), COLOURS[4:]) and labels(data, "test") == [1, 0]


def test_cifar100_has_its_fine_labels(monkeypatch) -> None:
    names = {b"fine_label_names": [b"apple", b"bee"], b"coarse_label_names": [b"food"]}
    content = archive(
        {
            "cifar-100-python/meta": pickle.dumps(names, protocol=3),
            "cifar-100-python/train": batch(COLOURS[:2], [1, 0], b"fine_labels"),
            "cifar-100-python/test": batch(COLOURS[2:3], [1], b"fine_labels"),
            "cifar-100-python/file.txt~": b"never unpickled",
        }
    )
    row = as_published(monkeypatch, "cifar100", content)
    put(row, content)
    data = load(row)
    assert [image_class.id for image_class in data.classes] == ["apple", "bee"]
    assert labels(data, "train") == [1, 0] and np.array_equal(pixels(data, "test"), COLOURS[2:3])


def test_pickle_of_python_2_has_bytes_for_names() -> None:
    assert archives._unpickled(b"\x80\x02}q\x00U\x06labelsq\x01]q\x02K\x07as.") == {b"labels": [7]}


# -- files that are not what they should be -------------------------------------------------------------------------


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_pickle_that_runs_code_is_refused_even_with_the_right_hash(tmp_path, monkeypatch) -> None:
    evil = pickle.dumps({b"data": Evil(tmp_path / "pwned")}, protocol=3)
    content = archive({"cifar-10-batches-py/data_batch_1": evil})
    row = as_published(monkeypatch, "cifar10", content)
    put(row, content)
    with pytest.raises(DataError, match=r"cifar10: .*a pickle that asks for posix\.mkdir"):
        load(row)
    assert not (tmp_path / "pwned").exists()


def test_object_array_in_npz_is_refused(tmp_path, monkeypatch) -> None:
    arrays = {**digits(), "x_train": np.array([Evil(tmp_path / "pwned")], dtype=object)}
    content = npz(arrays)
    row = as_published(monkeypatch, "mnist", content)
    put(row, content)
    with pytest.raises(DataError, match="allow_pickle=False"):
        load(row)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_file_with_another_hash_is_never_read(name, monkeypatch) -> None:
    row = PUBLISHED[name]
    put(row, MNIST)
    monkeypatch.setattr(archives, "read", lambda *args: pytest.fail("it was read"))
    with pytest.raises(DataError, match=f"the images of {name} are damaged and were not fetched: --offline") as caught:
        load(row)
    assert str(row.files[0].digest).removeprefix("sha256:") in str(caught.value)
    assert f"cnncli data pull {name}" in str(caught.value) and f"save {row.files[0].url}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1f\x8b", "damaged"),
        (idx(np.zeros((3, 28, 28), np.uint8))[:-9], "damaged"),
        (idx(np.zeros(4, np.uint8)).replace(b"\x1f\x8b", b"PK"), "damaged"),
    ],
    ids=["only-a-signature", "truncated", "another-format"],
)
def test_idx_file_without_a_published_hash_is_checked_by_what_it_holds(monkeypatch, content, reason) -> None:
    good = idx(np.zeros(3, np.uint8))
    row = as_published(monkeypatch, "fashion-mnist", content, good, good, good)
    put(row, content, good, good, good)
    with pytest.raises(DataError, match="the images of fashion-mnist are damaged"):
        load(row)


def test_idx_header_that_promises_more_is_refused() -> None:
    import gzip

    with pytest.raises(DataError, match="it has 5 values, its header promises 6"):
        archives.idx(gzip.compress(bytes((0, 0, 8, 1, 0, 0, 0, 6)) + bytes(5)))
    with pytest.raises(DataError, match="no IDX file"):
        archives.idx(gzip.compress(b"text"))


def test_label_out_of_range_is_refused(monkeypatch) -> None:
    content = npz({**digits(), "y_test": np.full(20, 10, np.uint8)})
    row = as_published(monkeypatch, "mnist", content)
    put(row, content)
    with pytest.raises(DataError, match="a label from 0 to 9 for each image"):
        load(row)


# -- fetching -------------------------------------------------------------------------------------------------------


def test_data_are_fetched_once_into_keras_cache(server, monkeypatch) -> None:
    row = as_published(monkeypatch, "mnist", MNIST)
    notes: list[str] = []
    load(row, offline=False, notes=notes)
    assert row.files[0].path.read_bytes() == MNIST
    assert notes[0].startswith("Downloading the mnist images, once: about 0.04 MB")
    assert [path for path, _ in server.requests] == ["/tensorflow/tf-keras-datasets/mnist.npz"]
    load(row, offline=False)
    load(row)
    assert len(server.requests) == 1


def test_damaged_data_are_fetched_again(server, monkeypatch) -> None:
    row = as_published(monkeypatch, "mnist", MNIST)
    put(row, MNIST[:-1])
    notes: list[str] = []
    assert len(load(row, offline=False, notes=notes).splits["train"]) == 30
    assert "damaged: its sha256 is" in notes[0] and row.files[0].path.read_bytes() == MNIST


def test_download_with_another_hash_is_refused_and_not_kept(server, monkeypatch) -> None:
    row = as_published(monkeypatch, "mnist", MNIST)
    server.content = npz(digits(seed=1))
    with pytest.raises(DataError, match="the server sent a wrong or damaged file: its sha256"):
        load(row, offline=False)
    assert list(row.files[0].path.parent.iterdir()) == []


def test_login_page_instead_of_data_is_named(server, monkeypatch) -> None:
    row = as_published(monkeypatch, "mnist", MNIST)
    server.behaviours = [answers(200, b"<html>Welcome")]
    with pytest.raises(DataError, match=r"an HTML page .* instead of a \.npz archive"):
        load(row, offline=False)


def test_machine_without_a_network_hears_how_to_get_the_file_by_hand() -> None:
    row = PUBLISHED["cifar100"]
    with pytest.raises(DataError) as caught:
        load(row, offline=False)
    assert str(caught.value) == (
        "the images of cifar100 are not on this machine and could not be fetched: Connection refused.\n"
        "  With a network: cnncli data pull cifar100\n"
        f"  By hand: save {row.files[0].url}\n"
        f"       as  {row.files[0].path}"
    )


def test_folder_that_keras_unpacked_without_its_archive_is_not_trusted() -> None:
    row = PUBLISHED["cifar10"]
    unpacked = row.files[0].path.with_name("cifar-10-batches-py-target")
    unpacked.mkdir(parents=True)
    notes: list[str] = []
    with pytest.raises(DataError, match="cnncli data pull cifar10"):
        load(row, notes=notes)
    assert notes[0].startswith(
        f"{unpacked}: Keras unpacked cifar10 here, but without its archive it cannot be compared"
    )


@pytest.mark.parametrize(
    ("name", "classes", "page"),
    [
        ("malaria", ("Parasitized/", "Uninfected/"), "https://ceb.nlm.nih.gov/repositories/malaria-datasets/"),
        ("concrete", ("Negative/", "Positive/"), "https://data.mendeley.com/datasets/5y9wdsg2zt/2"),
    ],
)
def test_data_of_the_projects_are_had_by_hand(name, classes, page, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load(PUBLISHED[name], offline=False)
    text = str(caught.value)
    assert page in text and all(label in text for label in classes) and f"./{name}" not in text
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"a folder of that name is \./{name}\)"):
        load(PUBLISHED[name], offline=False)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="emnist: no published data set has this name; expected one of mnist, fashion"):
        published.named("emnist")
