"""Messages on their way to the scripts, and the store's clock as this process knows it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ... import changes, clock
from ...deliveries import Outgoing
from ...events import Event
from ...journal import encode, without_arguments
from ...recording import is_recorded


class StoreClock:
    """The store's time without asking for it: every answer says how far this machine's clock is from it."""

    def __init__(self) -> None:
        self._ahead: int | None = None

    @property
    def is_known(self) -> bool:
        return self._ahead is not None

    def now(self) -> int:
        """Epoch milliseconds."""
        return self.at(clock.wall_ms())

    def at(self, wall_ms: int) -> int:
        """What the store's clock said when this machine's said that."""
        return wall_ms + (self._ahead or 0)

    def set(self, now: int) -> None:
        self._ahead = now - clock.wall_ms()


class Journalist:
    """Makes events into what the scripts append to the journals: nothing where nothing is recorded.

    A queue is short of room while its journal is over half of its budget: then its events carry no arguments.
    """

    def __init__(self) -> None:
        self._short_of_room: set[str] = set()

    def heard(self, queue_name: str, is_short: bool) -> None:
        """What the last answer said of a queue's journal."""
        if is_short:
            self._short_of_room.add(queue_name)
        elif queue_name in self._short_of_room:
            self._short_of_room.discard(queue_name)

    def write(self, queue_name: str, event: Event) -> bytes:
        if not is_recorded(event):
            return b""
        return encode(without_arguments(event) if queue_name in self._short_of_room else event)


class Packer:
    """Makes messages into arguments of ``store.lua``."""

    def __init__(self, store_clock: StoreClock, journalist: Journalist) -> None:
        self.clock = store_clock
        self._journalist = journalist

    def pack(self, item: Outgoing, mode: bytes) -> tuple[bytes, ...]:
        message = item.message
        event = changes.created(item, self.clock.now())
        when, time = _when(item, event)
        told = msgspec.structs.replace(event, life=0)  # the script knows which it is
        return (
            message.message_id.encode(),
            b"%d" % item.priority,
            when,
            time,
            b"1" if item.record else b"0",
            self._mode(item, mode),
            item.payload,
            self._journalist.write(message.queue_name, told),
        )

    def _mode(self, item: Outgoing, mode: bytes) -> bytes:
        if item.unique is not None:
            unique = item.unique
            how = self._mode(msgspec.structs.replace(item, unique=None), mode)
            return b"%b %b %d %b" % (how, unique.key.encode(), unique.ttl or 0, unique.on_conflict.encode())
        if item.life:
            return b"revive:%d" % item.life
        return mode if item.sent_since is None else self.again(self.clock.at(item.sent_since))

    @staticmethod
    def again(since: int) -> bytes:
        """The mode of what may have been sent since a time of the store."""
        return b"repeat:%d" % since

    def pack_all(self, items: Iterable[Outgoing], mode: bytes) -> list[bytes]:
        return [part for item in items for part in self.pack(item, mode)]


def _when(item: Outgoing, event: Event) -> tuple[bytes, bytes]:
    """When it is due, so that a message whose creation says "delayed" is delayed, and none runs before its time."""
    if event.eta is not None:
        return (b"+", b"%d" % item.delay) if item.delay is not None else (b"=", b"%d" % event.eta)
    return (b"?", b"%d" % item.eta) if item.delay is None and item.eta is not None else (b"", b"")
