"""Async actors in a tree of processes: as many at once as there may be, and nothing lost with them."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from testproject import coroutines
from tests.support.ledger import Ledger, drain
from tests.support.runworkers import Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle


def start(trees: Trees, *arguments: str, **settings: Any) -> Tree:
    return trees.start("-t", "2", *arguments, settings={"AUTODISCOVER": ["tasks", "coroutines"], **settings})


@pytest.mark.parametrize("how", [[], ["--use-spawn"]], ids=["forked", "spawned"])
def test_what_a_killed_process_was_running_runs_again_and_nothing_else_does(
    how: list[str], store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given two processes that run 100 coroutines, fifty times as many as they have threads
    tree = start(trees, "-p", "2", *how)
    sent = store.send(coroutines.nap.message(1.5) for _ in range(100))
    until(lambda: len(ledger.open_runs()) == 100, 20, tree.story)

    # When one of them is killed
    victim = tree.workers[0]
    interrupted = ledger.open_runs(victim)
    tree.signal(signal.SIGKILL, victim)

    # Then what it was running, and nothing else, runs twice
    drain(store, 30, tree.story)
    assert tree.stop() == 0
    assert ledger.completed() == set(sent)
    assert {message_id for message_id, several in ledger.runs().items() if len(several) > 1} == interrupted
    for message_id in interrupted:
        [(outcome, text)] = store.attempts(message_id)
        assert outcome == "lost" and "killed by signal 9" in text


def test_one_that_blocks_the_loop_costs_its_process_and_only_itself_an_attempt(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a coroutine that nobody can cancel, and others on its loop
    tree = start(trees, "-p", "1", TIME_LIMIT_GRACE=500)
    neighbours = store.send([coroutines.nap.message(2.0) for _ in range(5)])
    until(lambda: len(ledger.open_runs()) == 5)
    [before] = tree.workers
    began = time.monotonic()
    [culprit] = store.send([coroutines.hold_loop.message_with_options(args=(30.0,), time_limit=300, max_retries=0)])

    # When its limit and the grace are over
    until(lambda: before not in tree.workers and len(tree.workers) == 1, 10, tree.story)
    drain(store, 30, tree.story)

    # Then its attempt is counted as what it was, and the others' are not
    assert time.monotonic() - began < within(15)
    assert store.dead() == {culprit: "time_limit"}
    for neighbour in neighbours:
        record = store.record(neighbour)
        assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 0, 0)
    assert tree.stop() == 0


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_a_transaction_that_one_leaves_open_takes_nothing_of_the_others_with_it(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = start(trees, "-p", "1")
    store.send([coroutines.leave_transaction.message("left")])
    drain(store, 20, tree.story)

    kept = [f"kept {number}" for number in range(3)]
    store.send(coroutines.add_group.message(name) for name in kept)
    drain(store, 20, tree.story)
    assert tree.stop() == 0

    assert sorted(name for (name,) in store.rows("SELECT name FROM auth_group")) == kept
    assert "left a transaction open" in tree.log


def test_one_that_cannot_be_cancelled_does_not_hold_up_a_stop_and_is_given_back_uncounted(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = start(trees, "-p", "1", "--worker-shutdown-timeout", "1s")
    [stubborn] = store.send([coroutines.refuse_to_end.message(60.0)])
    until(lambda: len(ledger.open_runs()) == 1, 20, tree.story)

    assert tree.stop(15) == 0, tree.story()

    record = store.record(stubborn)
    assert (record["state"], record["lost"], record["retries"]) == ("enqueued", 0, 0)
    assert [outcome for outcome, _ in store.attempts(stubborn)] == ["interrupted"]
