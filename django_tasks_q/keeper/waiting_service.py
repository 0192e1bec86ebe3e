"""What waits in rows: into them, and out of them when its time has come, for brokers that cannot keep it themselves."""

from __future__ import annotations

from abc import abstractmethod

from .. import clock
from ..broker import Broker
from ..sql import Database
from ..waiting_room import get_waiting_room
from .service import Service

_BATCH = 1_000

_POLL = 0.25
"""Seconds until the next look. A message that is due a second after its send starts half a second later at most."""


_SHORTEST = 0.02


class _Carrier(Service):
    """Every keeper carries: two who do it at once get different messages. They share a thread with each other only, so
    nothing that is due waits for the records. After trouble the next look is a second away."""

    interval = 1.0
    round = 1.0
    """Seconds that one round may take: the other service waits for its end."""

    thread = "Waiting"

    def __init__(self, broker: Broker, database: Database) -> None:
        super().__init__()
        self._broker = broker
        self._database = database

    def work(self) -> None:
        self._database.own()
        end = clock.monotonic() + self.round
        while self._carry():
            if clock.monotonic() >= end:
                self.again_in(0)  # after the other one
                return
        self.again_in(self._rest())

    @abstractmethod
    def _carry(self) -> int:
        """One batch; how much there was."""

    def _rest(self) -> float:
        """Seconds until there may be more."""
        return _POLL


class Intake(_Carrier):
    """Takes what is to wait from the broker into the waiting room. Nobody is late for it while others are due."""

    round = 0.1

    def _carry(self) -> int:
        return self._broker.take_in(_BATCH)


class Release(_Carrier):
    """Gives what is due back to the broker."""

    def _carry(self) -> int:
        return self._broker.release_due(_BATCH) if self._next_due_in() == 0 else 0

    def _rest(self) -> float:
        left = self._next_due_in()
        # What is due and was not there to be had is another keeper's just now.
        return _POLL if left is None else min(_POLL, max(_SHORTEST, left / 1000))

    def _next_due_in(self) -> int | None:
        room = get_waiting_room()
        return None if room is None else room.next_due_in()
