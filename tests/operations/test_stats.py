"""How everything stands, from rows that are fresh or else counted now, never far."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_tasks_q import BrokerConnectionError, Message, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.models import QueueState, WorkerProcess
from django_tasks_q.operations import queue_counts
from django_tasks_q.operations.stats import QueueStats, stats
from django_tasks_q.waiting import WaitingRows
from tests.support.dead_letters import bury
from tests.support.waiting import until


def queue(name: str) -> QueueStats:
    return next(queue for queue in stats().queues if queue.queue_name == name)


def orders(broker: DatabaseBroker, count: int, **options: object) -> list[Message[None]]:
    return [broker.actors["charge"].message_with_options(args=(number,), **options) for number in range(count)]


def test_the_json_is_the_documented_one(broker: DatabaseBroker) -> None:
    figures = stats().as_dict()

    assert list(figures) == ["queues", "workers", "outbox", "mirror_lag_ms"]
    assert [queue["queue_name"] for queue in figures["queues"]] == ["mails", "shop"]
    assert figures["queues"][1] == {
        "queue_name": "shop",
        "ready": 0,
        "in_flight": 0,
        "delayed": 0,
        "dead": 0,
        "oldest_ms": 0,
        "paused": False,
        "consumers": 0,
        "per_minute": 0,
    }


def test_without_a_fresh_count_the_queues_are_counted_now(broker: DatabaseBroker) -> None:
    bury(broker, orders(broker, 2))
    broker.enqueue_many([*orders(broker, 3), *orders(broker, 1, delay=60_000)])
    until(lambda: queue("shop").oldest_ms > 0)

    shop = queue("shop")

    assert (shop.ready, shop.in_flight, shop.delayed, shop.dead) == (3, 0, 1, 2)
    assert shop.per_minute == 2  # the dead ones


def test_a_live_count_ends_at_the_cap(broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_counts, "CAP", 5)
    broker.enqueue_many([*orders(broker, 8), *orders(broker, 8, delay=60_000)])

    shop = queue("shop")

    assert (shop.ready, shop.delayed) == (5, 5)


def test_a_queue_that_nobody_declared_here_is_counted_too(broker: DatabaseBroker) -> None:
    broker.declare_queue("elsewhere")
    broker.enqueue(Message("elsewhere", "charge", (1,)))
    del broker.queues["elsewhere"]

    assert queue("elsewhere").ready == 1


def test_a_fresh_count_is_believed_and_an_old_one_is_not(broker: DatabaseBroker) -> None:
    now = timezone.now()
    broker.enqueue_many(orders(broker, 1))
    for name in ("shop", "mails"):
        QueueState.objects.using(broker.using).create(
            queue_name=name, ready=700, dead=30, oldest_at=now - timedelta(minutes=5), sampled_at=now, paused_at=now
        )

    shop = queue("shop")
    assert (shop.ready, shop.dead, shop.paused) == (700, 30, True)
    assert 300_000 <= shop.oldest_ms < 330_000

    QueueState.objects.using(broker.using).update(sampled_at=now - timedelta(seconds=60))
    assert (queue("shop").ready, queue("shop").paused) == (1, True)


def test_only_workers_that_were_seen_just_now_count(broker: DatabaseBroker) -> None:
    now = timezone.now()
    for name, queues, seen in (("a", ["shop"], now), ("b", [], now), ("c", ["shop"], now - timedelta(minutes=1))):
        WorkerProcess.objects.using(broker.using).create(worker_id=name, queues=queues, heartbeat_at=seen)

    assert stats().workers == 2
    assert (queue("shop").consumers, queue("mails").consumers) == (2, 1)


def test_what_finishes_at_the_head_of_an_old_line_is_seen(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The youngest records are all waiting; what runs now was sent long ago."""
    from django_tasks_q.operations import stats as module
    from django_tasks_q.operations.filters import records

    monkeypatch.setattr(module, "STRETCH", 5)
    hour_ago = timezone.now() - timedelta(hours=1)
    done = bury(broker, orders(broker, 2))
    records().filter(pk__in=done).update(created_at=hour_ago)
    broker.enqueue_many(orders(broker, 10))
    assert queue("shop").per_minute == 0

    ms = int(hour_ago.timestamp() * 1000) + 1_000
    broker.database.count(f"UPDATE django_tasks_q_queuedmessage SET enqueued_at = {ms} WHERE place = 0")
    assert queue("shop").per_minute == 2


def test_a_broker_in_memory_is_asked_and_its_journal_tells_how_far_records_lag(databases: None) -> None:
    stub = StubBroker()
    set_broker(stub)
    stub.declare_queue("shop")
    stub.enqueue(Message("shop", "charge", (1,)))
    until(lambda: stats().mirror_lag_ms > 0)

    assert queue("shop").ready == 1


def test_a_database_that_is_away_is_asked_once_for_what_waits_there(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks again and again must not wait for it each time."""
    from django_tasks_q.operations import stats as module

    asked: list[str] = []

    def count(rows: WaitingRows, most: int) -> int:
        asked.append(rows._database.alias)
        if asked[-1] == "mariadb":
            raise BrokerConnectionError("no route to it")
        return 3

    monkeypatch.setattr(module, "_away_until", {})
    monkeypatch.setattr(WaitingRows, "count", count)

    assert [stats().outbox, stats().outbox] == [6, 6]
    assert sorted(asked) == ["default", "default", "mariadb", "postgresql", "postgresql"]
