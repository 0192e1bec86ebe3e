"""How fast a queue that was filled beforehand is worked off, records included."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..engines import Bench
from . import Case, Scale, Value
from .ledger import check_ledger, check_records, wait_until_empty, wait_until_recorded, wait_until_started

WANTED = {"": 5_000, "redis": 20_000, "rabbitmq": 10_000}
"""First to last start, by broker; on a broker without records."""
GRACE = 1.0
"""Seconds after the queue is empty at which every record must be final."""


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    messages = scale.of(bench.engine)
    bench.ask("fill", messages=messages)
    with bench.workers() as workers:
        wait_until_started(bench, workers, messages)
        final = _wait_until_final(bench, messages)
    check_ledger(bench, messages)
    starts = sorted(bench.slots.starts)
    tenth = messages // 10
    steady = starts[tenth : messages - tenth]
    yield Value("first to last start", "/s", _rate(messages, starts[0], starts[-1]), True, _wanted(bench))
    yield Value("the middle 80 %", "/s", _rate(len(steady), steady[0], steady[-1]), True)
    if bench.engine.records is not None:
        yield Value("until every record is final", "/s", _rate(messages, starts[0], final), True)


def _wait_until_final(bench: Bench, messages: int) -> int:
    """When every record was final: with the queue where both are in one place, else when the mirror is done."""
    if bench.engine.broker:
        wait_until_recorded(bench, messages)
        final = time.monotonic_ns()
        wait_until_empty(bench)
    else:
        wait_until_empty(bench)
        final = time.monotonic_ns()
        time.sleep(GRACE)
    check_records(bench, messages)
    return final


def _wanted(bench: Bench) -> float | None:
    engine = bench.engine
    return WANTED[engine.broker] if not engine.broker or engine.records is None else None


def _rate(messages: int, begin: int, end: int) -> float:
    return (messages - 1) / (end - begin) * 1e9


CASE = Case("drain", run, lambda scale, engine: scale.of(engine))
