"""``taskq messages``: the newest records that fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_tasks_q.models import MessageRecord

from . import records
from .output import Output, age
from .selection import add_filters, note_window, selected
from .subcommand import DONE, NOTHING, Subcommand


class Messages(Subcommand):
    name = "messages"
    help = "the newest messages that fit"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add_filters(add, limit=50)

    def run(self, given: dict[str, Any], out: Output) -> int:
        wanted = selected(given)
        found = list(wanted.queryset()[: given["limit"]])
        if out.as_json:
            out.json([records.as_dict(record) for record in found])
        elif found:
            names = ("MESSAGE", "STATE", "ACTOR", "QUEUE", "AGE")
            out.table(names, [_row(record) for record in found], shrink=["ACTOR", "QUEUE"])
        else:
            out.note("No message fits.")
        if len(found) < given["limit"]:
            note_window(wanted, out)
        return DONE if found else NOTHING


def _row(record: MessageRecord) -> list[Any]:
    return [record.message_id, record.state, record.actor_name, record.queue_name, age(record.created_at)]
