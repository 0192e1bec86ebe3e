"""One queue of the stub broker, as tests look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...common import dq_name, q_name

if TYPE_CHECKING:
    from .broker import StubBroker


class StubQueues(dict[str, "StubQueue"]):
    """Queues by name. By Dramatiq's name of a queue's delay queue, what is delayed in it can be looked at."""

    def __missing__(self, name: str) -> StubQueue:
        queue = self.get(q_name(name))
        if queue is None or name != dq_name(name):
            raise KeyError(name)
        return DelayQueue(queue.broker, queue.name)


class StubQueue:
    """What waits in a queue and may run now; the values of ``StubBroker.queues``."""

    def __init__(self, broker: StubBroker, name: str) -> None:
        self.broker = broker
        self.name = name

    def qsize(self) -> int:
        """How many messages are ready."""
        return sum(counts.ready for counts in self.broker.counts() if counts.queue_name == self.name)

    def empty(self) -> bool:
        """Whether none is."""
        return self.qsize() == 0

    def __repr__(self) -> str:
        return f"<StubQueue {self.name!r}: {self.qsize()} ready>"


class DelayQueue(StubQueue):
    """What is delayed in a queue."""

    def qsize(self) -> int:
        """How many messages are delayed."""
        return sum(counts.delayed for counts in self.broker.counts() if counts.queue_name == self.name)

    def __repr__(self) -> str:
        return f"<DelayQueue {self.name!r}: {self.qsize()} delayed>"
