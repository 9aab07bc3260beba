"""Classes by the names that people give them."""

from __future__ import annotations

import pytest

from cnncli.backbones import ImageClass
from cnncli.classnames import class_index
from cnncli.errors import CnncliError

CLASSES = (
    ImageClass("n1", "crane"), ImageClass("n2", "crane"), ImageClass("n3", "Egyptian_cat"), ImageClass("A", "A"),
    ImageClass("a", "a"), ImageClass("n6", "Tabby"), ImageClass("n7", "tabby"), ImageClass("n8", "n1"),
)  # fmt: skip


def test_words_of_a_label_have_spaces() -> None:
    assert ImageClass("n02124075", "Egyptian_cat").words == "Egyptian cat"
    assert ImageClass("n02123045", "tabby").words == "tabby"


@pytest.mark.parametrize(
    ("name", "index"),
    [("n2", 1), ("N2", 1), ("Egyptian_cat", 2), ("egyptian  CAT", 2), ("A", 3), ("a", 4), ("Tabby", 5), ("tabby", 6),
     ("n1", 0)],
)  # fmt: skip
def test_class_is_found_by_id_then_by_label_then_in_any_case(name: str, index: int) -> None:
    assert class_index(CLASSES, name) == index


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crane", "--class crane: 2 classes are called so; give the id: n1, n2"),
        ("TABBY", "--class TABBY: 2 classes are called so; give the id: n6, n7"),
        ("cat", "--class cat: photos has no such class; did you mean Egyptian_cat?"),
        ("", "--class : photos has no such class; it has: crane, Egyptian_cat, a, tabby, n1"),
    ],
)
def test_name_that_is_not_clear_is_refused_with_what_it_may_mean(name: str, said: str) -> None:
    with pytest.raises(CnncliError) as caught:
        class_index(CLASSES, name, "photos")
    assert str(caught.value) == said
