"""``taskq workers``: who is working."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_tasks_q.models import WorkerProcess
from django_tasks_q.operations.stats import live_workers

from . import records
from .output import Output, age
from .subcommand import DONE, NOTHING, Subcommand

_NAMES = ("HOST", "PID", "THREADS", "BUSY", "DONE", "FAILED", "MIB", "UP", "QUEUES")


class Workers(Subcommand):
    name = "workers"
    help = "the worker processes that are alive, and what they run"

    def add_arguments(self, add: Callable[..., Any]) -> None: ...

    def run(self, given: dict[str, Any], out: Output) -> int:
        workers = live_workers()
        if out.as_json:
            out.json([records.as_dict(worker) for worker in workers])
        elif workers:
            out.table(_NAMES, [_row(worker) for worker in workers], shrink=["HOST", "QUEUES"])
        else:
            out.note("No worker is alive; manage.py runworkers starts some.")
        return DONE if workers else NOTHING


def _row(worker: WorkerProcess) -> list[Any]:
    return [
        worker.hostname,
        worker.pid,
        worker.threads,
        len(worker.current),
        worker.processed,
        worker.failed,
        worker.rss_bytes // 2**20,
        age(worker.started_at),
        ", ".join(worker.queues) or "all",
    ]
