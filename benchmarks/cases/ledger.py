"""What must be true of every measurement, whatever it shows."""

from __future__ import annotations

from ..engines import Bench
from ..processes import Failed, Workers, wait_until


def wait_until_started(bench: Bench, workers: Workers, count: int, timeout: float = 300, pause: float = 0.05) -> None:
    """Wait for so many different tasks to have started."""

    def is_over() -> bool:
        workers.check_alive()
        return bench.slots.marked >= count

    wait_until(is_over, f"{bench.engine.name}: not all of {count} messages have started", timeout, pause)


def wait_until_empty(bench: Bench, timeout: float = 60) -> None:
    wait_until(lambda: bench.number(bench.engine.waiting) == 0, f"{bench.engine.name}: the queue is not empty", timeout)


def check_ledger(bench: Bench, sends: int) -> None:
    """As many different tasks ran as were sent, none of them twice."""
    slots = bench.slots
    if slots.marked != sends or slots.repeated:
        raise Failed(f"{bench.engine.name}: {sends} sent, {slots.marked} started, {slots.repeated} of them repeatedly")


def check_records(bench: Bench, sends: int) -> None:
    """There is a record for each message, and each says that it succeeded."""
    records, unfinished = bench.number(bench.engine.records), bench.number(bench.engine.unfinished)
    if records != sends or unfinished:
        raise Failed(f"{bench.engine.name}: {records} records of {sends} messages, {unfinished} of them not succeeded")
