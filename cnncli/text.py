"""Names that users and model files bring, made harmless for a terminal, for columns and for CSV."""

from collections.abc import Iterable


def printable(text: str, *, keep_bytes: bool = False) -> str:
    """`text` as one line that cannot steer a terminal: what is not printable becomes `\\x1b` and the like.

    With `keep_bytes` the bytes of file names that are not UTF-8 stay, for output that writes them back.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (keep_bytes and _is_byte(c)) else escaped(c) for c in text)


def escaped(character: str) -> str:
    """A character as `\\x1b`, `\\u2028` or `\\U0001f408`; a byte of a file name that is not UTF-8 as `\\xff`."""
    code = ord(character) - (0xDC00 if _is_byte(character) else 0)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_byte(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"  # how Python decodes a byte that is not UTF-8 (PEP 383)


def duration(seconds: float) -> str:
    """`8 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


_ROW_END = "\r\n"  # a CSV writer of Python before 3.13 quotes only those line ends that its own rows have


class _Lines(list[str]):
    """What a CSV writer writes, each row with a newline at its end."""

    def write(self, row: str) -> None:
        self.append(f"{row.removesuffix(_ROW_END)}\n")


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text (RFC 4180 quoting, lines end in a newline)."""
    import csv  # no help text needs it

    lines = _Lines()
    csv.writer(lines, lineterminator=_ROW_END).writerows(rows)
    return "".join(lines)
