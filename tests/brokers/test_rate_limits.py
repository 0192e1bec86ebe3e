"""The sentences about leases, asked of every backend."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection as default_connection
from django.db import connections, transaction

from django_tasks_q import RateLimitExceeded
from django_tasks_q.models import RateLimitMutex
from django_tasks_q.rate_limits import ConcurrentRateLimiter, RateLimiterBackend
from django_tasks_q.rate_limits.backends import DatabaseBackend, StubBackend
from django_tasks_q.rate_limits.mutex import Owner
from tests.support.waiting import until

SOMEBODY, OTHER = Owner("worker 1", "message 1"), Owner("worker 2", "message 2")
LONG = 60_000
DATABASES = ["default", "postgresql", "mariadb"]

pytestmark = pytest.mark.usefixtures("databases")


@pytest.fixture(params=["stub", *DATABASES])
def backend(request: pytest.FixtureRequest) -> RateLimiterBackend:
    return StubBackend() if request.param == "stub" else DatabaseBackend(using=request.param)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> DatabaseBackend:
    return DatabaseBackend(using=request.param)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseBackend:
    return DatabaseBackend(using=request.param)


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """Another thread, with a connection of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def take(backend: RateLimiterBackend, owner: Owner = SOMEBODY, limit: int = 1, ttl: int = LONG) -> int:
    token = backend.acquire("key", owner, limit, ttl)
    assert token
    return token


def is_held(backend: RateLimiterBackend, limit: int = 1) -> bool:
    return backend.acquire("key", OTHER, limit, LONG) is None


def wait_until_over(backend: RateLimiterBackend, token: int) -> None:
    until(lambda: backend.remaining("key", token) is None)


# Acquiring and releasing


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_hold_a_key_as_the_limit_allows(backend: RateLimiterBackend, limit: int) -> None:
    tokens = [take(backend, limit=limit) for _ in range(limit)]

    assert is_held(backend, limit)
    assert backend.release("key", tokens[0])
    assert not is_held(backend, limit)
    assert is_held(backend, limit)


def test_keys_do_not_know_each_other(backend: RateLimiterBackend) -> None:
    take(backend)

    assert backend.acquire("another", OTHER, 1, LONG)


def test_only_the_token_of_a_lease_releases_it(backend: RateLimiterBackend) -> None:
    token = take(backend)

    assert not backend.release("key", token + 1)
    assert not backend.release("another", token)
    assert is_held(backend)
    assert backend.release("key", token)
    assert not backend.release("key", token)


def test_tokens_rise_with_every_acquisition(backend: RateLimiterBackend) -> None:
    tokens = []
    for _ in range(20):
        tokens.append(take(backend, limit=2))
        tokens.append(take(backend, limit=2))
        backend.force_release("key")

    assert tokens == sorted(set(tokens))


def test_tokens_never_begin_anew_when_a_key_was_forgotten(backend: RateLimiterBackend) -> None:
    token = take(backend)
    backend.release("key", token)
    until(lambda: backend.forget_idle(1) == 1)

    assert take(backend) > token


def test_what_is_held_or_was_used_lately_is_not_forgotten(backend: RateLimiterBackend) -> None:
    token = take(backend)
    until(lambda: (backend.remaining("key", token) or 0) < LONG - 20)
    assert backend.forget_idle(1) == 0
    backend.release("key", token)

    assert backend.forget_idle(LONG) == 0
    assert take(backend) > token


def test_only_so_many_keys_are_forgotten_at_once(backend: RateLimiterBackend) -> None:
    for number in range(5):
        backend.release(f"key {number}", backend.acquire(f"key {number}", SOMEBODY, 1, LONG) or 0)
    time.sleep(0.01)  # until the youngest is idle too

    assert [backend.forget_idle(1, 3) for _ in range(3)] == [3, 2, 0]


# The end of a lease


def test_a_lease_that_is_over_is_taken_over_and_its_token_releases_nothing(backend: RateLimiterBackend) -> None:
    old = take(backend, ttl=50)
    wait_until_over(backend, old)

    new = take(backend, OTHER)

    assert new > old
    assert not backend.release("key", old)
    assert backend.remaining("key", old) is None
    assert backend.remaining("key", new)


def test_a_lease_that_is_over_cannot_be_renewed_nor_released(backend: RateLimiterBackend) -> None:
    token = take(backend, ttl=50)
    wait_until_over(backend, token)

    assert backend.renew([("key", token)]) == 0
    assert backend.remaining("key", token) is None
    assert not backend.release("key", token)
    assert not is_held(backend)


def test_a_renewed_lease_begins_again(backend: RateLimiterBackend) -> None:
    first, second = take(backend, limit=2), take(backend, OTHER, limit=2)
    until(lambda: (backend.remaining("key", second) or 0) < LONG - 50)

    assert backend.renew([("key", first), ("unknown", first), ("key", 7)]) == 1

    left = backend.remaining("key", first), backend.remaining("key", second)
    assert left[0] and left[1] and left[0] > left[1] + 40


def test_a_lease_can_be_ended_by_force(backend: RateLimiterBackend) -> None:
    first, second = take(backend, limit=3), take(backend, OTHER, limit=3)
    take(backend, limit=3)

    assert backend.force_release("key", second) == 1
    assert backend.remaining("key", first)
    assert backend.remaining("key", second) is None
    assert backend.force_release("key") == 2
    assert backend.force_release("key") == 0
    assert backend.inspect() == []


def test_who_holds_what_can_be_seen(backend: RateLimiterBackend) -> None:
    before = time.time() * 1000
    token = take(backend, limit=2)
    backend.acquire("before", OTHER, 1, 1)
    until(lambda: len(backend.inspect()) == 1)

    [held] = backend.inspect()

    assert (held.key, held.limit) == ("key", 2)
    assert (held.holder.worker, held.holder.message_id) == SOMEBODY
    assert (held.holder.token, held.holder.ttl) == (token, LONG)
    assert before - 1_000 < held.holder.since < before + 10_000
    assert held.holder.expires_at == held.holder.since + LONG
    assert 0 < held.remaining <= LONG


# Many at once


def test_threads_that_contend_never_hold_a_key_together(backend: RateLimiterBackend) -> None:
    limiter = ConcurrentRateLimiter(backend, "key", limit=2, ttl=LONG)
    inside: list[int] = []
    seen: list[int] = []
    tokens: list[int] = []

    def work(number: int) -> int:
        done = 0
        while done < 15:
            with limiter.acquire(raise_on_failure=False) as lease:
                if lease:
                    inside.append(number)
                    seen.append(len(inside))
                    tokens.append(lease.token)
                    time.sleep(0.001)
                    inside.remove(number)
                    done += 1
        connections.close_all()
        return done

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 90
    assert max(seen) <= 2
    assert len(set(tokens)) == 90
    assert backend.inspect() == []


# What the limiter makes of it


def test_a_limiter_grants_a_lease_for_the_length_of_the_block(backend: RateLimiterBackend) -> None:
    limiter = ConcurrentRateLimiter(backend, "key")

    with limiter.acquire() as lease:
        assert lease
        assert not lease.lease_lost
        with pytest.raises(RateLimitExceeded, match="'key'"), limiter.acquire():
            pytest.fail("acquired twice")
        with limiter.acquire(raise_on_failure=False) as nothing:
            assert not nothing
            assert nothing.lease_lost
        assert not lease.lease_lost
    assert not lease.lease_lost
    with limiter.acquire() as later:
        assert later.token > lease.token


def test_a_block_that_raises_releases_too(backend: RateLimiterBackend) -> None:
    limiter = ConcurrentRateLimiter(backend, "key")

    with pytest.raises(ZeroDivisionError), limiter.acquire():
        1 / 0  # noqa: B018
    assert backend.inspect() == []


def test_a_holder_learns_that_his_lease_is_lost(backend: RateLimiterBackend, caplog: pytest.LogCaptureFixture) -> None:
    limiter = ConcurrentRateLimiter(backend, "key", ttl=50)

    with limiter.acquire() as lease:
        until(lambda: lease.lease_lost)
        with ConcurrentRateLimiter(backend, "key").acquire() as second:
            assert lease.lease_lost
            assert second.token > lease.token
            assert not second.lease_lost
            lease.release()
            assert not second.lease_lost
    assert lease.lease_lost


def test_a_lease_that_was_over_before_its_release_is_told_of(
    backend: RateLimiterBackend, caplog: pytest.LogCaptureFixture
) -> None:
    with ConcurrentRateLimiter(backend, "key").acquire() as lease:
        backend.force_release("key")
        assert lease.lease_lost
    assert "'key' was over before it was released" in caplog.text


def test_a_forked_child_that_leaves_the_block_takes_nothing_from_its_parent(database: DatabaseBackend) -> None:
    child = -1
    try:
        with ConcurrentRateLimiter(database, "key").acquire() as lease:
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                assert not lease.lease_lost
    finally:
        if child == 0:
            os._exit(0)
    assert not is_held(database)


def test_a_renewal_is_seen_by_the_holder(backend: RateLimiterBackend) -> None:
    with ConcurrentRateLimiter(backend, "key", ttl=400).acquire() as lease:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            assert backend.renew([("key", lease.token)]) == 1
            assert not lease.lease_lost


# The rows


def test_the_row_tells_people_who_holds_a_key(database: DatabaseBackend) -> None:
    token = take(database, limit=2)

    row = RateLimitMutex.objects.using(database.using).get(pk="key")
    assert (row.kind, row.limit, row.version) == ("concurrent", 2, token)
    [holder] = row.holders
    assert (holder["message_id"], holder["worker"], holder["token"]) == ("message 1", "worker 1", token)
    assert row.expires_at is not None and abs(row.expires_at.timestamp() * 1000 - holder["expires_at"]) < 2

    database.release("key", token)
    row.refresh_from_db()
    assert (row.holders, row.expires_at) == ([], None)
    assert row.version > token


def test_nothing_is_noted_among_the_queries(database: DatabaseBackend, settings: Any) -> None:
    connections[database.using].ensure_connection()  # what Django asks of a new connection is its own affair
    settings.DEBUG = True
    with ConcurrentRateLimiter(database, "key").acquire() as lease:
        assert not lease.lease_lost

    assert not connections[database.using].queries


# Transactions


def test_on_a_server_an_acquisition_is_seen_at_once_and_outlives_a_rollback(
    server: DatabaseBackend, elsewhere: ThreadPoolExecutor
) -> None:
    before = _connections(server.using)
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=server.using):
        token = take(server)
        assert elsewhere.submit(is_held, server).result()
        raise ZeroDivisionError

    assert server.remaining("key", token)
    assert server.release("key", token)
    connections[server.using].close()
    elsewhere.submit(connections.close_all).result()
    until(
        lambda: _connections(server.using) <= before,
        otherwise=lambda: f"{_connections(server.using)} connections, {before} before",
    )


def test_on_a_server_autocommit_is_not_needed(server: DatabaseBackend, elsewhere: ThreadPoolExecutor) -> None:
    connections[server.using].set_autocommit(False)
    token = take(server)
    assert elsewhere.submit(is_held, server).result()
    connections[server.using].rollback()
    assert server.remaining("key", token)
    server.own_thread()
    assert connections[server.using].get_autocommit()
    assert server.release("key", token)


def test_on_a_server_a_release_works_in_a_transaction_that_is_broken(server: DatabaseBackend) -> None:
    with transaction.atomic(using=server.using):
        with ConcurrentRateLimiter(server, "key").acquire() as lease:
            with pytest.raises(Exception, match="nowhere"), connections[server.using].cursor() as cursor:
                cursor.execute("SELECT * FROM nowhere")
            assert not lease.lease_lost
        transaction.set_rollback(True, using=server.using)

    assert server.inspect() == []


def test_on_sqlite_an_acquisition_is_part_of_the_transaction(elsewhere: ThreadPoolExecutor) -> None:
    backend = DatabaseBackend(using="default")
    limiter = ConcurrentRateLimiter(backend, "key")
    entered: list[float] = []

    def wait_for_it() -> None:
        with limiter.acquire(raise_on_failure=False):
            entered.append(time.monotonic())

    with transaction.atomic():
        with limiter.acquire() as lease:
            waiting = elsewhere.submit(wait_for_it)
            assert not lease.lease_lost
        assert not entered
        transaction.set_rollback(True)
        left = time.monotonic()
    waiting.result()

    assert entered and entered[0] >= left
    assert not default_connection.in_atomic_block
    assert backend.inspect() == []


def _connections(alias: str) -> int:
    """To this server's database of the tests, other than the one that asks."""
    wrapper = connections.create_connection(alias)
    sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    if wrapper.vendor == "mysql":
        sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    try:
        with wrapper.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetchone()[0])
    finally:
        wrapper.close()
