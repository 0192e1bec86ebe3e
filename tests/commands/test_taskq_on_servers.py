"""``taskq stats`` and ``taskq health`` with messages on a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_tasks_q import Broker, actor, set_broker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.deliveries import WorkerInfo
from tests.commands.conftest import Taskq
from tests.support.redis_brokers import redis_broker
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("databases")


@pytest.fixture
def redis() -> Iterator[Broker]:
    with redis_broker() as broker:
        actor(print, broker=broker, actor_name="charge", queue_name="shop")
        set_broker(broker)
        yield broker


def test_stats_counts_what_redis_holds(redis: Broker, taskq: Taskq) -> None:
    # Given messages that wait, are delayed, and are in flight
    charge = redis.actors["charge"]
    redis.enqueue_many([charge.message(number) for number in range(3)])
    charge.send_with_options(args=(3,), delay=60_000)
    consumer = redis.consume(WorkerInfo("w", {"shop": 1}, 1))
    taken = consumer.exchange([], 1).deliveries

    # Then the figures say so, and how far the records lag behind the journal
    until(lambda: taskq("stats", "--json").json["queues"][0]["oldest_ms"] > 0)
    figures = taskq("stats", "--json").json
    (shop,) = figures["queues"]
    assert len(taken) == 1
    assert (shop["queue_name"], shop["ready"], shop["in_flight"], shop["delayed"], shop["dead"]) == ("shop", 2, 1, 1, 0)
    assert 0 < shop["oldest_ms"] < 60_000
    assert shop["consumers"] == figures["workers"] == figures["outbox"] == 0
    assert 0 < figures["mirror_lag_ms"] < 60_000
    consumer.close()


@pytest.mark.parametrize("words", [("stats",), ("health",), ("requeue", "m")])
def test_a_server_that_is_away_is_said_in_a_line_without_its_password(words: tuple[str, ...], taskq: Taskq) -> None:
    broker = RedisBroker(url="redis://:secret@127.0.0.1:1/0")
    broker.send_timeout = 300
    broker.declare_queue("shop")
    set_broker(broker)

    ended = taskq(*words)

    said = ended.out + ended.err
    assert ended.code == 1
    assert "127.0.0.1:1" in said
    assert "secret" not in said
    assert "Traceback" not in said
    broker.close()
