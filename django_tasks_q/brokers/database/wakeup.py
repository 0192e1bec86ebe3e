"""How a worker that waits learns that there may be work, by what its database offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...sql import Database
from ...waker import Waker


class Wakeup(ABC):
    """Waits for the database, for :meth:`Waker.wake`, or for the time to be up."""

    def __init__(self, database: Database, waker: Waker) -> None:
        self._database = database
        self.waker = waker

    @abstractmethod
    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds. True when the database says that something has changed."""

    def close(self) -> None:
        """Stop listening; the waker stays usable."""
