"""Redis and RabbitMQ as the measured engines find them: the servers of the tests, and names of their own in there."""

from __future__ import annotations

import os
from collections.abc import Callable

REDIS_URL = os.environ.get("DTQ_TEST_REDIS_URL") or "redis://127.0.0.1:6379/0"
AMQP_URL = os.environ.get("DTQ_TEST_AMQP_URL") or "amqp://guest:guest@127.0.0.1:5672/"

URLS = {"redis": REDIS_URL, "rabbitmq": AMQP_URL}

QUEUES = ("{}", "{}.DQ", "{}.XQ", "{}.default", "{}.waiting", "{}.journal", "{}.suspects")
"""What the engines call their queues in RabbitMQ, for a namespace."""


def clear_redis(namespace: str) -> None:
    import redis

    with redis.Redis.from_url(REDIS_URL) as client:
        keys = list(client.scan_iter(match=f"*{namespace}*", count=10_000))
        for start in range(0, len(keys), 1_000):
            client.unlink(*keys[start : start + 1_000])


def clear_rabbitmq(namespace: str) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
    channel = connection.channel()
    for name in QUEUES:
        channel.queue_delete(name.format(namespace))
    connection.close()


CLEAR: dict[str, Callable[[str], None]] = {"redis": clear_redis, "rabbitmq": clear_rabbitmq}
"""By broker: forget everything of a namespace."""
