"""One round of publishing: what several senders want to send, on one connection, with one wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ... import clock
from ...errors import BrokerConnectionError, BrokerError, QueueNotFound
from .confirming_channel import ConfirmingChannel
from .connection import Connection
from .parcel import Item, Parcel

if TYPE_CHECKING:
    from .journal_writer import JournalWriter
    from .store import RabbitmqStore
    from .untold import Note

_EVENTS_PATIENCE = 1.0
"""Seconds to wait when only events are not confirmed yet."""


class Round:
    """Publishes parcels and waits until each is resolved or its sender waits no longer.

    Raises ConnectionClosed when the connection ends in the middle; what is resolved then stays so.
    """

    def __init__(
        self,
        broker: RabbitmqStore,
        connection: Connection,
        channel: ConfirmingChannel,
        journal: JournalWriter,
        batch: Sequence[Parcel],
    ) -> None:
        self._broker = broker
        self._journal = journal
        self._connection = connection
        self._channel = channel
        self._open = [parcel for parcel in batch if not parcel.is_done]

    def run(self, note: Note | None) -> None:
        self._wait_while_blocked()
        if not self._open:
            return
        items = [item for parcel in self._open for item in parcel.items if not item.is_resolved]
        self._declare(items)
        for item in items:
            if item.error is None:
                self._channel.publish(item)
        self._journal.send(self._channel, note)
        self._wait_for_answers()

    def _declare(self, items: Iterable[Item]) -> None:
        """The queues, once for each connection. One that cannot be had is an error of the messages that it is for."""
        for item in items:
            try:
                if item.is_awaited:
                    self._broker.declare_target(self._connection, item.routing_key, item.queue_name)
                else:
                    self._journal.declare(self._connection)
            except BrokerConnectionError:
                raise
            except BrokerError as error:
                item.error = error

    def _wait_while_blocked(self) -> None:
        """Wait until RabbitMQ takes messages again, for those who want to."""
        self._dismiss()
        while self._open and self._connection.blocked:
            self._connection.drive(lambda: not self._connection.blocked, self._first_deadline())
            self._connection.check_open()
            self._dismiss()

    def _wait_for_answers(self) -> None:
        events_until = clock.monotonic() + _EVENTS_PATIENCE
        while self._open:
            is_only_events = all(parcel.is_resolved for parcel in self._open)
            until = min(self._first_deadline(), events_until) if is_only_events else self._first_deadline()
            self._connection.drive(self._something_to_do(is_only_events), until)
            self._send_returned_again()
            self._channel.check_open()
            if self._channel.is_quiet() or (is_only_events and clock.monotonic() >= until):
                self._conclude()
            self._dismiss()
        if self._channel.owes_an_item():
            # Whoever hears that it may not have been sent should be right about that as often as can be.
            self._connection.abort()

    def _something_to_do(self, is_only_events: bool) -> Callable[[], bool]:
        """What ends a wait. When the last item is answered, the wait goes on for events alone, and for less long."""
        connection, channel, was_blocked = self._connection, self._channel, self._connection.blocked
        if is_only_events:
            return lambda: channel.is_quiet() or connection.blocked != was_blocked
        return lambda: not channel.owes_an_item() or not channel.is_open or connection.blocked != was_blocked

    def _send_returned_again(self) -> None:
        """A queue that was deleted is made anew, once, and what came back is published again."""
        returned = self._channel.take_returned()
        for item in returned:
            self._connection.declared.discard(item.routing_key)
            if item.returns > 1:
                item.error = QueueNotFound(f"The queue {item.routing_key} is deleted as soon as it is declared.")
        again = [item for item in returned if item.error is None]
        self._declare(again)
        for item in again:
            if item.error is None:
                self._channel.publish(item)

    def _first_deadline(self) -> float:
        return min(parcel.deadline for parcel in self._open)

    def _conclude(self) -> None:
        """Everything is resolved, or will not be."""
        for parcel in self._open:
            parcel.finish()
        self._open = []

    def _dismiss(self) -> None:
        """Send away who has what he wants, and who waits no longer."""
        now, is_blocked = clock.monotonic(), self._connection.blocked
        for parcel in self._open:
            if is_blocked and parcel.items and parcel.is_resolved:
                parcel.finish()  # its events come when they can
            elif now >= parcel.deadline or (is_blocked and not parcel.waits_while_blocked):
                why = "takes no messages at present (memory or disk alarm)" if is_blocked else "did not answer"
                parcel.finish(BrokerConnectionError(f"RabbitMQ {why}; nobody knows what it has got."))
        self._open = [parcel for parcel in self._open if not parcel.is_done]
