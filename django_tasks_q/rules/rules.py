"""What holds now, as a worker looks it up: one question for each message, and none at all where nothing holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .. import clock
from ..message import Message
from ..outcomes import ErrorInfo
from .conditions import Conditions


class Rule(msgspec.Struct, frozen=True):
    """One revocation that holds. Times are epoch milliseconds; ``expires_at`` None: until it is lifted."""

    id: int
    conditions: Conditions
    terminate: bool = False
    created_at: int = 0
    expires_at: int | None = None
    reason: str = ""
    created_by: str = ""

    def is_about(self, message: Message[Any], now: int) -> bool:
        """Whether the message is called off."""
        if self.expires_at is not None and now >= self.expires_at:
            return False
        return self.conditions.fit(message, message.message_timestamp <= self.created_at)

    def told(self) -> ErrorInfo:
        """Who did it and why, as the record of a message says it."""
        by = f" by {self.created_by}" if self.created_by else ""
        why = f": {self.reason}" if self.reason else ""
        return ErrorInfo("MessageRevoked", f"Revocation {self.id}{by}{why}"[:2_000])


class Rules:
    """All revocations and pauses that hold, for one look at each message.

    Parameters:
        version: of the control store, when they were read.
    """

    def __init__(
        self,
        version: int = 0,
        rules: Iterable[Rule] = (),
        paused_queues: Iterable[str] = (),
        paused_actors: Iterable[str] = (),
    ) -> None:
        self.version = version
        self.rules = tuple(rules)
        self.paused_queues = frozenset(paused_queues)
        self.paused_actors = frozenset(paused_actors)
        self._of_everything = [rule for rule in self.rules if rule.conditions.everything]
        self._by_id: dict[str, list[Rule]] = {}
        self._by_stamp: dict[str, dict[str, list[Rule]]] = defaultdict(dict)
        self._by_actor: dict[str, list[Rule]] = {}
        self._by_queue: dict[str, list[Rule]] = {}
        for rule in self.rules:
            self._index(rule)

    def _index(self, rule: Rule) -> None:
        conditions = rule.conditions
        for message_id in conditions.ids:
            self._by_id.setdefault(message_id, []).append(rule)
        for name, values in conditions.stamps.items():
            for value in values:
                self._by_stamp[name].setdefault(value, []).append(rule)
        if conditions.actor:
            self._by_actor.setdefault(conditions.actor, []).append(rule)
        if conditions.queue:
            self._by_queue.setdefault(conditions.queue, []).append(rule)

    def __bool__(self) -> bool:
        return bool(self.rules or self.paused_queues or self.paused_actors)

    @property
    def terminates(self) -> bool:
        """Whether one of them is about what runs."""
        return any(rule.terminate for rule in self.rules)

    def revoking(self, message: Message[Any], *, terminate: bool = False) -> Rule | None:
        """The revocation that is about a message; ``terminate``: one that is about what runs. None when none is."""
        if not self.rules:
            return None
        now = clock.wall_ms()
        for rule in self._possible(message):
            if (rule.terminate or not terminate) and rule.is_about(message, now):
                return rule
        return None

    def _possible(self, message: Message[Any]) -> Iterator[Rule]:
        yield from self._by_id.get(message.message_id, ())
        if self._by_stamp:
            for name, values in message.stamps.items():
                found = self._by_stamp.get(name)
                for value in values if found else ():
                    yield from found.get(value, ())  # type: ignore[union-attr]
        yield from self._by_actor.get(message.actor_name, ())
        yield from self._by_queue.get(message.queue_name, ())
        yield from self._of_everything


def paused_key(actor_name: str) -> str:
    """What messages of a paused actor are parked on."""
    return f"paused {actor_name}"
