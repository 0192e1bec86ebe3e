"""Leases: processes that stand still, hosts that vanish, and many that claim at once."""

from __future__ import annotations

import signal
import time

import pytest

from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Fault, Faults, Ledger, check, drain
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

LEASE = 2_000
RESCUE = LEASE / 1000 + 6
"""Seconds: the lease, one interval of the rescuer, and a second of slack."""


@BOTH
def test_a_stopped_worker_is_rescued_and_fenced_when_it_goes_on(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a worker in the middle of tasks that the store knows to have started
    tree = trees.start("-p", "2", "-t", "2", settings={"LEASE": LEASE})
    sent = store.send(misbehave.sleep.message(1.0) for _ in range(8))
    until(lambda: len(ledger.started()) >= 4)
    time.sleep(0.5)  # longer than the moment after which a start is told
    victim = tree.workers[0]
    held = ledger.open_runs(victim)
    before = time.monotonic()

    # When it stands still for longer than its lease
    tree.signal(signal.SIGSTOP, victim)
    until(lambda: all(len(ledger.runs()[message_id]) == 2 for message_id in held), RESCUE + 1, tree.story)
    rescued = time.monotonic() - before
    tree.signal(signal.SIGCONT, victim)

    # Then others have run its messages, and it leaves as soon as it hears of that; nothing is settled twice
    until(lambda: victim not in tree.workers and len(tree.workers) == 2, 5, tree.story)
    drain(store, 20, tree.story)
    assert tree.stop() == 0
    assert "declared dead" in tree.log
    faults = Faults(0, [Fault("STOP", frozenset([victim]), before, time.monotonic(), is_stop=True)])
    check(ledger, sent, store, faults)
    for message_id in held:
        record = store.record(message_id)
        assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 1, 0)
        # What it had just ended when it went on may be told of, and moves nothing.
        assert [outcome for outcome, _ in store.attempts(message_id)] in (["lost"], ["lost", "late"])
    print(f"rescued after {rescued:.1f} s")


@BOTH
def test_a_lost_host_is_noticed_by_another_one(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given two hosts at work, one of which has just begun long tasks
    lost = trees.start("-p", "1", "-t", "4", settings={"LEASE": LEASE})
    sent = store.send(misbehave.sleep.message(1.5) for _ in range(8))
    until(lambda: len(store.in_flight()) >= 4 and len(ledger.started()) == 4)
    other = trees.start("-p", "1", "-t", "4", settings={"LEASE": LEASE})
    until(lambda: len(ledger.started()) >= 6)
    [victim] = lost.workers
    held = ledger.open_runs(victim)
    assert held

    # When everything of it ends in one moment
    before = time.monotonic()
    lost.kill_everything()

    # Then the other one runs what it held, within the lease and one round of the rescuer
    until(lambda: all(len(ledger.runs()[message_id]) == 2 for message_id in held), RESCUE + 2, other.story)
    recovery = max(ledger.runs()[message_id][1].start for message_id in held) - before
    assert recovery < RESCUE, recovery
    drain(store, 20, other.story)
    assert other.stop() == 0
    check(ledger, sent, store, Faults(0, [Fault("host lost", frozenset([victim]), before, before + 1)]))
    assert {store.record(message_id)["lost"] for message_id in held} == {1}
    print(f"recovered after {recovery:.1f} s")


@BOTH
@pytest.mark.slow
def test_eight_processes_and_five_thousand_messages_make_no_duplicate(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "4", "-t", "2")
    other = trees.start("-p", "4", "-t", "2")
    sent: list[str] = []
    for _ in range(5):
        sent += store.send(misbehave.noop.message() for _ in range(1000))
    drain(store, 60, lambda: tree.story() + other.story())
    assert (tree.stop(), other.stop()) == (0, 0)
    assert len(ledger.runs()) == len(sent) == 5000
    check(ledger, sent, store, Faults(0))
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    assert len({run.pid for runs in ledger.runs().values() for run in runs}) > 4
