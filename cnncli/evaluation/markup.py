"""HTML and SVG from Python values, in which text can never become markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from cnncli.backbones import ImageClass
from cnncli.evaluation.metrics import Interval
from cnncli.text import printable

_VOID = frozenset({"img", "input", "source"})  # have no content and no end tag


class Markup(str):
    """Text that is markup already. Any other text is escaped where it goes into an element."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | float | None) -> Markup:
    """`<tag attribute="value">content</tag>`.

    Of an attribute's name a last `_` is dropped and the others become `-`; one that is None is left out. What is not
    printable, in content and values, is written as `\\u202e` and the like: no name can steer or break the page.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escaped(_value(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{named}>" if tag in _VOID else f"<{tag}{named}>{joined(content)}</{tag}>")


def joined(parts: Iterable[str]) -> Markup:
    return Markup("".join(map(_escaped, parts)))


def _escaped(text: str) -> str:
    return text if isinstance(text, Markup) else html.escape(printable(text))


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"


def class_name(image_class: ImageClass) -> Markup:
    """A class's label and, where that is another, its id; whatever its script, it does not reorder what is around."""
    name = element("bdi", image_class.words)
    if image_class.id == image_class.label:
        return name
    return joined([name, Markup(" "), element("small", image_class.id, class_="id")])


def interval(bounds: Interval) -> str:
    """An interval of proportions as people read it."""
    return f"{100 * bounds[0]:.1f}\u2013{bounds[1]:.1%}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1, class_: str | None = None) -> Markup:
    """A table whose first `names` columns are text, the first one heading its row, and whose others are figures."""
    kinds = [None if place < names else "n" for place in range(len(heads))]
    head = (element("th", text, scope="col", class_=kind) for text, kind in zip(heads, kinds, strict=True))
    body = (
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    )
    return element("table", element("thead", element("tr", *head)), element("tbody", *body), class_=class_)


def scrolling(what: str, *content: str, class_: str = "scroll") -> Markup:
    """A box of its own for what may be wider or longer than the page; the keyboard reaches and scrolls it."""
    return element("div", *content, class_=class_, tabindex="0", role="region", aria_label=what)


def details(summary: str, *content: str) -> Markup:
    return element("details", element("summary", summary), *content)
