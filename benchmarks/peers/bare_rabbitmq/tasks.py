"""A durable queue, persistent messages with a confirm each, and nothing else."""

import os
from collections.abc import Sequence

import pika

from benchmarks import variables

NAME = os.environ[variables.NAMESPACE]
PAYLOAD = '{{"index": {}, "padding": "' + "x" * 240 + '"}}'
"""As long as a message of the package is."""

connection = pika.BlockingConnection(pika.URLParameters(os.environ[variables.BROKER]))
channel = connection.channel()
queue = channel.queue_declare(NAME, durable=True)
_confirming = connection.channel()
_confirming.confirm_delivery()
_PERSISTENT = pika.BasicProperties(delivery_mode=2)


def send(index: int) -> None:
    _confirming.basic_publish("", NAME, PAYLOAD.format(index).encode(), _PERSISTENT, mandatory=True)


def send_many(indexes: Sequence[int]) -> None:
    """The library's blocking channel confirms one by one; these are not confirmed."""
    for index in indexes:
        channel.basic_publish("", NAME, PAYLOAD.format(index).encode(), _PERSISTENT)


def waiting() -> int:
    return int(channel.queue_declare(NAME, passive=True).method.message_count)
