"""What can be known of messages that RabbitMQ does not show: that their queue has been empty since."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ... import clock

if TYPE_CHECKING:
    from .store import RabbitmqStore

LOOK_INTERVAL = 120.0
"""Seconds after its ``consumer_timeout`` within which RabbitMQ surely takes a message back: it looks once a minute."""

SKEW = 300_000
"""Milliseconds that a sender's clock may be behind the one here."""


class Ebb:
    """Remembers when queues were seen empty.

    A message that is not ready then is with a worker or nowhere; and the worker has to settle it within RabbitMQ's
    ``consumer_timeout``, or it is given to others. So when that has passed, whoever sent it should have heard.
    Nothing is remembered by the server, and it is not asked for what is with workers, because AMQP does not tell.
    """

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker
        self._empty: dict[str, deque[tuple[float, int]]] = {}
        self._drained: dict[str, int] = {}

    def look(self) -> Mapping[str, int]:
        """See :meth:`Broker.drained_until`. One look at each queue."""
        timeout = self._broker.delivery_timeout
        if timeout is None:  # whoever has got a message may keep it for ever
            return {}
        seconds, now = clock.monotonic(), clock.wall_ms()
        if self._nobody_is_on_the_way():
            for name in list(self._broker.queues):
                if not self._broker.reader.ready(self._broker.topology.work(name)):
                    self._empty.setdefault(name, deque()).append((seconds, now - SKEW))
        self._ripen(seconds - timeout / 1000 - LOOK_INTERVAL)
        return self._drained

    def _nobody_is_on_the_way(self) -> bool:
        """Whether nothing is in the queues that are beside the work."""
        topology = self._broker.topology
        aside = (topology.waiting, topology.waiting_soon, topology.suspects, topology.dead_lettered)
        return not any(map(self._broker.reader.ready, aside))

    def _ripen(self, until: float) -> None:
        """What was seen until then (monotonic) counts."""
        for name, seen in self._empty.items():
            while seen and seen[0][0] <= until:
                self._drained[name] = seen.popleft()[1]
