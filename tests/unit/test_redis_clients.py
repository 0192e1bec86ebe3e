"""The stores beside the broker that Redis keeps: how they reach their server, and what they say when they cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_tasks_q import BrokerConnectionError, Message
from django_tasks_q.rate_limits import ConcurrentRateLimiter
from django_tasks_q.rate_limits.backends import RedisBackend as RedisLimits
from django_tasks_q.results.backends import RedisBackend as RedisResults
from tests.support.ports import free_port
from tests.support.private_redis import PrivateRedis

Backend = Callable[..., Any]


def ask(backend: Any) -> Any:
    """Any question at all."""
    return backend.load(["key"]) if isinstance(backend, RedisResults) else backend.held("key")


@pytest.fixture(params=[RedisLimits, RedisResults])
def kind(request: pytest.FixtureRequest) -> Backend:
    kind: Backend = request.param
    return kind


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/name", "redis+cluster://127.0.0.1:{}"]
)
def test_a_server_that_is_not_there_is_a_broker_that_cannot_be_reached(kind: Backend, url: str) -> None:
    backend = kind(url=url.format(free_port()))
    with pytest.raises(BrokerConnectionError, match="cannot be reached"):
        ask(backend)


def test_a_password_is_never_shown(kind: Backend) -> None:
    port = free_port()
    address = f"redis://127.0.0.1:{port}/3"
    for given in (
        {"host": "127.0.0.1", "port": port, "db": 3, "password": "secret"},
        {"client": redis.Redis("127.0.0.1", port, db=3, password="secret", retry=Retry(NoBackoff(), 0))},
        {"url": f"redis://:secret@127.0.0.1:{port}/3"},
    ):
        backend = kind(**given)
        with pytest.raises(BrokerConnectionError) as raised:
            ask(backend)
        assert address in str(raised.value) and "secret" not in str(raised.value)
        assert backend.address.startswith(address) and "secret" not in backend.address


def test_two_backends_on_one_server_have_one_address_however_it_was_said(kind: Backend) -> None:
    ways: list[dict[str, Any]] = [{"url": "redis://127.0.0.1:6379/0"}, {"host": "127.0.0.1"}, {}]
    assert kind(**ways[0]).address == kind(**ways[1]).address
    assert kind(client=redis.Redis("127.0.0.1")).address == kind(**ways[0]).address
    assert kind(host="elsewhere").address != kind(**ways[1]).address
    assert kind(unix_socket_path="/tmp/one").address != kind(unix_socket_path="/tmp/two").address


def test_a_server_that_is_a_replica_for_a_while_is_away_and_who_waits_goes_on_waiting() -> None:
    message: Message[Any] = Message("default", "work")
    with PrivateRedis() as server:
        server.command("REPLICAOF", "127.0.0.1", free_port())
        limiter = ConcurrentRateLimiter(RedisLimits(url=server.url), "key", limit=1)
        with pytest.raises(BrokerConnectionError, match="replica"), limiter.acquire():
            pass
        results = RedisResults(url=server.url)
        with pytest.raises(BrokerConnectionError, match="replica"):
            results.store_result(message, 1)
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(results.get_result(message, block=True, timeout=20_000)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        server.command("REPLICAOF", "NO", "ONE")
        results.store_result(message, 2)
        waiting.join(15)
        results.close()
    assert found == [2]
