"""What a worker knows of revocations and pauses, and who makes it obey them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from typing import TYPE_CHECKING

from .. import clock
from ..deliveries import Delivery
from ..errors import BrokerError, DecodeError, MessageRevoked
from ..logging import get_logger
from ..message import Message
from ..rules import ControlStore, Rules
from .board import Region
from .slot import Slot

if TYPE_CHECKING:
    from .executor import Executor
    from .io_loop import ConsumerThread

logger = get_logger(__name__)

_REST = 1.0
"""Seconds after which rules are read again that could not be read."""


class ControlWatch:
    """Reads the rules when the worker starts, and again when the board says that they have changed.

    Until they have been read once the worker fetches nothing: what was called off while it was away must not run. They
    are read in a thread of its own that ends with it, so a worker has a connection for that only as long as it reads.
    The ticker calls :meth:`look`, ten times a second.

    Parameters:
        grace: seconds that an actor has to end when its message was called off.
    """

    def __init__(
        self,
        store: ControlStore | None,
        region: Region,
        slots: Sequence[Slot],
        executor: Executor,
        io: ConsumerThread,
        grace: float,
    ) -> None:
        self._store = store
        self._region = region
        self._slots = slots
        self._executor = executor
        self._io = io
        self._grace = grace
        self._version: int | None = None
        self._read_at = 0.0
        self._thread: Thread | None = None
        self._has_complained = False
        self._rules: Rules | None = None

    def start(self) -> None:
        """Read the rules for the first time."""
        if self._store is None:
            self._io.obey(frozenset())
        else:
            self._read()

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.join(_REST)
        if self._store is not None and self._store.is_at_hand:
            self._store.note_gone(self._region.worker_id)

    def look(self) -> None:
        """Read the rules if they have changed; end what runs and was called off."""
        if self._store is None:
            return
        told = self._store.version() if self._store.is_at_hand else self._region.told_control
        if (self._version is None or told not in (None, self._version)) and clock.monotonic() >= self._read_at:
            self._read()
        if self._rules is not None and self._rules.terminates:
            self._end_what_runs(self._rules)

    def _read(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._obey, daemon=True, name="Control")
            self._thread.start()

    def _obey(self) -> None:
        assert self._store is not None
        try:
            rules = self._store.rules()
        except Exception as error:
            self._read_at = clock.monotonic() + _REST
            self._complain(error)
            return
        finally:
            self._store.close()
        self._has_complained = False
        self._rules = self._executor.rules = rules or None
        self._io.obey(rules.paused_queues)
        self._version = rules.version
        self._region.obey_control(rules.version)
        if self._store.is_at_hand:
            self._store.note_obeyed({self._region.worker_id: rules.version})

    def _complain(self, error: Exception) -> None:
        """Once for each time that it happens."""
        if self._has_complained:
            return
        self._has_complained = True
        waits = "" if self._io.knows_rules else " Nothing is fetched before that."
        if isinstance(error, BrokerError):
            logger.warning("Revocations and pauses cannot be read (%s); trying again.%s", error, waits)
        else:
            logger.exception("Revocations and pauses cannot be read; trying again.%s", waits)

    def _end_what_runs(self, rules: Rules) -> None:
        for slot in self._slots:
            delivery = slot.delivery
            if delivery is None or _is_judged(slot, rules, delivery):
                continue
            try:
                rule = rules.revoking(Message.decode(delivery.payload), terminate=True)
            except DecodeError:
                rule = None
            # While its hooks run it cannot be ended; the next look is soon.
            if rule is None or slot.revoke(delivery, self._grace, MessageRevoked):
                slot.judged = rules, delivery


def _is_judged(slot: Slot, rules: Rules, delivery: Delivery) -> bool:
    return slot.judged is not None and slot.judged[0] is rules and slot.judged[1] is delivery
