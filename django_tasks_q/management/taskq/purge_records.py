"""``taskq purge-records``: delete records that nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from django_tasks_q import clock, get_broker, records_database
from django_tasks_q.dialect import now_ms
from django_tasks_q.durations import parse_milliseconds
from django_tasks_q.keeper.retention import prune
from django_tasks_q.sql import Database

from .output import Output
from .subcommand import DONE, NOTHING, Subcommand, typed


def _before(text: str) -> datetime | int:
    """A moment, or how many milliseconds ago. ValueError for what is neither, or in no calendar."""
    try:
        age = parse_milliseconds(text)
    except ValueError:
        return _moment(text)
    if age > clock.wall_ms():
        raise ValueError(f"{text!r:.80} ago there were no records")
    return age


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"a time like 2026-01-31, or an age like 7d, is wanted, not {text!r:.80}") from None


class PurgeRecords(Subcommand):
    name = "purge-records"
    help = "delete the records, with their attempts, of messages that finished long ago; messages are never touched"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add(
            "--before", type=typed(_before), required=True, metavar="WHEN", help="a time (ISO 8601), or an age: 7d, 12h"
        )

    def run(self, given: dict[str, Any], out: Output) -> int:
        database = Database(records_database.alias(get_broker()))
        before = given["before"]
        ms = now_ms(database) - before if isinstance(before, int) else round(before.timestamp() * 1000)
        deleted = sum(prune(database, ms))
        if out.as_json:
            out.json({"deleted": deleted, "before": clock.as_datetime(ms)})
        else:
            out.line(f"{deleted} records deleted")
        return DONE if deleted else NOTHING
