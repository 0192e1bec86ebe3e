"""The order in which several processes run the tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.order import slow_ones_first


def of_file(name: str, marks: str) -> list[Any]:
    """A test for each letter, slow where it is an ``s``."""
    return [
        SimpleNamespace(path=Path(name), get_closest_marker=lambda _, is_slow=mark == "s": is_slow or None)
        for mark in marks
    ]


def test_every_process_begins_with_slow_ones_and_none_is_left_out() -> None:
    first, second, third = of_file("first", "qqsqs"), of_file("second", "qqqq"), of_file("third", "qsqq")

    ordered = slow_ones_first(first + second + third, 2)

    assert ordered[:2] == [first[2], first[4]]
    assert ordered[6] == third[1]
    assert sorted(map(id, ordered)) == sorted(map(id, first + second + third))
    fast = [item for item in ordered if not item.get_closest_marker("slow")]
    assert fast == [item for item in first + second + third if not item.get_closest_marker("slow")]


def test_more_slow_ones_than_a_stretch_has_room_for_are_kept_too() -> None:
    items = of_file("only", "sssqq")

    assert sorted(map(id, slow_ones_first(items, 4))) == sorted(map(id, items))
