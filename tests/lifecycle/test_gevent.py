"""Greenlets in place of threads: hundreds in one process, guarded as threads are."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from django_tasks_q import Message
from testproject import misbehave
from tests.support.ledger import Ledger, drain
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until, within
from tests.support.worlds import World

pytestmark = pytest.mark.lifecycle


def test_hundreds_wait_at_once_and_each_is_a_message_of_its_own(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given one process with 500 greenlets
    tree = trees.start("-p", "1", "-t", "500", "--use-gevent", "--worker-shutdown-timeout", "1s")
    assert "processes  1 x 500 greenlets" in tree.output
    [worker] = tree.workers

    # When 500 messages block for a moment
    began = time.monotonic()
    sent = store.send(misbehave.block.message(0.1) for _ in range(500))
    drain(store, 20, tree.story)

    # Then they took little longer than one, and each knew to its end which message it was
    assert time.monotonic() - began < within(2)
    assert ledger.completed() == set(sent)
    assert {len(several) for several in ledger.runs().values()} == {1}

    # When others use the database
    used = store.send(misbehave.healthy_connection.message() for _ in range(100))
    drain(store, 20, tree.story)

    # Then none of them has kept its connection
    assert {store.states()[message_id] for message_id in used} == {"succeeded"}
    assert len(_descriptors(worker, store)) < 20

    # When one is over its time limit
    [late] = store.send([_late()])
    until(lambda: store.dead() == {late: "time_limit"}, 5, tree.story)

    # Then its greenlet alone was interrupted
    assert store.record(late)["error_type"].endswith("TimeLimitExceeded")
    assert tree.workers == [worker]

    # When the worker is stopped, what runs has its time, and the rest goes back
    quick, slow = store.send([misbehave.block.message(0.5), misbehave.block.message(30.0)])
    until(lambda: ledger.started() >= {quick, slow}, 5, tree.story)
    began = time.monotonic()
    assert tree.stop(10) == 0, tree.story()
    assert time.monotonic() - began < within(5)
    assert quick in ledger.completed()
    assert (store.record(slow)["state"], store.record(slow)["retries"], store.record(slow)["lost"]) == (
        "enqueued",
        0,
        0,
    )
    assert store.attempts(slow)[0][0] == "interrupted"
    assert store.leases() == []


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_a_greenlet_that_never_waits_costs_its_process_and_only_itself_an_attempt(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a loop that no exception reaches, and others in its process
    tree = trees.start("-p", "1", "-t", "20", "--use-gevent", settings={"TIME_LIMIT_GRACE": 300})
    [worker] = tree.workers
    neighbours = store.send(misbehave.block.message(1.0) for _ in range(10))
    until(lambda: ledger.started() == set(neighbours), 10, tree.story)
    [culprit] = store.send([misbehave.busy_loop.message_with_options(args=(30.0,), time_limit=200, max_retries=0)])

    # When limit and grace are over, and the next process, which runs the others again, is killed
    def next_one() -> list[int]:
        pids = {run.pid for runs in ledger.runs().values() for run in runs} - {worker}
        return [pid for pid in pids if ledger.open_runs(pid) == set(neighbours)]

    until(next_one, 25, tree.story)
    tree.signal(signal.SIGKILL, next_one()[0])

    # Then each attempt is counted as what it was
    drain(store, 20, tree.story)
    assert store.dead() == {culprit: "time_limit"}
    assert ledger.completed() == set(neighbours)
    for message_id in neighbours:
        assert [outcome for outcome, _ in store.attempts(message_id)] == ["interrupted", "lost"]
    assert tree.stop() == 0


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_the_connection_to_a_broker_lets_the_others_run(
    kind: str, store: Store, tmp_path: Path, ledger: Ledger
) -> None:
    world = World(store, kind)
    trees = Trees(tmp_path, world)
    try:
        tree = trees.start("-p", "1", "-t", "200", "--use-gevent", "--worker-shutdown-timeout", "1s")
        began = time.monotonic()
        sent = world.send(misbehave.block.message(0.2) for _ in range(200))
        until(lambda: ledger.completed() == set(sent), 20, tree.story)
        assert time.monotonic() - began < within(3)
        [late, slow] = world.send([_late(), misbehave.block.message(30.0)])
        until(lambda: world.dead() == {late: "time_limit"}, 10, tree.story)
        assert tree.stop(10) == 0, tree.story()
        until(lambda: sum(counts.ready for counts in world.broker.counts()) == 1)  # given back, by a stop in time
        assert not ledger.completed() & {slow}
    finally:
        trees.clear_away()
        world.close()


def _late() -> Message[Any]:
    return misbehave.block.message_with_options(args=(30.0,), time_limit=200, max_retries=0)


def _descriptors(pid: int, store: Store) -> list[str]:
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return [link for link in links if link.startswith(store.url.removeprefix("sqlite:///"))]
