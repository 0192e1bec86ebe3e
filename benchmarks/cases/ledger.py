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
    wait_until(lambda: bench.waiting() == 0, f"{bench.engine.name}: the queue is not empty", timeout)


def check_ledger(bench: Bench, sends: int) -> None:
    """As many different tasks ran as were sent, none of them twice."""
    slots = bench.slots
    if slots.marked != sends or slots.repeated:
        raise Failed(f"{bench.engine.name}: {sends} sent, {slots.marked} started, {slots.repeated} of them repeatedly")


def check_records(bench: Bench, sends: int) -> None:
    """There is a record for each message, and each says that it succeeded; nothing where none are kept."""
    records, unfinished = _records(bench)
    if bench.engine.records is not None and (records != sends or unfinished):
        raise Failed(f"{bench.engine.name}: {records} records of {sends} messages, {unfinished} of them not succeeded")


def wait_until_recorded(bench: Bench, sends: int, timeout: float = 60) -> None:
    """Wait until every message has a record that says that it succeeded; at once where none are kept."""
    if bench.engine.records is not None:
        name = bench.engine.name
        wait_until(lambda: _records(bench) == (sends, 0), f"{name}: not every record is final", timeout, 0.05)


def _records(bench: Bench) -> tuple[int, int]:
    """How many records there are, and how many of them are not final."""
    engine = bench.engine
    if engine.records is None or engine.unfinished is None:
        return 0, 0
    return bench.number(engine.records), bench.number(engine.unfinished)
