"""How much of one queue RabbitMQ sends ahead: more while work is quick, so that it is never waited for."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil


class Reach:
    """The consumers of one queue: one that is always there, and further ones while the threads ask for more.

    RabbitMQ bounds what each consumer may hold by a number that it cannot change later. So more is one more consumer;
    and the further ones are what can be given up when work turns slow.

    Parameters:
        line: the queue's name.
        tag: of the consumer that is always there.
        least: how many messages that one may hold.
    """

    __slots__ = ("further", "least", "line", "tag")

    def __init__(self, line: str, tag: str, least: int) -> None:
        self.line = line
        self.tag = tag
        self.least = least
        self.further: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many messages of the queue may be here."""
        return self.least + sum(self.further.values())


def shares(full: Sequence[Reach], shortage: int) -> list[tuple[Reach, int]]:
    """How many more each of those that are ``full`` should bring, so that ``shortage`` more are here.

    None when it is less than half of what they bring: then what is there is enough, and the difference not worth
    another consumer. In proportion to what they bring, so that weights stay what they are.
    """
    total = sum(reach.total for reach in full)
    if not full or 2 * shortage < total:
        return []
    return [(reach, ceil(shortage * reach.total / total)) for reach in full]
