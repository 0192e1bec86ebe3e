"""The sentences about leases, asked of every backend."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.db import connection as default_connection
from django.db import connections, transaction

from django_tasks_q import BrokerError, Message, MessageProxy, RateLimitExceeded
from django_tasks_q.context import Running, context_of
from django_tasks_q.models import RateLimitMutex
from django_tasks_q.rate_limits import (
    Arrival,
    Barrier,
    BucketRateLimiter,
    ConcurrentRateLimiter,
    RateLimiterBackend,
    Span,
    WindowRateLimiter,
)
from django_tasks_q.rate_limits.backends import DatabaseBackend, RedisBackend, StubBackend
from django_tasks_q.rate_limits.mutex import Owner
from tests.support.redis_brokers import URL, cluster_url, servers
from tests.support.redis_limits import redis_limits
from tests.support.waiting import until, within

SOMEBODY, OTHER = Owner("worker 1", "message 1"), Owner("worker 2", "message 2")
LONG = 60_000
ENDLESS = 10**12
"""Milliseconds of a bucket that ends in another decade: no test runs over its border."""
DATABASES = ["default", "postgresql", "mariadb"]

pytestmark = pytest.mark.usefixtures("databases")


@pytest.fixture(params=["stub", *DATABASES, "redis", "redis-cluster"])
def backend(request: pytest.FixtureRequest) -> Iterator[RateLimiterBackend]:
    if request.param.startswith("redis"):
        with redis_limits(request.param) as found:
            yield found
    else:
        yield StubBackend() if request.param == "stub" else DatabaseBackend(using=request.param)


@pytest.fixture(params=["stub", *DATABASES])
def sweeping(request: pytest.FixtureRequest) -> RateLimiterBackend:
    """One that has to be told to forget."""
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


def test_who_was_refused_leaves_nothing_behind(backend: RateLimiterBackend) -> None:
    token = take(backend)
    assert all(is_held(backend) for _ in range(6))

    assert backend.release("key", token)

    assert backend.release("key", take(backend, OTHER))
    assert not is_held(backend)


def test_who_was_refused_has_nothing_to_release(backend: RateLimiterBackend) -> None:
    limiter = ConcurrentRateLimiter(backend, "key", limit=2)

    with limiter.acquire() as first, limiter.acquire() as second:
        with limiter.acquire(raise_on_failure=False) as nothing:
            nothing.release()
        assert not backend.release("key", 0)
        assert backend.force_release("key", 0) == 0
        assert not first.lease_lost and not second.lease_lost


def test_the_place_of_who_is_gone_is_free_after_his_time_though_others_come_and_go(
    backend: RateLimiterBackend,
) -> None:
    gone = take(backend, limit=2, ttl=400)

    def come_and_go() -> bool:
        return backend.release("key", take(backend, OTHER, limit=2, ttl=400))

    until(lambda: come_and_go() and backend.remaining("key", gone) is None)

    assert [take(backend, OTHER, limit=2), take(backend, OTHER, limit=2)]
    assert is_held(backend, limit=2)


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


def test_tokens_never_begin_anew_when_a_key_was_forgotten(sweeping: RateLimiterBackend) -> None:
    token = take(sweeping)
    sweeping.release("key", token)
    until(lambda: sweeping.forget_idle(1) == 1)

    assert take(sweeping) > token


def test_what_is_held_or_was_used_lately_is_not_forgotten(backend: RateLimiterBackend) -> None:
    token = take(backend)
    until(lambda: (backend.remaining("key", token) or 0) < LONG - 20)
    assert backend.forget_idle(1) == 0
    backend.release("key", token)

    assert backend.forget_idle(LONG) == 0
    assert take(backend) > token


def test_only_so_many_keys_are_forgotten_at_once(sweeping: RateLimiterBackend) -> None:
    for number in range(5):
        sweeping.release(f"key {number}", sweeping.acquire(f"key {number}", SOMEBODY, 1, LONG) or 0)
    time.sleep(0.01)  # until the youngest is idle too

    assert [sweeping.forget_idle(1, 3) for _ in range(3)] == [3, 2, 0]


def test_what_is_left_to_forget_after_so_much_is_told_whatever_it_is(database: DatabaseBackend) -> None:
    for number in range(4):
        database.arrive(f"gathering {number}", "a", True, 2, 1)
    for number in range(7):
        database.admit(f"admissions {number}", 1, Span(1))
    time.sleep(0.05)

    assert [database.forget_idle(LONG, 3) for _ in range(3)] == [3, 3, 0]


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
        until(lambda: lease.lease_lost)  # to be sure, he is told a little before it is over
        until(lambda: backend.held("key") == 0)
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
    with ConcurrentRateLimiter(backend, "key", ttl=1_000).acquire() as lease:
        end = time.monotonic() + 1.3
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
    connections[database.using].queries_log.clear()  # as is what others have noted before
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


def test_threads_whose_connections_come_and_go_share_a_few_of_the_engines_own(server: DatabaseBackend) -> None:
    assert server.inspect() == []  # on this thread's own connection
    apart, before = server.apart(), _connections(server.using)
    with ThreadPoolExecutor(6) as threads:
        tokens = list(threads.map(lambda number: apart.acquire(f"key {number}", SOMEBODY, 1, LONG), range(60)))
    assert all(tokens) and len(server.inspect()) == 60
    assert 1 <= _connections(server.using) - before <= 2
    with transaction.atomic(using=server.using):
        assert apart.release("key 1", tokens[1] or 0)
        transaction.set_rollback(True, using=server.using)
    assert server.held("key 1") == 0
    server.close()
    until(lambda: _connections(server.using) == before)
    assert apart.held("key 2") == 1
    server.close()


def test_a_shared_connection_that_broke_is_nobodys_any_more(server: DatabaseBackend) -> None:
    apart = server.apart()
    assert apart.acquire("key", SOMEBODY, 1, LONG)
    shared: Any = apart
    _, database = shared._shared._idle[-1]
    database.connection.connection.close()
    with pytest.raises(BrokerError):
        apart.held("key")
    assert apart.held("key") == 1
    server.close()


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


# Gathering: who of so many has arrived


def arrive(backend: RateLimiterBackend, member: str, ok: bool = True, parties: int = 3) -> Arrival:
    return backend.arrive("key", member, ok, parties, LONG)


NOT_YET = Arrival(done=False, failed=False, is_completer=False)


def test_a_gathering_is_done_when_every_party_has_arrived(backend: RateLimiterBackend) -> None:
    assert [arrive(backend, member) for member in "ab"] == [NOT_YET, NOT_YET]
    assert arrive(backend, "c") == Arrival(done=True, failed=False, is_completer=True)
    assert backend.arrive("another", "c", True, 2, LONG) == NOT_YET


def test_who_arrives_again_is_counted_once_and_only_who_completed_it_is_told_so_again(
    backend: RateLimiterBackend,
) -> None:
    assert [arrive(backend, "a") for _ in range(5)] == [NOT_YET] * 5
    arrive(backend, "b")
    assert sorted(backend.arrived("key")) == ["a", "b"] and backend.arrived("another") == []
    complete = arrive(backend, "c")

    assert complete.is_completer
    assert arrive(backend, "c") == complete
    assert arrive(backend, "a") == Arrival(done=True, failed=False, is_completer=False)
    assert arrive(backend, "c") == complete


def test_a_gathering_that_failed_is_mended_by_those_who_arrive_as_ok_later(backend: RateLimiterBackend) -> None:
    assert arrive(backend, "a", ok=False) == Arrival(done=False, failed=True, is_completer=False)
    arrive(backend, "b", ok=False)
    failed = Arrival(done=True, failed=True, is_completer=True)
    assert arrive(backend, "c") == failed
    assert arrive(backend, "c") == failed

    assert arrive(backend, "a") == Arrival(done=True, failed=True, is_completer=False)
    assert arrive(backend, "b") == Arrival(done=True, failed=False, is_completer=True)
    assert arrive(backend, "c") == Arrival(done=True, failed=False, is_completer=False)
    assert arrive(backend, "b") == Arrival(done=True, failed=False, is_completer=True)


def test_who_was_ok_stays_ok(backend: RateLimiterBackend) -> None:
    arrive(backend, "a")
    arrive(backend, "a", ok=False)
    arrive(backend, "b")

    assert arrive(backend, "c") == Arrival(done=True, failed=False, is_completer=True)


def test_a_gathering_is_forgotten_after_its_time(backend: RateLimiterBackend) -> None:
    assert backend.arrive("key", "a", False, 2, 50).failed
    time.sleep(0.06)
    assert backend.arrive("key", "b", True, 2, 50) == NOT_YET
    time.sleep(0.06)
    backend.forget_idle(LONG)

    assert arrive(backend, "a", parties=2) == NOT_YET
    assert arrive(backend, "b", parties=2).is_completer


def test_of_many_who_arrive_at_once_one_completes_it(backend: RateLimiterBackend) -> None:
    def come(number: int) -> list[Arrival]:
        try:
            return [backend.arrive(f"key {turn}", str(number), True, 6, LONG) for turn in range(10)]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        for arrivals in zip(*pool.map(come, range(6)), strict=True):
            assert sum(arrival.is_completer for arrival in arrivals) == 1
            assert sum(arrival.done for arrival in arrivals) == 1


def test_an_arrival_within_a_transaction_outlives_its_rollback(server: DatabaseBackend) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=server.using):
        arrive(server, "a", parties=2)
        raise ZeroDivisionError

    assert arrive(server, "b", parties=2).is_completer


def test_a_gathering_can_be_expected_before_anybody_arrives(backend: RateLimiterBackend) -> None:
    with pytest.raises(LookupError):
        arrive(backend, "a", parties=0)
    assert backend.gathered("key") is None
    assert backend.expect("key", 2, LONG)
    assert not backend.expect("key", 3, LONG)
    assert backend.gathered("key") == NOT_YET
    assert arrive(backend, "a", parties=0) == NOT_YET
    assert arrive(backend, "b", parties=0).is_completer
    assert backend.gathered("key") == Arrival(done=True, failed=False, is_completer=False)


def test_parties_wait_for_each_other_at_a_barrier(backend: RateLimiterBackend) -> None:
    barrier = Barrier(backend, "key", ttl=LONG)
    with pytest.raises(LookupError, match="Nobody has said how many are expected at 'key'"):
        barrier.wait(block=False)
    assert barrier.create(3)
    assert not barrier.create(4)
    assert not barrier.wait(block=False)
    assert not barrier.wait(timeout=20)

    assert barrier.wait()
    assert barrier.wait(block=False)


def test_who_waits_at_a_barrier_goes_on_when_the_last_one_comes(backend: RateLimiterBackend) -> None:
    Barrier(backend, "key").create(3)

    def wait(_: int) -> bool:
        try:
            return Barrier(backend, "key").wait(timeout=10_000)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(wait, range(3))) == [True] * 3


def test_a_message_that_is_delivered_again_is_one_party_of_a_barrier(backend: RateLimiterBackend) -> None:
    barrier = Barrier(backend, "key")
    barrier.create(2)
    message = Message("default", "work")
    for _ in range(3):
        context = context_of(Running(message, 0, 0, MessageProxy(message), "worker"))
        assert not context.run(barrier.wait, block=False)

    assert barrier.wait(block=False)


# Admitting: so many in a time


def test_a_bucket_admits_as_many_as_its_limit_until_the_next_one(backend: RateLimiterBackend) -> None:
    limiter = BucketRateLimiter(backend, "key", limit=2, bucket=ENDLESS)

    with limiter.acquire() as first, limiter.acquire() as second:
        assert first is True and second is True
    with pytest.raises(RateLimitExceeded, match="'key'"), limiter.acquire():
        pytest.fail("acquired thrice")
    with limiter.acquire(raise_on_failure=False) as third:
        assert third is False
    with BucketRateLimiter(backend, "another", bucket=ENDLESS).acquire() as other:
        assert other
    for _ in range(3):
        until(lambda: backend.admit("short", 1, Span(100)) == 0)


def test_a_window_admits_no_more_than_its_limit_whenever_it_begins(backend: RateLimiterBackend) -> None:
    span, limit = Span(5, 300), 4
    began: list[float] = []
    ended: list[float] = []
    stop = time.monotonic() + within(3)
    while len(began) < 3 * limit and time.monotonic() < stop:
        before = time.monotonic()
        if backend.admit("key", limit, span) == 0:
            began.append(before)
            ended.append(time.monotonic())
        time.sleep(0.002)

    assert len(began) == 3 * limit
    for first, last in zip(began, ended[limit:], strict=False):
        assert last - first > 0.3 - 0.004


def test_who_is_not_admitted_is_told_how_long_to_wait_and_who_queues_gets_a_turn(backend: RateLimiterBackend) -> None:
    span, late = Span(10, LONG), LONG / 4
    assert backend.admit("key", 2, span) == 0
    assert backend.admit("key", 2, span) == 0
    wait = backend.admit("key", 2, span)
    assert span.kept - late < wait <= span.kept

    turns = [backend.admit("key", 2, span, queues=True) for _ in range(4)]

    assert span.kept - late < turns[0] <= span.kept
    for earlier, later in itertools.pairwise(turns):
        assert span.kept / 2 - late < later - earlier < span.kept / 2 * 1.1


@pytest.mark.parametrize("limit", [1, 4])
def test_who_waits_is_not_kept_waiting_behind_those_that_never_came(backend: RateLimiterBackend, limit: int) -> None:
    span = Span(10, 1_000)
    stop = time.monotonic() + within(10)
    while backend.admit("key", limit, span, queues=True) < 10 * span.kept:
        assert time.monotonic() < stop

    time.sleep(2.1 * span.kept / 1000)  # nobody comes in that time

    waits = [backend.admit("key", limit, span, queues=True) for _ in range(2 * limit)]
    assert waits[0] == 0
    assert max(waits) < 5 * span.kept


def test_a_line_that_moves_on_is_not_forgotten(backend: RateLimiterBackend) -> None:
    span = Span(10, 1_000)
    assert backend.admit("key", 1, span) == 0
    turns = [backend.admit("key", 1, span, queues=True) for _ in range(10)]

    until(lambda: backend.admit("key", 1, span) == 0)  # the first of them, at his turn

    assert backend.admit("key", 1, span, queues=True) > turns[-1] - 2 * span.kept


def test_many_at_once_are_not_admitted_beyond_the_limit(backend: RateLimiterBackend) -> None:
    def come(_: int) -> int:
        try:
            return sum(backend.admit("key", 10, Span(100, LONG)) == 0 for _ in range(5))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(come, range(6))) == 10


def test_the_limit_of_a_window_is_seconds(backend: RateLimiterBackend) -> None:
    limiter = WindowRateLimiter(backend, "key", limit=1, window=LONG)
    with limiter.acquire() as granted:
        assert granted is True
    with pytest.raises(RateLimitExceeded), limiter.acquire():
        pytest.fail("acquired twice")


# Connections of Redis


def _connections_named(name: str, url: str) -> int:
    with servers(url) as masters:
        return sum(one["name"] == name for master in masters for one in master.client_list())


@pytest.mark.parametrize("kind", ["redis", "redis-cluster"])
def test_closing_lets_go_of_the_connections_and_the_next_call_makes_new_ones(kind: str) -> None:
    url, name = URL if kind == "redis" else cluster_url(), f"test-{uuid4().hex}"
    backend = RedisBackend(url=url, namespace=name, client_name=name)
    backend.close()
    assert backend.held("key") == 0
    assert _connections_named(name, url) > 0
    backend.close()
    until(lambda: _connections_named(name, url) == 0)
    assert backend.held("key") == 0
    backend.close()


def test_a_client_that_was_given_is_its_owners_to_close() -> None:
    with redis.Redis.from_url(URL) as client:
        connection = client.client_id()
        backend = RedisBackend(client=client, namespace="test-given-limits")
        assert backend.held("key") == 0
        backend.close()
        assert client.client_id() == connection


@pytest.mark.parametrize(
    "options",
    [
        {"url": "redis://me:secret@somewhere:7/3"},
        {"url": "redis+cluster://me:secret@somewhere:7"},
        {"host": "somewhere", "port": 7, "db": 3, "username": "me", "password": "secret"},
        {"unix_socket_path": "/run/somewhere", "password": "secret"},
        {"client": redis.Redis(host="somewhere", password="secret")},
    ],
    ids=lambda options: "-".join(options),
)
def test_an_address_tells_two_stores_apart_and_no_password(options: dict[str, Any]) -> None:
    backend = RedisBackend(**options)
    assert "secret" not in backend.address
    assert backend.address == RedisBackend(**options).address
    assert backend.address != RedisBackend(**options, namespace="another").address
    assert backend.address != RedisBackend(host="elsewhere", db=3).address
