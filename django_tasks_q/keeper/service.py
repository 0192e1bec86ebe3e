"""Work that the keeper does again and again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from .. import clock
from ..errors import BrokerError
from ..logging import get_logger
from ..waker import Waker

logger = get_logger(__name__)


_RETRY = 1.0
"""Seconds until what the broker did not take is tried again, unless it is due sooner anyway."""


class Service(ABC):
    """Runs every ``interval`` seconds. What it raises is logged and tried again; it never ends the keeper."""

    interval: float = 5.0
    thread: str = "Services"
    """The name of the thread that it runs in; services of one thread wait for each other's rounds."""

    def __init__(self) -> None:
        self._next = 0.0
        self._began = 0.0
        self._trouble = ""

    def attend(self, waker: Waker) -> None:
        """Said once, before the first round: what ends the waiting of the thread that this runs in."""

    def is_called(self) -> bool:
        """Whether something has happened that is not to wait for the end of a long rest."""
        return False

    @abstractmethod
    def work(self) -> None:
        """One round: bounded, because the next service waits for its end."""

    def buried(self, worker_id: str) -> None:
        """A worker was declared dead, by this keeper or because its lease ran out."""

    def close(self) -> None:
        """The last thing: let go of what others would wait for."""

    def run_if_due(self) -> None:
        now = clock.monotonic()
        if self.is_called():
            self._next = min(self._next, self._began + self.interval)
        if now < self._next:
            return
        self._began, self._next = now, now + self.interval
        if self._try(self.work):
            self._trouble = ""
        else:
            self._next = now + min(self.interval, _RETRY)

    def hear_of(self, worker_id: str) -> None:
        """:meth:`buried`, contained like a round."""
        self._try(lambda: self.buried(worker_id))

    def run_last(self) -> None:
        """:meth:`close`, contained like a round."""
        self._try(self.close)

    def _try(self, step: Callable[[], None]) -> bool:
        """False when the broker or the database could not be reached. One that stays away is told of once."""
        try:
            step()
        except BrokerError as error:
            if str(error) != self._trouble:
                logger.warning("%s: %s", type(self).__name__, error)
            self._trouble = str(error)
            return False
        except Exception:
            logger.exception("%s stumbled.", type(self).__name__)
        return True

    def again_in(self, seconds: float) -> None:
        """Said during a round: when the next one is due, whatever the interval."""
        self._next = clock.monotonic() + seconds

    def hurry(self) -> None:
        """Run in the next round, whenever it was due."""
        self._next = 0.0

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._next - clock.monotonic())
