"""Records of messages that are stored in the same database at the same moment: the hot path of every send.

Contract: a new id gets a record; an id whose former life is over gets its next one, in the row that it has. The guard
of a birth is the life alone (see :func:`events.guard`), so it can be made from the old row without reading it first.
"""

from __future__ import annotations

from typing import Any

from .. import clock
from ..events import LIFE_SHIFT, Event
from ..recording import Recording
from .text import json_text, shallow, storable

COLUMNS = (
    "message_id", "state", "eta", "enqueued_at", "queue_name", "actor_name", "app_label", "priority", "args", "kwargs",
    "options", "created_at", "correlation_id", "parent_id", "group_id",
)  # fmt: skip
"""What a birth sets; everything else begins empty."""

_EMPTY = {
    "retries": "0", "deliveries": "0", "lost": "0", "worker": "''", "error_type": "''", "error_message": "''",
    "dead_reason": "''", "progress_text": "''",
}  # fmt: skip
_DOCUMENTS = ("args", "kwargs", "options")
_NULL = ("started_at", "finished_at", "raw", "progress_done", "progress_total")


def row(event: Event, recording: Recording) -> tuple[Any, ...]:
    """The values of a creation, times as epoch milliseconds, in the order of ``COLUMNS``."""
    assert event.birth is not None
    birth = recording.shown(event.birth)
    delayed = event.eta is not None
    return (
        event.message_id,
        event.state.value,
        event.eta,
        None if delayed else event.at,
        birth.queue_name,
        storable(birth.actor_name),
        birth.app_label,
        birth.priority,
        json_text(birth.args),
        json_text(birth.kwargs),
        json_text(birth.options),
        birth.created_at,
        storable(birth.correlation_id),
        birth.parent_id,
        birth.group_id,
    )


def sqlite_row(event: Event, recording: Recording) -> tuple[Any, ...]:
    """The same as SQLite's statement takes it."""
    values = list(row(event, recording))
    for position in (2, 3, 11):
        if values[position] is not None:
            values[position] = str(clock.as_datetime(values[position]).replace(tzinfo=None))
    return tuple(values)


def mysql_row(event: Event, recording: Recording) -> tuple[Any, ...]:
    """The same as MySQL's statement takes it."""
    return tuple(
        shallow(value) if name in _DOCUMENTS else value
        for name, value in zip(COLUMNS, sqlite_row(event, recording), strict=True)
    )


def conflict(table: str) -> str:
    """What happens to the row of an id that had a life before."""
    parts = [f"{name} = excluded.{name}" for name in COLUMNS if name != "message_id"]
    parts += [f"{name} = {value}" for name, value in _EMPTY.items() if name != "deliveries"]
    parts += [f"{name} = NULL" for name in _NULL]
    parts += [f"deliveries = 0, life = {table}.life + 1, guard = ({table}.life + 1) << {LIFE_SHIFT}"]
    return f"ON CONFLICT (message_id) DO UPDATE SET {', '.join(parts)}"


def sqlite_insert(table: str) -> str:
    """One birth. Parameters: a row. Returns which life it is."""
    names = (*COLUMNS, *_EMPTY, "life", "guard")
    values = ["?"] * len(COLUMNS) + [*_EMPTY.values(), "0", "0"]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(values)}) {conflict(table)} RETURNING life"


def mysql_insert(table: str, number: int) -> str:
    """So many births. Parameters: their rows, one after the other. A row that is there counts as two."""
    names = (*COLUMNS, *_EMPTY, "life", "guard")
    values = f"({', '.join(['%s'] * len(COLUMNS) + [*_EMPTY.values(), '0', '0'])})"
    parts = [f"{name} = VALUES({name})" for name in (*COLUMNS, *_EMPTY) if name != "message_id"]
    parts += [f"{name} = NULL" for name in _NULL]
    # In this order: MySQL assigns one after the other, and sees what it has assigned.
    parts += [f"guard = (life + 1) << {LIFE_SHIFT}", "life = life + 1"]
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([values] * number)} "
        f"ON DUPLICATE KEY UPDATE {', '.join(parts)}"
    )


def postgresql_insert(table: str, stored: str, batch: str) -> str:
    """The births of rows of relation ``batch`` that are to be recorded and that relation ``stored`` says are new.

    ``stored`` has message_id and life.
    """
    times = {"eta", "enqueued_at", "created_at"}
    values = [
        f"to_timestamp({batch}.{name} / 1000.0)"
        if name in times
        else f"{batch}.{name}::jsonb"
        if name in _DOCUMENTS
        else f"{batch}.{name}"
        for name in COLUMNS
    ]
    names = (*COLUMNS, *_EMPTY, "life", "guard")
    values += [*_EMPTY.values(), f"{stored}.life", f"{stored}.life::bigint << {LIFE_SHIFT}"]
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
        f"FROM {batch} JOIN {stored} ON {stored}.message_id = {batch}.message_id WHERE {batch}.record "
        f"{conflict(table)}"
    )
