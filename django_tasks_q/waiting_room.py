"""The seam for messages that wait outside of their broker, because it can neither hold them back nor show them.

RabbitMQ's delayed, retrying, parked and dead messages do. What waiting means is here; the rows are elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

WaitingKind = Literal["delay", "retry", "parked", "dead"]


class Kept(msgspec.Struct, frozen=True):
    """A message that waits, whole, with its counters; (message id, life, number) tells it from its earlier waits.

    Parameters:
        due_at: epoch milliseconds of the sender's or worker's clock; None for a dead letter, which waits for somebody.
        number: how often it was claimed so far.
        enqueued_at: when it was sent, in epoch milliseconds.
        since: when it began to wait (a dead letter: when it died), in epoch milliseconds.
        reason: why it died.
    """

    message_id: str
    queue_name: str
    payload: bytes
    kind: WaitingKind
    due_at: int | None = None
    priority: int = 0
    life: int = 0
    number: int = 0
    retries: int = 0
    lost: int = 0
    enqueued_at: int = 0
    since: int = 0
    reason: str = ""
    record: bool = True


class Waiting(NamedTuple):
    """How many messages of a queue wait in the room."""

    delayed: int = 0
    dead: int = 0


class WaitingRoom(ABC):
    """Keeps messages for a broker that cannot.

    Who publishes what was claimed removes it afterwards; until then nobody else gets it for :attr:`claim` seconds. What
    its publisher left behind, because it died or the broker was away, is due again after that: everything here is sent
    at least once. Each call is one transaction for every thousand messages, committed when it returns, and raises
    BrokerConnectionError or BrokerNotReady when the store cannot be used.
    """

    claim: float = 15.0

    @abstractmethod
    def keep(self, items: Sequence[Kept]) -> None:
        """Take messages in. Those that are here already are left out, so it may be repeated."""

    @abstractmethod
    def claim_due(self, limit: int) -> list[Kept]:
        """Up to ``limit`` messages whose time has come, the longest due first."""

    @abstractmethod
    def claim_parked(self, mark: str, queue_name: str, limit: int) -> list[Kept]:
        """Up to ``limit`` messages of a queue that are parked with this mark, which is their reason; in line."""

    @abstractmethod
    def remove(self, items: Sequence[Kept]) -> None:
        """The broker has these."""

    @abstractmethod
    def give_up(self, items: Sequence[Kept]) -> None:
        """Leave what was claimed to whoever comes first."""

    @abstractmethod
    def next_due_in(self) -> int | None:
        """Milliseconds until the next message is due, 0 when one is; None when none will be."""

    @abstractmethod
    def revive(self, message_ids: Sequence[str]) -> list[Kept]:
        """Dead letters that begin a new life: claimed, their life one more, their attempts and losses forgotten."""

    @abstractmethod
    def replace(self, message_id: str, item: Kept) -> Kept | None:
        """Discard a dead letter and claim ``item`` in its place; the letter, None when there was none.

        An item with a time waits for it instead of being claimed. DuplicateMessage when the item waits here already.
        """

    @abstractmethod
    def postpone(self, message_id: str, due_at: int) -> bool:
        """Have a message that waits here, and that nobody is publishing, wait until another time (epoch milliseconds);
        False when there is none. A dead letter waits for nothing."""

    @abstractmethod
    def discard(self, message_ids: Sequence[str]) -> list[Kept]:
        """Forget these messages, delayed or dead; those that were here and that nobody is publishing."""

    @abstractmethod
    def empty(self, queue_name: str, limit: int) -> list[Kept]:
        """Forget up to ``limit`` messages of a queue; which they were."""

    @abstractmethod
    def expire(self, ttl: int, limit: int) -> list[Kept]:
        """Forget up to ``limit`` dead letters that died more than ``ttl`` milliseconds ago; which they were."""

    @abstractmethod
    def look_up(self, message_ids: Sequence[str]) -> list[Kept]:
        """The messages of these ids that are here."""

    @abstractmethod
    def peek(self, queue_name: str, state: Literal["delayed", "dead"], limit: int) -> list[Kept]:
        """The first messages of a queue, by when they are due, dead ones by when they died."""

    @abstractmethod
    def counts(self) -> Mapping[str, Waiting]:
        """How many messages wait, by queue."""


_waiting_room: WaitingRoom | None = None


def get_waiting_room() -> WaitingRoom | None:
    """The waiting room of this process; None where there is no database for one."""
    return _waiting_room


def set_waiting_room(room: WaitingRoom | None) -> None:
    """Say where messages wait; the Django floor does."""
    global _waiting_room
    _waiting_room = room
