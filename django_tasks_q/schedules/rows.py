"""The rows of entries and runs. All times are the database's own, so that hosts with other clocks agree.

Contract: a slot is taken by whoever moves ``next_at`` on from where it was and adds the row of the slot, in one
transaction with the message; each of the two lets only one of many do it. A disabled entry has no ``next_at``, and one
that is enabled gets a new one: what passed meanwhile is nobody's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from django.db.models import Count

from .. import clock
from ..dialect import dialect, moment, now_ms
from ..models import ScheduleEntry, ScheduleRun
from ..sql import Database
from .entries import Entry

_ENTRIES = ScheduleEntry._meta.db_table
_RUNS = ScheduleRun._meta.db_table

KEPT = 100
"""Runs of each entry that are kept."""

FORGOTTEN_AFTER = 3_600_000
"""Milliseconds after which an entry goes that no keeper has in its code any more. Long enough for a deploy in which the
old release leads, and for a bad one that is taken back: an entry that is there again is enabled."""


class Standing(NamedTuple):
    """How the entries that are enabled stand: the database's time and the next slot of each, in epoch milliseconds."""

    now: int
    next_at: dict[str, int | None]


class ScheduleRows:
    """The rows of one database, in whatever transaction is open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries = ScheduleEntry.objects.using(database.alias)
        self._runs = ScheduleRun.objects.using(database.alias)

    # What the scheduler does again and again

    def standing(self) -> Standing:
        """One question, however many entries there are."""
        words = dialect(self._database)
        rows = self._database.rows(
            f"SELECT name, {words.epoch_ms.format('next_at')}, {words.now_ms} FROM {_ENTRIES} WHERE enabled"
        )
        return Standing(int(rows[0][2]) if rows else 0, {name: None if at is None else int(at) for name, at, _ in rows})

    def begin(self, name: str, next_at: int) -> None:
        """The first slot of an entry that has none: it is new, changed, or enabled again."""
        mark = dialect(self._database).mark
        self._database.count(
            f"UPDATE {_ENTRIES} SET next_at = {mark} WHERE name = {mark} AND enabled AND next_at IS NULL",
            (self._at(next_at), name),
        )

    def advance(self, name: str, expected: int, following: int, ran: int | None) -> bool:
        """Move on from the slot that was next, to another one; ``ran``: the slot that runs now, if one does.

        False, and nothing is moved, when it was another one by now, or none, because the entry was disabled.
        """
        mark = dialect(self._database).mark
        last, run = ("", ()) if ran is None else (f", last_at = {mark}", (self._at(ran),))
        return bool(
            self._database.count(
                f"UPDATE {_ENTRIES} SET next_at = {mark}{last} WHERE name = {mark} AND next_at = {mark}",
                (self._at(following), *run, name, self._at(expected)),
            )
        )

    def add_run(self, name: str, slot: int, message_id: str) -> bool:
        """The row of a slot; False when there is one."""
        words = dialect(self._database)
        mark = words.mark
        return bool(
            self._database.count(
                f"{words.insert_new} {_RUNS} (entry_id, slot, message_id, created_at) "
                f"VALUES ({mark}, {mark}, {mark}, {words.now}){words.if_new}",
                (name, self._at(slot), message_id),
            )
        )

    def name_run(self, name: str, slot: int, message_id: str) -> None:
        """Note that another message is there in the place of the one that a slot was to send."""
        mark = dialect(self._database).mark
        self._database.count(
            f"UPDATE {_RUNS} SET message_id = {mark} WHERE entry_id = {mark} AND slot = {mark}",
            (message_id, name, self._at(slot)),
        )

    def ran(self, name: str, at: int) -> None:
        """Note that an entry ran out of turn."""
        mark = dialect(self._database).mark
        self._database.count(f"UPDATE {_ENTRIES} SET last_at = {mark} WHERE name = {mark}", (self._at(at), name))

    # What people decide

    def enable(self, name: str) -> bool:
        """Let an entry run from its next slot on; False when it is enabled, or not there."""
        return self._switch(name, "enabled = TRUE", "NOT enabled")

    def disable(self, name: str) -> bool:
        """Let nothing of an entry run until it is enabled; False when it is disabled, or not there."""
        return self._switch(name, "enabled = FALSE", "enabled")

    def _switch(self, name: str, change: str, condition: str) -> bool:
        mark = dialect(self._database).mark
        sql = f"UPDATE {_ENTRIES} SET {change}, next_at = NULL WHERE name = {mark} AND {condition}"
        return bool(self._database.count(sql, (name,)))

    def _at(self, ms: int) -> object:
        return moment(self._database, ms)

    # What happens now and then

    def declare(self, entries: Collection[Entry]) -> None:
        """Say that the code has these entries; those that have no row get one."""
        names = [entry.name for entry in entries]
        with self._database.errors():
            now = clock.as_datetime(now_ms(self._database))
            if self._entries.filter(name__in=names).update(declared_at=now) < len(names):
                new = [ScheduleEntry(name=entry.name, declared_at=now, **_told(entry)) for entry in entries]
                self._entries.bulk_create(new, ignore_conflicts=True)

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Say that the rows mean these entries from now on. One whose slots are others now begins anew."""
        with self._database.errors():
            for entry in entries:
                told = _told(entry)
                timing = {key: told[key] for key in ("spec", "time_zone")}
                self._entries.filter(name=entry.name).exclude(**timing).update(next_at=None, **timing)
                self._entries.filter(name=entry.name).exclude(**told).update(**told)

    def forget(self) -> list[str]:
        """Remove the entries that no code has had for a while, with their runs; returns their names."""
        with self._database.errors():
            before = clock.as_datetime(now_ms(self._database) - FORGOTTEN_AFTER)
            names = list(self._entries.filter(declared_at__lt=before).values_list("name", flat=True))
            if names:
                self._entries.filter(name__in=names, declared_at__lt=before).delete()
            return names

    def prune(self) -> int:
        """Delete the oldest of too many runs, of each entry a batch at most; returns how many there were."""
        with self._database.errors():
            many = self._runs.values("entry_id").annotate(runs=Count("id")).filter(runs__gt=KEPT)
            return sum(self._prune(name, number - KEPT) for name, number in many.values_list("entry_id", "runs"))

    def _prune(self, name: str, too_many: int) -> int:
        most = min(too_many, dialect(self._database).batch)
        oldest = self._runs.filter(entry_id=name).order_by("slot").values_list("pk", flat=True)[:most]
        return int(self._runs.filter(pk__in=list(oldest)).delete()[0])


def _told(entry: Entry) -> dict[str, str]:
    """What a row says of an entry."""
    return {
        "actor_name": entry.actor_name,
        "spec": str(entry.timetable),
        "time_zone": entry.time_zone,
        "catch_up": entry.catch_up,
    }
