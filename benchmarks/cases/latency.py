"""How soon idle workers start a task: single sends with jittered gaps, so that no rhythm is met by chance."""

from __future__ import annotations

from collections.abc import Iterator

from ..client import WARM_UP
from ..engines import Bench
from . import Case, Scale, Value
from .ledger import check_ledger, wait_until_empty, wait_until_started

WANTED = {"sqlite": 15.0, "postgresql": 3.0}
WANTED_OF_THE_WORKER = {"redis": 1.0, "rabbitmq": 1.0}
"""Once the server has the message: until then it is the sender who waits, for the confirm of a durable message longer
than that. Bare clients on the same machine show what of the whole way is the server's."""
REST = 1.5
"""Seconds for which the workers have had nothing to do."""


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    first = 1 + WARM_UP
    total = first + scale.latency_sends
    bench.ask("fill", messages=1)
    with bench.workers() as workers:
        wait_until_started(bench, workers, 1)
        times = bench.ask("send_apart", messages=scale.latency_sends, first=1, rest=REST)
        wait_until_started(bench, workers, total)
        wait_until_empty(bench)
    check_ledger(bench, total)
    starts = bench.slots.starts[first:]
    waits = _milliseconds(times["began"], starts)
    yield Value("p50", "ms", _percentile(waits, 50), wanted=WANTED.get(bench.engine.broker or bench.vendor))
    yield Value("p95", "ms", _percentile(waits, 95))
    yield Value("p99", "ms", _percentile(waits, 99))
    late = _milliseconds(times["returned"], starts)
    yield Value(
        "after send() had returned, p50",
        "ms",
        _percentile(late, 50),
        wanted=WANTED_OF_THE_WORKER.get(bench.engine.broker or bench.vendor),
    )
    yield Value(
        "of it the call of send(), p50", "ms", _percentile(_milliseconds(times["began"], times["returned"]), 50)
    )


def _milliseconds(began: list[int], ended: list[int]) -> list[float]:
    return sorted((end - begin) / 1e6 for begin, end in zip(began, ended, strict=True))


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


CASE = Case("latency", run, lambda scale, engine: 1 + WARM_UP + scale.latency_sends)
