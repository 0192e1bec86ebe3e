"""Taking called-off messages out of their queues, and telling whoever waits for them: for their results, and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..broker import Broker
from ..deliveries import Held, Result
from ..errors import DecodeError
from ..message import Message
from ..outcomes import REVOKED
from ..results import Results
from ..results.middleware import failure_of
from ..results.post import store_now
from ..rules import Rule
from .unseen_members import UnseenMembers


class Removal:
    """What a sweep does to the messages that it finds; called with their ids, it says how many were removed."""

    def __init__(self, broker: Broker, rule: Rule) -> None:
        self._broker = broker
        self._rule = rule
        self._has_results = any(isinstance(item, Results) for item in broker.middleware)

    def __call__(self, message_ids: Sequence[str]) -> int:
        members = UnseenMembers(self._broker)
        asks = self._has_results or members.are_counted
        held = self._broker.look_up(message_ids) if asks else {}  # before: what is gone cannot be asked
        failures = self._failures(held) if self._has_results else {}
        members.note(held.values())
        gone = self._broker.revoke(message_ids)
        wanted = [failures[message_id] for message_id in gone if message_id in failures]
        if wanted:
            store_now(self._broker, wanted)
        members.were_removed(gone)
        return len(gone)

    def _failures(self, held: Mapping[str, Held]) -> dict[str, Result]:
        found: dict[str, Result] = {}
        for message_id, one in held.items():
            try:
                message: Message[object] = Message.decode(one.delivery.payload)
            except DecodeError:
                continue
            failure = failure_of(self._broker, message_id, REVOKED, self._rule.told(), message)
            if failure is not None:
                found[message_id] = failure
        return found
