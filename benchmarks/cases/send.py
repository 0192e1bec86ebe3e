"""How fast one process sends, with nobody working meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from ..engines import Bench
from ..processes import Failed
from . import Case, Scale, Value

WANTED_ON_SQLITE = 4_000
ROUNDS = (
    ("send() in a loop", 1, False),
    ("send() in one atomic()", 1, True),
    ("send_many(), 100 each", 100, False),
    ("send_many(), 1,000 each", 1_000, False),
)


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    """Each round sends anew on the same database, so the ledger here is the queue itself."""
    messages = scale.of(bench.engine) // 4
    sent = 0
    for name, batch, atomic in ROUNDS:
        if (batch > 1 and not bench.engine.has_bulk) or (atomic and bench.engine.broker):
            continue
        rate = bench.ask("send", messages=messages, batch=batch, atomic=atomic)["per_second"]
        sent += messages
        _check_queued(bench, sent)
        wanted = WANTED_ON_SQLITE if (name, bench.vendor) == (ROUNDS[0][0], "sqlite") else None
        yield Value(name, "/s", rate, True, wanted)


def _check_queued(bench: Bench, sent: int) -> None:
    waiting, query = bench.waiting(), bench.engine.records
    # With a broker the records come from its journal, once somebody works.
    records = sent if query is None or bench.engine.broker else bench.number(query)
    if not waiting == records == sent:
        raise Failed(f"{bench.engine.name}: {sent} sent, {waiting} waiting, {records} records")


CASE = Case("send", run, lambda scale, engine: 1)
