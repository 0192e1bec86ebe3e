"""RabbitMQ brokers for tests: each in a namespace of its own, whose queues are gone at the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.errors import BrokerError
from django_tasks_q.unique_holders import get_unique_holders, set_unique_holders
from django_tasks_q.waiting_room import get_waiting_room, set_waiting_room
from tests.support.memory_holders import MemoryHolders
from tests.support.memory_room import MemoryRoom

URL = os.environ.get("DTQ_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")


@contextmanager
def open_broker(kind: str) -> Iterator[RabbitmqBroker]:
    """``rabbitmq``: classic queues with priorities. ``rabbitmq-quorum``: quorum queues."""
    options: dict[str, Any] = {"queue_type": "quorum"} if kind == "rabbitmq-quorum" else {"max_priority": 10}
    with namespaced(**options) as broker, waiting_in_memory(), relaying(broker):
        yield broker


@contextmanager
def namespaced(**options: Any) -> Iterator[RabbitmqBroker]:
    """A broker whose queues nobody else uses."""
    broker = RabbitmqBroker(**{"url": URL, "namespace": f"dtq-test-{uuid4().hex[:12]}", **options})
    made = _watch_declarations(broker)
    try:
        yield broker
    finally:
        broker.close()
        _delete_queues(broker, made)


def _watch_declarations(broker: RabbitmqBroker) -> set[str]:
    """The names of the queues that the broker makes, notes about losses included."""
    made: set[str] = set()
    declare = broker.declare_target

    def noting(connection: Any, name: str, queue_name: str | None) -> None:
        made.add(name)
        declare(connection, name, queue_name)

    broker.declare_target = noting  # type: ignore[method-assign]
    return made


def _delete_queues(broker: RabbitmqBroker, made: set[str]) -> None:
    """Remove every queue that the broker made, and those that others made in its namespace as it would."""
    topology = broker.topology
    names = {
        *made,
        topology.waiting,
        topology.waiting_soon,
        topology.dead_lettered,
        topology.suspects,
        topology.journal,
    }
    names |= {topology.work(name) for name in broker.queues}
    connection = broker.connect("cleans up")
    channel = connection.open_channel()
    for name in names:
        connection.ask(channel.queue_delete, name)
    connection.leave()


@contextmanager
def waiting_in_memory() -> Iterator[MemoryRoom]:
    """Messages wait in this process's memory, where keys are held as well."""
    before, room = get_waiting_room(), MemoryRoom()
    holders_before = get_unique_holders()
    set_waiting_room(room)
    set_unique_holders(MemoryHolders())
    try:
        yield room
    finally:
        set_waiting_room(before)
        set_unique_holders(holders_before)


@contextmanager
def relaying(broker: RabbitmqBroker) -> Iterator[None]:
    """As the keeper does: take in what must wait, and send what is due."""
    is_over = threading.Event()

    def relay() -> None:
        while not is_over.wait(0.02):
            try:
                broker.take_in(1_000)
                broker.release_due(1_000)
            except BrokerError as error:
                broker.logger.warning("The relay stumbled: %s", error)

    thread = threading.Thread(target=relay, name="relay")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
