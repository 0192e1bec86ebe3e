"""``taskq schedules``: what runs again and again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.utils import timezone

from django_tasks_q import get_broker, records_database
from django_tasks_q.models import ScheduleEntry

from . import records
from .output import Output
from .subcommand import DONE, NOTHING, Subcommand

_NAMES = ("NAME", "ACTOR", "SCHEDULE", "ZONE", "NEXT", "LAST")


class Schedules(Subcommand):
    name = "schedules"
    help = "what runs again and again, when next and when last"

    def add_arguments(self, add: Callable[..., Any]) -> None: ...

    def run(self, given: dict[str, Any], out: Output) -> int:
        entries = list(ScheduleEntry.objects.using(records_database.alias(get_broker())).order_by("name"))
        if out.as_json:
            out.json([records.as_dict(entry) for entry in entries])
        elif entries:
            out.table(_NAMES, [_row(entry) for entry in entries], shrink=["NAME", "ACTOR", "SCHEDULE", "ZONE"])
        else:
            out.note("No schedule was seen yet; manage.py runworkers notes those that the code declares.")
        return DONE if entries else NOTHING


def _row(entry: ScheduleEntry) -> list[str]:
    following = _moment(entry.next_at) if entry.enabled else "disabled"
    return [entry.name, entry.actor_name, entry.spec, entry.time_zone, following, _moment(entry.last_at)]


def _moment(at: datetime | None) -> str:
    """In Django's time zone, to the second."""
    return "" if at is None else f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}"
