"""What actors declare of themselves, on every broker that can call who is parked."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from django_tasks_q import Broker, Message, Worker, actor, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.deliveries import Delivery, Settlement, WorkerInfo
from django_tasks_q.middleware import limits as middleware
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.outcomes import Parked, Retry
from django_tasks_q.rate_limits import RateLimiterBackend
from django_tasks_q.rate_limits.backends import DatabaseBackend, StubBackend
from django_tasks_q.sql import Database
from django_tasks_q.waiting import DatabaseWaitingRoom
from django_tasks_q.waiting_room import get_waiting_room, set_waiting_room
from tests.support.brokers import open_broker
from tests.support.rabbitmq_brokers import namespaced
from tests.support.redis_limits import redis_limits
from tests.support.waiting import until, within

pytestmark = pytest.mark.usefixtures("databases")

KINDS = ["stub", "default", "postgresql", "mariadb", "redis", "redis-cluster"]


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with open_broker(request.param) as broker:
        broker.declare_queue("default")
        broker.declare_queue("other")
        set_broker(broker)
        yield broker
        broker.close()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> RateLimiterBackend:
    backend = StubBackend()
    monkeypatch.setattr(middleware, "get_rate_limiter_backend", lambda: backend)
    return backend


@pytest.fixture(autouse=True)
def room_is_put_back() -> Iterator[None]:
    before = get_waiting_room()
    yield
    set_waiting_room(before)


@contextmanager
def working(broker: Broker, threads: int = 4) -> Iterator[Worker]:
    worker = Worker(broker, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(5_000)


# Parked, and called


def test_who_is_parked_on_a_key_is_called_in_line_and_nobody_else(broker: Broker) -> None:
    broker.enqueue_many([Message("default", "work", message_id=name) for name in "abcd"])
    broker.enqueue(Message("other", "work", message_id="e"))
    consumer = broker.consume(WorkerInfo("worker"))
    claimed: dict[str, Delivery] = {}

    def claim(settlements: list[Settlement] | None = None) -> list[str]:
        deliveries = consumer.exchange(settlements or [], 10).deliveries
        claimed.update({delivery.message_id: delivery for delivery in deliveries})
        return sorted(delivery.message_id for delivery in deliveries)

    def comes(*names: str) -> None:
        """These and nobody else, as soon as the consumer has heard of it."""
        come: list[str] = []
        until(lambda: come.extend(claim()) or len(come) >= len(names))
        assert sorted(come) == sorted(names)

    comes(*"abcde")
    parked, other = Parked("key", 60_000), Parked("another", 60_000)
    outcomes = {"a": Retry(60_000), "b": parked, "c": parked, "d": other, "e": parked}
    assert claim([Settlement(claimed[name], outcome) for name, outcome in outcomes.items()]) == []

    assert broker.unparks
    assert broker.unpark("unknown", 3, ["default", "other"]) == 0
    assert broker.unpark("key", 1, ["default"]) == 1
    comes("b")
    assert claim([Settlement(claimed["b"], Retry(60_000))]) == []
    assert broker.unpark("key", 5, ["default", "other"]) == 2
    comes("c", "e")
    assert broker.unpark("key", 5, ["default", "other"]) == 0
    assert claimed["c"].retries == 0
    consumer.close()


def test_who_comes_back_by_himself_is_not_called_again(broker: Broker) -> None:
    broker.enqueue(Message("default", "work", message_id="a"))
    consumer = broker.consume(WorkerInfo("worker"))
    found: list[Delivery] = []

    def claim() -> bool:
        found.extend(consumer.exchange([], 10).deliveries)
        return bool(found)

    until(claim)
    consumer.exchange([Settlement(found.pop(), Parked("key", 20))], 0)
    until(claim)
    assert broker.unpark("key", 1, ["default"]) == 0
    consumer.exchange([Settlement(found.pop(), Retry(60_000))], 0)
    assert broker.unpark("key", 1, ["default"]) == 0
    consumer.close()


def test_rabbitmq_calls_those_who_have_reached_their_rows() -> None:
    with namespaced(max_priority=10) as broker:
        room = DatabaseWaitingRoom("postgresql")
        set_waiting_room(room)
        broker.declare_queue("default")
        broker.enqueue_many([Message("default", "work", message_id=name) for name in "abc"])
        consumer = broker.consume(WorkerInfo("worker"))
        claimed: dict[str, Delivery] = {}

        def claim(settlements: list[Settlement] | None = None) -> set[str]:
            deliveries = consumer.exchange(settlements or [], 10).deliveries
            claimed.update({delivery.message_id: delivery for delivery in deliveries})
            return {delivery.message_id for delivery in deliveries}

        until(lambda: (bool(claim()) and len(claimed) == 3) or len(claimed) == 3)
        parked = Parked("key", 60_000)
        claim(
            [
                Settlement(claimed[name], outcome)
                for name, outcome in zip("abc", (parked, Retry(60_000), parked), strict=True)
            ]
        )
        until(lambda: broker.take_in(10) == 0 and len(room.peek("default", "delayed", 10)) == 3)

        assert broker.unpark("another", 5, ["default"]) == 0
        assert broker.unpark("key", 1, ["default"]) == 1
        until(lambda: claim() == {"a"})
        assert broker.unpark("key", 5, ["default"]) == 1
        until(lambda: claim() == {"c"})
        assert [kept.message_id for kept in room.peek("default", "delayed", 10)] == ["b"]
        assert claimed["a"].retries == 0
        consumer.close()


# Concurrency


class Room:
    """How many are in at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = self.most = self.entered = 0

    def visit(self, seconds: float) -> None:
        with self._lock:
            self.inside += 1
            self.entered += 1
            self.most = max(self.most, self.inside)
        time.sleep(seconds)
        with self._lock:
            self.inside -= 1


def test_no_more_than_declared_run_at_once_and_a_place_is_given_on(broker: Broker, backend: RateLimiterBackend) -> None:
    room = Room()

    def work() -> None:
        room.visit(0.01)

    one = actor(work, broker=broker, concurrency=2, max_retries=0)
    began = time.monotonic()
    with working(broker), working(broker):
        broker.enqueue_many([one.message() for _ in range(40)])
        until(lambda: room.entered == 40, 20)
    assert room.most == 2
    assert time.monotonic() - began < within(10)
    assert backend.inspect() == []
    assert not broker.peek("default", "dead")


def test_a_worker_that_is_alone_gives_a_place_on_to_itself_at_once(broker: Broker, backend: RateLimiterBackend) -> None:
    times: list[float] = []
    go = threading.Event()

    def work() -> None:
        go.wait(30)
        time.sleep(0.02)
        times.append(time.monotonic())

    one = actor(work, broker=broker, concurrency=1, max_retries=0)
    broker.enqueue_many([one.message() for _ in range(9)])
    with working(broker):
        until(lambda: len(broker.peek("default", "delayed")) == 8)
        go.set()
        until(lambda: len(times) == 9, 30)
    # Who asks only now and then needs up to a second, time and again.
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gap > 0.5 for gap in gaps) < 2, gaps


@pytest.mark.parametrize("broker", ["default", "postgresql", "redis"], indirect=True)
def test_in_a_line_each_message_costs_few_claims_and_statements(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, counted = 60, Counter[str]()
    park, room = middleware._park, Room()

    def parking(*args: Any) -> None:
        counted["parked"] += 1
        park(*args)

    def work() -> None:
        room.visit(0)

    monkeypatch.setattr(middleware, "_park", parking)
    monkeypatch.setattr(Database, "watch", staticmethod(lambda statement: counted.update(["statements"])))
    broker.add_middleware(DatabaseConnections())
    is_database = isinstance(broker, DatabaseBroker)
    with nullcontext(DatabaseBackend(using=broker.using)) if is_database else redis_limits() as own:
        monkeypatch.setattr(middleware, "get_rate_limiter_backend", lambda: own)
        one = actor(work, broker=broker, concurrency=1, max_retries=0)
        broker.enqueue_many([one.message() for _ in range(number)])
        counted.clear()
        with working(broker), working(broker):
            until(lambda: room.entered == number, 60)
    assert room.most == 1
    assert counted["parked"] < 3 * number
    assert counted["statements"] < 45 * number


def test_keys_are_made_of_the_arguments(broker: Broker, backend: RateLimiterBackend) -> None:
    rooms = {name: Room() for name in "ab"}
    together = Room()

    def work(name: str) -> None:
        together.visit(0)
        rooms[name].visit(0.1)

    each = actor(work, broker=broker, concurrency=1, concurrency_key=lambda name: f"room {name}", max_retries=0)
    with working(broker, 6):
        broker.enqueue_many([each.message(name) for name in "abababab"])
        until(lambda: sum(room.entered for room in rooms.values()) == 8, 20)
    assert [room.most for room in rooms.values()] == [1, 1]


def test_the_place_of_a_message_that_fails_is_given_on_too(broker: Broker, backend: RateLimiterBackend) -> None:
    done = Room()

    def work(fails: bool) -> None:
        done.visit(0)
        if fails:
            raise ZeroDivisionError

    one = actor(work, broker=broker, concurrency=1, max_retries=0)
    with working(broker):
        broker.enqueue_many([one.message(number % 2 == 0) for number in range(10)])
        until(lambda: done.entered == 10 and not backend.inspect(), 20)
    assert done.most == 1


# On a cluster


@pytest.fixture
def cluster() -> Iterator[Broker]:
    with open_broker("redis-cluster") as broker:
        yield broker
        broker.close()


@pytest.mark.parametrize("limit", [{"concurrency": 2}, {"rate_limit": "5/s"}], ids=str)
def test_on_a_cluster_a_limit_belongs_to_one_queue_where_it_is_declared(limit: dict[str, Any], cluster: Broker) -> None:
    key = {f"{next(iter(limit))}_key": "shared"}
    declared: dict[str, Any] = {"broker": cluster, **limit, **key}
    actor(print, actor_name="first", queue_name="a", **declared)
    actor(print, actor_name="second", queue_name="a", **declared)
    actor(print, actor_name="free", queue_name="b", broker=cluster, **key)
    with pytest.raises(ValueError, match=r"'shared' is shared by messages of the queues 'a' and 'b'.*one queue"):
        actor(print, actor_name="third", queue_name="b", **declared)
    with pytest.raises(ValueError, match="'shared' is shared"):
        actor(print, actor_name="shared", queue_name="b", broker=cluster, **limit)
    assert "third" not in cluster.actors


def test_on_a_cluster_a_limit_belongs_to_one_queue_where_it_is_used(
    cluster: Broker, backend: RateLimiterBackend, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def work(name: str) -> None:
        ran.append(name)

    options: dict[str, Any] = {"broker": cluster, "concurrency": 1, "concurrency_key": lambda name: name[0]}
    first = actor(work, actor_name="first", queue_name="default", max_retries=0, **options)
    second = actor(work, actor_name="second", queue_name="other", max_retries=0, **options)
    with working(cluster):
        cluster.enqueue_many([first.message("a1"), first.message("a2"), second.message("b1")])
        until(lambda: len(ran) == 3)
        wrong = second.send("a3")
        until(lambda: [dead.message_id for dead in cluster.peek("other", "dead")] == [wrong.message_id])
    assert sorted(ran) == ["a1", "a2", "b1"]
    assert "'a' is shared by messages of the queues 'default' and 'other'" in caplog.text


@pytest.mark.parametrize("broker", [kind for kind in KINDS if kind != "redis-cluster"], indirect=True)
def test_elsewhere_queues_may_share_a_limit(broker: Broker, backend: RateLimiterBackend) -> None:
    room = Room()

    def work() -> None:
        room.visit(0.01)

    queues = ("default", "other")
    declared: dict[str, Any] = {"broker": broker, "concurrency": 1, "concurrency_key": "shared"}
    actors = [actor(work, actor_name=queue, queue_name=queue, **declared) for queue in queues]
    with working(broker):
        broker.enqueue_many([each.message() for each in actors for _ in range(6)])
        until(lambda: room.entered == 12, 20)
    assert room.most == 1


# Rates


def test_a_rate_is_kept_and_spends_no_attempt(broker: Broker, backend: RateLimiterBackend) -> None:
    times: list[float] = []

    def work() -> None:
        times.append(time.monotonic())

    limited = actor(work, broker=broker, rate_limit="5/s", max_retries=0)
    with working(broker):
        broker.enqueue_many([limited.message() for _ in range(12)])
        until(lambda: len(times) == 12, 20)
    times.sort()
    assert times[5] - times[0] > 0.9
    assert times[11] - times[0] > 1.9
    assert not broker.peek("default", "dead")


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": "2"},
        {"rate_limit": "fast"},
        {"rate_limit": 5},
        {"rate_limit": "0/m"},
        {"concurrency_key": 7},
        {"rate_limit_key": ""},
    ],
    ids=str,
)
def test_what_means_nothing_is_refused_where_it_is_declared(options: dict[str, Any], stub: Broker) -> None:
    with pytest.raises(ValueError, match=next(iter(options)).partition("_")[0]):
        actor(print, broker=stub, actor_name="work", **options)


def test_a_message_may_say_otherwise_than_its_actor(stub: Broker, backend: RateLimiterBackend) -> None:
    room = Room()
    done: Callable[[], bool] = lambda: room.entered == 6  # noqa: E731

    def work() -> None:
        room.visit(0.05)

    free = actor(work, broker=stub)
    with pytest.raises(ValueError, match="only an actor's"):
        free.message_with_options(concurrency_key=len)
    with working(stub, 6):
        stub.enqueue_many([free.message_with_options(concurrency=1, concurrency_key="mine") for _ in range(6)])
        until(done, 20)
    assert room.most == 1
