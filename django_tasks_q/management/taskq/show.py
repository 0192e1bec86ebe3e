"""``taskq show``: all that is known of one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_tasks_q import DecodeError, Message, get_broker
from django_tasks_q.models import Attempt
from django_tasks_q.operations.filters import Filter
from django_tasks_q.states import State

from . import records
from .output import Output
from .subcommand import DONE, NOTHING, Subcommand

_STATES = {"ready": State.ENQUEUED, "delayed": State.DELAYED, "in_flight": State.RUNNING, "dead": State.DEAD}


class Show(Subcommand):
    name = "show"
    help = "one message, by its id or the newest of a correlation id, with its failed attempts"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("id", metavar="ID")

    def run(self, given: dict[str, Any], out: Output) -> int:
        found = _recorded(given["id"]) or _held(given["id"])
        if found is None:
            out.note(f"No message {given['id']} is known.")
        if out.as_json:
            out.json(found)
        elif found is not None:
            _print(found, out)
        return NOTHING if found is None else DONE


def _recorded(id: str) -> dict[str, Any] | None:
    record = Filter(search=id).queryset().first() if id else None  # an empty filter would find the newest
    if record is None:
        return None
    # By hand, because the manager of a relation would ask the default database.
    attempts = Attempt.objects.using(record._state.db).filter(message=record.pk).order_by("id")
    return records.as_dict(record) | {"attempts": [records.as_dict(attempt) for attempt in attempts]}


def _held(id: str) -> dict[str, Any] | None:
    """What the broker knows of a message without a record; its arguments were not meant to be shown."""
    held = get_broker().look_up([id]).get(id)
    if held is None:
        return None
    found = {"message_id": id, "queue_name": held.delivery.queue_name, "state": _STATES[held.state].value}
    try:
        return found | {"actor_name": Message.decode(held.delivery.payload).actor_name, "attempts": []}
    except DecodeError:
        return found | {"attempts": []}


def _print(found: dict[str, Any], out: Output) -> None:
    told = {name: value for name, value in found.items() if name != "attempts" and value not in (None, "", b"")}
    width = max(map(len, told))
    for name, value in told.items():
        out.line(f"{name:<{width}}  {value}")
    for attempt in found["attempts"]:
        out.line()
        out.line(f"attempt {attempt['number']} {attempt['outcome']} at {attempt['finished_at']}, {attempt['worker']}")
        text = attempt["traceback"] or f"{attempt['error_type']}: {attempt['error_message']}"
        for line in text.rstrip().splitlines():
            out.line(f"  {line}")
