"""Redis servers of a test's own: to be killed, suspended, filled and started again. Needs Redis 7."""

from tests.support.private_redis.cluster import RedisCluster
from tests.support.private_redis.sentinels import RedisSentinels
from tests.support.private_redis.server import PrivateRedis

__all__ = ["PrivateRedis", "RedisCluster", "RedisSentinels"]
