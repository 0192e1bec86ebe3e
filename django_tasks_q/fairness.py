"""Which queues one exchange asks, and for how much."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil
from typing import TypeVar

T = TypeVar("T")


def without(queues: Mapping[str, T], left_out: Collection[str]) -> Mapping[str, T]:
    """The queues that may be asked now, with what is told of each."""
    return {name: told for name, told in queues.items() if name not in left_out} if left_out else queues


def quotas(weights: Mapping[str, int], room: int, turn: int, most_queues: int) -> list[tuple[str, int]]:
    """Divide ``room`` among queues by weight, beginning with another queue each turn.

    At most ``most_queues`` are asked in one turn; the next turn begins after them, so with more queues than that each
    is asked once in a while. Every queue asked gets at least 1, even beyond the room, so that work is found wherever it
    is: who claims takes the queues in this order and stops when the room is filled. What a queue leaves unused is there
    again in the next exchange.
    """
    names = list(weights)
    if not names or room <= 0:
        return []
    start = turn * min(most_queues, len(names)) % len(names) if len(names) > most_queues else turn % len(names)
    asked = (names[start:] + names[:start])[:most_queues]
    total = sum(weights[name] for name in asked)
    shares = []
    left = room
    for name in asked:
        share = max(1, min(left, ceil(room * weights[name] / total)))
        shares.append((name, share))
        left -= share
    return shares
