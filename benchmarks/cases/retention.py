"""How much workers are slowed down by the deletion of old records that goes on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import mean
from typing import NamedTuple

from .. import variables
from ..engines import Bench
from ..processes import Failed
from ..speed import Speedometer
from . import Case, Scale, Value
from .ledger import check_ledger, wait_until_empty, wait_until_started

WANTED = 10.0
TURNS = (False, True, True, False)
"""Whether records are deleted: in this order what changes with time, or with the size of the tables, hits both."""


class Turn(NamedTuple):
    """One drain: messages a second between first and last start, records deleted a second, the machine's speed."""

    rate: float
    deleted: float
    speed: float


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    bench.ask("remember", records=scale.old_records)
    turns: dict[bool, list[Turn]] = {False: [], True: []}
    for number, deletes in enumerate(TURNS):
        turns[deletes].append(_drain(bench, scale.messages, number * scale.messages, deletes))
    check_ledger(bench, len(TURNS) * scale.messages)
    without, pruning = (mean(turn.rate for turn in turns[deletes]) for deletes in (False, True))
    yield Value("without", "/s", without, True)
    yield Value("while records are deleted", "/s", pruning, True)
    calm, busy = (mean(turn.rate / turn.speed for turn in turns[deletes]) for deletes in (False, True))
    yield Value("slower, at one speed of the machine", "%", (1 - busy / calm) * 100, wanted=WANTED)
    yield Value("records deleted", "/s", mean(turn.deleted for turn in turns[True]), True)


def _drain(bench: Bench, messages: int, first: int, deletes: bool) -> Turn:
    bench.ask("fill", messages=messages, first=first)
    before = bench.number(bench.engine.records)
    keeps = {} if deletes else {variables.KEEPS_RECORDS: "1"}
    with bench.workers(**keeps) as workers, Speedometer() as machine:
        wait_until_started(bench, workers, first + messages)
        wait_until_empty(bench)
        took = (time.monotonic_ns() - workers.launched) / 1e9
        after = bench.number(bench.engine.records)
    if bench.number(bench.engine.unfinished):
        raise Failed("Not every record is final")
    if (before > after) is not deletes or after < first + messages:
        raise Failed(f"{before - after} of {before} records were deleted, wanted was {'some' if deletes else 'none'}")
    starts = sorted(bench.slots.starts[first : first + messages])
    return Turn((messages - 1) / (starts[-1] - starts[0]) * 1e9, (before - after) / took, machine.speed)


CASE = Case(
    "retention",
    run,
    lambda scale, engine: len(TURNS) * scale.messages,
    lambda engine, vendor: not engine.is_peer and not engine.broker and vendor != "mariadb",
)
