"""Classes by the names that people give them."""

from __future__ import annotations

from cnncli.backbones import ImageClass


def test_words_of_a_label_have_spaces() -> None:
    assert ImageClass("n02124075", "Egyptian_cat").words == "Egyptian cat"
    assert ImageClass("n02123045", "tabby").words == "tabby"
