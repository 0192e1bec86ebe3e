"""``taskq stats``: how everything stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django_tasks_q.operations.queue_counts import CAP
from django_tasks_q.operations.stats import QueueStats, paused_actors, stats
from django_tasks_q.operations.stats import Stats as Figures

from .output import Output, duration
from .subcommand import DONE, Subcommand

INTERVAL = 2.0
"""Seconds between two looks of ``--watch``."""

_NAMES = ("QUEUE", "READY", "RUNNING", "DELAYED", "DEAD", "OLDEST", "PER MIN", "WORKERS")


class Stats(Subcommand):
    name = "stats"
    help = "what every queue holds, how fast it is worked off, and by how many"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--watch", action="store_true", help=f"look again every {INTERVAL:g} seconds, until Ctrl-C")

    def run(self, given: dict[str, Any], out: Output) -> int:
        if not given["watch"]:
            _show(stats(), out)
            return DONE
        try:
            while True:
                figures = stats()
                out.clear()
                _show(figures, out, on_one_line=True)
                out.flush()
                time.sleep(INTERVAL)
        except KeyboardInterrupt:
            return DONE


def _show(figures: Figures, out: Output, *, on_one_line: bool = False) -> None:
    if out.as_json:
        out.json(figures.as_dict(), on_one_line=on_one_line)
        return
    out.table(_NAMES, [_row(queue) for queue in figures.queues], shrink=["QUEUE"])
    out.line()
    lag = f", records {duration(figures.mirror_lag_ms)} behind" if figures.mirror_lag_ms >= 1_000 else ""
    out.line(f"workers: {figures.workers}, messages that wait for their broker: {figures.outbox}{lag}")
    # Of queues the table says it too, where there is room for it.
    paused = [queue.queue_name for queue in figures.queues if queue.paused]
    for kind, names in (("queues", paused), ("actors", paused_actors())):
        if names:
            out.line(f"paused {kind}: {', '.join(names)}")


def _row(queue: QueueStats) -> list[Any]:
    return [
        f"{queue.queue_name} (paused)" if queue.paused else queue.queue_name,
        _number(queue.ready),
        _number(queue.in_flight),
        _number(queue.delayed),
        _number(queue.dead),
        duration(queue.oldest_ms) if queue.ready else "",
        queue.per_minute,
        queue.consumers,
    ]


def _number(number: int) -> int | str:
    """A number that reached the cap is "at least"."""
    return f"{number}+" if number == CAP else number
