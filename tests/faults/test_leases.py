"""Leases: processes that stand still, hosts that vanish, and many that claim at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Fault, Faults, Ledger, check, drain
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until, within
from tests.support.worlds import World

pytestmark = pytest.mark.lifecycle

LEASE = 2_000
RESCUE = LEASE / 1000 + 6
"""Seconds: the lease, one interval of the rescuer, and a second of slack."""

LOCKS = 6
"""Seconds after which a database lets go of the locks of a process that does nothing, and one of slack."""


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Where the messages are: on a server of this kind, or, when empty, in the database."""
    return str(getattr(request, "param", ""))


@pytest.fixture
def world(kind: str, store: Store) -> Iterator[Store]:
    world = World(store, kind) if kind else store
    yield world
    if kind:
        world.close()


@pytest.mark.parametrize(
    ("vendor", "kind", "short"),
    [
        ("sqlite", "", 0),  # who is stopped in the middle of a transaction has all that file locked
        ("postgresql", "", 1_000),
        ("sqlite", "redis", 1_000),
    ],
    indirect=["vendor", "kind"],
)
def test_a_stopped_worker_is_rescued_and_when_it_goes_on_it_starts_nothing_more_and_is_fenced(
    world: Store, short: int, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given workers in the middle of long tasks that the store knows to have started, and of many short ones
    gate = tmp_path / "gate"
    tree = trees.start("-p", "2", "-t", "3", settings={"LEASE": LEASE, **world.settings})
    long = world.send(misbehave.wait_for_file.message(str(gate)) for _ in range(2))
    until(lambda: ledger.started() == set(long) == set(world.in_flight()), 10, tree.story)
    time.sleep(0.5)  # longer than the moment after which a start is told
    [victim, *_] = [pid for pid in tree.workers if ledger.open_runs(pid)]
    held = ledger.open_runs(victim)
    sent = long + world.send(misbehave.sleep.message(0.01) for _ in range(short))
    until(lambda: len(ledger.completed()) >= short / 10, 10, tree.story)
    before = time.monotonic()

    # When one stands still for longer than its lease, with messages at hand that it has not started
    tree.signal(signal.SIGSTOP, victim)
    until(lambda: all(len(ledger.runs()[message_id]) == 2 for message_id in held), RESCUE + LOCKS, tree.story)
    rescued = time.monotonic() - before
    gate.touch()
    until(lambda: ledger.completed() == set(sent), 20, tree.story)
    awake = time.monotonic()
    tree.signal(signal.SIGCONT, victim)

    # Then others have run its messages, and it leaves as soon as it hears of that; nothing is settled twice
    until(lambda: victim not in tree.workers and len(tree.workers) == 2, 5, tree.story)
    drain(world, 20, tree.story)
    assert tree.stop() == 0
    assert "declared dead" in tree.log
    faults = Faults(0, [Fault("STOP", frozenset([victim]), before, time.monotonic(), is_stop=True)])
    check(ledger, sent, world, faults)
    assert [run for runs in ledger.runs().values() for run in runs if run.pid == victim and run.start > awake] == []
    for message_id in held:
        record = world.record(message_id)
        assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 1, 0)
        # What it had just ended when it went on may be told of, and moves nothing.
        assert [outcome for outcome, _ in world.attempts(message_id)] in (["lost"], ["lost", "late"])
    print(f"rescued after {rescued:.1f} s")


@BOTH
def test_a_lost_host_is_noticed_by_another_one(store: Store, trees: Trees, ledger: Ledger, tmp_path: Path) -> None:
    # Given two hosts in the middle of tasks, with many behind these
    gate = tmp_path / "gate"
    lost = trees.start("-p", "1", "-t", "4", settings={"LEASE": LEASE})
    sent = store.send(misbehave.wait_for_file.message(str(gate)) for _ in range(40))
    until(lambda: len(store.in_flight()) >= 4 and len(ledger.started()) == 4)
    other = trees.start("-p", "1", "-t", "4", settings={"LEASE": LEASE})
    [victim] = lost.workers
    until(lambda: len({run.pid for runs in ledger.runs().values() for run in runs}) == 2, 15)
    held = ledger.open_runs(victim)
    assert len(held) == 4

    # When everything of it ends in one moment
    before = time.monotonic()
    lost.kill_everything()
    gate.touch()

    # Then the other one runs what it held, within the lease and one round of the rescuer
    until(lambda: all(len(ledger.runs()[message_id]) == 2 for message_id in held), RESCUE + 2, other.story)
    recovery = max(ledger.runs()[message_id][1].start for message_id in held) - before
    assert recovery < within(RESCUE), recovery
    drain(store, 40, other.story)
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
