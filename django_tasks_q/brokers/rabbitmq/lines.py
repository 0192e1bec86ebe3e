"""The connections of one process, none of which crosses a fork."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet

from .journal import RabbitmqJournal
from .publisher import Publisher
from .reader import Reader

if TYPE_CHECKING:
    from .consumer import RabbitmqConsumer
    from .store import RabbitmqStore


class Lines:
    """One for what is sent and one for what is looked at; and who consumes here, each of whom has his own."""

    def __init__(self, broker: RabbitmqStore) -> None:
        self.pid = os.getpid()
        self.publisher = Publisher(broker)
        self.reader = Reader(broker)
        self.journal = RabbitmqJournal(broker, self.reader)
        self.consumers: WeakSet[RabbitmqConsumer] = WeakSet()

    def forget(self) -> None:
        """This is a child process now, and they are its parent's."""
        self.publisher.forget()
        self.reader.forget()

    def close(self) -> None:
        self.journal.close()
        self.publisher.close()
        self.reader.close()


class OwnLines:
    """The lines of the process that asks. A child forgets those of its parent, once, however many threads ask first."""

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker
        self._lines: Lines | None = None
        self._locks: dict[int, Lock] = {}

    def get(self) -> Lines:
        lines = self._lines
        if lines is not None and lines.pid == os.getpid():
            return lines
        # A lock for each process: a thread of the parent may have held the parent's at the fork.
        with self._locks.setdefault(os.getpid(), Lock()):
            if self._lines is not None and self._lines.pid != os.getpid():
                self._lines.forget()
                self._lines = None
            if self._lines is None:
                self._lines = Lines(self._broker)
            return self._lines

    def close(self) -> None:
        """Those of this process, if there are any; the next who asks gets new connections."""
        lines = self._lines
        if lines is not None and lines.pid == os.getpid():
            lines.close()
