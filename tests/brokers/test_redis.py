"""The Redis broker, and what it promises beyond the common."""

from __future__ import annotations

from tests.brokers.conformance import Conformance


class TestRedis(Conformance):
    broker = "redis"


class TestRedisCluster(Conformance):
    broker = "redis-cluster"
