"""``taskq health``: for probes. Exit code 1 when messages would not be worked off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django_tasks_q import BrokerError, get_broker
from django_tasks_q.operations.stats import QueueStats, queues_and_workers

from .output import Output
from .subcommand import DONE, NOTHING, Subcommand


class Health(Subcommand):
    name = "health"
    help = "whether messages are worked off; exit code 1 when they are not"

    def add_arguments(self, add: Callable[..., Any]) -> None: ...

    def run(self, given: dict[str, Any], out: Output) -> int:
        return _tell(list(_problems()), out)

    def fail(self, error: BrokerError, out: Output) -> int:
        return _tell([str(error)], out)


def _tell(problems: list[str], out: Output) -> int:
    if out.as_json:
        out.json({"healthy": not problems, "problems": problems})
    else:
        for text in problems or ["healthy"]:
            out.line(text)
    return NOTHING if problems else DONE


def _problems() -> Iterator[str]:
    broker = get_broker()
    broker.check_ready()
    queues, workers = queues_and_workers()  # a probe must not wait for a database that only rows for it may be in
    if not workers:
        yield "No worker is alive."
        return
    for queue in queues:
        if not queue.consumers and (queue.queue_name in broker.queues or _has_work(queue)):
            yield f"No worker serves the queue {queue.queue_name!r}."


def _has_work(queue: QueueStats) -> bool:
    return bool(queue.ready or queue.delayed)
