"""A list, and nothing else."""

import os
from collections.abc import Sequence

import redis

from benchmarks import variables

NAME = os.environ[variables.NAMESPACE]
PAYLOAD = '{{"index": {}, "padding": "' + "x" * 240 + '"}}'
"""As long as a message of the package is."""

client = redis.Redis.from_url(os.environ[variables.BROKER])


def send(index: int) -> None:
    client.rpush(NAME, PAYLOAD.format(index))


def send_many(indexes: Sequence[int]) -> None:
    client.rpush(NAME, *map(PAYLOAD.format, indexes))


def waiting() -> int:
    return client.llen(NAME)
