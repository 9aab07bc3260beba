"""Colours that everybody tells apart."""

from __future__ import annotations

# Okabe & Ito (https://jfly.uni-koeln.de/color/): blue, vermilion, green, purple, orange, sky blue and black; theirs
# without yellow, which is not seen on white
DISTINCT = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0),
)  # fmt: skip


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """`#0072B2`."""
    return "#{:02X}{:02X}{:02X}".format(*colour)
