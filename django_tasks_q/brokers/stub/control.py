"""Revocations and pauses of a broker in memory: what the other stores are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ...deliveries import Held
from ...errors import DecodeError
from ...message import Message
from ...rules import Conditions, ControlStore, Rule, Rules
from ...states import State

if TYPE_CHECKING:
    from .broker import StubBroker

_STATES = {
    "ready": State.ENQUEUED.value,
    "suspect": State.ENQUEUED.value,
    "in_flight": State.RUNNING.value,
    "delayed": State.DELAYED.value,
}


class StubControlStore(ControlStore):
    """Keeps them as long as the broker lives. Its workers share its memory, so all of them obey at once."""

    def __init__(self, broker: StubBroker) -> None:
        self._broker = broker
        self._version = 0
        self._numbers = count(1)
        self._rules: dict[int, Rule] = {}
        self._obeyed: dict[str, int] = {}
        self._paused: dict[str, set[str]] = {"queue": set(), "actor": set()}

    def version(self) -> int:
        return self._version

    def rules(self) -> Rules:
        now = self._broker.now()
        holding = [rule for rule in self._rules.values() if rule.expires_at is None or rule.expires_at > now]
        return Rules(self._version, holding, self._paused["queue"], self._paused["actor"])

    def add(self, rule: Rule, expires_in: int | None, counts: Mapping[str, int]) -> Rule:
        now = self._broker.now()
        expires_at = None if expires_in is None else now + expires_in
        rule = replace(rule, id=next(self._numbers), created_at=now, expires_at=expires_at)
        self._rules[rule.id] = rule
        self._version += 1
        return rule

    def lift(self, rule_id: int) -> bool:
        self._version += 1
        return self._rules.pop(rule_id, None) is not None

    def pause(self, *, queue: str = "", actor: str = "") -> bool:
        names, name = self._names(queue, actor)
        is_new = name not in names
        names.add(name)
        self._version += 1
        return is_new

    def resume(self, *, queue: str = "", actor: str = "") -> bool:
        names, name = self._names(queue, actor)
        was_paused = name in names
        names.discard(name)
        self._version += 1
        return was_paused

    def _names(self, queue: str, actor: str) -> tuple[set[str], str]:
        return (self._paused["queue"], queue) if queue else (self._paused["actor"], actor)

    def count(self, conditions: Conditions) -> dict[str, int]:
        found = (held for held, message in self._messages() if conditions.fit(message, is_older=True))
        states = Counter(_state(held) for held in found)
        return {state: number for state, number in states.items() if state}

    def sweep(self, rule: Rule, until: float, remove: Callable[[Sequence[str]], int]) -> int:
        now = self._broker.now()
        waiting = [
            message
            for held, message in self._messages()
            if held.state in ("ready", "delayed") and rule.is_about(message, now)
        ]
        # A worker gets who is member of a group, and tells that.
        members = {message.message_id for message in waiting if "group_size" in message.options}
        self._broker.hasten(members)
        return remove([m.message_id for m in waiting if m.message_id not in members])

    is_at_hand = True

    def unreached(self, version: int) -> Sequence[str]:
        return [worker_id for worker_id, obeyed in list(self._obeyed.items()) if obeyed < version]

    def note_obeyed(self, versions: Mapping[str, int]) -> None:
        self._obeyed.update(versions)

    def note_gone(self, worker_id: str) -> None:
        self._obeyed.pop(worker_id, None)

    def _messages(self) -> Iterator[tuple[Held, Message[Any]]]:
        for held in self._broker.all_held():
            try:
                yield held, Message.decode(held.delivery.payload)
            except DecodeError:
                continue


def _state(held: Held) -> str:
    if held.state == "delayed" and held.delivery.retries:
        return State.RETRYING.value
    return _STATES.get(held.state, "")
