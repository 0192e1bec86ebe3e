"""A database as it looks after a month of work: very many records, most of them of messages that succeeded."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import Model
from django.db.transaction import atomic

from django_tasks_q.models import Attempt, MessageRecord, Place, QueuedMessage

SEED = 7
QUEUES = ("default", "mail", "reports", "images")
ACTORS = tuple(f"work_{number:02}" for number in range(40))
APPS = ("shop", "news", "library", "billing", "search")
MONTH = timedelta(days=30)

_RECORD = (
    "message_id", "correlation_id", "actor_name", "queue_name", "state", "app_label", "priority", "args", "kwargs",
    "options", "retries", "deliveries", "lost", "life", "created_at", "enqueued_at", "started_at", "finished_at",
    "worker", "error_type", "error_message", "dead_reason", "parent_id", "group_id", "progress_text", "guard",
)  # fmt: skip
_ATTEMPT = (
    "message_id", "number", "started_at", "finished_at", "worker", "outcome", "error_type", "error_message",
    "traceback",
)  # fmt: skip
_QUEUED = (
    "message_id", "queue_name", "place", "priority", "due_at", "owner", "deliveries", "retries", "lost", "life",
    "enqueued_at", "started_at", "dead_reason", "died_at", "record", "payload",
)  # fmt: skip

# One state for each of a hundred messages; actors late in the alphabet are rare.
_STATES = ("succeeded",) * 93 + ("dead",) * 4 + ("retrying", "delayed", "enqueued")


def fill(alias: str, records: int) -> None:
    """Put that many records, with the attempts and queued messages that belong to them, into an empty database."""
    history = list(_history(records))
    with _indexed_afterwards(alias, MessageRecord):
        _insert(alias, MessageRecord._meta.db_table, _RECORD, (_record(*item) for item in history))
    dead = [item for item in history if item[3] == "dead"]
    _insert(alias, Attempt._meta.db_table, _ATTEMPT, (_attempt(*item, number) for item in dead for number in (1, 2)))
    unfinished = (item for item in history if item[3] != "succeeded")
    _insert(alias, QueuedMessage._meta.db_table, _QUEUED, (_queued(*item) for item in unfinished))
    with connections[alias].cursor() as cursor:  # as the server's own housekeeping leaves it
        cursor.execute("VACUUM ANALYZE" if connections[alias].vendor == "postgresql" else "ANALYZE")


@contextmanager
def _indexed_afterwards(alias: str, model: type[Model]) -> Iterator[None]:
    """An index that is made of all rows at once takes a fraction of what they take one by one."""
    with connections[alias].schema_editor() as editor:
        for index in model._meta.indexes:
            editor.remove_index(model, index)
    yield
    with connections[alias].schema_editor() as editor:
        for index in model._meta.indexes:
            editor.add_index(model, index)


def _history(records: int) -> Iterator[tuple[str, str, str, str, datetime]]:
    """Message id, actor, queue, state and time of creation, the oldest first."""
    chance = random.Random(SEED)
    start, step = datetime.now(UTC) - MONTH, MONTH / records
    for number in range(records):
        rarity = int(len(ACTORS) * chance.random() ** 3)
        state = _STATES[chance.randrange(len(_STATES))]
        yield f"{number:032x}", ACTORS[rarity], QUEUES[rarity % len(QUEUES)], state, start + number * step


def _record(message_id: str, actor: str, queue: str, state: str, created: datetime) -> tuple[Any, ...]:
    ran = state in ("succeeded", "dead")
    dead = state == "dead"
    correlation = f"order-{message_id[-6:]}" if message_id.endswith("7") else ""
    started, finished = (created + timedelta(seconds=1), created + timedelta(seconds=2)) if ran else (None, None)
    return (
        message_id, correlation, actor, queue, state, APPS[ACTORS.index(actor) % len(APPS)], 0, '[1, "two"]',
        '{"three": 3}', "{}", 2 * dead, 1 + dead if ran else 0, 0, 0, created, created, started, finished,
        "host-1-abc" if ran else "", "ValueError" * dead, "something was wrong" * dead, "retries_exhausted" * dead, "",
        "", "", 1,
    )  # fmt: skip


def _attempt(message_id: str, actor: str, queue: str, state: str, created: datetime, number: int) -> tuple[Any, ...]:
    finished = created + timedelta(seconds=number)
    traceback = 'Traceback (most recent call last):\n  File "tasks.py", line 7, in work\n    raise ValueError\n' * 5
    return (message_id, number, created, finished, "host-1-abc", "failed", "ValueError", "wrong", traceback)


def _queued(message_id: str, actor: str, queue: str, state: str, created: datetime) -> tuple[Any, ...]:
    place = {"dead": Place.DEAD, "enqueued": Place.READY}.get(state, Place.DELAYED)
    at = int(created.timestamp() * 1000)
    dead = state == "dead"
    payload = (
        f'{{"queue_name": "{queue}", "actor_name": "{actor}", "args": [1, "two"], "kwargs": {{"three": 3}}, '
        f'"options": {{}}, "message_id": "{message_id}", "message_timestamp": {at}}}'
    ).encode()
    return (
        message_id, queue, int(place), 0, at + 10**12, "", 2 * dead, 2 * dead, 0, 0, at, 0, "retries_exhausted" * dead,
        at * dead, True, payload,
    )  # fmt: skip


def _insert(alias: str, table: str, columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    connection = connections[alias]
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        with atomic(using=alias):
            connection.connection.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})", map(_as_sqlite, rows)
            )


def _as_sqlite(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(str(value.replace(tzinfo=None)) if isinstance(value, datetime) else value for value in row)
