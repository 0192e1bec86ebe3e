"""``taskq purge``: emptying queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_tasks_q import get_broker
from django_tasks_q.deliveries import QueueCounts
from django_tasks_q.errors import did_you_mean
from django_tasks_q.operations.queue_counts import CAP, live_counts

from .asking import add_yes, is_wanted
from .output import Output
from .subcommand import DONE, NOTHING, Subcommand, refuse

_QUESTION = "Throw them away for good?"
_REFUSAL = "This throws messages away for good"


class Purge(Subcommand):
    name = "purge"
    help = "throw away everything in a queue that does not run: what waits, is delayed, or is dead"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--queue", metavar="NAME", default="")
        add("--all", action="store_true", help="all queues of this project")
        add_yes(add)
        add("--dry-run", action="store_true", help="only say how many there are")

    def run(self, given: dict[str, Any], out: Output) -> int:
        if bool(given["queue"]) + given["all"] != 1:
            refuse("What to purge? Name --queue, or --all: one of the two.")
        names = sorted(get_broker().queues) if given["all"] else [_checked(given["queue"])]
        found = {count.queue_name: count for count in live_counts(get_broker()) if count.queue_name in names}
        counts = [found.get(name) or QueueCounts(name) for name in names]
        if not given["dry_run"]:
            if not (given["yes"] or is_wanted(map(_words, counts), _QUESTION, _REFUSAL, out)):
                out.note("Nothing was purged.")
                return NOTHING
            for name in names:
                get_broker().flush(name)
        return _tell(counts, given["dry_run"], out)


def _checked(queue_name: str) -> str:
    known = sorted(get_broker().queues)
    if queue_name not in known:
        refuse(f"No queue is called {queue_name!r}.{did_you_mean(queue_name, known)}")
    return queue_name


def _tell(counts: list[QueueCounts], is_dry: bool, out: Output) -> int:
    if out.as_json:
        out.json({"action": "purge", "queues": [_as_dict(count) for count in counts], "dry_run": is_dry})
    else:
        for count in counts:
            out.line(_words(count) if is_dry else f"{_words(count)}: purged")
    return DONE if any(_total(count) for count in counts) else NOTHING


def _as_dict(count: QueueCounts) -> dict[str, Any]:
    return {"queue_name": count.queue_name, "ready": count.ready, "delayed": count.delayed, "dead": count.dead}


def _total(count: QueueCounts) -> int:
    return count.ready + count.delayed + count.dead


def _words(count: QueueCounts) -> str:
    numbers = (("ready", count.ready), ("delayed", count.delayed), ("dead", count.dead))
    told = ", ".join(f"{'at least ' if number == CAP else ''}{number} {place}" for place, number in numbers)
    return f"{count.queue_name}: {told}"
