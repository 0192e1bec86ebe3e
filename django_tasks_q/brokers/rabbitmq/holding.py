"""What a consumer holds: everything that RabbitMQ gave it and that it has not acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...broker import MAX_QUEUES_PER_EXCHANGE
from ...deliveries import Delivery
from ...fairness import quotas, without
from .headers import Envelope, delivery
from .parcel import Item


class Held:
    """One message that was given to this consumer and is not acknowledged yet.

    ``place`` orders what waits here; who was given back and comes again has its old one. ``before``: how often it was
    given out since it was sent; ``lost``: how often its worker died of those. ``items``: what its settlement publishes,
    once there is one. ``is_further``: it came because work was quick, and may be put back when it is slow. ``since``:
    when it began to wait here.
    """

    __slots__ = (
        "before",
        "delivery",
        "envelope",
        "handle",
        "has_notes",
        "is_further",
        "items",
        "line",
        "lost",
        "place",
        "since",
        "tag",
    )

    def __init__(self, tag: int, handle: Any, envelope: Envelope, before: int, line: str) -> None:
        self.tag = tag
        self.place = tag
        self.line = line
        self.handle = handle
        self.envelope = envelope
        self.before = before
        self.lost = 0
        self.has_notes = False
        self.is_further = False
        self.since = 0.0
        self.delivery: Delivery | None = None
        self.items: list[Item] | None = None

    @property
    def is_surplus(self) -> bool:
        """Whether others may have it instead; what was judged here is told of here."""
        return self.is_further and not self.lost

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
        self._numbers: dict[str, int] = {}
        self._turn = 0

    def add(self, held: Held) -> None:
        self._all[held.tag] = held
        self._numbers[held.line] = self._numbers.get(held.line, 0) + 1

    def get(self, tag: int) -> Held | None:
        return self._all.get(tag)

    def number(self, line: str) -> int:
        """How many messages of a line are held, whether they run or wait."""
        return self._numbers.get(line, 0)

    def line_up(self, held: Held, now: float) -> None:
        """The message may be handed out, before those that came after it."""
        held.since = now
        line = self._lines.setdefault(held.line, deque())
        if not line or line[-1].place < held.place:
            line.append(held)
        else:
            line.insert(sum(other.place < held.place for other in line), held)

    def hand_out(self, room: int, weights: Mapping[str, int], left_out: Collection[str]) -> list[Delivery]:
        """Up to ``room`` deliveries, divided among the lines by weight; what one leaves unused others may have."""
        deliveries: list[Delivery] = []
        lines = without(self._lines, left_out)
        self._turn += 1
        while room > len(deliveries) and (waiting := {name: weights.get(name, 1) for name in lines if lines[name]}):
            for line, share in quotas(waiting, room - len(deliveries), self._turn, MAX_QUEUES_PER_EXCHANGE):
                self._take(line, min(share, room - len(deliveries)), deliveries)
        return deliveries

    def _take(self, line: str, share: int, deliveries: list[Delivery]) -> None:
        waiting = self._lines[line]
        for _ in range(min(share, len(waiting))):
            deliveries.append(waiting.popleft().hand_out())

    def waits_since(self, line: str) -> float:
        """When the first message of a line began to wait here (monotonic); infinity when none waits."""
        waiting = self._lines.get(line)
        return waiting[0].since if waiting else float("inf")

    def take_further(self, line: str) -> list[Held]:
        """Take out of a line what came because work was quick; it is still held."""
        waiting = self._lines.get(line, ())
        further = [held for held in waiting if held.is_surplus]
        if further:
            self._lines[line] = deque(held for held in waiting if not held.is_surplus)
        return further

    def take_all(self, line: str) -> list[Held]:
        """Take out of a line all that waits there; it is still held."""
        return list(self._lines.pop(line, ()))

    def has_further(self, line: str) -> bool:
        """Whether :meth:`take_further` would find anything."""
        return any(held.is_surplus for held in self._lines.get(line, ()))

    def release(self, tags: Iterable[int]) -> tuple[int, list[int]]:
        """Forget what is acknowledged: the end of the prefix that is covered at once (0: none), and the rest."""
        leaving = set(tags)
        prefix = 0
        for tag in self._all:
            if tag not in leaving:
                break
            prefix = tag
        for tag in leaving:
            self._numbers[self._all.pop(tag).line] -= 1
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
