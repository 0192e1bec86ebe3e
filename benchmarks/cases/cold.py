"""How long it takes from the launch of the command until the first task starts."""

from __future__ import annotations

from collections.abc import Iterator

from ..engines import Bench
from . import Case, Scale, Value
from .ledger import check_ledger, wait_until_empty, wait_until_started


def run(bench: Bench, scale: Scale) -> Iterator[Value]:
    bench.ask("fill", messages=1)
    with bench.workers() as workers:
        wait_until_started(bench, workers, 1)
        wait_until_empty(bench)
    check_ledger(bench, 1)
    yield Value("first task", "ms", (bench.slots.starts[0] - workers.launched) / 1e6)


CASE = Case("cold", run, lambda scale, engine: 1)
