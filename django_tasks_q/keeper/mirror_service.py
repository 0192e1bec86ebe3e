"""The mirror at work: as a service of the keeper, and for a moment where no keeper runs."""

from __future__ import annotations

from hashlib import sha256
from threading import Thread

from django.db import connections

from .. import clock, records_database
from ..broker import Broker
from ..errors import BrokerError
from ..journal import Ear, Gap, Journal
from ..logging import get_logger
from ..mirror import Mirror
from ..sql import Database
from ..waker import Waker
from ..worker.worker import new_worker_id
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

_ROUND = 1.0
"""Seconds that one round may take; other services of the keeper wait for its end."""

_ASK_INTERVAL = 5.0
"""Seconds until a partition that another keeper mirrors is asked for again."""

_LOOK_INTERVAL = 10.0
"""Seconds until journals are looked at that would say so themselves if there were something."""

_LONGEST_NAME = 120


def mirror_lag_ms(broker: Broker) -> int:
    """How old the oldest event is that is not in the records yet; 0 where the broker writes the records itself.

    BrokerConnectionError when the broker cannot be reached.
    """
    journal = broker.journal
    if journal is None:
        return 0
    return max((journal.backlog(partition).lag_ms for partition in journal.partitions()), default=0)


def catch_up(broker: Broker, limit: int = 5_000, seconds: float = 1.0) -> int:
    """Mirror about ``limit`` events, for at most ``seconds``: for a page that is opened while no keeper runs.

    It happens in a thread with a connection of its own, so never in the caller's transaction, and not at all where a
    keeper does it. Returns how many events were written until then; trouble with broker or database is logged.
    """
    if broker.journal is None or _would_wait_for_the_caller(broker):
        return 0
    helper = _CatchUp(broker, broker.journal, limit, seconds)
    helper.start()
    helper.join(seconds)
    return helper.written


def _would_wait_for_the_caller(broker: Broker) -> bool:
    """SQLite has one writer, who may be the very transaction that waits here."""
    database = Database(records_database.alias(broker))
    return database.vendor == "sqlite" and database.is_in_transaction


class MirrorService(Service):
    """Writes what the journal tells into the records, less than a second after it happened.

    Each partition has one mirror over all hosts. Executing messages never waits for any of this: while the database is
    away the events stay where they are.
    """

    interval = 0.25

    def __init__(self, broker: Broker, owner: str) -> None:
        super().__init__()
        assert broker.journal is not None
        self._journal = broker.journal
        self._partitions = _Partitions(broker, broker.journal, owner)
        self._ear: Ear | None = None

    def attend(self, waker: Waker) -> None:
        self._ear = self._journal.ear(waker)

    def is_called(self) -> bool:
        return self._ear is not None and self._ear.has_rung()

    def work(self) -> None:
        if self._ear is None:
            self._advance()
            return
        try:
            self._ear.listen()
            is_done = self._advance()
        except BrokerError:
            self._ear.close()  # its connection may be as dead as the one that failed, and not know it yet
            raise
        if is_done and not self._ear.has_rung():  # what it read ahead is seen by no selector
            self.again_in(min(_LOOK_INTERVAL, self._partitions.seconds_until_asked()))

    def _advance(self) -> bool:
        """Mirror for a round; whether nothing is left."""
        end = clock.monotonic() + _ROUND
        while self._partitions.advance(1_000):
            if clock.monotonic() >= end:
                return False
        return True

    def close(self) -> None:
        if self._ear is not None:
            self._ear.close()
        self._partitions.release()


class _Partitions:
    """The partitions of a journal that this owner has the leases of."""

    def __init__(self, broker: Broker, journal: Journal, owner: str) -> None:
        self._journal = journal
        self._owner = owner
        self._database = Database(records_database.alias(broker))
        self._mirror = Mirror(journal, self._database, broker.recording, self._note_gap)
        self._leases: dict[str, LeaderLease] = {}
        self._ask_at: dict[str, float] = {}
        self._has_led = False

    def advance(self, limit: int) -> int:
        """One batch of each partition, so that none waits for another one's end; how much there was to write."""
        return sum(self._mirror.advance(name, limit) for name in self._journal.partitions() if self._leads(name))

    def _leads(self, partition: str) -> bool:
        now = clock.monotonic()
        if now < self._ask_at.get(partition, 0.0):
            return False
        held = self._lease(partition).hold()
        self._ask_at[partition] = 0.0 if held else now + _ASK_INTERVAL
        self._has_led |= held
        return held

    def seconds_until_asked(self) -> float:
        """Until it is time to ask for a partition that another keeper mirrors."""
        now = clock.monotonic()
        return min((at - now for at in self._ask_at.values() if at > now), default=_LOOK_INTERVAL)

    def _lease(self, partition: str) -> LeaderLease:
        if partition not in self._leases:
            self._leases[partition] = LeaderLease(self._database, _lease_name(partition), self._owner)
        return self._leases[partition]

    def _note_gap(self, partition: str, gap: Gap) -> None:
        """What was dropped is counted where it outlives this process."""
        lease = self._lease(partition)
        known = lease.notes()
        dropped = known.get("dropped", 0) + gap.dropped
        lease.note({**known, "dropped": dropped, "gap_since": gap.since, "gap_until": gap.until})

    def release(self) -> None:
        """Leave the partitions to others. The journal first: what it holds back from them would look like a gap."""
        if self._has_led:
            self._journal.close()
        for lease in self._leases.values():
            lease.release()


def _lease_name(partition: str) -> str:
    name = f"mirror {partition}"
    return name if len(name) <= _LONGEST_NAME else f"mirror {sha256(partition.encode()).hexdigest()}"


class _CatchUp(Thread):
    """Mirrors for a moment."""

    def __init__(self, broker: Broker, journal: Journal, limit: int, seconds: float) -> None:
        super().__init__(daemon=True, name="CatchUp")
        self.written = 0
        self._limit = limit
        self._end = clock.monotonic() + seconds
        self._partitions = _Partitions(broker, journal, new_worker_id())

    def run(self) -> None:
        try:
            try:
                self._advance()
            finally:
                self._partitions.release()
        except BrokerError as error:
            logger.warning("The records could not catch up: %s", error)
        except Exception:
            logger.exception("The records could not catch up.")
        finally:
            connections.close_all()

    def _advance(self) -> None:
        while self.written < self._limit and clock.monotonic() < self._end:
            written = self._partitions.advance(self._limit - self.written)
            if not written:
                return
            self.written += written
