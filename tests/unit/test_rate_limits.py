"""Leases without a store: what a limiter takes, whom a lease belongs to, who keeps it alive."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_tasks_q import BrokerConnectionError, Message, Worker, actor, clock, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.capabilities import Capabilities
from django_tasks_q.context import Running, context_of
from django_tasks_q.keeper.mutexes import Mutexes
from django_tasks_q.keeper.service import Service
from django_tasks_q.keeper.services import ServiceThreads
from django_tasks_q.rate_limits import ConcurrentRateLimiter, backend, get_rate_limiter_backend
from django_tasks_q.rate_limits.backends import DatabaseBackend, StubBackend
from django_tasks_q.rate_limits.mutex import Mutex, Owner
from django_tasks_q.worker.board import STOPPED, Board
from tests.support.waiting import until

SOMEBODY = Owner("w", "m")


class Clock:
    """The monotonic clock, to be set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    hand = Clock()
    monkeypatch.setattr(clock, "monotonic", hand)
    return hand


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> StubBackend:
    """The only backend of this process, and the one of its settings."""
    monkeypatch.setattr(backend, "_backends", type(backend._backends)())
    store = StubBackend()
    monkeypatch.setattr(get_rate_limiter_backend, "make", lambda: store)
    return store


@pytest.fixture
def board() -> Board:
    """Worker ``w`` runs message ``m``; there is room for another."""
    board = Board(2, 2)
    board.regions[0].assign("w", 1)
    board.regions[0].begin(0, b"m", b"default", 1, 0, 0.0)
    return board


# Limiters


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nbreak", "nul\0", "\ud800", 7, None])
def test_a_key_that_no_store_takes_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        ConcurrentRateLimiter(StubBackend(), key)


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 1.5), ("limit", True), ("ttl", 0), ("ttl", "1s")])
def test_numbers_that_mean_nothing_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        ConcurrentRateLimiter(StubBackend(), "key", **{name: value})


def test_something_else_than_a_backend_is_refused() -> None:
    with pytest.raises(TypeError, match="RateLimiterBackend, not a StubBroker"):
        ConcurrentRateLimiter(StubBroker(), "key")  # type: ignore[arg-type]


def test_a_lease_may_be_given_as_a_timedelta(store: StubBackend) -> None:
    with ConcurrentRateLimiter(store, "key", ttl=timedelta(minutes=2)).acquire():
        assert store.inspect()[0].holder.ttl == 120_000


def test_a_quarter_of_an_hour_is_the_lease_that_is_not_given(store: StubBackend) -> None:
    with ConcurrentRateLimiter(store, "key").acquire():
        assert store.inspect()[0].holder.ttl == 900_000


def test_a_lease_belongs_to_the_worker_and_the_message(store: StubBackend) -> None:
    limiter = ConcurrentRateLimiter(store, "key", limit=3)

    def look() -> list[Any]:
        with limiter.acquire():
            return list(store.inspect())

    [held] = context_of(Running(Message("q", "work", message_id="m"), 0, None, None, "w")).run(look)
    assert (held.holder.worker, held.holder.message_id) == ("w", "m")


def test_outside_of_actors_a_lease_belongs_to_nobody_who_could_be_buried(store: StubBackend) -> None:
    with ConcurrentRateLimiter(store, "key").acquire():
        [held] = store.inspect()
    assert held.holder.message_id == ""
    assert " pid " in held.holder.worker


# A lease whose store cannot be reached


class Unreachable(StubBackend):
    away = False

    def _change(self, *args: Any) -> Any:
        self._look()
        return super()._change(*args)

    def _read(self, key: str) -> Any:
        self._look()
        return super()._read(key)

    def _look(self) -> None:
        if self.away:
            raise BrokerConnectionError("away")


def test_without_the_store_a_lease_is_known_to_hold_for_its_time_only(time: Clock) -> None:
    store = Unreachable()
    limiter = ConcurrentRateLimiter(store, "key", ttl=10_000)
    with limiter.acquire() as lease:
        store.away = True
        time.pass_by(9.9)
        assert not lease.lease_lost
        time.pass_by(0.1)
        assert lease.lease_lost
        store.away = False


def test_what_the_store_said_last_counts_when_it_is_gone(time: Clock) -> None:
    store = Unreachable()
    with ConcurrentRateLimiter(store, "key", ttl=10_000).acquire() as lease:
        time.pass_by(9)
        store.renew([("key", lease.token)])
        assert not lease.lease_lost
        store.away = True
        time.pass_by(9.9)
        assert not lease.lease_lost
        time.pass_by(0.2)
        assert lease.lease_lost
        store.away = False


def test_a_block_that_is_done_does_not_fail_because_the_release_did(caplog: pytest.LogCaptureFixture) -> None:
    store = Unreachable()
    with ConcurrentRateLimiter(store, "key").acquire():
        store.away = True
    assert "its lease will end by itself: away" in caplog.text


# Versions


def test_a_token_rises_although_the_clock_goes_back() -> None:
    first = Mutex().take(2_000_000, SOMEBODY, 1, 10)
    assert first is not None
    later = first.without(1_000_000, [first.version])
    assert later is not None
    again = later.take(1_000_000, SOMEBODY, 1, 10)
    assert again is not None and again.version > later.version > first.version == 2_000_000_000


# The keeper's service


def test_a_lease_is_renewed_when_a_third_is_over_and_as_long_as_its_actor_runs(
    store: StubBackend, board: Board, time: Clock
) -> None:
    service = Mutexes(board)
    token = store.acquire("key", SOMEBODY, 1, 9_000) or 0
    for _ in range(20):
        service.work()
        time.pass_by(2.9)
        assert store.remaining("key", token) == pytest.approx(6_100, abs=2)
        service.work()
        assert store.remaining("key", token) == pytest.approx(6_100, abs=2), "renewed before a third was over"
        time.pass_by(0.2)
        service.work()
        assert store.remaining("key", token) == pytest.approx(9_000, abs=2)


def test_the_lease_of_a_stopped_worker_is_not_renewed(store: StubBackend, board: Board, time: Clock) -> None:
    service = Mutexes(board)
    token = store.acquire("key", SOMEBODY, 1, 9_000) or 0
    board.regions[0].mark(STOPPED)
    time.pass_by(8)
    service.work()
    assert store.remaining("key", token) == pytest.approx(1_000, abs=2)


def test_leases_of_others_are_left_alone(store: StubBackend, board: Board, time: Clock) -> None:
    service = Mutexes(board)
    tokens = [store.acquire("key", Owner(name, "m"), 9, 9_000) or 0 for name in ("another host's", "", "a pid 7")]
    time.pass_by(8)
    service.work()
    assert [store.remaining("key", token) for token in tokens] == [pytest.approx(1_000, abs=2)] * 3


def test_a_lease_that_an_actor_left_behind_ends_with_it(store: StubBackend, board: Board) -> None:
    service = Mutexes(board)
    store.acquire("key", SOMEBODY, 2, 9_000)
    store.acquire("key", Owner("w", "another"), 2, 9_000)
    service.work()
    assert [held.holder.message_id for held in store.inspect()] == ["m"]
    board.regions[0].end(0)
    service.work()
    assert store.inspect() == []


def test_the_leases_of_a_buried_worker_are_freed_at_once_also_those_that_come_late(
    store: StubBackend, board: Board, time: Clock
) -> None:
    service = Mutexes(board)
    service.run_if_due()
    store.acquire("key", Owner("dead", "m"), 2, 900_000)
    token = store.acquire("key", SOMEBODY, 2, 900_000)
    service.buried("dead")
    assert service.seconds_left == 0
    service.run_if_due()
    assert [held.holder.token for held in store.inspect()] == [token]

    store.acquire("key", Owner("dead", "m"), 2, 900_000)
    time.pass_by(1)
    service.run_if_due()
    assert [held.holder.token for held in store.inspect()] == [token]


def test_a_burial_while_the_store_is_away_is_not_forgotten(
    board: Board, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_backends", type(backend._backends)())
    store = Unreachable()
    monkeypatch.setattr(get_rate_limiter_backend, "make", lambda: store)
    service = Mutexes(board)
    store.acquire("key", Owner("dead", "m"), 1, 900_000)
    store.away = True
    service.buried("dead")
    for _ in range(5):
        with pytest.raises(BrokerConnectionError):
            service.work()
        time.pass_by(60)
    store.away = False
    service.work()
    assert store.inspect() == []


class Parking(StubBroker):
    """Notes who is called; away for as long as it is told."""

    away = True

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        if self.away:
            raise BrokerConnectionError("away")
        self.called.append(key)
        return 1


def test_who_is_parked_on_what_was_freed_is_called_even_if_the_broker_was_away(
    store: StubBackend, board: Board, time: Clock
) -> None:
    broker = Parking()
    service = Mutexes(board, broker)
    keys = ["concurrency a", "concurrency b", "of an actor's own"]
    for key in keys:
        store.acquire(key, Owner("dead", "m"), 1, 900_000)
    service.buried("dead")
    service.run_if_due()
    assert store.inspect() == [], "the leases do not wait for the broker"
    time.pass_by(61)  # the grave is forgotten
    service.run_if_due()
    assert broker.called == []
    broker.away = False
    time.pass_by(1)
    service.run_if_due()
    assert broker.called == keys[:2]
    time.pass_by(1)
    service.run_if_due()
    assert broker.called == keys[:2]


def test_the_next_one_is_called_when_who_left_died_before_he_could(
    store: StubBackend, board: Board, time: Clock
) -> None:
    broker = Parking()
    broker.away = False
    service = Mutexes(board, broker)
    tokens = {key: store.acquire(key, SOMEBODY, 1, 900_000) or 0 for key in ("concurrency a", "concurrency b")}
    store.acquire("concurrency c", Owner("another host's", "m"), 1, 900_000)
    service.work()
    store.release("concurrency a", tokens["concurrency a"])
    store.force_release("concurrency c")
    for _ in range(3):
        time.pass_by(1)
        service.work()
    assert broker.called == ["concurrency a"]


class Stuck(Service):
    """Waits for a database that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.began = threading.Event()

    def work(self) -> None:
        self.began.set()
        self.over.wait(30)


def test_leases_are_renewed_while_the_other_services_wait_for_their_database(store: StubBackend, board: Board) -> None:
    stuck = Stuck()
    threads = ServiceThreads([stuck, Mutexes(board)])
    threads.start()
    try:
        assert stuck.began.wait(10)
        token = store.acquire("key", SOMEBODY, 1, 3_000) or 0
        until(lambda: store.inspect()[0].remaining < 2_000)
        until(lambda: (store.remaining("key", token) or 0) > 2_000)
    finally:
        stuck.over.set()
        threads.stop()


def test_what_a_worker_that_is_gone_left_behind_is_freed_at_the_end_too(
    store: StubBackend, board: Board, time: Clock
) -> None:
    service = Mutexes(board)
    store.acquire("key", SOMEBODY, 2, 900_000)
    store.acquire("key", Owner("x", "m"), 2, 900_000)
    service.run_if_due()
    assert len(store.inspect()) == 2
    board.regions[0].assign("another", 2)
    service.buried("x")
    service.run_last()
    assert store.inspect() == []


def test_one_store_that_is_away_keeps_nobody_from_the_others(store: StubBackend, board: Board, time: Clock) -> None:
    others = [Unreachable(), Unreachable()]
    for other in others:
        other.acquire("key", SOMEBODY, 1, 9_000)
        other.away = True
    token = store.acquire("key", SOMEBODY, 1, 9_000) or 0
    time.pass_by(8)
    with pytest.raises(BrokerConnectionError):
        Mutexes(board).work()
    assert store.remaining("key", token) == pytest.approx(9_000, abs=2)


def test_nothing_is_asked_while_nothing_runs(store: StubBackend, time: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    inspect = store.inspect
    monkeypatch.setattr(store, "inspect", lambda: looks.append(time.now) or inspect())
    service = Mutexes(Board(1, 1))
    for _ in range(40):
        service.run_if_due()
        time.pass_by(0.5)
    assert len(looks) == 2


def test_leases_are_looked_for_once_a_second_and_looked_after_twice(
    store: StubBackend, board: Board, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    inspect = store.inspect
    monkeypatch.setattr(store, "inspect", lambda: looks.append(time.now) or inspect())
    service = Mutexes(board)
    store.acquire("another host's", Owner("y", "m"), 1, 90_000)
    for _ in range(20):
        service.run_if_due()
        time.pass_by(0.5)
    assert len(looks) == 10
    store.acquire("key", SOMEBODY, 1, 90_000)
    for _ in range(20):
        service.run_if_due()
        time.pass_by(0.5)
    assert len(looks) == 30


def test_keys_that_nobody_uses_are_forgotten_after_a_day(store: StubBackend, board: Board, time: Clock) -> None:
    service = Mutexes(board)
    for number in range(300):
        store.release(f"key {number}", store.acquire(f"key {number}", SOMEBODY, 1, 9_000) or 0)
    service.work()
    assert len(store._mutexes) == 300
    time.pass_by(86_401)
    service.work()
    assert len(store._mutexes) == 100
    time.pass_by(1)
    service.work()
    assert len(store._mutexes) == 0


def test_a_worker_without_a_keeper_renews_the_leases_of_its_actors(store: StubBackend, stub: StubBroker) -> None:
    lost: list[bool] = []
    done = threading.Event()

    def work() -> None:
        with ConcurrentRateLimiter(store, "key", ttl=2_500).acquire() as lease:
            until(lambda: store.inspect()[0].remaining < 1_600)
            until(lambda: store.inspect()[0].remaining > 1_700)
            lost.append(lease.lease_lost)
        done.set()

    actor(work, broker=stub, max_retries=0).send()
    worker = Worker(stub, worker_threads=1)
    worker.start()
    try:
        assert done.wait(10)
    finally:
        worker.stop(1_000)
    assert lost == [False]
    assert store.inspect() == []


# The configured backend


@pytest.fixture
def no_broker() -> Iterator[None]:
    set_broker(None)
    yield


def test_the_backend_is_the_brokers_store_unless_the_settings_name_another(no_broker: None) -> None:
    set_broker(DatabaseBroker(using="postgresql"))
    assert get_rate_limiter_backend().address == "database://postgresql"
    assert get_rate_limiter_backend() is get_rate_limiter_backend()
    set_broker(StubBroker())
    assert isinstance(get_rate_limiter_backend(), StubBackend)
    with override_settings(DJANGO_TASKS_Q={"RATE_LIMITS_URL": "database://default"}):
        found = get_rate_limiter_backend()
        assert isinstance(found, DatabaseBackend) and found.using == "default"


class Elsewhere(StubBroker):
    """Looks like a broker on a server of its own."""

    capabilities = Capabilities()


def test_with_a_broker_on_a_server_of_its_own_the_backend_is_the_database_of_the_records(no_broker: None) -> None:
    set_broker(Elsewhere())

    assert get_rate_limiter_backend().address == "database://default"
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "RECORDS": {"DATABASE": "postgresql"}}):
        assert get_rate_limiter_backend().address == "database://postgresql"


@pytest.mark.parametrize(("url", "words"), [("databse://default", "database"), ("database://nowhere", "nowhere")])
def test_an_address_that_names_nothing_is_refused_in_words(url: str, words: str) -> None:
    with (
        override_settings(DJANGO_TASKS_Q={"RATE_LIMITS_URL": url}),
        pytest.raises(ImproperlyConfigured, match=words),
    ):
        get_rate_limiter_backend()


def test_a_database_that_is_none_is_refused_when_the_backend_is_made() -> None:
    with pytest.raises(ValueError, match="DATABASES has no 'nowhere', only: default, mariadb, postgresql"):
        DatabaseBackend(using="nowhere")


def test_without_settings_there_is_no_backend_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_rate_limiter_backend, "make", None)
    with pytest.raises(RuntimeError, match="INSTALLED_APPS"):
        get_rate_limiter_backend()


def test_with_a_redis_broker_the_backend_is_the_same_redis_unless_the_settings_name_another(no_broker: None) -> None:
    set_broker(RedisBroker(url="redis://:secret@somewhere:7/3", namespace="mine"))
    found = get_rate_limiter_backend()
    assert found.address == "redis://somewhere:7/3, dtq-limits"
    assert get_rate_limiter_backend() is found
    set_broker(RedisBroker(host="elsewhere"))
    assert get_rate_limiter_backend().address != found.address
    with override_settings(DJANGO_TASKS_Q={"RATE_LIMITS_URL": "redis+sentinel://one,two/service", "NAMESPACE": "app"}):
        assert get_rate_limiter_backend().address == "redis+sentinel://one,two/service, app-limits"


def test_leases_need_no_django() -> None:
    program = """
import sys
from django_tasks_q.rate_limits import ConcurrentRateLimiter
from django_tasks_q.rate_limits.backends import StubBackend
with ConcurrentRateLimiter(StubBackend(), "key").acquire() as lease:
    assert not lease.lease_lost
assert "django.db" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)
