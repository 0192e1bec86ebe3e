"""What every part of the RabbitMQ broker stands on: its connections, and the queues that it declares."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Any

from pika.connection import Parameters

from ...actor import Actor
from ...broker import Broker
from ...errors import ConnectionFailed
from . import heartbeats, topology
from .connection import Connection
from .journal import RabbitmqJournal
from .lines import OwnLines
from .parameters import address
from .publisher import Publisher
from .reader import Reader
from .settling import Dispatch
from .waiting import Passage

if TYPE_CHECKING:
    from ...middleware import Middleware


class RabbitmqStore(Broker):
    """Connections and queues. ``addresses``: of the nodes, as pika's parameters."""

    delivery_timeout: int | None

    def __init__(
        self,
        addresses: Sequence[Parameters],
        middleware: Iterable[Middleware] | None,
        queues: topology.Topology,
    ) -> None:
        self._addresses = list(addresses)
        self.topology = queues
        self._levels: dict[str, int] = {}
        self.lines = OwnLines(self)
        super().__init__(middleware)
        self.dispatch = Dispatch(self)
        self.passage = Passage(self)

    @property
    def address(self) -> str:
        return address(self._addresses)

    # Connections

    @property
    def publisher(self) -> Publisher:
        return self.lines.get().publisher

    @property
    def reader(self) -> Reader:
        return self.lines.get().reader

    @property
    def journal(self) -> RabbitmqJournal:
        return self.lines.get().journal

    def connect(self, purpose: str, *, holds: bool = False, within: float = inf) -> Connection:
        """A new connection to one of the nodes, within ``send_timeout``, or so many seconds. Raises ConnectionFailed.

        ``holds``: messages, which others must have within a lease when this process is cut off.
        """
        usual = self.send_timeout / 1000 / len(self._addresses)
        seconds = min(usual, within / len(self._addresses))
        error = ConnectionFailed()
        for parameters in random.sample(self._addresses, len(self._addresses)):
            if holds:
                parameters = self._with_heartbeat(parameters)
            try:
                connection = Connection(
                    parameters, seconds, f"{self.topology.namespace} {purpose}, process {os.getpid()}"
                )
            except ConnectionFailed as failure:
                error = failure
            else:
                connection.timeout = usual  # it may serve others, who have more time
                return connection
        raise error

    def _with_heartbeat(self, parameters: Parameters) -> Parameters:
        beating = copy(parameters)
        beating.heartbeat = heartbeats.seconds(self.lease, alone=parameters.ssl_options is not None)
        return beating

    # Queues

    def _open_queue(self, queue_name: str) -> Any:
        self.topology.check_name(queue_name)
        return None

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        super().declare_actor(actor)
        self._levels.clear()

    def levels(self, queue_name: str) -> int:
        """How many priority levels a queue has; 0: none."""
        if queue_name not in self._levels:
            self._levels[queue_name] = self.topology.levels(self, queue_name)
        return self._levels[queue_name]

    def declare_target(self, connection: Connection, name: str, queue_name: str | None) -> None:
        """Make sure that a queue of RabbitMQ's is there, once for each connection.

        ``queue_name`` is ours when it carries work. Raises QueueMismatch when it is there with other arguments.
        """
        if name in connection.declared:
            return
        if queue_name is not None:
            self.declare_target(connection, self.topology.dead_lettered, None)
            arguments = self.topology.arguments(connection, self.levels(queue_name))
        elif self.topology.is_for_notes(name):
            arguments = self.topology.short_lived()
        else:
            arguments = self.topology.plain(connection)
        topology.declare(connection, name, arguments)
        connection.declared.add(name)

    def declare_journal(self, connection: Connection, seconds: float | None = None) -> int:
        """Make sure that there is a journal; how many messages it holds. Raises QueueMismatch when it is another, and
        Unanswered when it does not say so within ``seconds``."""
        arguments = self.topology.budgeted(connection, self.journal_max_bytes)
        return topology.declare(connection, self.topology.journal, arguments, seconds=seconds)
