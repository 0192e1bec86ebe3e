"""Every way to stop: patient, impatient, and when the patience is over."""

from __future__ import annotations

import signal
import time
from itertools import pairwise

import pytest

from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Faults, Ledger, check, drain
from tests.support.runworkers import GENERATION, Trees
from tests.support.stores import QUEUE, Store
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle


def assert_untouched(store: Store, message_id: str) -> None:
    """It waits at the front of its queue, and nothing was counted."""
    [front] = store.rows(f"SELECT message_id, retries, lost FROM {QUEUE} WHERE place = 0 ORDER BY priority, id LIMIT 1")
    assert front == (message_id, 0, 0)
    record = store.record(message_id)
    assert (record["state"], record["retries"], record["lost"]) == ("enqueued", 0, 0)
    assert [outcome for outcome, _ in store.attempts(message_id)] == ["interrupted"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_may_finish_and_what_waits_stays(number: int, store: Store, trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "2", "-t", "2")
    sent = store.send(misbehave.sleep.message(0.5) for _ in range(12))
    until(lambda: len(ledger.started()) >= 4)
    tree.signal(number)
    assert tree.wait(5) == 0
    assert ledger.started() == ledger.completed()
    assert store.unfinished() == len(sent) - len(ledger.completed())
    assert store.all_attempts() == {}
    trees.finish()
    check(ledger, sent, store, Faults(0))


@BOTH
@pytest.mark.parametrize("actor", [misbehave.sleep, misbehave.block, misbehave.swallow, misbehave.hold_gil])
def test_what_outlives_the_shutdown_time_out_is_interrupted_and_goes_back_to_the_front_uncounted(
    actor: misbehave.Actor[[float], None], store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a task that would run for half a minute, with others behind it
    tree = trees.start("-p", "1", "-t", "1", "--worker-shutdown-timeout", "1s")
    sent = store.send([actor.message(30.0), misbehave.noop.message(), misbehave.noop.message()])
    until(lambda: ledger.started() == {sent[0]})

    # When the worker is stopped
    before = time.monotonic()
    assert tree.stop(5) == 0, tree.story()

    # Then it takes the time-out and no longer, and the task starts again where it stood
    assert 0.5 < time.monotonic() - before < within(3)
    assert_untouched(store, sent[0])
    assert ledger.started() == {sent[0]}
    assert store.leases() == []


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT], [signal.SIGINT] * 5])
def test_impatience_ends_everything_at_once(signals: list[int], store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a task that would run for half a minute, and a time-out that would let it
    tree = trees.start("-p", "2", "-t", "1", "--worker-shutdown-timeout", "30s")
    sent = store.send([misbehave.block.message(30.0)])
    until(lambda: ledger.started() == set(sent))

    # When the signals come, a moment apart
    before = time.monotonic()
    for number in signals:
        tree.signal(number)
        time.sleep(0.1)

    # Then everything has ended, and the task has gone back uncounted
    assert tree.wait(3) == 1, tree.story()
    assert time.monotonic() - before < within(3)
    assert_untouched(store, sent[0])
    assert store.leases() == []


def test_a_task_that_asked_for_it_is_told_at_once_that_its_worker_stops(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "1", "-t", "2", "--worker-shutdown-timeout", "20s")
    [message_id] = store.send([misbehave.sleep.message_with_options(args=(15.0,), notify_shutdown=True)])
    until(lambda: message_id in ledger.started())
    before = time.monotonic()
    assert tree.stop(10) == 0
    assert time.monotonic() - before < within(3)
    assert_untouched(store, message_id)


@BOTH
def test_a_rolling_reload_replaces_everybody_and_loses_nothing(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a tree that does not run out of work
    sent: list[str] = []

    def has_reloaded() -> bool:
        if len(sent) - len(ledger.completed()) < 100:
            sent.extend(store.send(misbehave.sleep.message(0.1) for _ in range(100)))
        return "Reloaded in" in tree.output

    tree = trees.start("-p", "2", "-t", "4")
    until(lambda: has_reloaded() or len(ledger.completed()) >= 20)
    before = set(tree.workers) | {tree.generation}

    # When it is told to reload, and everything is done
    tree.signal(signal.SIGHUP)
    until(has_reloaded, 15, tree.story)
    until(lambda: not before & set(tree.roles()), 10, tree.story)
    drain(store, 30, tree.story)

    # Then new processes have done the rest, and the work never stopped
    assert len(tree.pids(GENERATION)) == 1 and len(tree.workers) == 2
    assert tree.stop() == 0
    check(ledger, sent, store, Faults(0))
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    assert len({run.pid for runs in ledger.runs().values() for run in runs}) == 4
    assert store.all_attempts() == {}
    starts = sorted(run.start for runs in ledger.runs().values() for run in runs)
    assert max(later - earlier for earlier, later in pairwise(starts)) < within(1)
