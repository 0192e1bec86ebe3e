"""The seam for who holds which key, where the broker cannot know it.

RabbitMQ does not know which messages it holds, so a key is taken before its message is published. What holding means is
here; the rows are elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from .deliveries import Outgoing


class UniqueHolders(ABC):
    """Keys and their holders. Each call is one transaction, committed when it returns, and raises BrokerConnectionError
    or BrokerNotReady when the store cannot be used.

    What nobody lets go of, because its sender or its worker died, the keeper does, by what is recorded of the message.
    """

    @abstractmethod
    def take(self, outgoing: Sequence[Outgoing], *, caused: bool = False) -> Mapping[str, str]:
        """Take the keys of messages that are to be sent, all of which want one; who holds the others, by their ids.

        A message that holds its key already keeps it; one whose time is over does not.

        Parameters:
            caused: by a settlement, in a thread of the engine's own: nobody is to be told of a conflict.

        Raises:
            DuplicateMessage: a key is held, and who wants it is to be told; none was taken.
        """

    @abstractmethod
    def sent(self, message_ids: Sequence[str]) -> None:
        """The broker has these: their senders need not live any longer."""

    @abstractmethod
    def extend(self, key: str, message_id: str, ttl: int | None) -> None:
        """Let a holder begin its time to live anew (milliseconds; None: it has none)."""

    @abstractmethod
    def release(self, held: Sequence[tuple[str, str]]) -> None:
        """Free keys that are held by these messages: (key, id). What somebody else holds by now stays his."""

    @abstractmethod
    def forget(self, message_ids: Sequence[str]) -> None:
        """Free whatever these messages hold."""

    @abstractmethod
    def holder(self, key: str) -> str | None:
        """The id of who holds a key."""

    @abstractmethod
    def close(self) -> None:
        """Let go of this process's connections."""


_holders: UniqueHolders | None = None


def get_unique_holders() -> UniqueHolders | None:
    """Where it is kept who holds which key; None where there is no database for it."""
    return _holders


def set_unique_holders(holders: UniqueHolders | None) -> None:
    """Say where it is kept; the Django floor does."""
    global _holders
    _holders = holders
