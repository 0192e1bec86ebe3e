"""One thing done to everything that a filter matches, batch by batch.

How a batch happens once, whoever dies or competes: the next ids are read without a lock; then, in one transaction of
the records, the row's cursor is moved from where it was read (whoever finds it moved already starts over), and the
broker is asked. The cursor only moves forward over (created_at, message_id), which never change, so no message is met
twice. With the database broker, requeueing is part of that transaction; with another one, a batch whose transaction was
lost is repeated, and the broker skips what it has done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from .. import clock, records_database
from ..broker import get_broker
from ..dialect import dialect
from ..models import BulkOperation, MessageRecord
from ..sql import Database
from ..states import State
from . import repair
from .filters import Filter, capped_count

TOTAL_CAP = 100_000
"""How far the messages are counted before it begins; ``total`` is "about", and this many is "at least"."""

STRIDE = 20_000
"""Records that one batch looks through at most, where no index knows which of them are meant."""

_FORSAKEN = (State.DEAD.value, State.UNKNOWN.value)
_WAITING = (State.ENQUEUED.value, State.DELAYED.value, State.RETRYING.value)
_OLDEST_FIRST = ("created_at", "message_id")


def begin(action: str, filter: Filter, started_by: str) -> BulkOperation:
    """Write down what is to be done to all that match now; :func:`step` does it.

    Parameters:
        action: ``requeue``, of dead letters or what is unknown, or ``discard``, of these or what waits; of dead letters
            unless the filter names a state.
        started_by: who wants it, for people to see.

    ValueError for another action, or a state that it cannot be done to.
    """
    filter = narrowed(action, filter)
    now = timezone.now()
    total = capped_count(_before(filter.queryset(), filter.state, now), TOTAL_CAP)
    return BulkOperation.objects.using(_alias()).create(
        action=action,
        filters=filter.as_dict(),
        total=total,
        started_by=started_by[:200],
        started_at=now,
        updated_at=now,
    )


def step(operation_id: int, seconds: float = 1.0) -> BulkOperation:
    """Go on for about ``seconds``, at least one batch, and return how far it got; ``finished_at`` is set at the end.

    Harmless when two do it at once, when it has finished, and after whoever did it was killed. BrokerConnectionError
    when the broker cannot be reached; then it goes on another time. BulkOperation.DoesNotExist.
    """
    until = clock.monotonic() + seconds
    while True:
        operation = BulkOperation.objects.using(_alias()).get(pk=operation_id)
        if operation.finished_at is not None:
            return operation
        _carry_out(operation, _next_batch(operation))
        if clock.monotonic() >= until:
            return BulkOperation.objects.using(_alias()).get(pk=operation_id)


class _Batch(NamedTuple):
    ids: list[str]
    cursor: str
    is_last: bool


def narrowed(action: str, filter: Filter) -> Filter:
    """The filter with the state that ``action`` is for: dead, unless it names another. ValueError as :func:`begin`."""
    if action not in BulkOperation.Action.values:
        raise ValueError(f"action: {' or '.join(BulkOperation.Action.values)} is wanted, not {action!r}")
    state = filter.state or State.DEAD.value
    possible = (*_FORSAKEN, *(_WAITING if action == BulkOperation.Action.DISCARD else ()))
    if state not in possible:
        raise ValueError(f"state: {action} is for what is {', '.join(possible)}; not {state!r}")
    return msgspec.structs.replace(filter, state=state)


def _alias() -> str:
    return records_database.alias(get_broker())


def _before(found: QuerySet[MessageRecord], state: str, started_at: datetime) -> QuerySet[MessageRecord]:
    """What was there when it began: a message that dies meanwhile, perhaps again, is not meant."""
    if state == State.DEAD:
        return found.filter(finished_at__lte=started_at)
    return found.filter(created_at__lte=started_at)


def _next_batch(operation: BulkOperation) -> _Batch:
    filter = Filter.from_dict(operation.filters)
    size = dialect(Database(_alias())).batch
    line = _after(filter.indexed().order_by(*_OLDEST_FIRST), operation.cursor)
    edge = line.values_list(*_OLDEST_FIRST)[STRIDE - 1 : STRIDE].first() if filter.is_windowed else None
    stretch = line if edge is None else line.filter(_up_to(*edge))
    meant = _before(stretch.filter(filter.unindexed()), filter.state, operation.started_at)
    found = list(meant.values_list(*_OLDEST_FIRST)[:size])
    ids = [message_id for _, message_id in found]
    if len(found) == size:
        return _Batch(ids, _cursor(*found[-1]), False)
    return _Batch(ids, operation.cursor if edge is None else _cursor(*edge), edge is None)


def _carry_out(operation: BulkOperation, batch: _Batch) -> None:
    """Nothing happens when somebody else moved the cursor since it was read."""
    now = timezone.now()
    rows = BulkOperation.objects.using(_alias()).filter(pk=operation.pk)
    with transaction.atomic(using=_alias()):
        # The first statement takes the row (on SQLite the database) for whoever comes first; the other one waits here.
        moved = rows.filter(cursor=operation.cursor, finished_at=None).update(
            cursor=batch.cursor, updated_at=now, finished_at=now if batch.is_last else None
        )
        if moved and batch.ids:
            act = repair.requeue if operation.action == BulkOperation.Action.REQUEUE else repair.discard
            tally = act(batch.ids)
            rows.update(done=F("done") + len(tally.done), skipped=F("skipped") + len(tally.skipped))


# The cursor: "2026-01-31T18:30:00+00:00 id" of the last message that was looked at, empty in the beginning


def _cursor(created_at: datetime, message_id: str) -> str:
    return f"{created_at.isoformat()} {message_id}"


def _after(line: QuerySet[MessageRecord], cursor: str) -> QuerySet[MessageRecord]:
    # Records whose birth is not known yet have no time to be found by; they are left for the next operation.
    if not cursor:
        return line.filter(created_at__isnull=False)
    text, _, message_id = cursor.partition(" ")
    created_at = datetime.fromisoformat(text)
    return line.filter(Q(created_at__gt=created_at) | Q(message_id__gt=message_id), created_at__gte=created_at)


def _up_to(created_at: Any, message_id: str) -> Q:
    return Q(created_at__lt=created_at) | Q(created_at=created_at, message_id__lte=message_id)
