"""Retention and samples with real processes: keepers that are killed at it, tables that somebody has locked."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from django_tasks_q.models import Attempt, MessageRecord
from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Ledger
from tests.support.runworkers import KEEPER, WORKER, Trees
from tests.support.stores import ATTEMPTS, RECORDS, PostgreSQLStore, Store
from tests.support.waiting import until

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]

OLD = datetime.now(UTC) - timedelta(days=30)
TABLE = "django_tasks_q_workerprocess"


def _fill(store: Store, number: int, attempts: int) -> None:
    """Old records, the first of them with an attempt each."""
    alias = store.broker.using
    fields = {"state": "succeeded", "created_at": OLD, "finished_at": OLD}
    MessageRecord.objects.using(alias).bulk_create(
        [MessageRecord(message_id=f"old {i:06}", **fields) for i in range(number)], batch_size=1_000
    )
    Attempt.objects.using(alias).bulk_create(
        [Attempt(message_id=f"old {i:06}", number=1, outcome="failed") for i in range(attempts)], batch_size=1_000
    )


def _count(store: Store, table: str) -> int:
    return int(store.rows(f"SELECT COUNT(*) FROM {table}")[0][0])


def _notes(store: Store) -> dict[str, Any]:
    rows = store.rows("SELECT CAST(notes AS TEXT) FROM django_tasks_q_servicelease WHERE name = 'retention'")
    return dict(json.loads(rows[0][0])) if rows else {}


def _workers(store: Store) -> dict[int, dict[str, Any]]:
    """What is shown of each worker, by process id."""
    names = ("processed", "current", "rss_bytes", "threads", "hostname")
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in store.rows(
        f"SELECT pid, processed, CAST(current AS TEXT), rss_bytes, threads, hostname FROM {TABLE}"
    )}  # fmt: skip


@BOTH
def test_a_keeper_killed_at_pruning_has_a_successor_that_ends_it_and_nothing_is_counted_twice(
    store: Store, trees: Trees
) -> None:
    _fill(store, 5_000, 1_500)

    tree = trees.start("-p", "1", "-t", "2")
    until(lambda: _count(store, RECORDS) < 5_000, 30, tree.story)
    assert tree.kill(KEEPER)
    assert _count(store, RECORDS) > 0

    until(lambda: _count(store, RECORDS) == 0, 40, tree.story)
    assert _count(store, ATTEMPTS) == 0
    until(lambda: "Retention:" in tree.log, 10, tree.story)
    assert _notes(store) == {"records": 5_000, "attempts": 1_500}
    assert tree.stop() == 0


@BOTH
def test_workers_are_shown_soon_and_dead_ones_are_gone_as_soon(store: Store, trees: Trees) -> None:
    tree = trees.start("-p", "2", "-t", "3")
    until(lambda: set(_workers(store)) == set(tree.workers), 5, lambda: f"{_workers(store)} {tree.story()}")
    shown = _workers(store)
    assert {worker["threads"] for worker in shown.values()} == {3}

    # While they run something it is shown, and counted when it is done
    [message_id] = store.send([misbehave.sleep.message(4.0)])
    until(lambda: any(message_id in worker["current"] for worker in _workers(store).values()), 5, tree.story)
    until(lambda: sum(worker["processed"] for worker in _workers(store).values()) == 1, 10, tree.story)
    assert all(worker["rss_bytes"] > 10_000_000 for worker in _workers(store).values())

    victim = tree.kill(WORKER)
    until(lambda: victim not in _workers(store), 5, lambda: f"{_workers(store)} {tree.story()}")
    until(lambda: set(_workers(store)) == set(tree.workers) and len(_workers(store)) == 2, 8, tree.story)

    assert tree.stop() == 0
    assert _workers(store) == {}


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_leases_are_renewed_while_the_services_wait_for_a_locked_table(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given workers whose lease is much shorter than the time for which somebody locks the tables of records
    assert isinstance(store, PostgreSQLStore)
    tree = trees.start("-p", "1", "-t", "2", settings={"LEASE": 2_000})
    until(lambda: _workers(store), 5, tree.story)
    [worker] = tree.workers
    [message_id] = store.send([misbehave.sleep.message(6.0)])
    until(lambda: message_id in ledger.runs(), 5, tree.story)
    time.sleep(0.5)  # so that its start is recorded before

    with psycopg.connect(store.url) as connection:
        connection.execute(f"LOCK TABLE {TABLE}, django_tasks_q_servicelease, django_tasks_q_queuestate")
        time.sleep(5)
        assert min(store.leases_left()) > 0.5

    until(lambda: store.record(message_id)["state"] == "succeeded", 10, tree.story)
    assert tree.workers == [worker]
    assert len(ledger.runs()[message_id]) == 1
    assert tree.stop() == 0
