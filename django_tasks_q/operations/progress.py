"""How far one message is, and how far many are, as their records say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet

from .. import records_database
from ..broker import get_broker
from ..events import is_progress_of
from ..mirror.text import original
from ..models import MessageRecord
from ..progress import Progress
from ..states import FINAL, State

PROGRESS_FIELDS = ("progress_done", "progress_total", "progress_text", "progress_guard", "life", "deliveries", "state")
"""What :func:`progress_of` and :func:`as_json` read of a record."""


def progress_of(record: MessageRecord) -> Progress | None:
    """What the latest attempt of a message said of itself; None when it said nothing.

    What an earlier attempt said stays in the columns, and is shown until the next one is known to run.
    """
    guard, done = record.progress_guard, record.progress_done
    if guard is None or done is None or not is_progress_of(guard, record.life, record.deliveries):
        return None
    return Progress(done, record.progress_total, original(record.progress_text))


def as_json(record: MessageRecord) -> dict[str, Any]:
    """One message for who polls: its state, whether that is its last, and its progress."""
    progress = progress_of(record)
    told = None
    if progress is not None:
        told = {"done": progress.done, "total": progress.total, "text": progress.text, "percent": progress.percent}
    return {"message_id": record.pk, "state": record.state, "is_over": record.state in FINAL, "progress": told}


def progress_json(message_id: str) -> dict[str, Any] | None:
    """:func:`as_json` by the id of a message, for a view that has checked itself who asks; None without a record.

    Raises BrokerConnectionError when the database of the records cannot be reached.
    """
    found = progress_rows(message_id).first()
    return None if found is None else as_json(found)


def progress_rows(message_id: str) -> QuerySet[MessageRecord]:
    """The record of a message, if there is one, with what tells of its progress."""
    alias = records_database.alias(get_broker())
    return MessageRecord.objects.using(alias).filter(pk=message_id).only(*PROGRESS_FIELDS)


class Tally(NamedTuple):
    """How many messages are in each state; states that none is in are left out."""

    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Those that will not move unless somebody requeues them."""
        return sum(number for state, number in self.counts.items() if state in FINAL)

    @property
    def percent(self) -> int:
        """Whole percent that have ended; 100 only when all have."""
        return 100 * self.ended // self.total if self.total else 100

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "ended": self.ended,
            "percent": self.percent,
            "is_over": self.ended == self.total,
            "counts": dict(self.counts),
        }


def tally(records: QuerySet[MessageRecord] | Q) -> Tally:
    """Count records by their state, in one query; a ``Q`` is asked of all that there are."""
    if isinstance(records, Q):
        records = MessageRecord.objects.using(records_database.alias(get_broker())).filter(records)
    rows = records.order_by().values_list("state").annotate(number=Count("pk")).values_list("state", "number")
    known = dict(rows)
    return Tally({state.value: known[state.value] for state in State if state.value in known})


def of_group(group_id: str) -> Q:
    """The messages of a group or pipeline that have a record. The second part is the condition of the index."""
    return Q(group_id=group_id) & ~Q(group_id="")
