"""Stores of results of every kind, each empty at first, and gone at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django_tasks_q.results import ResultBackend
from django_tasks_q.results.backends import DatabaseBackend, RedisBackend, StubBackend
from tests.support.redis_brokers import URL, remove_keys

KINDS = ("stub", "default", "postgresql", "mariadb", "redis")


@contextmanager
def open_backend(kind: str) -> Iterator[ResultBackend]:
    """``stub``, ``redis``, or an alias of ``DATABASES`` whose tables are empty."""
    if kind == "stub":
        yield StubBackend()
    elif kind == "redis":
        backend = RedisBackend(url=URL, namespace=f"test-{uuid4().hex[:12]}")
        try:
            yield backend
        finally:
            remove_keys(URL, backend.namespace)
            backend.close()
    else:
        yield DatabaseBackend(using=kind)
