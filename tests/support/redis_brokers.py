"""Redis brokers for tests: each has a namespace of its own, whose keys are gone afterwards."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from typing import Any
from uuid import uuid4

import redis

from django_tasks_q.broker import Broker
from django_tasks_q.brokers.redis import RedisBroker
from tests.support.private_redis import RedisCluster

URL = os.environ.get("DTQ_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


@contextmanager
def open_broker(kind: str) -> Iterator[Broker]:
    """A broker of that kind: ``redis`` on the shared server, ``redis-cluster`` on a cluster of this process."""
    with redis_broker(URL if kind == "redis" else cluster_url()) as broker:
        yield broker


@contextmanager
def redis_broker(url: str = URL, **options: Any) -> Iterator[RedisBroker]:
    broker = RedisBroker(url=url, namespace=f"test-{uuid4().hex[:12]}", **options)
    try:
        yield broker
    finally:
        broker.close()
        remove_keys(url, broker.keys.namespace)


@contextmanager
def servers(url: str) -> Iterator[list[redis.Redis]]:
    """A client for each server behind a URL."""
    addresses = [url]
    if "+cluster" in url:
        addresses = [node.url for node in _cluster().nodes]
    with ExitStack() as stack:
        yield [stack.enter_context(closing(redis.Redis.from_url(address))) for address in addresses]


def keys_of(broker: RedisBroker, url: str = URL) -> list[str]:
    """The names of everything that a broker keeps."""
    pattern = f"{broker.keys.namespace}:*"
    with servers(url) as clients:
        return sorted(key.decode() for client in clients for key in client.scan_iter(pattern, count=1_000))


def remove_keys(url: str, namespace: str) -> None:
    with servers(url) as clients:
        for client in clients:
            for key in client.scan_iter(f"{namespace}:*", count=1_000):
                client.delete(key)


def cluster_url() -> str:
    """Of a cluster that is started when it is first asked for and ends with this process."""
    return _cluster().url.replace("redis://", "redis+cluster://")


@cache
def _cluster() -> RedisCluster:
    cluster = RedisCluster()
    atexit.register(_entered(cluster).close)
    return cluster


def _entered(cluster: RedisCluster) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(cluster)
    return stack
