"""Settlements on their way from the worker threads to the broker."""

from __future__ import annotations

from collections import deque

from .. import clock
from ..deliveries import Settlement
from ..logging import get_logger
from ..outcomes import Parked
from .executor import Finished
from .pace import BATCH, LINGER

logger = get_logger(__name__)

_POISON_PAUSE = 60_000
"""Milliseconds until a message is offered again whose settlement the store would not take."""


class SettlingBatch:
    """Gathers what is finished, hands it over in batches, and keeps a batch until the broker has confirmed it.

    A settlement that the store chokes on must not hold up the others: after an error that is not about the connection,
    settlements go out one by one, and the one that fails alone is replaced by a plain pause of its message; if even
    that fails it is left to the end of the lease.
    """

    def __init__(self) -> None:
        self._waiting: deque[Finished] = deque()
        self._handed: list[Finished] = []
        self._since = 0.0
        self._most = BATCH

    def add(self, finished: Finished) -> None:
        """From any thread."""
        if not self._waiting:
            self._since = clock.monotonic()
        self._waiting.append(finished)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._handed)

    @property
    def is_full(self) -> bool:
        return len(self) >= self._most

    @property
    def time_left(self) -> float:
        """Seconds that the oldest may go on waiting for company."""
        return max(0.0, LINGER - (clock.monotonic() - self._since))

    @property
    def is_isolating(self) -> bool:
        """Settlements go out one by one, with nothing else in the exchange."""
        return self._most == 1

    def hand_over(self) -> list[Finished]:
        """The next batch; the same again until it is confirmed."""
        while self._waiting and len(self._handed) < self._most:
            self._handed.append(self._waiting.popleft())
        if self._waiting:
            self._since = clock.monotonic()
        return self._handed

    def confirm(self, unsettled: frozenset[object]) -> list[Finished]:
        """The broker has answered. What it could not settle yet stays; the rest is returned."""
        handed, self._handed = self._handed, []
        if unsettled:
            self._handed = [item for item in handed if item.settlement.delivery.handle in unsettled]
            handed = [item for item in handed if item.settlement.delivery.handle not in unsettled]
        self._most = min(BATCH, self._most * 2)
        return handed

    def clear(self) -> None:
        self._waiting.clear()
        self._handed = []

    def isolate(self) -> Finished | None:
        """The store choked on the batch. Returns the settlement that had to be given up, if it has come to that."""
        if len(self._handed) > 1 or not self._handed:
            self._waiting.extendleft(reversed(self._handed))
            self._handed = []
            self._most = 1
            return None
        self._most = 1
        (poison,) = self._handed
        if isinstance(poison.settlement.outcome, Parked) and poison.proxy is None:
            self._handed = []
            return poison
        logger.critical("The store does not take how message %s ended.", poison.settlement.delivery.message_id)
        pause = Settlement(poison.settlement.delivery, Parked("settlement_error", _POISON_PAUSE))
        self._handed = [Finished(pause, None)]
        return None
