"""Work that the keeper does again and again."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .. import clock
from ..errors import BrokerError
from ..logging import get_logger

logger = get_logger(__name__)


_RETRY = 1.0
"""Seconds until what the broker did not take is tried again, unless it is due sooner anyway."""


class Service(ABC):
    """Runs every ``interval`` seconds. What it raises is logged and tried again; it never ends the keeper."""

    interval: float = 5.0

    def __init__(self) -> None:
        self._next = 0.0

    @abstractmethod
    def work(self) -> None:
        """One round."""

    def run_if_due(self) -> None:
        now = clock.monotonic()
        if now < self._next:
            return
        self._next = now + self.interval
        try:
            self.work()
        except BrokerError as error:
            logger.warning("%s: %s", type(self).__name__, error)
            self._next = now + min(self.interval, _RETRY)
        except Exception:
            logger.exception("%s stumbled.", type(self).__name__)

    def hurry(self) -> None:
        """Run in the next round, whenever it was due."""
        self._next = 0.0

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._next - clock.monotonic())
