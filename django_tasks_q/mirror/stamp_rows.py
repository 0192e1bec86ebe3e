"""The rows of stamps, by which messages are found that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..dialect import dialect
from ..events import Event
from ..models import Stamp
from ..sql import Database

_STAMPS = Stamp._meta.db_table

Row = tuple[str, str, str]
"""Message, name, value."""


def rows_of(events: Iterable[Event]) -> list[Row]:
    """What the births among these events say; nothing where nobody uses stamps."""
    return [row for event in events if event.birth is not None and event.birth.stamps for row in _rows(event)]


def _rows(event: Event) -> Iterator[Row]:
    assert event.birth is not None
    for name, values in event.birth.stamps.items():
        for value in values:
            yield event.message_id, name, value


def write(database: Database, rows: list[Row]) -> None:
    """Write them, in whatever transaction is open; those that are there already stay."""
    words = dialect(database)
    sql = (
        f"{words.insert_new} {_STAMPS} (message_id, {words.name('name')}, {words.name('value')}) "
        f"VALUES ({', '.join([words.mark] * 3)}){words.if_new}"
    )
    database.many(sql, sorted(rows))  # in order, so that two who write the same do not wait for each other
