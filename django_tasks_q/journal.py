"""Where a broker keeps its events until the mirror has written them as records.

The mirror reads from the head, writes, commits, and only then trims. It keeps no cursor: where it was killed, the same
events come again, and the guard makes writing them twice harmless.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from .errors import DecodeError
from .events import Event
from .waker import Waker


class Gap(msgspec.Struct, frozen=True):
    """Events that the journal had to drop: how many, and when the oldest and newest of them happened (epoch ms).

    ``queue_names``: whose messages they may have been about; empty when nobody can tell.
    """

    dropped: int
    since: int
    until: int
    queue_names: tuple[str, ...] = ()


def gap_after(gap: Gap | None, told: Gap) -> Gap | None:
    """What is left of a gap when ``told`` is in the records: events that were dropped since then."""
    if gap is None:
        return gap
    left = gap.dropped - told.dropped
    return msgspec.structs.replace(gap, dropped=left, since=told.until) if left > 0 else None


class Stretch(msgspec.Struct, frozen=True):
    """The head of a partition: what was dropped before its events, the events, and the broker's own mark of its end.

    The mirror writes the events after it has written and trimmed the gap.
    """

    events: list[Event] = []
    end: Any = None
    gap: Gap | None = None


class Backlog(msgspec.Struct, frozen=True):
    """What waits in a partition.

    ``fill`` is the used share of its budget, from 0 to 1; ``lag_ms`` how old its oldest event is by the broker's clock,
    0 when there is none; ``gap`` what was dropped and is not in the records yet.
    """

    events: int = 0
    fill: float = 0.0
    lag_ms: int = 0
    gap: Gap | None = None


class Ear(ABC):
    """Hears of events that come into an empty journal. One thread uses it, the one that waits."""

    @abstractmethod
    def listen(self) -> None:
        """Hear of every partition from now on; what is there already, or is left there, is not heard of.

        Called before each look, it costs nothing when nothing has changed. Raises :class:`BrokerConnectionError`.
        """

    @abstractmethod
    def has_rung(self) -> bool:
        """Whether something came since this was asked last, or may have come: then one listens and looks again."""

    @abstractmethod
    def close(self) -> None:
        """Hear nothing more; :meth:`listen` may be called again."""


class Journal(ABC):
    """A broker's events, in partitions that are mirrored independently, each by one mirror at a time.

    What a broker promises:

    - An event is kept together with the change that it tells of, and lasts as long as messages do.
    - All events of one queue are in one partition, where they come in any order; best is the order of the changes.
    - The journal has a budget. From half of it on events are kept :func:`without_arguments`; at its end the oldest are
      dropped, counted as a gap. An event whose bytes cannot be read is a gap too. Work is never refused for it.
    - What was read may be read again by anybody until it is trimmed, and two mirrors at work by mistake do no harm.
    - Each call raises :class:`BrokerConnectionError` when the broker cannot be reached.
    """

    @abstractmethod
    def partitions(self) -> Sequence[str]:
        """The names of the partitions that exist; they are also the names of the mirrors' leases."""

    @abstractmethod
    def read(self, partition: str, limit: int) -> Stretch:
        """The oldest events, at most ``limit`` or else what cannot be divided, up to the next gap among them.

        Reading again returns the same until it is trimmed; nothing is hidden from other readers.
        """

    @abstractmethod
    def trim(self, partition: str, stretch: Stretch) -> None:
        """Forget the events of ``stretch``; nothing else, whatever was dropped meanwhile. Twice is harmless."""

    @abstractmethod
    def trim_gap(self, partition: str, gap: Gap) -> None:
        """Forget a gap that was told; what was dropped since then remains one."""

    @abstractmethod
    def backlog(self, partition: str) -> Backlog:
        """How much waits there, in one cheap question."""

    def ear(self, waker: Waker) -> Ear | None:
        """Something that wakes ``waker`` when a journal was empty and is not any more; None: one has to look."""
        return None

    def close(self) -> None:
        """Stop reading: what was read here and not trimmed is there for others. Reading may begin again."""


def without_arguments(event: Event) -> Event:
    """The event as a journal keeps it that runs out of room: who was born, but not with which arguments.

    The record says that they are not known; an event that still has them fills them in.
    """
    if event.birth is None:
        return event
    birth = msgspec.structs.replace(event.birth, args=None, kwargs=None, options=None)
    return msgspec.structs.replace(event, birth=birth)


# Events as bytes, for journals outside of this process


_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """An event as JSON; arguments that JSON cannot hold are shown by their ``repr``."""
    try:
        return msgspec.json.encode(event)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        return json.dumps(msgspec.to_builtins(_plain(event))).encode("ascii")


def decode(data: bytes) -> Event:
    """The event that :func:`encode` was given. DecodeError for anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_slowly(data)


def _decode_slowly(data: bytes) -> Event:
    """Escaped lone surrogates, which msgspec refuses; anything else fails here as well."""
    try:
        return msgspec.convert(json.loads(data), Event)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"Not an event: {error}", data, error) from error


def _plain(event: Event) -> Event:
    """An event whose arguments are what JSON gives back of them."""
    if event.birth is None:
        return event
    shown = {name: _as_json(getattr(event.birth, name)) for name in ("args", "kwargs", "options")}
    return msgspec.structs.replace(event, birth=msgspec.structs.replace(event.birth, **shown))


def _as_json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=_shown, skipkeys=True))
    except (ValueError, RecursionError):
        return None  # it contains itself: not known is better than nothing at all


def _shown(value: object) -> str:
    try:
        return repr(value)[:2000]
    except Exception as error:
        return f"<its repr raised {type(error).__name__}>"
