"""How fast a queue that was filled beforehand is worked off, records included."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..engines import Bench
from . import Case, Scale, Value
from .ledger import check_ledger, check_records, wait_until_empty, wait_until_started

WANTED = 5_000
GRACE = 1.0
"""Seconds after the queue is empty at which every record must be final."""


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    messages = scale.of(bench.engine)
    bench.ask("fill", messages=messages)
    with bench.workers() as workers:
        wait_until_started(bench, workers, messages)
        wait_until_empty(bench)
        emptied = time.monotonic_ns()
        time.sleep(GRACE)
        check_records(bench, messages)
    check_ledger(bench, messages)
    starts = sorted(bench.slots.starts)
    tenth = messages // 10
    steady = starts[tenth : messages - tenth]
    yield Value("first to last start", "/s", _rate(messages, starts[0], starts[-1]), True, WANTED)
    yield Value("the middle 80 %", "/s", _rate(len(steady), steady[0], steady[-1]), True)
    yield Value("until every record is final", "/s", _rate(messages, starts[0], emptied), True)


def _rate(messages: int, begin: int, end: int) -> float:
    return (messages - 1) / (end - begin) * 1e9


CASE = Case("drain", run, lambda scale, engine: scale.of(engine))
