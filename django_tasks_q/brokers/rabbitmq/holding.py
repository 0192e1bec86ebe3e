"""What a consumer holds: everything that RabbitMQ gave it and that it has not acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from ...broker import MAX_QUEUES_PER_EXCHANGE
from ...deliveries import Delivery
from ...fairness import quotas
from .headers import Envelope, delivery
from .parcel import Item


class Held:
    """One message that was given to this consumer and is not acknowledged yet.

    ``place`` orders what waits here; who was given back and comes again has its old one. ``before``: how often it was
    given out since it was sent; ``lost``: how often its worker died of those. ``items``: what its settlement publishes,
    once there is one.
    """

    __slots__ = ("before", "delivery", "envelope", "handle", "has_notes", "items", "line", "lost", "place", "tag")

    def __init__(self, tag: int, handle: Any, envelope: Envelope, before: int, line: str) -> None:
        self.tag = tag
        self.place = tag
        self.line = line
        self.handle = handle
        self.envelope = envelope
        self.before = before
        self.lost = 0
        self.has_notes = False
        self.delivery: Delivery | None = None
        self.items: list[Item] | None = None

    def hand_out(self) -> Delivery:
        self.delivery = delivery(self.envelope, self.handle, self.before, self.lost)
        return self.delivery

    def as_given(self, number: int) -> Delivery:
        """The message as it was in the delivery of that number."""
        return delivery(self.envelope, self.handle, number - self.envelope.number - 1, self.lost)


class Holding:
    """The messages that are held on one channel, by tag; tags rise."""

    def __init__(self) -> None:
        self._all: dict[int, Held] = {}
        self._lines: dict[str, deque[Held]] = {}
        self._turn = 0

    def add(self, held: Held) -> None:
        self._all[held.tag] = held

    def get(self, tag: int) -> Held | None:
        return self._all.get(tag)

    def line_up(self, held: Held) -> None:
        """The message may be handed out, before those that came after it."""
        line = self._lines.setdefault(held.line, deque())
        if not line or line[-1].place < held.place:
            line.append(held)
        else:
            line.insert(sum(other.place < held.place for other in line), held)

    def hand_out(self, room: int, weights: Mapping[str, int]) -> list[Delivery]:
        """Up to ``room`` deliveries, divided among the lines by weight; what one leaves unused others may have."""
        deliveries: list[Delivery] = []
        self._turn += 1
        while room > len(deliveries) and (waiting := {k: weights.get(k, 1) for k, line in self._lines.items() if line}):
            for line, share in quotas(waiting, room - len(deliveries), self._turn, MAX_QUEUES_PER_EXCHANGE):
                self._take(line, min(share, room - len(deliveries)), deliveries)
        return deliveries

    def _take(self, line: str, share: int, deliveries: list[Delivery]) -> None:
        waiting = self._lines[line]
        for _ in range(min(share, len(waiting))):
            deliveries.append(waiting.popleft().hand_out())

    def release(self, tags: Iterable[int]) -> tuple[int, list[int]]:
        """Forget what is acknowledged: the end of the prefix that is covered at once (0: none), and the rest."""
        leaving = set(tags)
        prefix = 0
        for tag in self._all:
            if tag not in leaving:
                break
            prefix = tag
        for tag in leaving:
            del self._all[tag]
        return prefix, sorted(tag for tag in leaving if tag > prefix)

    @property
    def handed_out(self) -> list[Held]:
        return [held for held in self._all.values() if held.delivery is not None]

    @property
    def last_tag(self) -> int:
        """The youngest message that is held; 0 for none."""
        return next(reversed(self._all), 0)

    def counts(self) -> Mapping[str, tuple[int, int]]:
        """By queue: how many wait here, and how many were handed out. Any thread may ask."""
        found: dict[str, tuple[int, int]] = {}
        for held in list(self._all.values()):
            waiting, running = found.get(held.envelope.queue_name, (0, 0))
            is_running = held.delivery is not None
            found[held.envelope.queue_name] = (waiting + (not is_running), running + is_running)
        return found
