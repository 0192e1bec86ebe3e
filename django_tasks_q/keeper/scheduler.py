"""The scheduler: it sends what is due by the clock of the database."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from .. import clock
from ..broker import Broker
from ..errors import BrokerError
from ..logging import get_logger
from ..schedules import Entry, ScheduleRows, declared, problems, run_slot
from ..sql import Database
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

GRACE = 60_000
"""Milliseconds that a slot may be late and still not be missed: while a leader dies and another takes its place."""

_LEASE = 6_000
"""Milliseconds: a scheduler that died is replaced soon enough for schedules of seconds."""

_LOOK = 1.0
"""Seconds after which the leader looks what people have enabled, and everybody else whether there is a leader."""

_CARE = 60.0
"""Seconds between two rounds of what keeps the rows in order."""

_SOON = 1.0
"""The same after a round that removed old rows: a long catch-up leaves more of them than one batch."""

_REST = 10.0
"""Seconds until an entry is tried again whose message could not be made."""

_BATCH = 100
"""Slots of one entry that are caught up in a round, before it is the turn of the others."""


class Scheduler(Service):
    """Runs the slots of all entries, where it leads, and says what this code declares, everywhere.

    The lease is a matter of order: that a slot runs once is a matter of its row. So two who both believe to lead do no
    harm. Entries that only another release knows are left to that one.
    """

    interval = _CARE
    is_off: ClassVar[bool] = False
    """Whether nothing is scheduled in this process: in a test runs what the test sends."""

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._rows = ScheduleRows(database)
        self._entries = _usable(broker)
        if self._entries:
            self.thread = "Schedules"  # nothing else may keep it from being on time
        self._lease = LeaderLease(database, "schedules", owner, ttl_ms=_LEASE)
        self._leads = False
        self._latest = inf
        self._care_at = 0.0
        self._rests: dict[str, float] = {}

    def work(self) -> None:
        if self.is_off:
            return
        self._database.own()
        if clock.monotonic() >= self._care_at:
            self._take_care()
        if self._entries:
            self.again_in(self._lead() if self._lease.hold() else self._follow())

    def close(self) -> None:
        """The next one need not wait for the lease to run out: slots are due meanwhile."""
        if self._leads:
            self._lease.release()

    def _take_care(self) -> None:
        if self._entries:
            self._rows.declare(self._entries.values())
        for name in self._rows.forget():
            logger.info("Schedule %r is gone from the code; its rows are removed.", name)
        has_more = self._leads and bool(self._rows.prune())
        self._care_at = clock.monotonic() + (_SOON if has_more else _CARE)

    def _follow(self) -> float:
        self._leads = False
        return _LOOK

    def _lead(self) -> float:
        """Run what is due; how many seconds there are until something may be."""
        if not self._leads:
            self._rows.adopt(self._entries.values())
            self._leads = True
            self._latest = inf  # whoever led before may have seen another time
        now, next_at = self._rows.standing()
        if now < self._latest:
            next_at = {name: self._brought_forward(name, slot, now) for name, slot in next_at.items()}
        self._latest = now
        asked = clock.monotonic()
        slots = [
            self._attend_to(self._entries[name], slot, now)
            for name, slot in next_at.items()
            if name in self._entries and asked >= self._rests.get(name, 0.0)
        ]
        passed = clock.monotonic() - asked
        return max(0.0, min([_LOOK, *((slot - now) / 1000 - passed for slot in slots if slot is not None)]))

    def _brought_forward(self, name: str, slot: int | None, now: int) -> int | None:
        """The next slot of an entry as this time has it.

        No slot is further away than the next one, unless the clock was ahead when it was set: an entry would rest until
        that time comes again. What ran meanwhile has its row, and runs no second time.
        """
        entry = self._entries.get(name)
        if entry is None or slot is None or slot <= now or (following := entry.timetable.after(now)) >= slot:
            return slot
        if not self._rows.advance(name, slot, following, None):
            return None
        logger.warning(
            "The database's clock was set back: schedule %r goes on at %s.", name, clock.as_datetime(following)
        )
        return following

    def _attend_to(self, entry: Entry, slot: int | None, now: int) -> int | None:
        """Do what is due of one entry; its next slot, None when somebody else knows."""
        try:
            if slot is None:
                slot = entry.timetable.after(now)
                self._rows.begin(entry.name, slot)
            elif slot <= now:
                slot = self._run(entry, slot, now)
        except BrokerError:
            raise
        except Exception:  # whatever its message is refused for, the other entries must not wait for it
            logger.exception("Schedule %r cannot be run; it is tried again in %g seconds.", entry.name, _REST)
            self._rests[entry.name] = clock.monotonic() + _REST
            return None
        return slot

    def _run(self, entry: Entry, slot: int, now: int) -> int | None:
        if entry.catch_up == "all":
            return self._run_each(entry, slot, now)
        latest = entry.timetable.latest(slot, now)
        following = entry.timetable.after(latest)
        if entry.catch_up == "once" or now - latest <= GRACE:
            moved = run_slot(self._broker, self._database, entry, latest, slot, following)
        else:
            logger.warning("Schedule %r has missed its slots up to %s.", entry.name, clock.as_datetime(latest))
            moved = self._rows.advance(entry.name, slot, following, None)
        return following if moved else None

    def _run_each(self, entry: Entry, slot: int, now: int) -> int | None:
        for _ in range(_BATCH):
            if slot > now:
                break
            following = entry.timetable.after(slot)
            if not run_slot(self._broker, self._database, entry, slot, slot, following):
                return None
            slot = following
        return slot


def _usable(broker: Broker) -> dict[str, Entry]:
    """What can be run here; the rest is told of, and left to a release that can."""
    entries = declared(broker)
    for name, trouble in problems(broker):
        logger.error("Schedule %r cannot be run: %s", name, trouble)
        del entries[name]
    return entries
