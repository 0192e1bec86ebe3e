"""Rate limits in Redis for tests: each backend has a namespace of its own, whose keys are gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django_tasks_q.rate_limits.backends import RedisBackend
from tests.support.redis_brokers import URL, cluster_url, remove_keys


@contextmanager
def redis_limits(kind: str = "redis") -> Iterator[RedisBackend]:
    """A backend on the shared server, or for ``redis-cluster`` on a cluster of this process."""
    url = URL if kind == "redis" else cluster_url()
    backend = RedisBackend(url=url, namespace=f"test-{uuid4().hex[:12]}-limits")
    try:
        yield backend
    finally:
        remove_keys(url, backend.namespace)
        backend.close()
