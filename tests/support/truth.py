"""Records held against what happened. The truth is folded from the events, not read from any table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django_tasks_q.events import Event
from django_tasks_q.fold import fold
from django_tasks_q.models import Attempt, MessageRecord

NOT_KNOWN: tuple[Any, ...] = (None, "", 0, -1)


def differences(events: Iterable[Event], alias: str, *, may_be_unknown: bool = False) -> list[str]:
    """Where records or attempts say something else, in words.

    ``may_be_unknown``: the journal had a gap, so a record may say ``unknown`` or not be there, and may know less; but
    what it says must be true.
    """
    changes, rows = fold(events)
    truth = {change.message_id: change for change in changes}
    records = {record.message_id: record for record in MessageRecord.objects.using(alias)}
    wrong = [f"{name} has a record and never was" for name in records.keys() - truth.keys()]
    for name, change in truth.items():
        record = records.get(name)
        if record is None:
            wrong += [] if may_be_unknown else [f"{name} has no record"]
        elif not (may_be_unknown and record.state == "unknown"):
            wrong += _compare(name, _expected(change), _recorded(record), may_be_unknown)
    found = Counter(
        (attempt.message_id, attempt.number, attempt.outcome, _ms(attempt.finished_at))
        for attempt in Attempt.objects.using(alias)
    )
    expected = {(row.message_id, row.number, row.outcome, row.finished_at) for row in rows}
    wrong += [f"attempt {attempt} is there {number} times" for attempt, number in found.items() if number > 1]
    wrong += [f"attempt {attempt} never was" for attempt in found.keys() - expected]
    wrong += [] if may_be_unknown else [f"attempt {attempt} is missing" for attempt in expected - found.keys()]
    return wrong


def _compare(name: str, expected: dict[str, Any], recorded: dict[str, Any], may_be_unknown: bool) -> list[str]:
    return [
        f"{name}: {key} is {recorded[key]!r}, should be {value!r}"
        for key, value in expected.items()
        if recorded[key] != value and not (may_be_unknown and recorded[key] in NOT_KNOWN)
    ]


def _expected(change: Any) -> dict[str, Any]:
    birth = change.birth
    return {
        "state": change.state.value,
        "retries": change.retries,
        "deliveries": change.deliveries,
        "lost": change.lost,
        "life": change.life,
        "guard": change.guard,
        "worker": change.worker,
        "dead_reason": change.reason,
        "error_type": change.error.type if change.error else "",
        "eta": change.eta,
        "enqueued_at": change.enqueued_at,
        "started_at": change.started_at,
        "finished_at": change.finished_at,
        "actor_name": birth.actor_name,
        "queue_name": birth.queue_name,
        "created_at": birth.created_at,
        "args": list(birth.args),
    }


def _recorded(record: MessageRecord) -> dict[str, Any]:
    times = ("eta", "enqueued_at", "started_at", "finished_at", "created_at")
    names = (
        "state", "retries", "deliveries", "lost", "life", "guard", "worker", "dead_reason", "error_type", "actor_name",
        "queue_name", "args",
    )  # fmt: skip
    return {name: getattr(record, name) for name in names} | {name: _ms(getattr(record, name)) for name in times}


def _ms(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
