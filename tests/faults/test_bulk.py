"""Bulk operations whose process is killed: whoever goes on, each message runs once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from django_tasks_q import Message, set_broker
from django_tasks_q.broker import Broker
from django_tasks_q.deliveries import Settlement, WorkerInfo
from django_tasks_q.models import BulkOperation
from django_tasks_q.operations import bulk
from django_tasks_q.outcomes import Done
from tests.support.dead_letters import bury
from tests.support.fixtures import BOTH
from tests.support.stores import RECORDS, ROOT, Store, environment
from tests.support.waiting import until

SIZE = int(os.environ.get("DTQ_BULK_SIZE", "20000"))
"""Dead letters; 100,000 take about five times as long."""

OPERATIONS = "django_tasks_q_bulkoperation"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + SIZE // 500)]


@pytest.fixture
def stepping(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    """``taskq requeue --all`` as a process, at work on what is there when the test first looks at it."""
    bury(store.broker, (Message("default", "noop", message_id=f"letter-{number}") for number in range(SIZE)))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "taskq", "requeue", "--all"],
        cwd=ROOT,
        env=environment(store.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        yield process
        process.kill()


@BOTH
def test_a_killed_bulk_requeue_goes_on_and_each_message_runs_once(
    store: Store, stepping: subprocess.Popen[bytes]
) -> None:
    # Given a process that is killed in the middle of requeueing everything
    until(lambda: progress(store) > 0, 30)
    stepping.send_signal(signal.SIGKILL)
    stepping.wait()
    assert 0 < progress(store) < SIZE

    # When somebody else goes on
    set_broker(store.broker)
    [operation] = BulkOperation.objects.using(store.broker.using)
    assert operation.finished_at is None
    while operation.finished_at is None:
        operation = bulk.step(operation.pk)

    # Then everything was requeued once, and runs once
    assert (operation.done, operation.skipped, operation.total) == (SIZE, 0, SIZE)
    assert store.rows(f"SELECT life, state, COUNT(*) FROM {RECORDS} GROUP BY life, state") == [(1, "enqueued", SIZE)]
    runs = work_off(store.broker)
    assert len(runs) == SIZE and set(runs.values()) == {1}
    assert store.rows(f"SELECT life, state, COUNT(*) FROM {RECORDS} GROUP BY life, state") == [(1, "succeeded", SIZE)]


def test_an_interrupted_bulk_requeue_says_how_to_go_on(store: Store, stepping: subprocess.Popen[bytes]) -> None:
    # Given a process that somebody stops with Ctrl-C
    until(lambda: progress(store) > 0, 30)
    stepping.send_signal(signal.SIGINT)
    said = stepping.communicate()[0].decode()

    # Then it ends in words, and what is left is still there for the same command
    assert stepping.returncode == 130
    assert "the same command does the rest" in said and "Traceback" not in said
    assert store.rows(f"SELECT COUNT(*) FROM {RECORDS} WHERE state = 'dead'") == [(SIZE - progress(store),)]


def progress(store: Store) -> int:
    return sum(row[0] for row in store.rows(f"SELECT done FROM {OPERATIONS}"))


def work_off(broker: Broker) -> Counter[str]:
    """Run everything that waits; how often each message ran."""
    runs: Counter[str] = Counter()
    consumer = broker.consume(WorkerInfo("worker"))
    settlements: list[Settlement] = []
    while True:
        answer = consumer.exchange(settlements, 1_000)
        runs.update(delivery.message_id for delivery in answer.deliveries)
        settlements = [Settlement(delivery, Done()) for delivery in answer.deliveries]
        if not settlements:
            break
    consumer.close()
    return runs
