"""What DATA stands for: class folders, splits, manifests and names, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import cnncli.datasets
from cnncli.backbones import ImageClass
from cnncli.datasets.dataset import Dataset, Example
from cnncli.datasets.find import open_dataset
from cnncli.errors import DataError

NAMED = Dataset("mnist", (ImageClass("0", "0"), ImageClass("1", "1")), {"train": (Example("mnist[0]", 0),)})


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published data sets: one, called mnist."""
    module = SimpleNamespace(
        PUBLISHED={"mnist": "row"},
        find={"mnist": "row"}.get,
        load=lambda row, *, offline, notify, progress: NAMED,
    )
    monkeypatch.setattr(cnncli.datasets, "published", module, raising=False)
    monkeypatch.setitem(sys.modules, "cnncli.datasets.published", module)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str | bytes, content: bytes = b"not decoded here") -> None:
    """Writes a file under each name, and the folders above it."""
    for name in names:
        path = Path(os.fsdecode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def opened(data: str) -> Dataset:
    return open_dataset(data, offline=True, notify=lambda message: None, progress=lambda done, total: None)


def labels(dataset: Dataset) -> list[str]:
    return [each.label for each in dataset.classes]


def images(dataset: Dataset) -> dict[str, list[tuple[str, str]]]:
    """Name and label of each image, by split."""
    return {
        split: [(example.name, dataset.classes[example.label].id) for example in examples]
        for split, examples in dataset.splits.items()
    }


def refusal(data: str) -> str:
    with pytest.raises(DataError) as caught:
        opened(data)
    return str(caught.value)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_folders_are_classes_and_their_images_all_that_lie_below(here: Path) -> None:
    make("d/dog/2.jpg", "d/dog/10.jpg", "d/cat/old/1.JPEG", "d/cat/x.webp", "d/cat/y.tif")
    dataset = opened("d")
    assert dataset.classes == (ImageClass("cat", "cat"), ImageClass("dog", "dog"))
    assert images(dataset) == {
        "train": [
            ("d/cat/old/1.JPEG", "cat"),
            ("d/cat/x.webp", "cat"),
            ("d/cat/y.tif", "cat"),
            ("d/dog/2.jpg", "dog"),
            ("d/dog/10.jpg", "dog"),
        ]
    }
    assert dataset.splits["train"][0].path == Path("d/cat/old/1.JPEG")
    assert dataset.name == "d"
    assert dataset.notes == ()


def test_classes_are_in_natural_order(here: Path) -> None:
    make(*(f"d/{name}/1.jpg" for name in ("10", "2", "b", "B", "ä", "a")))
    assert labels(opened("d")) == ["2", "10", "B", "a", "b", "ä"]


@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8", "de_DE.UTF-8"])
def test_order_of_classes_depends_on_neither_locale_nor_file_system(here: Path, locale: str) -> None:
    names = ["i", "I", "\u0131", "Z", "ä", "10", "9"]  # U+0131: the Turkish i without a dot
    make(*(f"d/{name}/1.jpg" for name in names))
    program = (
        "import os, sys; listdir = os.listdir; os.listdir = lambda path: sorted(listdir(path), reverse=True)\n"
        "from cnncli.datasets.folders import read_folder\n"
        "for c in read_folder('d', print).classes: sys.stdout.buffer.write(os.fsencode(c.id) + b'\\n')"
    )
    environment = {**os.environ, "LC_ALL": locale}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=60, check=True)
    assert run.stdout.decode().split() == ["9", "10", "I", "Z", "i", "ä", "\u0131"]


def test_hidden_and_junk_folders_are_no_classes(here: Path) -> None:
    make("d/cat/1.jpg", "d/cat/Thumbs.db", "d/cat/._1.jpg", "d/dog/1.jpg", "d/README.txt")
    make("d/__MACOSX/cat/1.jpg", "d/@eaDir/1.jpg", "d/.git/x.jpg", "d/.DS_Store")
    dataset = opened("d")
    assert labels(dataset) == ["cat", "dog"]
    assert len(dataset.splits["train"]) == 2
    assert dataset.notes == ()


def test_files_that_are_no_images_are_counted_by_class(here: Path) -> None:
    make("d/cat/1.jpg", "d/cat/a.txt", "d/cat/b.TXT", "d/cat/notes", "d/dog/1.jpg", "d/dog/c.csv")
    make("d/cat/photo", content=b"\x89PNG\r\n\x1a\n")  # an image, by how it begins
    dataset = opened("d")
    assert len(dataset.splits["train"]) == 3
    assert dataset.notes == ("passed over 2 .txt, 1 without extension in cat", "passed over 1 .csv in dog")


def test_many_notes_on_files_that_are_no_images_become_one(here: Path) -> None:
    for number in range(20):
        make(f"d/{number}/1.jpg", f"d/{number}/boxes.txt")
    assert opened("d").notes == ("passed over 1 .txt each in 0, 1, 2, 3, 4 and 15 more",)
    for number in range(20):
        make(*(f"d/{number}/{extra}.csv" for extra in range(number)))
    assert opened("d").notes == ("passed over 190 .csv, 20 .txt in 20 class folders",)


def test_odd_names_are_kept_as_they_are(here: Path) -> None:
    names = [b"a b", b"[red]", b"-x", b"new\nline", "\N{CAT}".encode(), b"\xff", b"n" * 255]
    make(*(b"d/" + name + b"/" + name[:200] + b".jpg" for name in names))
    dataset = opened("d")
    assert sorted(os.fsencode(label) for label in labels(dataset)) == sorted(names)
    assert all(example.path is not None and example.path.is_file() for example in dataset.splits["train"])


def test_most_names_being_wordnet_ids_the_labels_are_those_of_imagenet(here: Path) -> None:
    make("d/n02123045/1.jpg", "d/n02012849/1.jpg", "d/n99999999/1.jpg")
    assert opened("d").classes == (
        ImageClass("n02012849", "crane"),
        ImageClass("n02123045", "tabby"),
        ImageClass("n99999999", "n99999999"),
    )
    make("e/n02123045/1.jpg", "e/mine/1.jpg")
    assert labels(opened("e")) == ["mine", "n02123045"]


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation"])
def test_folders_called_train_val_and_test_are_splits(here: Path, val: str) -> None:
    make(*(f"d/{split}/{name}/1.jpg" for split in ("train", val, "test") for name in ("cat", "dog")))
    make("d/labels.csv", "d/.cache/1.jpg")
    assert images(opened("d")) == {
        "train": [("d/train/cat/1.jpg", "cat"), ("d/train/dog/1.jpg", "dog")],
        "val": [(f"d/{val}/cat/1.jpg", "cat"), (f"d/{val}/dog/1.jpg", "dog")],
        "test": [("d/test/cat/1.jpg", "cat"), ("d/test/dog/1.jpg", "dog")],
    }


def test_training_and_testing_are_splits_too(here: Path) -> None:
    make(*(f"d/{split}/{name}/1.jpg" for split in ("Training", "Testing") for name in ("cat", "dog")))
    assert {split: len(examples) for split, examples in opened("d").splits.items()} == {"train": 2, "test": 2}


def test_train_may_be_the_only_split(here: Path) -> None:
    make("d/train/cat/1.jpg", "d/train/dog/1.jpg")
    assert list(opened("d").splits) == ["train"]
    assert list(opened("d/train").splits) == ["train"]


def test_folders_called_train_without_folders_inside_are_classes(here: Path) -> None:
    make("d/train/1.jpg", "d/car/1.jpg")
    assert labels(opened("d")) == ["car", "train"]
    make("e/train/1.jpg", "e/test/1.jpg")
    assert labels(opened("e")) == ["test", "train"]
    assert opened("e").notes == ("e: test, train taken for classes, because there are no folders inside",)


# --- as archives unpack ----------------------------------------------------------------------------------------------


def test_single_folder_around_the_classes_is_passed_through(here: Path) -> None:
    make("d/cell_images/Parasitized/1.png", "d/cell_images/Uninfected/1.png", "d/LICENSE")
    dataset = opened("d")
    assert labels(dataset) == ["Parasitized", "Uninfected"]
    assert dataset.notes == ("d: holds a single folder; its classes are those of d/cell_images",)
    make(*(f"e/a/b/{split}/{name}/1.jpg" for split in ("train", "test") for name in "xy"))
    assert {split: len(examples) for split, examples in opened("e").splits.items()} == {"train": 2, "test": 2}


def test_second_copy_of_the_classes_in_the_malaria_archive_is_left_out(here: Path) -> None:
    for root in ("d/cell_images", "d/cell_images/cell_images"):
        make(f"{root}/Parasitized/1.png", f"{root}/Parasitized/2.png", f"{root}/Uninfected/1.png")
        make(f"{root}/Parasitized/Thumbs.db")
    for data in ("d", "d/cell_images"):
        dataset = opened(data)
        assert [example.name for example in dataset.splits["train"]] == [
            "d/cell_images/Parasitized/1.png",
            "d/cell_images/Parasitized/2.png",
            "d/cell_images/Uninfected/1.png",
        ]
        left_out = "d/cell_images/cell_images: left out, because all it holds is in the folders beside it as well"
        assert dataset.notes[-1] == left_out


def test_second_copy_of_a_split_data_set_is_left_out(here: Path) -> None:
    for root in ("chest_xray", "chest_xray/chest_xray"):
        make(*(f"{root}/{split}/{name}/1.jpg" for split in ("train", "val", "test") for name in ("ILL", "WELL")))
    make("chest_xray/__MACOSX/train/._ILL")
    assert {split: len(examples) for split, examples in opened("chest_xray").splits.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }


def test_same_classes_again_with_other_images_are_not_guessed_at(here: Path) -> None:
    make("d/cat/1.jpg", "d/dog/1.jpg", "d/more/cat/2.jpg", "d/more/dog/1.jpg")
    assert refusal("d").startswith("d/more: holds cat, dog again, but with other files; give the folder that is meant")


# --- folders that cannot be used -------------------------------------------------------------------------------------

CLASSES = (
    "Expected a folder for each class, with its images inside:\n  d/\n    cat/   1.jpg 2.jpg ...\n    dog/   1.jpg"
)
SPLITS = "Expected the same class folders in each split; val and test may be missing:\n  d/\n    train/\n      cat/   1"


@pytest.mark.parametrize(
    ("files", "problem", "layout"),
    [
        (["d/.x"], "d: no images and no folders here", CLASSES),
        (["d/1.jpg", "d/2.jpg"], "d: images in no class, such as 1.jpg", CLASSES),
        (["d/cat/1.jpg", "d/dog/1.jpg", "d/x.png"], "d: images in no class, such as x.png", CLASSES),
        (["d/cat/1.jpg"], "d: one class only (cat); a classifier needs two or more", CLASSES),
        (["d/cat/1.jpg", "d/__MACOSX/1.jpg"], "d: one class only (cat)", CLASSES),
        (["d/cat/1.jpg", "d/dog/a.txt"], "d: no image in class dog; fill or remove it", CLASSES),
        (["d/cat/1.txt", "d/dog/a.txt"], "d: no image in classes cat, dog; fill or remove them", CLASSES),
        (["d/train/a/1.jpg", "d/train/b/1.jpg", "d/val/a/1.jpg"], "d: val lacks images of class b", SPLITS),
        (
            ["d/train/a/1.jpg", "d/train/b/1.jpg", "d/test/a/1.jpg", "d/test/b/1.txt"],
            "d: test lacks images of class b",
            SPLITS,
        ),
        (
            [*(f"d/{split}/{name}/1.jpg" for split in ("train", "val") for name in "ab"), "d/val/c/1.jpg"],
            "d: class c in val, but not in train",
            SPLITS,
        ),
        (["d/train/a/1.jpg", "d/test/a/1.jpg"], "d: one class only (a)", SPLITS),
        (["d/train/a/1.jpg", "d/train/b/1.txt"], "d: no image in class b", SPLITS),
        (["d/val/a/1.jpg", "d/val/b/1.jpg", "d/test/a/1.jpg"], "d: there are images for val and test only", SPLITS),
        (["d/test/a/1.jpg", "d/test/b/1.jpg"], "d: there are images for test only; nothing to train with", SPLITS),
        (["d/train/a/1.jpg", "d/train/b/1.jpg", "d/test/1.jpg"], "d/test: images in no class, such as 1.jpg", SPLITS),
        (["d/train/a/1.jpg", "d/train/b/1.jpg", "d/train/c.jpg"], "d/train: images in no class, such as c.", SPLITS),
        (["d/train/a/1.jpg", "d/test/a/1.jpg", "d/more/a/1.jpg"], "d: more beside the splits test, train", SPLITS),
        (["d/train/a/1.jpg", "d/val/a/1.jpg", "d/valid/a/1.jpg"], "d: both val and valid are the split val", SPLITS),
        (["d/train/a/1.jpg", "d/train/b/1.jpg", "d/x.jpg"], "d: images in no split and no class, such as x.", SPLITS),
    ],
)
def test_folder_that_cannot_be_used_is_refused_with_the_layout_drawn(
    here: Path, files: list[str], problem: str, layout: str
) -> None:
    make(*files)
    message = refusal("d")
    assert message.startswith(problem)
    assert layout in message


def test_long_lists_of_classes_are_cut_in_messages(here: Path) -> None:
    make(*(f"d/{split}/{number}/1.jpg" for split in ("train",) for number in range(9)), "d/val/0/1.jpg")
    assert "val lacks images of classes 1, 2, 3, 4, 5 and 3 more;" in refusal("d")


def test_unreadable_folder_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("d/cat/1.jpg", "d/dog/in/1.jpg")
    listdir = os.listdir

    def refuse(path: str | Path) -> list[str]:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)  # the superuser, as whom tests may run, can read everything
    for closed in (Path("d/dog/in"), Path("d/dog"), Path("d")):
        assert refusal("d").startswith(f"{closed}: this folder cannot be read (permission denied)")


def test_links_that_lead_back_end(here: Path) -> None:
    make("d/cat/1.jpg", "d/dog/1.jpg")
    Path("d/loop").symlink_to(".")
    Path("d/self").symlink_to("self")
    Path("d/cat/up").symlink_to("..")
    Path("d/cat/round").symlink_to(".")
    assert images(opened("d")) == {"train": [("d/cat/1.jpg", "cat"), ("d/dog/1.jpg", "dog")]}


def test_link_to_a_class_folder_elsewhere_is_followed(here: Path) -> None:
    make("d/cat/1.jpg", "elsewhere/1.jpg")
    Path("d/dog").symlink_to(here / "elsewhere")
    assert images(opened("d")) == {"train": [("d/cat/1.jpg", "cat"), ("d/dog/1.jpg", "dog")]}


def test_reading_a_large_folder_shows_progress(here: Path) -> None:
    make("d/cat/1.jpg", "d/dog/x.jpg")
    for number in range(2500):
        os.link("d/cat/1.jpg", f"d/dog/{number}.jpg")
    seen: list[tuple[int, int | None]] = []
    dataset = open_dataset("d", offline=True, notify=lambda message: None, progress=lambda *values: seen.append(values))
    assert len(dataset.splits["train"]) == 2502
    assert seen == [(1000, None), (2000, None)]


# --- manifests -------------------------------------------------------------------------------------------------------


def write_csv(text: str, path: str = "m.csv", encoding: str = "utf-8") -> str:
    Path(path).write_text(text, encoding=encoding)
    return path


def write_jsonl(*rows: object) -> str:
    Path("m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return "m.jsonl"


def test_manifest_names_images_relative_to_itself(here: Path) -> None:
    Path("sub").mkdir()
    text = (
        'label,path,note,split\r\ndog,"a, b.jpg",x,train\r\ncat,/abs/2.jpg,,\r\ncat,../3.jpg,,test\ndog,4.jpg,,test\n'
    )
    for encoding in ("utf-8", "utf-8-sig"):
        assert images(opened(write_csv(text, "sub/m.csv", encoding))) == {
            "train": [("/abs/2.jpg", "cat"), ("sub/a, b.jpg", "dog")],
            "test": [("sub/../3.jpg", "cat"), ("sub/4.jpg", "dog")],
        }


def test_manifest_of_json_lines_says_the_same(here: Path) -> None:
    rows = [{"path": "1.jpg", "label": 10, "split": "Validation"}, {"path": "2.jpg", "label": "9", "split": None}]
    rows += [{"path": "3.jpg", "label": 10, "more": [1]}, {"path": "4.jpg", "label": "9", "split": "val"}]
    assert images(opened(write_jsonl(*rows))) == {
        "train": [("2.jpg", "9"), ("3.jpg", "10")],
        "val": [("4.jpg", "9"), ("1.jpg", "10")],
    }


def test_manifest_keeps_names_that_are_not_utf8(here: Path) -> None:
    Path("m.csv").write_bytes(b"path,label\n\xff.jpg,a\n2.jpg,b\n")
    assert opened("m.csv").splits["train"][0].path == Path(os.fsdecode(b"\xff.jpg"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.csv: its first line has no columns path and label, but: nothing"),
        ("1.jpg,cat\n", "m.csv: its first line has no columns path and label, but: 1.jpg, cat\nExpected a line for"),
        ("path,label\n", "m.csv: no image is named here"),
        ("path,label\n1.jpg,\n", "m.csv: line 2: expected the label of 1.jpg, got ''"),
        ("path,label\n1.jpg\n", "m.csv: line 2: expected the label of 1.jpg, got None"),
        ("path,label\n ,cat\n", "m.csv: line 2: expected the path of an image, got ' '"),
        ("path,label,split\n1.jpg,cat,dev\n", "m.csv: line 2: expected a split (train, val or test), got 'dev'"),
        ("path,label\n1.jpg,cat\n1.jpg,dog\n", "m.csv: line 3: 1.jpg was named in line 2 already"),
        ("path,label\n1,2.jpg,cat\n", "m.csv: line 2: more fields than columns"),
        ('path,label\n1.jpg,"cat\n', "m.csv: line 2: this is no CSV"),
        ("path,label\n1.jpg,cat\n", "m.csv: one class only (cat)"),
        ("path,label,split\n1.jpg,a,val\n2.jpg,b,val\n", "m.csv: there are images for val only"),
        ("path,label,split\n1.jpg,a,\n2.jpg,b,\n3.jpg,c,test\n", "m.csv: class c in test, but not in train"),
    ],
)
def test_manifest_that_cannot_be_used_is_refused_with_its_line(here: Path, text: str, problem: str) -> None:
    assert refusal(write_csv(text)).startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "m.jsonl: line 1: this is no JSON"),
        ("[1]", "m.jsonl: line 1: expected an object"),
        ("[" * 100_000, "m.jsonl: line 1: this is no JSON"),
        ('\n{"path": 5, "label": "a"}', "m.jsonl: line 2: expected the path of an image, got 5"),
        ('{"path": "a\\u0000", "label": "a"}', "m.jsonl: line 1: expected the path of an image"),
        ('{"path": "a", "label": ["a"]}', "m.jsonl: line 1: expected the label of a, got ['a']"),
    ],
)
def test_manifest_of_json_lines_that_cannot_be_used_is_refused(here: Path, text: str, problem: str) -> None:
    Path("m.jsonl").write_text(text)
    assert refusal("m.jsonl").startswith(problem)


# --- names -----------------------------------------------------------------------------------------------------------


def test_name_of_a_published_data_set_wins_over_a_path(here: Path) -> None:
    make("mnist/a/1.jpg", "mnist/b/1.jpg")
    assert opened("mnist") is NAMED
    assert labels(opened("./mnist")) == ["a", "b"]


def test_unknown_name_is_refused_with_a_guess(here: Path) -> None:
    message = refusal("mnits")
    assert message.startswith("mnits: no such folder or file. Did you mean mnist? Names: mnist\nExpected a folder for")
    assert "Did you mean" not in refusal("photos")
    assert "no such folder or file" in refusal("a\0b")


@pytest.mark.parametrize("name", ["d.zip", "list.txt", "one.jpg"])
def test_file_that_is_no_manifest_is_refused(here: Path, name: str) -> None:
    make(name)
    assert refusal(name).startswith(f"{name}: this is no folder and no manifest (.csv, .jsonl); an archive has to be")


def test_opening_changes_nothing_in_the_folder(here: Path, request: pytest.FixtureRequest) -> None:
    make("d/cat/1.jpg", "d/cat/a.txt", "d/dog/1.jpg")
    before: Callable[[], list[tuple[str, int, int]]] = lambda: [  # noqa: E731
        (str(path), path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in sorted(here.rglob("*"))
    ]
    state = before()
    opened("d")
    assert before() == state
