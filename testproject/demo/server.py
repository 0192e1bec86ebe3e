"""What earlier demos left on a server of messages: removed before a demo begins with an empty database.

It would come back as messages about books that are not there any more. Nothing but the demo's own namespace is touched.
"""

from urllib.parse import urlsplit

QUEUES = ("waiting", "XQ", "suspects", "journal")
"""The engine's own at RabbitMQ, beside those that actors use."""


def forget(url: str, namespace: str) -> None:
    """Remove everything of a namespace from one Redis or RabbitMQ.

    Of a Redis Cluster or behind sentinels nothing is removed. A database has nothing to forget: it is the demo's own.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("redis", "rediss"):
        _forget_redis(url, namespace)
    elif scheme in ("amqp", "amqps"):
        _forget_rabbitmq(url.partition(";")[0], namespace)


def _forget_redis(url: str, namespace: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{namespace}:*", count=1_000):
            client.unlink(key)


def _forget_rabbitmq(url: str, namespace: str) -> None:
    import pika

    from django_tasks_q import get_broker

    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        for name in {*QUEUES, *get_broker().queues}:
            channel.queue_delete(f"{namespace}.{name}")
    finally:
        connection.close()
