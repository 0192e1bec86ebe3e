"""Commits whose process is killed, or whose broker is away: what was committed runs, once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction

from testproject import misbehave
from tests.support.ledger import Ledger
from tests.support.private_postgresql import PrivatePostgreSQL
from tests.support.runworkers import Trees
from tests.support.stores import ROOT, PostgreSQLStore, PostgreSQLTemplate, Store, environment
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

SENDERS = 100
SECOND = {"BROKER_URL": "database://second"}


def migrate_second(store: Store, url: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0", "--database", "second"],
        cwd=ROOT,
        env=environment(store.url, SECOND_DATABASE_URL=url),
        check=True,
        timeout=60,
    )


@pytest.fixture
def second(postgresql_template: PostgreSQLTemplate) -> Iterator[Store]:
    """Where the broker lives."""
    store = postgresql_template.make()
    yield store
    store.close()
    postgresql_template.drop(store)


def test_of_a_hundred_senders_killed_after_their_commit_exactly_the_committed_messages_run_and_each_once(
    store: Store, second: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given senders that were killed at every statement after their commit, and some that rolled back
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_senders", str(SENDERS)],
        cwd=ROOT,
        env=environment(store.url, SECOND_DATABASE_URL=second.url, BROKER_URL="database://second"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    announced = dict(line.split() for line in done.stdout.splitlines())
    committed = {row[0] for row in store.rows("SELECT slug FROM library_book")}
    assert len(announced) == SENDERS and len(committed) == SENDERS * 4 // 5 and committed < announced.keys()

    # When workers come, and the claims of the dead have ended
    left = store.rows("SELECT message_id FROM django_tasks_q_waitingmessage")
    tree = trees.start("-p", "1", variables={"SECOND_DATABASE_URL": second.url}, settings=SECOND)
    until(lambda: ledger.completed() >= committed, 30, tree.story)
    until(lambda: not store.rows("SELECT 1 FROM django_tasks_q_waitingmessage"), 5, tree.story)

    # Then exactly what was committed has run, and nothing twice: the broker knows what it has seen
    assert tree.stop() == 0
    assert ledger.completed() == committed
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    assert set(second.states()) == committed
    print(f"{len(left)} of {len(committed)} published by the relay; died at {Counter(announced.values())}")
    assert 0 < len(left) < len(committed)


@pytest.fixture
def away(tmp_path: Path) -> Iterator[PrivatePostgreSQL]:
    server = PrivatePostgreSQL(tmp_path / "private")
    server.start()
    yield server
    server.stop()


def test_a_commit_while_the_broker_is_away_returns_within_2_s_and_the_message_runs_within_5_s_of_its_return(
    store: Store, away: PrivatePostgreSQL, trees: Trees, ledger: Ledger
) -> None:
    # Given workers whose broker is stopped
    migrate_second(store, away.url)
    tree = trees.start("-p", "1", variables={"SECOND_DATABASE_URL": away.url}, settings=SECOND)
    elsewhere = PostgreSQLStore("postgres", away.url)
    broker, alias = elsewhere.broker, store.alias
    first = broker.enqueue(misbehave.noop.message())
    until(lambda: first.message_id in ledger.completed(), 10, tree.story)
    away.stop()

    # When transactions commit
    sent, longest = set(), 0.0
    for _ in range(5):
        before = time.monotonic()
        with transaction.atomic(using=alias):
            sent |= {m.message_id for m in broker.enqueue_on_commit([misbehave.noop.message()], using=alias)}
        longest = max(longest, time.monotonic() - before)

    # Then each returns soon, and when the broker is back all of them run
    assert longest < 2
    assert store.rows("SELECT COUNT(*) FROM django_tasks_q_waitingmessage") == [(5,)]
    away.start()
    back = time.monotonic()
    until(lambda: ledger.completed() >= sent, 15, tree.story)
    recovery = max(ledger.runs()[message_id][0].start for message_id in sent) - back
    assert recovery < 5, f"{recovery:.2f} s after the broker was back\n{tree.story()}"
    assert tree.stop() == 0
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    elsewhere.close()
    print(f"longest commit {longest * 1000:.0f} ms, last run {recovery * 1000:.0f} ms after the broker was back")
