"""What one caller wants published, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from ... import changes
from ...errors import BrokerError
from ...events import Event


class Item:
    """One message on its way: to which queue of RabbitMQ's, and whether it got there.

    ``error`` says why not; neither confirmed nor with an error: nobody knows. ``queue_name`` is the work queue of ours,
    None for messages that go elsewhere. ``returns``: how often RabbitMQ sent it back because its queue was missing.
    """

    __slots__ = ("body", "error", "is_confirmed", "is_returned", "properties", "queue_name", "returns", "routing_key")

    is_awaited = True
    """Whether its sender waits for it."""

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
        is_safe: it waits elsewhere, too, and its caller need not: it hears at once as well, and nothing has happened.
        hurries: its caller waits less than others do, also for a connection.
        is_bounded: whether its caller waits until the deadline for a connection, and not longer.
    """

    def __init__(
        self,
        items: Sequence[Item],
        events: Sequence[Event],
        deadline: float,
        patient: bool = True,
        is_safe: bool = False,
        hurries: bool = False,
        is_bounded: bool = True,
    ) -> None:
        self.items = items
        self.events = events
        self.deadline = deadline
        self.patient = patient
        self.waits_while_blocked = patient and not is_safe
        self.hurries = hurries
        self.is_bounded = is_bounded
        self.is_done = False
        self.is_taken = False
        self.is_left = False
        """Whether its sender waits no longer."""
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

    def happened(self) -> Sequence[Event]:
        """Its events, but for those about messages that may never have come to the broker."""
        if not self.patient or all(item.is_confirmed for item in self.items):
            return self.events
        unsent = self._unsent()
        return [event for event in self.events if event.message_id not in unsent]

    def doubted(self) -> Sequence[Event]:
        """What is to be told where births were told of messages that may never have come to the broker."""
        if not self.patient or all(item.is_confirmed for item in self.items):
            return ()
        unsent = self._unsent()
        return [changes.doubted(e) for e in self.events if e.birth is not None and e.message_id in unsent]

    def _unsent(self) -> set[Any]:
        return {item.properties.message_id for item in self.items if not item.is_confirmed}
