"""What workers cost that have nothing to do: CPU by role, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..engines import Bench
from ..processes import Process
from . import Case, Scale, Value
from .ledger import wait_until_empty, wait_until_started

WANTED = 1.0
MESSAGES = 100
SETTLE = 3.0


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    bench.ask("fill", messages=MESSAGES)
    with bench.workers() as workers:
        wait_until_started(bench, workers, MESSAGES)
        wait_until_empty(bench)
        time.sleep(SETTLE)
        before, begin = {process.pid: process for process in workers.tree()}, time.monotonic()
        time.sleep(scale.idle_seconds)
        after, took = workers.tree(), time.monotonic() - begin
    shares: dict[str, list[float]] = {}
    for process in after:
        if process.pid in before:
            share = (process.cpu - before[process.pid].cpu) / took * 100
            shares.setdefault(process.role, []).append(share)
    for role, values in sorted(shares.items()):
        name = role if len(values) == 1 else f"{role}, the busiest of {len(values)}"
        yield Value(f"CPU: {name}", "% of a core", max(values), wanted=WANTED)
    yield from _memory(after)


def _memory(processes: list[Process]) -> Iterator[Value]:
    yield Value(f"RSS of {len(processes)} processes", "MiB", sum(process.rss for process in processes))
    yield Value(f"PSS of {len(processes)} processes", "MiB", sum(process.pss for process in processes))


CASE = Case("idle", run, lambda scale, engine: MESSAGES)
