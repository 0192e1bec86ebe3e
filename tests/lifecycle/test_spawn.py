"""Fresh interpreters instead of forks."""

from __future__ import annotations

import pytest

from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Fault, Faults, Ledger, check, drain
from tests.support.runworkers import GENERATION, KEEPER, Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


@BOTH
def test_spawned_workers_are_guarded_like_forked_ones(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a spawned tree at work
    tree = trees.start("-p", "2", "-t", "4", "--use-spawn", "--worker-shutdown-timeout", "3s")
    sent = store.send(misbehave.sleep.message(0.2) for _ in range(120))
    until(lambda: len(ledger.completed()) >= 16, 20, tree.story)
    faults = Faults(0)

    # When a worker and the keeper are killed
    for role, number in (("worker", 2), (KEEPER, 1)):
        before = ledger.now()
        victim = tree.kill(role)
        assert victim is not None
        faults.log.append(Fault(role, frozenset([victim]), before, before + 0.5))
        until(lambda role=role, number=number, victim=victim: _is_replaced(tree.pids(role), number, victim), 10)

    # Then others are in their place, and everything gets done
    drain(store, 30, tree.story)
    outcomes = [outcome for several in store.all_attempts().values() for outcome in several]
    assert set(outcomes) <= {"lost"}
    assert tree.stop() == 0
    check(ledger, sent, store, faults)


def _is_replaced(pids: list[int], number: int, victim: int) -> bool:
    return len(pids) == number and victim not in pids


def test_a_spawned_tree_without_its_head_ends(store: Store, trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "2", "-t", "2", "--use-spawn", "--worker-shutdown-timeout", "2s")
    sent = store.send(misbehave.sleep.message(0.1) for _ in range(60))
    until(lambda: len(ledger.completed()) >= 4, 20, tree.story)
    tree.kill(GENERATION)
    tree.wait_gone(4)
    assert tree.wait() == 1
    assert store.in_flight() == []
    trees.finish()
    assert ledger.completed() == set(sent)
