"""Commits whose process is killed, or whose broker is away or silent: what was committed runs, once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import transaction
from django.test import override_settings

from django_tasks_q.broker import Broker
from testproject import misbehave
from tests.support.elsewhere import Elsewhere, open_elsewhere, open_server
from tests.support.ledger import Ledger
from tests.support.runworkers import Trees
from tests.support.stores import ROOT, Store, environment
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle

BROKERS = ["database", "redis", "rabbitmq"]
"""Kinds as ``open_elsewhere`` knows them."""

SENDERS = 100


@pytest.fixture(params=BROKERS)
def elsewhere(request: pytest.FixtureRequest, store: Store) -> Iterator[Elsewhere]:
    """Where the broker lives."""
    with open_elsewhere(request.param, store) as elsewhere:
        yield elsewhere


def test_of_a_hundred_senders_killed_after_their_commit_exactly_the_committed_messages_run_and_each_once(
    store: Store, elsewhere: Elsewhere, trees: Trees, ledger: Ledger
) -> None:
    # Given senders that were killed at every statement after their commit, and some that rolled back
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_senders", str(SENDERS)],
        cwd=ROOT,
        env=environment(store.url, **elsewhere.environment()),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    announced = dict(line.split() for line in done.stdout.splitlines())
    committed = {row[0] for row in store.rows("SELECT slug FROM library_book")}
    assert len(announced) == SENDERS and len(committed) == SENDERS * 4 // 5 and committed < announced.keys()

    # When workers come, and the claims of the dead have ended
    left = store.rows("SELECT message_id FROM django_tasks_q_waitingmessage")
    tree = trees.start("-p", "1", variables=elsewhere.variables, settings=elsewhere.settings)
    until(lambda: ledger.completed() >= committed, 30, tree.story)
    until(lambda: not store.rows("SELECT 1 FROM django_tasks_q_waitingmessage"), 5, tree.story)
    until(lambda: set(elsewhere.states(store)) == committed, 5, tree.story)

    # Then exactly what was committed has run, and nothing twice where the broker knows what it has seen
    assert tree.stop() == 0
    assert ledger.completed() == committed
    assert {len(runs) for runs in ledger.runs().values()} <= ({1} if _knows_ids(elsewhere) else {1, 2})
    print(f"{len(left)} of {len(committed)} published by the relay; died at {Counter(announced.values())}")
    assert 0 < len(left) < len(committed)


def test_a_commit_while_the_broker_is_away_returns_within_2_s_and_the_message_runs_within_5_s_of_its_return(
    store: Store, elsewhere: Elsewhere, trees: Trees, ledger: Ledger
) -> None:
    # Given workers whose broker is stopped
    tree = trees.start("-p", "1", variables=elsewhere.variables, settings=elsewhere.settings)
    broker, alias = elsewhere.broker, store.alias
    first = broker.enqueue(misbehave.noop.message())
    until(lambda: first.message_id in ledger.completed(), 10, tree.story)
    elsewhere.stop()

    # When transactions commit
    sent, longest = set(), 0.0
    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": alias}}):
        for _ in range(5):
            before = time.monotonic()
            with transaction.atomic(using=alias):
                sent |= {m.message_id for m in broker.enqueue_on_commit([misbehave.noop.message()], using=alias)}
            longest = max(longest, time.monotonic() - before)

    # Then each returns soon, and when the broker is back all of them run
    assert longest < within(2)
    assert store.rows("SELECT COUNT(*) FROM django_tasks_q_waitingmessage") == [(5,)]
    elsewhere.start()
    back = time.monotonic()
    until(lambda: ledger.completed() >= sent, 15, tree.story)
    recovery = max(ledger.runs()[message_id][0].start for message_id in sent) - back
    assert recovery < within(5), f"{recovery:.2f} s after the broker was back\n{tree.story()}"
    assert tree.stop() == 0
    assert {len(runs) for runs in ledger.runs().values()} <= ({1} if _knows_ids(elsewhere) else {1, 2})
    print(f"longest commit {longest * 1000:.0f} ms, last run {recovery * 1000:.0f} ms after the broker was back")


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not connected"])
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_commit_while_the_broker_is_silent_returns_within_2_s_and_the_message_runs_within_5_s_of_its_return(
    store: Store, trees: Trees, ledger: Ledger, kind: str, is_connected: bool
) -> None:
    with open_server(kind) as server:
        # Given workers, and a sender that has a connection to the broker or has none, when it stops to answer
        tree = trees.start("-p", "1", variables=server.variables, settings=server.settings)
        broker, alias = server.broker, store.alias
        with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": alias}}):
            first, _ = _commit(broker, alias)
            until(lambda: first in ledger.completed(), 10, tree.story)
            if not is_connected:
                broker.close()
            server.suspend()

            # When transactions commit
            try:
                commits = [_commit(broker, alias) for _ in range(5)]
            finally:
                server.resume()
            back = time.monotonic()

        # Then the first returns soon and the others at once, and when the broker answers again all of them run
        sent, took = {message_id for message_id, _ in commits}, [seconds for _, seconds in commits]
        assert took[0] < within(2)
        assert max(took[1:]) < within(0.5)
        until(lambda: ledger.completed() >= sent, 15, tree.story)
        recovery = max(ledger.runs()[message_id][0].start for message_id in sent) - back
        assert recovery < within(5), f"{recovery:.2f} s after the broker was back\n{tree.story()}"
        until(lambda: not store.rows("SELECT 1 FROM django_tasks_q_waitingmessage"), 5, tree.story)
        assert tree.stop() == 0
        assert {len(runs) for runs in ledger.runs().values()} <= ({1} if _knows_ids(server) else {1, 2})
        print(f"commits took {took[0]:.2f} s and {max(took[1:]):.2f} s, last run {recovery:.2f} s after the return")


def _commit(broker: Broker, alias: str) -> tuple[str, float]:
    """Commit a transaction with a message: its id, and the seconds that it took."""
    began = time.monotonic()
    with transaction.atomic(using=alias):
        [message] = broker.enqueue_on_commit([misbehave.noop.message()], using=alias)
    return message.message_id, time.monotonic() - began


def _knows_ids(elsewhere: Elsewhere) -> bool:
    return bool(elsewhere.broker.capabilities.unique_ids)
