"""The rows of stamps, by which messages are found that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..dialect import dialect, ids
from ..events import Event
from ..models import Stamp
from ..sql import Database

_STAMPS = Stamp._meta.db_table

Row = tuple[str, str, str]
"""Message, name, value."""


def telling(events: Iterable[Event]) -> list[Event]:
    """Of each message the birth of its latest life here, where that says anything of stamps: it has some, or a former
    life may have had some. Nothing where nobody uses stamps, or an id again."""
    births = [event for event in events if event.birth is not None and (event.birth.stamps or event.life)]
    return list({event.message_id: event for event in sorted(births, key=lambda event: event.life)}.values())


def replace(database: Database, births: Iterable[Event]) -> None:
    """Write what these births say, in the place of what was said of a former life."""
    births = list(births)
    forget(database, [event.message_id for event in births if event.life])
    rows = [row for event in births for row in _rows(event)]
    if rows:
        write(database, rows)


def forget(database: Database, message_ids: Sequence[str]) -> None:
    """Delete the stamps of messages whose ids begin another life, in whatever transaction is open."""
    if message_ids:
        sql = f"DELETE FROM {_STAMPS} WHERE message_id {dialect(database).in_ids}"
        database.count(sql, (ids(database, sorted(message_ids)),))


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
