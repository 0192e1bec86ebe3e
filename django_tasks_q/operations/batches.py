"""How far the messages of one stamp are, in one question that stays cheap however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from django.db.models import Q
from django.utils import timezone

from .. import records_database, stamps
from ..broker import get_broker
from ..dialect import dialect, moment, now_ms
from ..models import MessageRecord, Revocation, Stamp
from ..sql import Database
from ..states import FINAL, State
from .filters import capped_count, carriers

STRETCH = 20_000
"""Messages that are looked at, unless somebody wants all of them: those with the highest ids."""

LARGEST = 500_000
"""How far messages are counted; this many is "at least"."""

LATELY = 1_000
"""Of the rows written last, those in which stamps are looked for that somebody may want to see."""

_MOST = 500
_MINUTE = 60_000
_RECORDS = MessageRecord._meta.db_table
_STAMPS = Stamp._meta.db_table


class Batch(NamedTuple):
    """The messages of one stamp, by state, and how many finished in the last minute and the last five.

    ``total`` is counted up to :data:`LARGEST`. Everything else is of the newest :data:`STRETCH` of them unless
    ``is_whole``.
    """

    counts: Mapping[str, int]
    last_minute: int
    last_five_minutes: int
    total: int
    is_whole: bool

    @property
    def seen(self) -> int:
        """How many were looked at."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Of these, those that will not move unless somebody requeues them."""
        return sum(number for state, number in self.counts.items() if state in FINAL)

    @property
    def percent(self) -> int:
        """Whole percent that have ended; 100 only when all have."""
        return 100 * self.ended // self.seen if self.seen else 100


def batch(stamp: str, *, whole: bool = False) -> Batch:
    """Look at the messages that carry a stamp, ``name=value``; ValueError for what cannot be one.

    ``whole``: at every one of them, which takes about a second for a million.
    """
    name, value = stamps.pair(stamp)
    database = Database(records_database.alias(get_broker()))
    words, now = dialect(database), now_ms(database)
    line = f"SELECT message_id FROM {_STAMPS} WHERE {words.name('name')} = {words.mark} AND {words.name('value')} = "
    line += words.mark if whole else f"{words.mark} ORDER BY message_id DESC LIMIT {STRETCH}"
    if whole or not words.returning:  # MySQL knows no LIMIT in a list of ids
        source = f"({line}) AS line INNER JOIN {_RECORDS} r ON r.message_id = line.message_id"
    else:  # by their ids: of a join PostgreSQL would read all records
        source = f"{_RECORDS} r WHERE r.message_id {words.among.format(line)}"
    ended = f"SUM(CASE WHEN r.finished_at >= {words.mark} THEN 1 ELSE 0 END)"
    rows = database.rows(
        f"SELECT r.state, COUNT(*), {ended}, {ended} FROM {source} GROUP BY r.state",
        (moment(database, now - _MINUTE), moment(database, now - 5 * _MINUTE), name, value),
    )
    known = {state: int(number) for state, number, *_ in rows}
    seen = sum(known.values())
    total = seen if whole or seen < STRETCH else max(seen, capped_count(carriers(stamp), LARGEST))
    return Batch(
        {state.value: known[state.value] for state in State if state.value in known},
        sum(int(row[2]) for row in rows if row[0] in FINAL),
        sum(int(row[3]) for row in rows if row[0] in FINAL),
        total,
        total == seen,
    )


def lately() -> list[str]:
    """Stamps, ``name=value``, that messages were sent with lately, the latest first."""
    rows = Stamp.objects.using(records_database.alias(get_broker())).order_by("-pk")
    return list(dict.fromkeys(f"{name}={value}" for name, value in rows.values_list("name", "value")[:LATELY]))


def revocations(stamp: str, most: int = 20) -> list[Revocation]:
    """What was said about a stamp, the latest first: those that name it first or alone, and all that hold."""
    name, value = stamps.pair(stamp)
    rows = Revocation.objects.using(records_database.alias(get_broker())).order_by("-created_at", "-pk")
    holding = rows.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), lifted_at=None)
    about = [row for row in holding[:_MOST] if value in _values(row, name)]
    found = {row.pk: row for row in [*about, *rows.filter(name=name, value=value)[:most]]}
    return sorted(found.values(), key=lambda row: (row.created_at, row.pk), reverse=True)[:most]


def _values(row: Revocation, name: str) -> list[str]:
    conditions = row.conditions if isinstance(row.conditions, dict) else {}
    named = conditions.get("stamps")
    values = named.get(name) if isinstance(named, dict) else None
    return values if isinstance(values, list) else []
