"""The writing end of the journal: events as messages that say who wrote them and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pika import BasicProperties

from ... import clock
from ...errors import BrokerConnectionError, BrokerError
from ...events import Event
from ...journal import encode, without_arguments
from ...logging import get_logger
from ...recording import is_recorded
from .connection import Connection

if TYPE_CHECKING:
    from .broker import RabbitmqBroker

logger = get_logger(__name__)

WRITER, SEQUENCE, AT, EVENTS = "x-dtq-writer", "x-dtq-sequence", "x-dtq-at", "x-dtq-events"

_LOOK_INTERVAL = 10.0
"""Seconds between two looks at how full the journal is."""

_OVERHEAD = 250
"""Bytes that a message of the journal takes beside its events."""


class Note:
    """One message of the journal."""

    __slots__ = ("body", "is_sent", "properties")

    def __init__(self, body: bytes, properties: Any) -> None:
        self.body = body
        self.properties = properties
        self.is_sent = False


class JournalWriter:
    """Packs events. Only who leads the publishing uses it.

    A reader sees by the numbers whether a message of this writer is missing.
    """

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = broker
        self._name = uuid4().hex[:16]
        self._sequence = 0
        self._mean_size = 600.0
        self._is_half_full = False
        self._look_at = 0.0
        self._has_warned = False

    def declare(self, connection: Connection) -> None:
        """Make sure that there is a journal. Whatever is wrong with it, work goes on."""
        self._look_at = clock.monotonic() + _LOOK_INTERVAL
        try:
            self._note_fill(self._broker.declare_journal(connection))
        except BrokerConnectionError:
            connection.check_open()
        except BrokerError as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning("The journal stays as it is: %s", error)

    def look(self, connection: Connection) -> None:
        """See now and then how full the journal is, and that it is there."""
        if clock.monotonic() >= self._look_at and not connection.blocked:
            self.declare(connection)

    def _note_fill(self, messages: int) -> None:
        self._is_half_full = messages * self._mean_size > self._broker.journal_max_bytes / 2

    def pack(self, events: Sequence[Event]) -> Note | None:
        """The events as one message; None when nothing of them is recorded."""
        recorded = [event for event in events if is_recorded(event)]
        if not recorded:
            return None
        if self._is_half_full:
            recorded = [without_arguments(event) for event in recorded]
        self._sequence += 1
        body = b"[" + b",".join([encode(event) for event in recorded]) + b"]"
        self._mean_size += (len(body) + _OVERHEAD - self._mean_size) * 0.05
        headers = {WRITER: self._name, SEQUENCE: self._sequence, AT: clock.wall_ms(), EVENTS: len(recorded)}
        return Note(body, BasicProperties(delivery_mode=2, headers=headers))

    def skip(self, number: int) -> None:
        """So many messages could not be written; whoever reads sees that they are missing."""
        self._sequence += number

    def take_back(self) -> None:
        """The last message was not sent and need not have been: the next one gets its number."""
        self._sequence -= 1
