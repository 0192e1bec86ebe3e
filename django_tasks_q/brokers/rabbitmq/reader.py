"""Looking into queues and taking messages out of them, beside the work: on a connection that never publishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import clock
from .connection import Connection
from .topology import ready

if TYPE_CHECKING:
    from .store import RabbitmqStore

_PATIENCE = 1.0
"""Seconds to wait for messages that RabbitMQ says are there; another reader may have them by now."""


class Taken(NamedTuple):
    """A message out of a queue."""

    tag: int
    properties: Any
    body: bytes
    redelivered: bool


class Reader:
    """The reading connection of a process; any thread may use it."""

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker
        self._use = RLock()
        self._connection: Connection | None = None

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """The connection, for one thread at a time."""
        with self._use:
            yield self._open()

    def _open(self) -> Connection:
        connection = self._connection
        if connection is not None:
            connection.breathe()
            if connection.is_open:
                return connection
            connection.abort()
        self._connection = self._broker.connect("looks", holds=True)
        return self._connection

    def breathe(self) -> None:
        """Show that this process lives, unless a thread is at it anyway."""
        if self._use.acquire(blocking=False):
            try:
                if self._connection is not None:
                    self._connection.breathe()
            finally:
                self._use.release()

    def ready(self, name: str) -> int | None:
        """How many messages are ready in a queue of RabbitMQ's; None when it is missing."""
        with self.connected() as connection:
            return ready(connection, name)

    @contextmanager
    def taking(self, name: str, limit: int, *, for_good: bool = True) -> Iterator[list[Taken]]:
        """Take up to ``limit`` messages out of a queue.

        They are gone when the block ends well and ``for_good``; otherwise they are given back.
        """
        with self.connected() as connection:
            number = min(limit, ready(connection, name) or 0)
            if number <= 0:
                yield []
                return
            channel = connection.open_channel()
            try:
                taken = _take(connection, channel, name, number)
                yield taken
                if for_good and taken and channel.is_open:
                    channel.basic_ack(taken[-1].tag, multiple=True)
            finally:
                if connection.is_open:
                    connection.close_channel(channel)

    def forget(self) -> None:
        """This is a child process now, and the connection its parent's."""
        if self._connection is not None:
            self._connection.forget()

    def close(self) -> None:
        with self._use:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.leave()


def _take(connection: Connection, channel: Any, name: str, number: int) -> list[Taken]:
    taken: list[Taken] = []

    def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        taken.append(Taken(method.delivery_tag, properties, body, method.redelivered))

    connection.ask(channel.basic_qos, prefetch_count=number)
    answer = connection.ask(channel.basic_consume, name, take)
    connection.drive(lambda: len(taken) >= number or not channel.is_open, clock.monotonic() + _PATIENCE)
    if channel.is_open:
        connection.ask(channel.basic_cancel, answer.method.consumer_tag)
    return taken
