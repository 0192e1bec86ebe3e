"""Which records are meant, as people say it on a command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django_tasks_q import get_broker, stamps
from django_tasks_q.errors import did_you_mean
from django_tasks_q.operations.filters import WINDOW, Filter

from .output import Output
from .subcommand import positive, refuse, typed

_SHOWN = 10


def add_filters(add: Callable[..., Any], *, limit: int | None = None) -> None:
    add("--actor", metavar="NAME", default="", help="messages of this actor")
    add("--queue", metavar="NAME", default="", help="messages of this queue")
    add("--state", metavar="STATE", default="", help="messages in this state (enqueued, running, dead, …)")
    add("--reason", metavar="REASON", default="", help="dead letters that died of this (retries_exhausted, …)")
    add("--stamp", metavar="NAME=VALUE", default="", help="messages that carry this stamp")
    default = "" if limit is None else f" (default {limit})"
    add("--limit", type=typed(positive), metavar="N", default=limit, help=f"at most so many{default}")


def add_stamps(add: Callable[..., Any], help: str) -> None:
    add("--stamp", type=typed(stamps.pair), action="append", default=[], metavar="NAME=VALUE", help=help)


def stamps_of(given: dict[str, Any]) -> dict[str, list[str]]:
    """The stamps that were asked for: all values of each name. Exit code 2 for more than a message may carry."""
    try:
        return stamps.united(*({name: [value]} for name, value in given["stamp"]))
    except ValueError as error:
        refuse(str(error))


def selected(given: dict[str, Any]) -> Filter:
    """The filter that was asked for. Exit code 2 for a state, an actor or a queue that nobody knows."""
    try:
        wanted = Filter(
            state=given["state"],
            actor_name=given["actor"],
            queue_name=given["queue"],
            dead_reason=given["reason"],
            stamp=given["stamp"],
        )
    except ValueError as error:
        refuse(str(error))
    check_names(wanted.actor_name, wanted.queue_name)
    return wanted


def check_names(actor_name: str, queue_name: str) -> None:
    """Exit code 2 for an actor or a queue that nobody knows; an empty name says nothing."""
    broker = get_broker()
    _check("actor", actor_name, sorted(broker.actors), Filter(actor_name=actor_name))
    _check("queue", queue_name, sorted(broker.queues), Filter(queue_name=queue_name))


def _check(kind: str, name: str, known: Sequence[str], of_that_name: Filter) -> None:
    """What is declared nowhere here may still have been, and have records."""
    if name and name not in known and not of_that_name.queryset().exists():
        hint = did_you_mean(name, known) or f" Known are: {_some(known)}."
        refuse(f"No {kind} is called {name!r}, and no record names it.{hint}")


def _some(known: Sequence[str]) -> str:
    shown = ", ".join(known[:_SHOWN]) or "none"
    return f"{shown} and {len(known) - _SHOWN} more" if len(known) > _SHOWN else shown


def note_window(wanted: Filter, out: Output) -> None:
    """Say how far back was looked."""
    if wanted.is_windowed and not wanted.stamp:  # nearly always found whole, by its own index
        out.note(f"Looked through the newest {WINDOW} records that fit the other conditions.")
