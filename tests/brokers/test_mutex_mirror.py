"""Leases that are kept in Redis, and the rows that show them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections

from django_tasks_q.keeper.mutex_mirror import MutexMirror
from django_tasks_q.keeper.service import Service
from django_tasks_q.keeper.services import ServiceThreads
from django_tasks_q.models import RateLimitMutex
from django_tasks_q.rate_limits import ConcurrentRateLimiter, RateLimiterBackend, get_rate_limiter_backend
from django_tasks_q.rate_limits.backends import DatabaseBackend
from django_tasks_q.sql import Database
from tests.support.redis_limits import redis_limits
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> Iterator[RateLimiterBackend]:
    with redis_limits() as limits:
        monkeypatch.setattr(get_rate_limiter_backend, "make", lambda: limits)
        yield limits


@pytest.mark.django_db(transaction=True)
def test_who_holds_a_lease_has_a_row_for_as_long(leases: RateLimiterBackend) -> None:
    mirror = MutexMirror(Database("default"))
    RateLimitMutex.objects.create(key="the database's own", version=7)
    semaphore = ConcurrentRateLimiter(leases, "printer", limit=2, ttl=60_000)

    with semaphore.acquire() as first, semaphore.acquire() as second:
        mirror.work()
        row = RateLimitMutex.objects.get(key="printer")
        assert [holder["token"] for holder in row.holders] == [first.token, second.token]
        assert row.limit == 2 and row.expires_at is not None
        first.release()
        mirror.work()
        assert [holder["token"] for holder in RateLimitMutex.objects.get(key="printer").holders] == [second.token]

    mirror.work()
    assert list(RateLimitMutex.objects.values_list("key", flat=True)) == ["the database's own"]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_written_while_nothing_changes(leases: RateLimiterBackend, django_assert_num_queries: Any) -> None:
    mirror = MutexMirror(Database("default"))
    with ConcurrentRateLimiter(leases, "printer", ttl=60_000).acquire():
        mirror.work()

        with django_assert_num_queries(0):
            mirror.work()
            mirror.work()


@pytest.mark.django_db(transaction=True)
def test_a_lease_of_the_databases_own_is_not_overwritten(leases: RateLimiterBackend) -> None:
    RateLimitMutex.objects.create(key="printer", version=7, limit=5)

    with ConcurrentRateLimiter(leases, "printer", ttl=60_000).acquire():
        MutexMirror(Database("default")).work()

    assert RateLimitMutex.objects.get(key="printer").limit == 5


@pytest.mark.django_db(transaction=True)
def test_a_row_that_shows_a_lease_of_another_store_binds_nobody_in_the_database(leases: RateLimiterBackend) -> None:
    database = DatabaseBackend()
    mirror = MutexMirror(Database("default"))

    with ConcurrentRateLimiter(leases, "printer", ttl=60_000).acquire():
        mirror.work()
        assert database.inspect() == [] and database.held("printer") == 0
        with ConcurrentRateLimiter(database, "printer", limit=3).acquire():
            assert database.held("printer") == 1
            assert RateLimitMutex.objects.get(key="printer").limit == 3


class Counting(Service):
    """Another service of the same thread."""

    interval = 0.01
    rounds = 0

    def work(self) -> None:
        self.rounds += 1


@pytest.fixture
def network(databases: None) -> Iterator[TcpProxy]:
    """What lies between this process and the database ``far``."""
    settings = connections.settings["postgresql"]
    with TcpProxy((settings["HOST"], int(settings["PORT"] or 5432))) as network:
        connections.settings["far"] = copy.deepcopy(settings) | {"HOST": network.host, "PORT": network.port}
        yield network
        connections["far"].close()
        del connections.settings["far"], connections["far"]


def test_without_its_database_it_goes_on_keeps_nobody_from_anything_and_catches_up(
    leases: RateLimiterBackend, network: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    mirror, other = MutexMirror(Database("far")), Counting()
    shown: Callable[[], list[str]] = lambda: sorted(  # noqa: E731
        RateLimitMutex.objects.using("postgresql").values_list("key", flat=True)
    )
    threads = ServiceThreads([mirror, other])
    try:
        with ConcurrentRateLimiter(leases, "a", ttl=60_000).acquire():
            threads.start()
            until(lambda: shown() == ["a"])
            network.cut()
            with ConcurrentRateLimiter(leases, "b", ttl=60_000).acquire():
                until(lambda: "MutexMirror: Database 'far'" in caplog.text)
                before = other.rounds
                until(lambda: other.rounds > before + 20)
                assert shown() == ["a"]
                network.restore()
                until(lambda: shown() == ["a", "b"])
        until(lambda: shown() == [])
    finally:
        threads.stop()
    assert caplog.text.count("MutexMirror: ") < 4, "it is told of once, not in each round"


@pytest.mark.django_db(transaction=True)
def test_what_a_write_left_that_broke_off_does_not_stay(leases: RateLimiterBackend) -> None:
    mirror = MutexMirror(Database("default"))

    def fail_on_c(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("INSERT") and "c" in params:
            raise OperationalError("disk I/O error")
        return execute(sql, params, many, context)

    def look() -> list[str]:
        mirror.hurry()
        mirror.run_if_due()
        return sorted(RateLimitMutex.objects.values_list("key", flat=True))

    with ConcurrentRateLimiter(leases, "a", ttl=60_000).acquire():
        assert look() == ["a"]
        with (
            ConcurrentRateLimiter(leases, "b", ttl=60_000).acquire(),
            ConcurrentRateLimiter(leases, "c", ttl=60_000).acquire(),
            connections["default"].execute_wrapper(fail_on_c),
        ):
            assert look() == ["a", "b"]
        assert look() == ["a"]
    assert look() == []
