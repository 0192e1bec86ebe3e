"""What goes wrong with Dramatiq, tried here on every broker; docs/known_faults.md says which test shows what."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import django_tasks_q
from django_tasks_q import Broker, MessageTooLarge, Worker, actor, get_current_message, get_retry_count, pipeline
from django_tasks_q.deliveries import Settlement
from django_tasks_q.errors import BrokerConnectionError
from django_tasks_q.outcomes import Retry
from tests.support.brokers import open_broker
from tests.support.waiting import until

KINDS = ["stub", "default", "postgresql", "mariadb", "redis", "redis-cluster", "rabbitmq"]
EACH = pytest.mark.parametrize("kind", KINDS)

pytestmark = pytest.mark.usefixtures("databases")


@pytest.fixture
def broker(kind: str) -> Iterator[Broker]:
    with open_broker(kind) as broker:
        yield broker


@contextmanager
def working(broker: Broker, threads: int = 1) -> Iterator[Worker]:
    worker = Worker(broker, worker_timeout=100, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(5_000)


def declare(broker: Broker, fn: Callable[..., Any], **options: Any) -> Any:
    return actor(fn, broker=broker, **{"actor_name": "work", "min_backoff": 0, "max_backoff": 0, **options})


def held(broker: Broker) -> tuple[int, int, int]:
    """Ready, in flight and delayed."""
    (counts,) = broker.counts()
    return counts.ready, counts.in_flight, counts.delayed


class Hiccup:
    """Breaks the way to the broker once, when a worker tells of a failed attempt.

    Parameters:
        when: whether the broker has heard of it.
    """

    def __init__(self, broker: Broker, when: str) -> None:
        self.has_happened = False
        self._when = when
        self._consume = broker.consume
        broker.consume = self.consume  # type: ignore[method-assign]

    def consume(self, worker: Any) -> Any:
        consumer = self._consume(worker)
        exchange = consumer.exchange

        def exchange_or_hiccup(settlements: Sequence[Settlement], room: int, started: Any = ()) -> Any:
            if not self.has_happened and any(isinstance(item.outcome, Retry) for item in settlements):
                self.has_happened = True
                if self._when == "after":
                    exchange(settlements, 0, started)
                raise BrokerConnectionError("a hiccup")
            return exchange(settlements, room, started)

        consumer.exchange = exchange_or_hiccup  # type: ignore[method-assign]
        return consumer


@EACH
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_retry_whose_broker_has_a_hiccup_is_neither_lost_nor_run_too_often(broker: Broker, when: str) -> None:
    attempts: list[int] = []

    def fail_at_first() -> None:
        attempts.append(get_retry_count(-1))
        if len(attempts) == 1:
            raise ValueError

    declare(broker, fail_at_first).send()
    hiccup = Hiccup(broker, when)

    with working(broker):
        until(lambda: len(attempts) > 1, 20)
        until(lambda: held(broker) == (0, 0, 0), 20)

    assert hiccup.has_happened
    assert attempts == [0, 1]


@EACH
def test_bytes_that_are_no_message_hold_up_nobody_who_was_fetched_with_them(broker: Broker) -> None:
    done: list[int] = []
    work = declare(broker, done.append)
    prepared = [broker.prepare(work.message(number)) for number in range(8)]
    prepared[3] = type(prepared[3])(prepared[3].message, b'{"truncated')
    broker._enqueue(prepared)

    with working(broker, threads=8):
        until(lambda: len(broker.peek("default", "dead")) == 1 and held(broker) == (0, 0, 0))

    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7]
    assert broker.peek("default", "dead")[0].payload == b'{"truncated'


@pytest.mark.parametrize("kind", KINDS[:-1])  # RabbitMQ pushes; how much it may is asserted in test_rabbitmq_faults.py
def test_nobody_waits_behind_a_long_task_while_another_worker_is_idle(broker: Broker) -> None:
    done: list[int] = []
    begun, may_end = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            begun.set()
            may_end.wait(20)
        done.append(number)

    worker = declare(broker, work)
    messages = [worker.message(number) for number in range(12)]
    with working(broker), working(broker), ExitStack() as ending:
        ending.callback(may_end.set)
        broker.enqueue(messages[0])
        until(begun.is_set)
        broker.enqueue_many(messages[1:])

        until(lambda: len(done) == 11)

    assert sorted(done) == list(range(12))


@pytest.mark.parametrize("kind", ["stub", "default", "redis", "rabbitmq"])
def test_a_message_does_not_grow_with_its_failures(broker: Broker) -> None:
    sizes: list[int] = []

    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        message = get_current_message()
        assert message is not None
        sizes.append(len(message.encode()))
        raise ValueError("x" * 10_000)

    declare(broker, fail, max_retries=4).send(20)
    with working(broker):
        until(lambda: len(broker.peek("default", "dead")) == 1)

    assert len(sizes) == 5
    assert max(sizes) - min(sizes) < 100
    assert len(broker.peek("default", "dead")[0].payload) - min(sizes) < 100


def test_a_composition_that_would_be_too_large_on_its_way_is_refused_where_it_is_sent(stub: Broker) -> None:
    work = declare(stub, lambda *args: None)
    steps = pipeline([work.message("x" * 100_000) for _ in range(12)], broker=stub)

    with pytest.raises(MessageTooLarge):
        steps.run()

    assert held(stub) == (0, 0, 0)


def test_no_script_for_redis_walks_over_all_keys() -> None:
    scripts = list(Path(django_tasks_q.__file__).parent.rglob("*.lua"))
    commands = {name for script in scripts for name in re.findall(r"p?call\(\s*['\"](\w+)", script.read_text())}

    assert {"HSET", "ZADD"} <= commands
    assert not commands & {"KEYS", "SCAN", "RANDOMKEY", "FLUSHDB"}


APPS = """
import sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=sys.argv[1:],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DJANGO_TASKS_Q={"BROKER_URL": "stub://"},
)
import django
django.setup()
from django_tasks_q import get_broker
print(get_broker().address, sorted(get_broker().actors))
"""


@pytest.mark.parametrize("apps", [["django_tasks_q", "shop"], ["shop", "django_tasks_q"]], ids=str)
def test_the_order_of_installed_apps_makes_no_difference(apps: list[str], tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "models.py").write_text("from shop.tasks import bill")
    (shop / "tasks.py").write_text("from django_tasks_q import actor\n@actor\ndef bill(): ...\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(django_tasks_q.__file__).parents[1])])

    told = subprocess.run(
        [sys.executable, "-c", APPS, *apps],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == "StubBroker ['bill']"
