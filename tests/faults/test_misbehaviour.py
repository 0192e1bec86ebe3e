"""Tasks that do what no task should, and what becomes of them, of their process and of those beside them."""

from __future__ import annotations

import signal

import pytest

from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Faults, Ledger, check, drain
from tests.support.runworkers import KEEPER, Tree, Trees
from tests.support.stores import RECORDS, Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

NEVER_AGAIN = {"max_retries": 0}


def run_all(store: Store, tree: Tree, sent: list[str], seconds: float = 20) -> None:
    until(lambda: store.unfinished() == 0, seconds, lambda: f"{store.states()} {tree.story()}")
    assert set(store.states()) >= set(sent)


def test_exceptions_that_are_none_fail_the_attempt_and_spare_the_thread(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a worker of one thread
    tree = trees.start("-p", "1", "-t", "1")
    workers = tree.workers

    # When tasks raise everything that `except Exception` does not catch
    actors = [misbehave.sys_exit, misbehave.keyboard_interrupt, misbehave.base_exception, misbehave.hostile_exception]
    bad = store.send(actor.message_with_options(max_retries=1, max_backoff=10) for actor in actors)
    zero = store.send([misbehave.sys_exit.message_with_options(args=(0,), **NEVER_AGAIN)])
    good = store.send([misbehave.noop.message()])
    run_all(store, tree, bad + zero + good)

    # Then each is an ordinary failed attempt, and the same process goes on
    assert store.dead() == dict.fromkeys(bad + zero, "retries_exhausted")
    assert [len(store.attempts(message_id)) for message_id in bad + zero] == [2, 2, 2, 2, 1]
    assert {outcome for message_id in bad for outcome, _ in store.attempts(message_id)} == {"failed"}
    assert [store.record(message_id)["error_type"] for message_id in bad[:3]] == [
        "SystemExit",
        "KeyboardInterrupt",
        "BaseException",
    ]
    assert tree.workers == workers
    assert ledger.completed() == set(good)
    assert tree.stop() == 0


@BOTH
def test_a_task_that_leaves_by_the_back_door_is_lost_with_its_worker(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given tasks that end their process every time, with and without a sign of it
    tree = trees.start("-p", "2", "-t", "2")
    bad = store.send([misbehave.exit_now.message(0), misbehave.exit_now.message(7), misbehave.kill_self.message()])
    good = store.send(misbehave.sleep.message(0.05) for _ in range(20))

    # When they were tried as often as the delivery limit allows
    run_all(store, tree, bad + good, 40)

    # Then each is a dead letter that says how its processes ended, and the others just succeed
    assert store.dead() == dict.fromkeys(bad, "delivery_limit")
    for message_id, how in zip(bad, ["exited with code 0", "exited with code 7", "killed by signal 9"], strict=True):
        attempts = store.attempts(message_id)
        assert [outcome for outcome, _ in attempts] == ["lost"] * 3
        assert how in attempts[-1][1]
        record = store.record(message_id)
        assert (record["lost"], record["dead_reason"]) == (3, "delivery_limit")
    assert ledger.completed() == set(good)
    assert tree.stop() == 0


def test_a_task_that_kills_its_process_once_succeeds_the_next_time(store: Store, trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "1", "-t", "2")
    [message_id] = store.send([misbehave.kill_once.message(str(trees.folder / "marker"))])
    run_all(store, tree, [message_id])
    record = store.record(message_id)
    assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 1, 0)
    assert tree.stop() == 0


@BOTH
def test_a_child_that_returns_from_a_task_into_the_worker_ends_there(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a worker in which a task forks
    tree = trees.start("-p", "1", "-t", "1")
    sent = store.send([misbehave.fork_and_return.message(), misbehave.healthy_connection.message()])
    run_all(store, tree, sent)

    # Then both of them reached the end of the task, one of them settled, and only one of them is still there
    ends = [entry["pid"] for entry in ledger.entries() if entry["id"] == sent[0] and entry["event"] == "end"]
    assert len(set(ends)) == 2
    assert set(store.states().values()) == {"succeeded"}
    assert store.record(sent[0])["deliveries"] == 1
    until(lambda: len(tree.living()) == 4, 5, tree.story)
    assert tree.stop() == 0


@BOTH
def test_the_next_task_finds_a_healthy_connection_whatever_the_last_one_did_to_it(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given one thread, so that each task gets the connection that the last one has left
    tree = trees.start("-p", "1", "-t", "1")
    sent = store.send(
        actor.message()
        for bad in (misbehave.leak_transaction, misbehave.close_connection)
        for actor in (misbehave.healthy_connection, bad, misbehave.healthy_connection)
    )
    run_all(store, tree, sent)
    assert tree.stop() == 0
    assert set(store.states().values()) == {"succeeded"} and store.all_attempts() == {}
    assert store.rows("SELECT COUNT(*) FROM auth_group") == [(0,)], "what was left open was rolled back"
    assert "left a transaction open" in tree.log
    check(ledger, sent, store, Faults(0))


def test_threads_and_surroundings_that_a_task_leaves_behind_stop_nobody(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "1", "-t", "2", "--worker-shutdown-timeout", "3s")
    sent = store.send(
        [misbehave.spawn_threads.message(40, 60.0), misbehave.change_surroundings.message("/")]
        + [misbehave.noop.message() for _ in range(20)]
        + [misbehave.big_print.message(2000), misbehave.open_files.message(200)]
    )
    run_all(store, tree, sent)
    assert ledger.completed() == set(sent)
    assert tree.stop(6) == 0


def test_a_worker_that_ran_out_of_memory_is_replaced_after_what_it_runs(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a worker that runs something else while a task asks for more memory than there is
    tree = trees.start("-p", "1", "-t", "2")
    [before] = tree.workers
    [neighbour] = store.send([misbehave.sleep.message(1.0)])
    until(lambda: neighbour in ledger.started())
    [greedy] = store.send([misbehave.allocate.message_with_options(args=(10**8,), **NEVER_AGAIN)])

    # When it got an error instead
    until(lambda: tree.workers not in ([before], []) and before not in tree.workers, 10, tree.story)
    run_all(store, tree, [neighbour, greedy])

    # Then that was an ordinary failure, its process is a new one, and nobody else was disturbed
    assert store.dead() == {greedy: "retries_exhausted"}
    assert store.record(greedy)["error_type"] == "MemoryError"
    assert [len(runs) for runs in ledger.runs().values()] == [1, 1]
    assert "out of memory" in tree.log
    assert tree.stop() == 0


def test_a_worker_that_is_killed_again_and_again_is_still_replaced(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a worker that dies three times in a row, each time right after its start
    tree = trees.start("-p", "1", "-t", "2")
    for _ in range(3):
        until(lambda: len(_complete(tree)) == 1, 10, tree.story)
        [victim] = _complete(tree)
        tree.signal(signal.SIGKILL, victim)
        until(lambda victim=victim: victim not in _complete(tree), 5, tree.story)

    # Then the fourth works
    sent = store.send(misbehave.noop.message() for _ in range(20))
    drain(store, 10, tree.story)
    assert ledger.completed() == set(sent)
    assert len(tree.pids(KEEPER)) == 1
    assert store.rows(f"SELECT COUNT(*) FROM {RECORDS} WHERE state = 'succeeded'") == [(20,)]
    assert tree.stop() == 0


def _complete(tree: Tree) -> list[int]:
    """Workers that have started all of their threads: two that work, and three that look after them."""
    return [process.pid for process in tree.living() if process.threads == 5]
