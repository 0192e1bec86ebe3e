"""``kill -9`` of each process of the tree, at work."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from testproject import misbehave
from tests.support.fixtures import ALL, BOTH
from tests.support.ledger import Fault, Faults, Ledger, check, drain, overlaps
from tests.support.runworkers import GENERATION, KEEPER, SUPERVISOR, Trees
from tests.support.stores import Store
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle

SEED = 20_240_229


@ALL
def test_what_a_killed_worker_was_running_starts_again_within_two_seconds_and_nothing_else_does(
    store: Store, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given two processes of eight threads, all of which are in the middle of a task, with many behind these
    gate = tmp_path / "gate"
    tree = trees.start("-p", "2", "-t", "8")
    sent = store.send(misbehave.wait_for_file.message(str(gate)) for _ in range(200))
    until(lambda: [len(ledger.open_runs(pid)) for pid in tree.workers] == [8, 8], 20, tree.story)

    # When one of them is killed
    victim = random.Random(SEED).choice(tree.workers)
    before = time.monotonic()
    tree.signal(signal.SIGKILL, victim)
    until(lambda: victim not in tree.workers)
    interrupted = ledger.open_runs(victim)
    gate.touch()

    # Then a replacement comes, everything gets done, and only what was interrupted ran twice, without delay
    until(lambda: len(tree.workers) == 2, 5, tree.story)
    drain(store, 30, tree.story)
    assert tree.stop() == 0
    runs = ledger.runs()
    assert len(interrupted) == 8
    assert ledger.completed() == set(sent)
    assert {message_id for message_id, several in runs.items() if len(several) > 1} == interrupted
    recovery = max(runs[message_id][1].start for message_id in interrupted) - before
    assert recovery < within(2), f"started again after {recovery:.2f} s"
    for message_id in interrupted:
        [(outcome, text)] = store.attempts(message_id)
        assert outcome == "lost" and "killed by signal 9" in text
        record = store.record(message_id)
        assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 1, 0)
    assert set(store.all_attempts()) == interrupted
    check(ledger, sent, store, _kill_of(victim, before))
    print(f"recovery {recovery * 1000:.0f} ms, {len(interrupted)} interrupted")


@pytest.mark.parametrize(
    ("vendor", "role", "longest"),
    [
        ("sqlite", SUPERVISOR, 6.5),
        ("postgresql", SUPERVISOR, 1.0),
        ("sqlite", GENERATION, 1.0),
        ("postgresql", GENERATION, 6.5),
    ],
    indirect=["vendor"],
)
def test_a_tree_without_its_head_ends_and_a_new_start_finishes_the_work(
    role: str, longest: float, store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a tree at work on short tasks and on one that may not end within the shutdown time-out
    tree = trees.start("-p", "2", "-t", "4", "--worker-shutdown-timeout", "5s")
    sent = store.send([misbehave.block.message(longest), *(misbehave.sleep.message(0.1) for _ in range(120))])
    until(lambda: len(ledger.completed()) >= 10, 20)

    # When its head is killed
    before = time.monotonic()
    victim = tree.kill(role)
    assert victim is not None

    # Then nothing of it is left after the time-out (and a moment to clear up), and nothing is lost
    tree.wait_gone(5 + 4)
    gone = time.monotonic() - before
    if role == GENERATION:
        assert tree.wait() == 1
    assert store.in_flight() == [] and store.leases() == []
    trees.finish()
    assert ledger.completed() == set(sent)
    assert set(store.states().values()) == {"succeeded"}
    check(ledger, sent, store, _kill_of(None, before, before + gone))
    assert store.record(sent[0])["lost"] == 0, "its end came from above, so nobody is to blame"
    print(f"all gone after {gone:.1f} s")


@BOTH
def test_a_killed_keeper_is_replaced_within_two_seconds_and_no_lease_is_lost(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a tree at work with leases of three seconds
    tree = trees.start("-p", "2", "-t", "4", settings={"LEASE": 3000})
    sent = store.send(misbehave.sleep.message(0.2) for _ in range(160))
    until(lambda: len(ledger.completed()) >= 8, 20)
    workers, leases = tree.workers, store.leases()

    # When its keeper is killed
    before = time.monotonic()
    victim = tree.kill(KEEPER)
    until(lambda: tree.pids(KEEPER) not in ([], [victim]), 5, tree.story)
    took = time.monotonic() - before

    # Then a new one is there at once, and everything goes on as if nothing had happened
    assert took < within(2)
    drain(store, 30, tree.story)
    assert sorted(store.leases()) == sorted(leases)
    assert tree.workers == workers
    assert tree.stop() == 0
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    assert store.all_attempts() == {}
    check(ledger, sent, store, Faults(SEED))
    print(f"new keeper after {took * 1000:.0f} ms")


@BOTH
def test_a_keeper_that_was_away_still_buries_who_died_meanwhile(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a tree at work whose keeper is stopped
    tree = trees.start("-p", "2", "-t", "2")
    sent = store.send(misbehave.sleep.message(0.3) for _ in range(30))
    until(lambda: len(ledger.started()) >= 4, 20)
    keeper = tree.keeper
    tree.signal(signal.SIGSTOP, keeper)

    # When a worker dies and then the keeper too
    before = time.monotonic()
    victim = tree.kill("worker")
    until(lambda: victim not in tree.workers)
    tree.signal(signal.SIGKILL, keeper)

    # Then the next keeper hears of the grave
    drain(store, 30, tree.story)
    assert tree.stop() == 0
    assert ledger.completed() == set(sent)
    check(ledger, sent, store, _kill_of(victim, before))


@BOTH
def test_a_segfault_among_a_hundred_innocents_is_the_only_one_convicted(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a hundred innocents with a task in the middle that kills whoever runs it
    tree = trees.start("-p", "2", "-t", "8")
    messages = [misbehave.sleep.message(0.05) for _ in range(100)]
    messages.insert(50, misbehave.segfault.message())
    sent = store.send(messages)
    culprit = sent[50]

    # When all of them have come to their end
    drain(store, 40, tree.story)
    assert tree.stop() == 0

    # Then there is one dead letter, and a hundred successes, none of which ran twice at the same time
    assert store.dead() == {culprit: "delivery_limit"}
    states = store.states()
    assert [message_id for message_id in sent if states[message_id] != "succeeded"] == [culprit]
    assert not [pair for runs in ledger.runs().values() for pair in overlaps(runs)]
    assert [outcome for outcome, _ in store.attempts(culprit)] == ["lost"] * 3
    assert "killed by signal 11" in store.attempts(culprit)[0][1]
    assert len(ledger.runs()[culprit]) == 3
    assert store.record(culprit)["lost"] == 3
    assert "SIGSEGV" in tree.log


def test_a_burst_without_a_keeper_ends_although_nobody_buries_its_dead(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    (message_id,) = store.send([misbehave.exit_now.message()])
    tree = trees.start("-p", "1", "-t", "1", "--burst", "--no-maintenance", wait=False)
    assert tree.wait(20) == 0, tree.story()
    assert len(ledger.runs()[message_id]) == 1


def test_burst_waits_for_suspects_too(store: Store, trees: Trees, ledger: Ledger) -> None:
    sent = store.send([misbehave.segfault.message(), *(misbehave.sleep.message(0.02) for _ in range(10))])
    tree = trees.start("-p", "2", "--burst", wait=False)
    assert tree.wait(30) == 0, tree.story()
    assert store.dead() == {sent[0]: "delivery_limit"}, tree.story()
    assert store.unfinished() == 0
    assert ledger.completed() == set(sent[1:])


@pytest.mark.parametrize(
    ("lease", "hold"),
    [(3_000, 5.0), pytest.param(30_000, 45.0, marks=pytest.mark.slow)],
)
def test_a_task_that_holds_the_interpreter_longer_than_the_lease_runs_once(
    lease: int, hold: float, store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "1", "-t", "2", settings={"LEASE": lease})
    sent = store.send([misbehave.hold_gil.message(hold), misbehave.noop.message()])
    drain(store, hold + 10, tree.story)
    assert tree.stop() == 0
    [run] = ledger.runs()[sent[0]]
    assert run.completed and run.end is not None and run.end - run.start >= hold
    assert store.all_attempts() == {}
    check(ledger, sent, store, Faults(SEED))


def _kill_of(pid: int | None, start: float, end: float | None = None) -> Faults:
    return Faults(SEED, [Fault("kill", frozenset() if pid is None else frozenset([pid]), start, end or start + 0.5)])


def test_the_children_of_a_killed_tree_are_really_looked_for(trees: Trees) -> None:
    """The harness itself: a process that outlives its supervisor is found."""
    tree = trees.start("-p", "1", "--no-maintenance")
    tree.signal(signal.SIGSTOP, tree.generation)
    tree.kill(SUPERVISOR)
    until(lambda: tree.has_ended)
    assert len(tree.living()) == 2
    tree.kill_everything()
    assert not [process for process in tree.living() if os.path.exists(f"/proc/{process.pid}")]
