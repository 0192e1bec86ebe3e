"""Signals at awkward moments: before anything is ready, and in the middle of a reload."""

from __future__ import annotations

import random
import signal
import time

import pytest

from testproject import misbehave
from tests.support.ledger import Ledger
from tests.support.runworkers import GENERATION, SUPERVISOR, Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


def test_a_stop_before_it_is_ready_leaves_nothing_behind(store: Store, trees: Trees, ledger: Ledger) -> None:
    chance = random.Random(12)
    sent = store.send(misbehave.sleep.message(0.05) for _ in range(100))
    codes = set()
    for _ in range(12):
        # Given a tree that has just been started
        tree = trees.start("-p", "2", "-t", "2", wait=False)
        time.sleep(chance.uniform(0.1, 0.7))

        # When it is stopped
        tree.signal(signal.SIGTERM)

        # Then it ends, well or at the least at once, and nothing of it is left
        codes.add(tree.wait(10))
        assert not tree.living(), tree.story()
        assert store.in_flight() == [] and store.leases() == []
    assert codes <= {0, -signal.SIGTERM}
    trees.finish()
    assert ledger.completed() == set(sent)
    assert {len(runs) for runs in ledger.runs().values()} == {1}


def test_many_reloads_at_once_end_with_one_generation(store: Store, trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "2", "-t", "2")
    sent = store.send(misbehave.sleep.message(0.05) for _ in range(200))
    for _ in range(4):
        tree.signal(signal.SIGHUP)
        time.sleep(0.2)
    until(lambda: "Reloaded in" in tree.output, 15, tree.story)
    until(lambda: len(tree.pids(GENERATION)) == 1 and len(tree.living()) == 5, 15, tree.story)
    until(lambda: store.unfinished() == 0, 20, tree.story)
    assert tree.stop() == 0
    assert ledger.completed() == set(sent)
    assert {len(runs) for runs in ledger.runs().values()} == {1}


@pytest.mark.parametrize("after", [0.05, 0.3, 0.6])
def test_a_supervisor_that_dies_in_the_middle_of_a_reload_leaves_nothing_behind(
    after: float, store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "2", "-t", "2", "--worker-shutdown-timeout", "2s")
    sent = store.send(misbehave.sleep.message(0.05) for _ in range(200))
    tree.signal(signal.SIGHUP)
    time.sleep(after)
    tree.kill(SUPERVISOR)
    tree.wait_gone(2 + 3)
    assert store.in_flight() == [] and store.leases() == []
    trees.finish()
    assert ledger.completed() == set(sent)


def test_a_stop_in_the_middle_of_a_reload_ends_both_generations(store: Store, trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "2", "-t", "2", "--worker-shutdown-timeout", "5s")
    for pause in (0.02, 0.2, 0.4):
        sent = store.send(misbehave.sleep.message(0.05) for _ in range(50))
        tree.signal(signal.SIGHUP)
        time.sleep(pause)
        before = time.monotonic()
        assert tree.stop(8) == 0, tree.story()
        assert time.monotonic() - before < 3, tree.story()
        assert not tree.living() and store.leases() == []
        tree = trees.start("-p", "2", "-t", "2", "--worker-shutdown-timeout", "5s")
        until(lambda: store.unfinished() == 0, 20, tree.story)
        assert set(sent) <= ledger.completed()
    assert tree.stop() == 0


def test_a_new_generation_that_is_killed_while_it_starts_costs_nothing(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "2", "-t", "2")
    before = tree.workers
    known = {process.pid for process in tree.living()}
    tree.signal(signal.SIGHUP)
    until(lambda: {process.pid for process in tree.living()} - known, 5, tree.story)
    [fresh] = {process.pid for process in tree.living()} - known
    tree.signal(signal.SIGKILL, fresh)
    until(lambda: "does not start" in tree.output, 5, tree.story)
    assert tree.workers == before
    sent = store.send([misbehave.noop.message()])
    until(lambda: ledger.completed() == set(sent), 5, tree.story)
    assert tree.stop() == 0
