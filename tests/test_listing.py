from __future__ import annotations

from cnncli.listing import natural_order


def test_natural_order_compares_numbers_by_value_and_tells_equal_ones_apart() -> None:
    expected = ["", "01", "1", "2", "010", "10", "B", "a", "a.png", "a0.png", "a1", "a1.png", "a2", "a10", "a10b9", "b"]
    assert sorted(sorted(expected, reverse=True), key=natural_order) == expected
    assert natural_order("9" * 5000) > natural_order("8" * 5000)  # longer than Python turns into a number
