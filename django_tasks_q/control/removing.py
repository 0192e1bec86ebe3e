"""Taking called-off messages out of their queues, and telling whoever waits for their results."""

from __future__ import annotations

from collections.abc import Sequence

from ..broker import Broker
from ..deliveries import Result
from ..errors import DecodeError
from ..message import Message
from ..outcomes import REVOKED
from ..results import Results
from ..results.middleware import failure_of
from ..results.post import store_now
from ..rules import Rule


class Removal:
    """What a sweep does to the messages that it finds; called with their ids, it says how many were removed."""

    def __init__(self, broker: Broker, rule: Rule) -> None:
        self._broker = broker
        self._rule = rule
        self._has_results = any(isinstance(item, Results) for item in broker.middleware)

    def __call__(self, message_ids: Sequence[str]) -> int:
        failures = self._failures(message_ids)  # before: what is gone cannot be asked whether its result is wanted
        gone = self._broker.revoke(message_ids)
        wanted = [failures[message_id] for message_id in gone if message_id in failures]
        if wanted:
            store_now(self._broker, wanted)
        return len(gone)

    def _failures(self, message_ids: Sequence[str]) -> dict[str, Result]:
        found: dict[str, Result] = {}
        for message_id, held in (self._broker.look_up(message_ids) if self._has_results else {}).items():
            try:
                message: Message[object] = Message.decode(held.delivery.payload)
            except DecodeError:
                continue
            failure = failure_of(self._broker, message_id, REVOKED, self._rule.told(), message)
            if failure is not None:
                found[message_id] = failure
        return found
