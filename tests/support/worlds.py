"""Worlds for trees of worker processes: messages on a server, in a namespace of their own, and records in a database.

A world is asked what a store is asked. Mostly the records answer, which the keepers of the trees write: ask again until
they do.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pika
import redis
from django.utils.module_loading import import_string

from django_tasks_q import Broker, Message
from django_tasks_q.configured.addresses import BROKERS
from django_tasks_q.unique_holders import get_unique_holders, set_unique_holders
from django_tasks_q.waiting import DatabaseUniqueHolders, DatabaseWaitingRoom
from django_tasks_q.waiting_room import get_waiting_room, set_waiting_room
from tests.support.stores import RECORDS, Store

SERVERS: Mapping[str, str] = {
    "redis": os.environ.get("DTQ_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "rabbitmq": os.environ.get("DTQ_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/"),
}

A_MINUTE = 60_000

WORKERS = "django_tasks_q_workerprocess"
FINAL = ("succeeded", "dead", "skipped", "revoked", "discarded")

_QUEUES_OF_RABBITMQ = ("default", "high", "low", "waiting", "XQ", "suspects", "journal")

_numbers = itertools.count(1)


class World(Store):
    """A store whose messages are on a server.

    Parameters:
        records: where the records are.
        kind: of the broker, a key of :data:`SERVERS`.
        server: the URL of a server of the test's own; None for the shared one.
        options: ``BROKER_OPTIONS``.
    """

    def __init__(self, records: Store, kind: str, server: str | None = None, **options: Any) -> None:
        super().__init__(records.name)
        self.records = records
        self.kind = kind
        self.server = server or SERVERS[kind]
        self._is_shared = server is None
        self._options = options
        self.vendor, self.url = records.vendor, records.url
        self.namespace = f"dtq-worlds-{os.getpid()}-{next(_numbers)}"
        self.settings = {"BROKER_URL": self.server, "NAMESPACE": self.namespace, "BROKER_OPTIONS": options}
        self.sent: list[str] = []
        self._server: Broker | None = None
        self._room_before = get_waiting_room()
        self._holders_before = get_unique_holders()

    @property
    def broker(self) -> Broker:  # type: ignore[override]
        """A broker in this process, to send with."""
        if self._server is None:
            make = import_string(BROKERS[self.server.partition(":")[0]])
            set_waiting_room(DatabaseWaitingRoom(self.alias))
            set_unique_holders(DatabaseUniqueHolders(self.alias))
            self._server = make(self.server, None, namespace=self.namespace, **self._options)
            self._server.declare_queue("default")
        return self._server

    @property
    def alias(self) -> str:
        return self.records.alias

    @property
    def _config(self) -> dict[str, Any]:
        return self.records._config

    def send(self, messages: Iterable[Message[Any]]) -> list[str]:
        """However short of time other senders on this broker are: what a test begins with arrives."""
        before, self.broker.send_timeout = self.broker.send_timeout, A_MINUTE
        try:
            sent = super().send(messages)
        finally:
            self.broker.send_timeout = before
        self.sent += sent
        return sent

    def close(self) -> None:
        """Nothing of this world is left on a shared server."""
        if self._server is not None:
            self._server.close()
            set_waiting_room(self._room_before)
            set_unique_holders(self._holders_before)
        if self._is_shared:
            _FORGET[self.kind](self.server, self.namespace)
        self.records.close()

    # Looking

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.records.rows(sql, params)

    def unfinished(self) -> int:
        """Messages that were sent or caused and are not at their end yet, by the records or by the broker."""
        states = self.states()
        # What was refused and never came stays unknown; what was acknowledged may not.
        refused = {message_id for message_id, state in states.items() if state == "unknown"} - set(self.sent)
        ended = len(refused) + sum(state in FINAL for state in states.values())
        unknown = sum(message_id not in states for message_id in self.sent)
        return max(len(states) - ended + unknown, self.held())

    def held(self) -> int:
        """Messages that the broker knows to wait or to be in flight."""
        return sum(count.ready + count.in_flight + count.delayed for count in self.broker.counts())

    def in_flight(self) -> list[str]:
        """What a worker is known to have been running for longer than a moment."""
        return [row[0] for row in self.rows(f"SELECT message_id FROM {RECORDS} WHERE state = 'running'")]

    def dead(self) -> dict[str, str]:
        return dict(self.rows(f"SELECT message_id, dead_reason FROM {RECORDS} WHERE state = 'dead'"))

    def leases(self) -> list[str]:
        """The workers that a keeper tells of, at most two seconds ago."""
        return [row[0] for row in self.rows(f"SELECT worker_id FROM {WORKERS}")]


def _forget_redis(url: str, namespace: str) -> None:
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{namespace}:*", count=1_000):
            client.delete(key)


def _forget_rabbitmq(url: str, namespace: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for name in _QUEUES_OF_RABBITMQ:
        channel.queue_delete(f"{namespace}.{name}")
    connection.close()


_FORGET: Mapping[str, Callable[[str, str], None]] = {"redis": _forget_redis, "rabbitmq": _forget_rabbitmq}
