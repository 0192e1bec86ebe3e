"""Keys that nobody lets go of, because the sender or the worker of their message died."""

from __future__ import annotations

from ..broker import Broker
from ..logging import get_logger
from ..sql import Database
from ..states import FINAL, State
from ..waiting.holders import Held, HolderRows
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

_YOUNG = 5_000
"""Milliseconds for which a row is left to who took it."""

_APART = 5_000
"""Milliseconds that the clocks of a worker and of the database may be apart."""

MARGIN = 15_000
"""Milliseconds beyond SEND_TIMEOUT after which a sender that has not said that it has sent is taken for dead."""

_UNTOLD = 3_600_000
"""Milliseconds after which of a message that was sent something is recorded, or never will be."""

_ENDED = frozenset(state.value for state in FINAL)
_BATCH = 500
_BATCHES = 10


class UniqueKeys(Service):
    """Frees keys by what is recorded: of messages that have ended, and of those that were never sent.

    A record tells of an end that came after the key was taken, or it is that of an earlier message with the same id.
    A message of which nobody knows what became of it (``unknown``) holds nothing.
    """

    interval = 5.0

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._lease = LeaderLease(database, "unique keys", owner)
        self._after = ""

    def work(self) -> None:
        self._database.own()
        rows = HolderRows(self._database)
        if rows.is_empty() or not self._lease.hold():
            return
        for _ in range(_BATCHES):
            found = rows.next_held(self._after, _YOUNG, _BATCH)
            free = [held for held in found if self._is_free(held)]
            if free:
                with self._database.transaction():
                    rows.release([(held.key, held.message_id) for held in free])
                logger.info("%d keys are free whose messages have ended or were never sent.", len(free))
            self._after = found[-1].key if len(found) == _BATCH else ""
            if not self._after:
                return

    def close(self) -> None:
        self._lease.release()

    def _is_free(self, held: Held) -> bool:
        if held.is_over:
            return True
        if held.state is None:
            return held.age > (_UNTOLD if held.sent else self._broker.send_timeout + MARGIN)
        if held.state == State.UNKNOWN.value:
            return True
        return held.state in _ENDED and (held.ended_after is None or held.ended_after > -_APART)
