"""What one caller wants published, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from ...errors import BrokerError
from ...events import Event


class Item:
    """One message on its way: to which queue of RabbitMQ's, and whether it got there.

    ``error`` says why not; neither confirmed nor with an error: nobody knows. ``queue_name`` is the work queue of ours,
    None for messages that go elsewhere. ``returns``: how often RabbitMQ sent it back because its queue was missing.
    """

    __slots__ = ("body", "error", "is_confirmed", "is_returned", "properties", "queue_name", "returns", "routing_key")

    def __init__(self, routing_key: str, properties: Any, body: bytes, queue_name: str | None = None) -> None:
        self.routing_key = routing_key
        self.properties = properties
        self.body = body
        self.queue_name = queue_name
        self.is_confirmed = False
        self.is_returned = False
        self.returns = 0
        self.error: BrokerError | None = None

    @property
    def is_resolved(self) -> bool:
        return self.is_confirmed or self.error is not None


class Parcel:
    """Items that one caller waits for together, and the events that go with them.

    Parameters:
        deadline: when the caller stops waiting, on the monotonic clock.
        patient: whether it waits while RabbitMQ takes no messages; else it hears so at once, and what its events tell
            of happens all the same.
    """

    def __init__(self, items: Sequence[Item], events: Sequence[Event], deadline: float, patient: bool = True) -> None:
        self.items = items
        self.events = events
        self.deadline = deadline
        self.patient = patient
        self.is_done = False
        self.is_taken = False
        self.error: BrokerError | None = None
        self._signal = Lock()
        self._signal.acquire()

    def wait(self, seconds: float) -> None:
        """Wait until the parcel is done, or it is its sender's turn to lead; at most so long."""
        self._signal.acquire(timeout=max(0.0, seconds))

    def tell(self) -> None:
        """End the wait."""
        try:
            self._signal.release()
        except RuntimeError:
            pass  # told already

    def finish(self, error: BrokerError | None = None) -> None:
        """Nothing more will become of it; ``error`` is for the items of which nobody knows."""
        self.error = error
        self.is_done = True
        self.tell()

    @property
    def is_resolved(self) -> bool:
        """Whether the broker has answered for every item."""
        return all(item.is_resolved for item in self.items)
