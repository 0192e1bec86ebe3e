"""The writing end of the journal: events as messages that say who wrote them, in which order, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING
from uuid import uuid4

from ... import clock
from ...errors import BrokerConnectionError, BrokerError
from ...events import Event
from ...journal import encode, without_arguments
from ...logging import get_logger
from ...recording import is_recorded
from .confirming_channel import ConfirmingChannel
from .connection import Connection, Unanswered
from .untold import Note, Untold

if TYPE_CHECKING:
    from .store import RabbitmqStore

logger = get_logger(__name__)

_LOOK_INTERVAL = 10.0
"""Seconds between two looks at how full the journal is."""

_PATIENCE = 0.5
"""Seconds to wait for such a look; somebody wants to send."""


class JournalWriter:
    """Packs events, and keeps them until RabbitMQ has them. Only who leads the publishing uses it.

    A reader sees by the numbers whether a message of this writer is missing; what was given up here is told with the
    next one.
    """

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker
        self._untold = Untold(uuid4().hex[:16])
        self._mean_size = 600.0
        self._is_half_full = False
        self._look_at = 0.0
        self._has_warned = False

    def declare(self, connection: Connection) -> None:
        """Make sure that there is a journal. Whatever is wrong with it, work goes on."""
        self._look_at = clock.monotonic() + _LOOK_INTERVAL
        try:
            self._note_fill(self._broker.declare_journal(connection, _PATIENCE))
        except Unanswered:
            self._look_at = inf  # until it confirms something: each look that it does not answer keeps a channel
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

    @property
    def has_untold(self) -> bool:
        """Whether there is something that RabbitMQ has not taken yet."""
        return bool(self._untold)

    def pack(self, events: Sequence[Event]) -> Note | None:
        """The events as one message; None when nothing of them is recorded."""
        encoded = self._encoded(events)
        if not encoded:
            return None
        note = Note(self._broker.topology.journal, encoded, clock.wall_ms())
        self._mean_size += (note.size - self._mean_size) * 0.05
        return note

    def _encoded(self, events: Sequence[Event]) -> list[bytes]:
        recorded = [event for event in events if is_recorded(event)]
        if self._is_half_full:
            recorded = [without_arguments(event) for event in recorded]
        return [encode(event) for event in recorded]

    def send(self, channel: ConfirmingChannel, note: Note | None) -> None:
        """Publish ``note``, after what is left of others."""
        self._untold.send(channel, note)

    def conclude(self, note: Note | None, happened: Sequence[Event], doubted: Sequence[Event]) -> None:
        """The round of a note is over: what of it is to be told later.

        Of one that is not confirmed that is what ``happened``, and ``doubted`` once it was published at all.
        """
        if note is None:
            return
        if note.is_confirmed and self._look_at == inf:
            self._look_at = clock.monotonic()
        if not note.is_confirmed:
            note.replace(self._encoded(happened))
            if note.number or note.sequence:
                self._untold.keep(note)
        doubts = self.pack(doubted) if note.sequence else None
        if doubts is not None:
            self._untold.keep(doubts)  # on its own: what was published may still be confirmed, and says nothing of them
