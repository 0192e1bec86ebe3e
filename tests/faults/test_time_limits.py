"""Tasks that run for longer than they may, and the end of patience with them."""

from __future__ import annotations

import time

import pytest

from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Ledger
from tests.support.runworkers import QUARANTINE, WORKER, Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle

GRACE = 500
LIMIT = {"time_limit": 300, "max_retries": 0}


def start(trees: Trees, *arguments: str) -> Tree:
    return trees.start("-p", "1", *arguments, settings={"TIME_LIMIT_GRACE": GRACE})


def workers_of_one_thread(tree: Tree) -> list[int]:
    """A worker of one thread looks from outside like the one for suspects, of which there is none here."""
    return sorted(tree.pids(WORKER) + tree.pids(QUARANTINE))


def run_all(store: Store, tree: Tree, seconds: float = 20) -> None:
    until(lambda: store.unfinished() == 0, seconds, lambda: f"{store.states()} {tree.story()}")


def test_a_loop_over_its_limit_is_interrupted_and_its_thread_used_again(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a worker of one thread, and loops that would go on for half a minute
    tree = start(trees, "-t", "1")
    workers = workers_of_one_thread(tree)
    assert len(workers) == 1
    before = time.monotonic()
    sent = store.send(
        actor.message_with_options(args=(30.0,), **LIMIT) for actor in (misbehave.busy_loop, misbehave.sleep)
    )
    good = store.send([misbehave.noop.message()])

    # When their time is up
    run_all(store, tree)

    # Then they have failed by it, at once, and the process is the same
    assert time.monotonic() - before < within(5)
    assert store.dead() == dict.fromkeys(sent, "time_limit")
    for message_id in sent:
        assert store.record(message_id)["error_type"].endswith("TimeLimitExceeded")
        assert [outcome for outcome, _ in store.attempts(message_id)] == ["failed"]
    assert ledger.completed() == set(good)
    assert workers_of_one_thread(tree) == workers
    assert tree.stop() == 0


@BOTH
@pytest.mark.parametrize("actor", [misbehave.block, misbehave.wait_for_socket, misbehave.swallow, misbehave.hold_gil])
def test_a_task_that_cannot_be_interrupted_costs_its_process_and_only_itself_an_attempt(
    actor: misbehave.Actor[[float], None], store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a culprit that no exception reaches, and neighbours that end before its process does, and after
    tree = start(trees, "-t", "4")
    [before] = tree.workers
    [culprit] = store.send([actor.message_with_options(args=(30.0,), time_limit=300, max_retries=1)])
    neighbours = store.send([misbehave.sleep.message(0.1), misbehave.sleep.message(2.0)])

    # When limit, grace and the grace of the neighbours are over
    until(lambda: before not in tree.workers and len(tree.workers) == 1, 10, tree.story)
    run_all(store, tree, 30)

    # Then the culprit's attempts are counted as what they were, and nothing at all of the others'
    attempts = store.attempts(culprit)
    assert [outcome for outcome, _ in attempts] == ["time_limit"] * 2
    assert "time limit" in attempts[0][1]
    record = store.record(culprit)
    assert (record["state"], record["dead_reason"], record["lost"]) == ("dead", "time_limit", 0)
    for neighbour in neighbours:
        record = store.record(neighbour)
        assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 0, 0)
    assert tree.stop() == 0


def test_a_task_that_ends_in_the_grace_of_the_others_leaves_a_worker_that_still_works(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a task that is condemned with its process, and ends by itself while a neighbour has time to finish
    tree = start(trees, "-t", "2")
    culprit, neighbour = store.send(
        [misbehave.block.message_with_options(args=(1.1,), **LIMIT), misbehave.sleep.message(1.25)]
    )
    until(lambda: neighbour in ledger.completed(), 10, tree.story)
    assert store.attempts(culprit)[0][0] == "failed"

    # When the next message comes
    [message_id] = store.send([misbehave.noop.message()])

    # Then somebody runs it
    until(lambda: message_id in ledger.completed(), 10, tree.story)
    run_all(store, tree)
    assert store.record(neighbour)["state"] == "succeeded"
    assert tree.stop() == 0


def test_a_limit_that_strikes_as_the_task_ends_hits_the_task_or_nothing(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given many tasks that end within a moment of their limit
    tree = trees.start("-p", "2", "-t", "8", settings={"TIME_LIMIT_GRACE": 5000})
    workers = tree.workers
    sent = store.send(
        misbehave.sleep.message_with_options(args=(0.1 + number % 10 / 100,), time_limit=100, max_retries=0)
        for number in range(400)
    )
    run_all(store, tree, 40)
    good = store.send(misbehave.noop.message() for _ in range(50))
    run_all(store, tree)

    # Then each of them failed by it or ended, and the engine's own code was never hit
    runs, dead = ledger.runs(), store.dead()
    assert set(dead.values()) == {"time_limit"}
    assert set(dead) < set(sent)
    assert all(runs[message_id][0].completed for message_id in sent if message_id not in dead)
    assert {len(several) for several in runs.values()} == {1}
    assert {store.states()[message_id] for message_id in good} == {"succeeded"}
    assert "engine failed" not in tree.log and "stumbled" not in tree.log
    assert tree.workers == workers
    assert tree.stop() == 0
