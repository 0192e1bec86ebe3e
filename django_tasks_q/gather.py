"""Items that are gathered into one run: what an actor declares of that, and the seam for where they are kept.

An item is a row, since most brokers could not keep it: a row can be a part of the caller's transaction. What is sent is
a *collector*, a message of the actor that takes the rows of its key when it starts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .common import MAX_NAME_LENGTH
from .sendable import MAX_DELAY

if TYPE_CHECKING:
    from .broker import Broker

MOST = 10_000
"""Items of one run at most: they are read and handed over together."""

GATHERS = "gathers"
"""The option of a collector: the key whose items it takes."""


class Gather(msgspec.Struct, frozen=True):
    """How the items of an actor are gathered.

    Parameters:
        size: how many items one run gets at most, from 1 to 10,000. When as many wait, they do so no longer.
        wait: milliseconds, or a timedelta, from the first item to the run; at most a year.

    Raises:
        ValueError: one of them is something else.
    """

    size: int
    wait: int | timedelta

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 1 <= self.size <= MOST:
            raise ValueError(f"size is how many items one run gets, from 1 to {MOST}: {self.size!r:.80}")
        if isinstance(self.wait, timedelta):
            msgspec.structs.force_setattr(self, "wait", round(self.wait.total_seconds() * 1000))
        if type(self.wait) is not int or not 0 <= self.wait <= MAX_DELAY:
            raise ValueError(f"wait is milliseconds from 0 on, or a timedelta, up to a year: {self.wait!r:.80}")

    @property
    def wait_ms(self) -> int:
        """``wait`` in milliseconds."""
        assert isinstance(self.wait, int)
        return self.wait


def check_gather(options: Mapping[str, Any]) -> None:
    """Raise ValueError for options of an actor that mean nothing together."""
    gather = options.get("gather")
    if gather is None:
        return
    if not isinstance(gather, Gather):
        raise ValueError(f"gather is Gather(size=…, wait=…): {gather!r:.80}")
    max_age = options.get("max_age")
    if isinstance(max_age, timedelta):
        max_age = max_age.total_seconds() * 1000
    if max_age and max_age <= gather.wait_ms:
        raise ValueError("max_age counts from the first item on: one that is no longer than the wait lets nothing run.")
    if options.get("unique"):
        raise ValueError("An actor with gather is not unique as well: what gathers its items is that already.")


class Collection(NamedTuple):
    """The items of one actor and key, which share runs. ``id``: 32 hexadecimal digits."""

    id: str
    actor_name: str
    key: str


def collection_of(actor_name: str, key: str) -> Collection:
    """ValueError for a key that is no printable text, or too long."""
    if not isinstance(key, str) or len(key) > MAX_NAME_LENGTH or not key.isprintable():
        raise ValueError(f"A key is printable text of up to {MAX_NAME_LENGTH} characters: {key!r:.80}")
    text = f"{actor_name}\0{key}".encode("utf-8", "surrogatepass")
    return Collection(blake2b(text, digest_size=16).hexdigest(), actor_name, key)


class Share(NamedTuple):
    """The items of one message, oldest first. ``is_again``: it had them before; ``leaves_some``: it had none, and there
    are more than it takes."""

    items: list[bytes]
    is_again: bool
    leaves_some: bool


class GatheredItems(ABC):
    """Where items are. All of it raises BrokerConnectionError or BrokerNotReady when that cannot be used."""

    @abstractmethod
    def add(
        self, broker: Broker, collection: Collection, items: Sequence[bytes], committed: Callable[[], object]
    ) -> None:
        """Store items, as a part of the transaction that is open on their database; at once when none is.

        ``committed`` is called when they are there for everybody, at most once for each savepoint; never where nobody
        tells of the end of the transaction.
        """

    @abstractmethod
    def waiting(self, broker: Broker, collection: Collection, most: int) -> int:
        """How many items nobody has taken, counted up to ``most``."""

    @abstractmethod
    def take(self, broker: Broker, collection: Collection, message_id: str, size: int) -> Share:
        """The items that a message has, for it may have been here before; where it has none, up to ``size`` that nobody
        has taken: they are its own from now on, whatever becomes of this attempt."""

    @abstractmethod
    def taken(self, broker: Broker, message_id: str, most: int = MOST) -> list[bytes]:
        """What a message has taken, oldest first; so many of it at most."""

    @abstractmethod
    def count(self, broker: Broker, message_id: str) -> int:
        """How much that is."""

    @abstractmethod
    def forget(self, broker: Broker, message_id: str) -> None:
        """Delete the items of a message: it is done with them."""


_items: GatheredItems | None = None


def get_gathered_items() -> GatheredItems | None:
    """Where items are kept; None where there is no database for them."""
    return _items


def set_gathered_items(items: GatheredItems | None) -> None:
    """Say where items are kept; the Django floor does."""
    global _items
    _items = items
