"""The task that does nothing but say when it started."""

import logging
import os
from collections.abc import Sequence

import dramatiq
from dramatiq.broker import Broker

from benchmarks import variables
from benchmarks.slots import Slots

URL, NAME = os.environ[variables.BROKER], os.environ[variables.NAMESPACE]

logging.disable(logging.WARNING)


def make_broker() -> Broker:
    if URL.startswith("redis"):
        from dramatiq.brokers.redis import RedisBroker

        return RedisBroker(url=URL, namespace=NAME)
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    return RabbitmqBroker(url=URL)


broker = make_broker()
dramatiq.set_broker(broker)
SLOTS = Slots.from_environment()


@dramatiq.actor(queue_name=NAME)
def noop(index: int) -> None:
    SLOTS.mark(index)


def send(index: int) -> None:
    noop.send(index)


def send_many(indexes: Sequence[int]) -> None:
    """It has no way to send many at once."""
    for index in indexes:
        noop.send(index)


def waiting() -> int:
    if URL.startswith("redis"):
        # Ready ones, and those that a worker has fetched and not acknowledged.
        messages, acks = f"{NAME}:{NAME}.msgs", f"{NAME}:__acks__.*"
        fetched = sum(broker.client.scard(key) for key in broker.client.scan_iter(match=acks))
        return max(broker.client.hlen(messages), fetched)
    return broker.get_queue_message_counts(NAME)[0]
