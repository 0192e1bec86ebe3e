"""The harness itself: every invariant can be broken, and is then named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from testproject import misbehave
from tests.support.ledger import Fault, Faults, Ledger, Run, check
from tests.support.runworkers import Trees
from tests.support.stores import QUEUE, RECORDS, Store

pytestmark = pytest.mark.lifecycle

Sabotage = Callable[[Store, Ledger, list[str]], None]


def write(ledger: Ledger, message_id: str, event: str, at: float, pid: int = 1) -> None:
    entry: dict[str, Any] = {"id": message_id, "attempt": 0, "pid": pid, "event": event, "at": at * 1e9, "actor": "x"}
    with ledger.path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def run_again(store: Store, ledger: Ledger, ids: list[str]) -> None:
    last = ledger.now()
    write(ledger, ids[0], "start", last)
    write(ledger, ids[0], "end", last + 1)


def run_beside_itself(store: Store, ledger: Ledger, ids: list[str]) -> None:
    [run] = ledger.runs()[ids[0]]
    write(ledger, ids[0], "start", run.start + 0.01, pid=2)
    write(ledger, ids[0], "end", run.start + 1, pid=2)


def forget_the_ledger(store: Store, ledger: Ledger, ids: list[str]) -> None:
    ledger.path.unlink()


def forget_a_record(store: Store, ledger: Ledger, ids: list[str]) -> None:
    store.rows(f"DELETE FROM {RECORDS} WHERE message_id = ?", [ids[0]])


def leave_a_record_behind(store: Store, ledger: Ledger, ids: list[str]) -> None:
    store.rows(f"UPDATE {RECORDS} SET state = 'running' WHERE message_id = ?", [ids[0]])


def leave_a_message(store: Store, ledger: Ledger, ids: list[str]) -> None:
    store.send([misbehave.noop.message()])


def leave_a_lease(store: Store, ledger: Ledger, ids: list[str]) -> None:
    store.rows("INSERT INTO django_tasks_q_queueworker (worker_id, expires_at) VALUES ('ghost', 0)")


def lose_a_child(store: Store, ledger: Ledger, ids: list[str]) -> None:
    store.rows(f"UPDATE {RECORDS} SET parent_id = '' WHERE parent_id <> ''")


def lose_a_dead_letter(store: Store, ledger: Ledger, ids: list[str]) -> None:
    store.rows(f"DELETE FROM {QUEUE} WHERE place = 3")


@pytest.mark.parametrize(
    ("sabotage", "invariant"),
    [
        (forget_the_ledger, "I1"),
        (lose_a_dead_letter, "I1"),
        (run_again, "I2"),
        (forget_a_record, "I3"),
        (leave_a_record_behind, "I3"),
        (leave_a_message, "I4"),
        (leave_a_lease, "I4"),
        (run_beside_itself, "I5"),
        (lose_a_child, "I6"),
    ],
)
def test_what_is_broken_is_named(
    sabotage: Sabotage, invariant: str, store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a run in which everything was right
    steps = (misbehave.echo.message(1) | misbehave.echo.message()).messages
    bad = misbehave.fail_always.message_with_options(max_retries=0)
    sent = store.send([misbehave.sleep.message(0.05), steps[0], bad])
    trees.finish()
    faults = Faults(7)
    check(ledger, sent, store, faults)

    # When something is not
    sabotage(store, ledger, sent)

    # Then the check says what, and from which seed
    with pytest.raises(AssertionError, match=rf"(?s)seed 7.*{invariant}: "):
        check(ledger, sent, store, faults)


def test_a_fault_explains_only_what_was_going_on_there_and_then() -> None:
    fault = Fault("kill", frozenset([1]), 100.0, 100.2)
    assert fault.touches(Run("x", 1, 0, "x", 99.0))
    assert fault.touches(Run("x", 1, 0, "x", 99.0, 99.9)), "its settlement may have been on its way"
    assert not fault.touches(Run("x", 2, 0, "x", 99.0))
    assert not fault.touches(Run("x", 1, 0, "x", 5.0, 6.0))
    assert not fault.touches(Run("x", 1, 0, "x", 101.0))
