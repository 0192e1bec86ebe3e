"""How many statements PostgreSQL answers for 1,000 messages, BEGIN, COMMIT, records and leases included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..databases import PostgreSQLDatabase
from ..engines import Bench, Engine
from ..processes import Workers
from ..statements import StatementCounter
from . import Case, Scale, Value
from .ledger import check_ledger, check_records, wait_until_empty, wait_until_started

WANTED = 60


class Count(NamedTuple):
    """What the server answered while ``messages`` messages started."""

    messages: int
    statements: Counter[str]
    round_trips: int

    def per_thousand(self, number: int) -> float:
        return number / self.messages * 1000


def count_statements(bench: Bench, messages: int) -> Count:
    """Work a queue off and count at full load: between a fifth and nine tenths of the messages."""
    assert isinstance(bench.database, PostgreSQLDatabase)
    bench.ask("fill", messages=messages)
    config = bench.database.config
    with StatementCounter(config["HOST"], int(config["PORT"])) as counter:
        reached = PostgreSQLDatabase(bench.database.name, counter.port)
        with bench.workers(reached) as workers:
            begin = _look(bench, counter, workers, messages // 5)
            end = _look(bench, counter, workers, messages * 9 // 10)
            wait_until_started(bench, workers, messages)
            wait_until_empty(bench)
            check_records(bench, messages)
    check_ledger(bench, messages)
    statements = Counter(end.statements)
    statements.subtract(begin.statements)
    return Count(end.messages - begin.messages, +statements, end.round_trips - begin.round_trips)


def _look(bench: Bench, counter: StatementCounter, workers: Workers, started: int) -> Count:
    """How things stand once ``started`` messages have started, or a few more."""
    wait_until_started(bench, workers, started, pause=0.005)
    return Count(bench.slots.marked, *counter.look())


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    count = count_statements(bench, scale.of(bench.engine))
    yield Value("statements per 1,000", "", count.per_thousand(count.statements.total()), wanted=WANTED)
    for kind, number in sorted(count.statements.items()):
        yield Value(f"of them {kind}", "", count.per_thousand(number))
    yield Value("round trips per 1,000", "", count.per_thousand(count.round_trips))


def _suits(engine: Engine, vendor: str) -> bool:
    return vendor == "postgresql" and not engine.broker


CASE = Case("statements", run, lambda scale, engine: scale.of(engine), _suits)
