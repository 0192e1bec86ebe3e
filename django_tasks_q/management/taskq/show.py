"""``taskq show``: all that is known of one message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from django_tasks_q import DecodeError, Message, get_broker
from django_tasks_q.models import Attempt, MessageRecord, Stamp
from django_tasks_q.operations.filters import Filter
from django_tasks_q.operations.filters import records as records_of_messages
from django_tasks_q.operations.progress import PROGRESS_FIELDS, as_json, progress_of
from django_tasks_q.states import FINAL, State

from . import records
from .output import Output, bar
from .subcommand import DONE, NOTHING, Subcommand

INTERVAL = 0.5
"""Seconds between two looks of ``--watch``: a worker tells of progress as often."""

_STATES = {"ready": State.ENQUEUED, "delayed": State.DELAYED, "in_flight": State.RUNNING, "dead": State.DEAD}


class Show(Subcommand):
    name = "show"
    help = "one message, by its id or the newest of a correlation id, with its failed attempts"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("id", metavar="ID")
        add("--watch", action="store_true", help="tell how far it is until it has ended, or Ctrl-C")

    def run(self, given: dict[str, Any], out: Output) -> int:
        record = _record(given["id"])
        if given["watch"] and record is not None:
            try:
                _watch(record, out)
            except KeyboardInterrupt:
                if out.is_watched:
                    out.note("")  # the shell goes on below the bar
                return DONE
            if out.as_json:
                return DONE
            record = _record(given["id"])
        found = _recorded(record) or _held(given["id"])
        if found is None:
            out.note(f"No message {given['id']} is known.")
        if out.as_json:
            out.json(found)
        elif found is not None:
            _print(found, out)
        return NOTHING if found is None else DONE


def _watch(record: MessageRecord, out: Output) -> None:
    """Say how far a message is, whenever that has changed, until it has ended; to programs a line of JSON each time."""
    told = None
    for now in _looks(record):
        standing = as_json(now)
        if standing == told:
            continue
        told = standing
        if out.as_json:
            out.json(standing, on_one_line=True)
            out.flush()
        else:
            out.status(_in_words(now), is_over=standing["is_over"])


def _looks(record: MessageRecord) -> Iterator[MessageRecord]:
    """The record as it is now, again and again, at last as it ended; fewer when somebody deletes it."""
    rows = records_of_messages().filter(pk=record.pk).only(*PROGRESS_FIELDS)
    while (now := rows.first()) is not None:
        yield now
        if now.state in FINAL:
            return
        time.sleep(INTERVAL)


def _in_words(record: MessageRecord) -> str:
    """State, bar and text on one line."""
    progress = progress_of(record)
    if progress is None:
        return record.state
    known = progress.percent is not None and progress.total is not None
    numbers = f"{bar(progress.percent or 0)} {progress.done}/{progress.total}" if known else str(progress.done)
    return f"{record.state} {numbers} {progress.text}".rstrip()


def _record(id: str) -> MessageRecord | None:
    return Filter(search=id).queryset().first() if id else None  # an empty filter would find the newest


def _recorded(record: MessageRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    # By hand, because the manager of a relation would ask the default database.
    attempts = Attempt.objects.using(record._state.db).filter(message=record.pk).order_by("id")
    return records.as_dict(record) | {
        "stamps": _stamps(record),
        "attempts": [records.as_dict(attempt) for attempt in attempts],
    }


def _stamps(record: MessageRecord) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for stamp in Stamp.objects.using(record._state.db).filter(message=record.pk).order_by("id"):
        found.setdefault(stamp.name, []).append(stamp.value)
    return found


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
    stamps = [f"{name}={value}" for name, values in found.get("stamps", {}).items() for value in values]
    told = {**found, "stamps": ", ".join(stamps)}
    told = {name: value for name, value in told.items() if name != "attempts" and value not in (None, "", b"")}
    width = max(map(len, told))
    for name, value in told.items():
        out.line(f"{name:<{width}}  {value}")
    for attempt in found["attempts"]:
        out.line()
        out.line(f"attempt {attempt['number']} {attempt['outcome']} at {attempt['finished_at']}, {attempt['worker']}")
        text = attempt["traceback"] or f"{attempt['error_type']}: {attempt['error_message']}"
        for line in text.rstrip().splitlines():
            out.line(f"  {line}")
