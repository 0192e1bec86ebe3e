"""In which order several processes run the tests: a long one that begins last would be waited for by all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import pytest


def slow_ones_first(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """The tests as pytest-xdist cuts them in as many equal stretches, each of which begins with its share of slow ones.

    The slow ones of a file stay together, because of what they share.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    hands = _deal([list(of_file) for _, of_file in groupby(slow, lambda item: item.path)], processes)
    rest = [item for item in items if not item.get_closest_marker("slow")]
    ordered: list[pytest.Item] = []
    for number, hand in enumerate(hands):
        size = (len(items) - len(ordered)) // (processes - number)
        more = max(0, size - len(hand))
        ordered += [*hand, *rest[:more]]
        del rest[:more]
    return ordered


def _deal(files: Iterable[list[pytest.Item]], processes: int) -> list[list[pytest.Item]]:
    """To whoever has fewest."""
    hands: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for file in files:
        min(hands, key=len).extend(file)
    return hands
