"""The ledger harness: what was acknowledged, what really ran, and whether the engine tells the same story.

Producers send and remember every acknowledged id; a seeded nemesis hurts the workers; then everything is healed and
drained, and the invariants are checked:

I1  every acknowledged id has completed by the ledger, or is a dead letter;
I2  an id ran twice only when it failed and was retried, or was in flight during a fault;
I3  the record's final state equals the ledger;
I4  the broker holds nothing that is ready, in flight or orphaned, and no lease;
I5  two runs of one id never overlap, unless the first was in a process that was stopped past its lease;
I6  what a message causes happens exactly once in record terms;
I7  the run ends within a bound.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.stores import RECORDS, Store
from tests.support.waiting import until, within

FINAL = frozenset({"succeeded", "dead", "skipped", "revoked", "discarded"})
FOREVER = float("inf")


@dataclass
class Run:
    """One run of one message by the ledger; ``end`` None: nobody lived to tell. Times are monotonic seconds."""

    message_id: str
    pid: int
    attempt: int
    actor: str
    start: float
    end: float | None = None
    failed: bool = False

    @property
    def completed(self) -> bool:
        return self.end is not None and not self.failed


class Ledger:
    """The file that the actors write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        # A line without its end is still being written.
        lines = self.path.read_bytes().rpartition(b"\n")[0].splitlines()
        return [json.loads(line) for line in lines]

    def runs(self) -> dict[str, list[Run]]:
        """The runs of each id, in the order of their starts."""
        found: dict[str, list[Run]] = {}
        for entry in sorted(self.entries(), key=lambda entry: entry["at"]):
            runs = found.setdefault(entry["id"], [])
            at = entry["at"] / 1e9
            if entry["event"] == "start":
                runs.append(Run(entry["id"], entry["pid"], entry["attempt"] or 0, entry["actor"], at))
            else:
                _close(runs, entry["pid"], at, failed=entry["event"] == "fail")
        return found

    @staticmethod
    def now() -> float:
        """The clock that the ledger is written by; all processes of a machine have the same."""
        return time.monotonic()

    def started(self) -> set[str]:
        return set(self.runs())

    def completed(self) -> set[str]:
        return {message_id for message_id, runs in self.runs().items() if any(run.completed for run in runs)}

    def open_runs(self, pid: int | None = None) -> set[str]:
        """Ids that a process, or any, has started and not ended."""
        runs = (run for several in self.runs().values() for run in several if run.end is None)
        return {run.message_id for run in runs if pid in (None, run.pid)}


def _close(runs: list[Run], pid: int, at: float, *, failed: bool) -> None:
    for run in runs:
        if run.pid == pid and run.end is None:
            run.end, run.failed = at, failed
            return


def overlaps(runs: Collection[Run]) -> list[tuple[Run, Run]]:
    """Runs of one id that were going on at once. One that nobody lived to tell the end of counts as ended when the next
    one began: the time of a death is not in the ledger."""
    ordered = sorted(runs, key=lambda run: run.start)
    return [
        (first, second) for first, second in pairwise(ordered) if first.end is not None and first.end > second.start
    ]


@dataclass
class Fault:
    """What the nemesis did, when, and to which processes (none: to all of them). ``end``: when it was healed."""

    name: str
    pids: frozenset[int]
    start: float
    end: float
    is_stop: bool = False

    def touches(self, run: Run) -> bool:
        """Whether the run was going on, or settled but not yet confirmed, when it happened."""
        ended = FOREVER if run.end is None else run.end + within(_SETTLING)
        return (not self.pids or run.pid in self.pids) and run.start <= self.end and ended >= self.start


_SETTLING = 2.0
"""Seconds after the end of a run in which its settlement may still be on its way."""


@dataclass
class Faults:
    """The log of a nemesis."""

    seed: int
    log: list[Fault] = field(default_factory=list)

    def note(self, name: str, pids: Iterable[int], start: float, *, is_stop: bool = False) -> None:
        self.log.append(Fault(name, frozenset(pids), start, time.monotonic(), is_stop))

    def touch(self, run: Run) -> bool:
        return any(fault.touches(run) for fault in self.log)

    def stopped(self, run: Run) -> bool:
        return any(fault.is_stop and fault.touches(run) for fault in self.log)

    def __str__(self) -> str:
        counts = Counter(fault.name for fault in self.log)
        return f"seed {self.seed}: " + ", ".join(f"{name} × {count}" for name, count in sorted(counts.items()))

    def story(self) -> str:
        """What happened when."""
        return "\n".join(map(str, sorted(self.log, key=lambda fault: fault.start)))


def drain(store: Store, seconds: float, story: Callable[[], str]) -> None:
    """I7: nothing is left to run within a bound."""
    until(lambda: store.unfinished() == 0, seconds, lambda: f"I7: {store.unfinished()} left\n{story()}")


def check(ledger: Ledger, acknowledged: Collection[str], store: Store, faults: Faults) -> None:
    """I1 to I6, once everything is drained and all workers have ended."""
    runs, dead, records = ledger.runs(), store.dead(), _records(store)
    problems = [
        *_all_accounted_for(acknowledged, runs, dead),
        *_repeats_are_explained(runs, faults),
        *_records_tell_the_truth(records, runs, dead, acknowledged),
        *_nothing_is_left(store),
        *_no_overlap(runs, faults),
        *_caused_once(records),
    ]
    assert not problems, "\n".join([str(faults), *problems[:40], faults.story()])


def _records(store: Store) -> dict[str, dict[str, Any]]:
    names = ("message_id", "state", "retries", "actor_name", "parent_id", "options")
    rows = store.rows(f"SELECT {', '.join(names)} FROM {RECORDS}")
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def _all_accounted_for(
    acknowledged: Collection[str], runs: dict[str, list[Run]], dead: dict[str, str]
) -> Iterable[str]:
    for message_id in acknowledged:
        if message_id not in dead and not any(run.completed for run in runs.get(message_id, [])):
            yield f"I1: {message_id} was acknowledged, and neither completed nor is it dead: {runs.get(message_id)}"


def _repeats_are_explained(runs: dict[str, list[Run]], faults: Faults) -> Iterable[str]:
    for message_id, several in runs.items():
        for run in several[:-1]:
            if not run.failed and not faults.touch(run):
                yield f"I2: {message_id} ran again without a reason: {several}"


def _records_tell_the_truth(
    records: dict[str, dict[str, Any]],
    runs: dict[str, list[Run]],
    dead: dict[str, str],
    acknowledged: Collection[str],
) -> Iterable[str]:
    for message_id in runs.keys() - records.keys():
        yield f"I3: {message_id} ran and has no record"
    for message_id, record in records.items():
        ran = runs.get(message_id, [])
        if record["state"] == "unknown" and not ran and message_id not in acknowledged:
            continue  # its sender was told that nobody knows, and so it is
        if record["state"] not in FINAL:
            yield f"I3: {message_id} is {record['state']} for ever: {ran}"
        elif (record["state"] == "dead") != (message_id in dead):
            yield f"I3: {message_id} is {record['state']}, its dead letter says {dead.get(message_id)}"
        elif record["state"] == "succeeded" and not any(run.completed for run in ran):
            yield f"I3: {message_id} succeeded by its record only: {ran}"


def _nothing_is_left(store: Store) -> Iterable[str]:
    if left := store.unfinished():
        yield f"I4: {left} messages are ready, delayed or in flight"
    if leases := store.leases():
        yield f"I4: leases without workers: {leases}"


def _no_overlap(runs: dict[str, list[Run]], faults: Faults) -> Iterable[str]:
    for several in runs.values():
        for first, second in overlaps(several):
            if not faults.stopped(first):
                yield f"I5: two runs at once: {first} {second}"


def _caused_once(records: dict[str, dict[str, Any]]) -> Iterable[str]:
    children = Counter(record["parent_id"] for record in records.values() if record["parent_id"])
    for message_id, record in records.items():
        options = record["options"] if isinstance(record["options"], dict) else json.loads(record["options"] or "{}")
        if not (options.get("on_success") or options.get("pipe_target")) or record["state"] != "succeeded":
            continue
        if children[message_id] != 1:
            yield f"I6: {message_id} succeeded and caused {children[message_id]} messages instead of 1"
