"""The way into the waiting room and out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ... import changes, clock
from ...deliveries import Settlement
from ...errors import BrokerError, BrokerNotReady
from ...events import Event
from ...outcomes import Dead
from ...states import State
from ...waiting_room import Kept, WaitingRoom, get_waiting_room
from . import headers
from .reader import Taken

if TYPE_CHECKING:
    from .store import RabbitmqStore


def require_room() -> WaitingRoom:
    """The waiting room. BrokerNotReady where there is none."""
    room = get_waiting_room()
    if room is None:
        raise BrokerNotReady(
            "RabbitMQ cannot hold messages back, and there is no database to keep them: delays, retries and dead "
            "letters need 'django_tasks_q' in INSTALLED_APPS and `manage.py migrate`."
        )
    return room


class Passage:
    """Moves messages between queues and the waiting room. Whatever is interrupted happens again, and only then."""

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker

    def take_in(self, limit: int) -> int:
        """Move up to ``limit`` messages out of each queue into the room, those that are due soon first; how many."""
        self._broker.publisher.catch_up()
        topology = self._broker.topology
        room = require_room()
        lines = (
            (topology.waiting_soon, self._kept),
            (topology.waiting, self._kept),
            (topology.dead_lettered, self._dead),
        )
        return sum(self._take_in(name, limit, room, keep) for name, keep in lines)

    def _take_in(self, name: str, limit: int, room: WaitingRoom, keep: Callable[[Sequence[Taken]], list[Kept]]) -> int:
        with self._broker.reader.taking(name, limit) as taken:
            if taken:
                room.keep(keep(taken))
            return len(taken)

    def _kept(self, taken: Sequence[Taken]) -> list[Kept]:
        now = clock.wall_ms()
        return [headers.open_kept(one.properties, one.body, now) for one in taken]

    def _dead(self, taken: Sequence[Taken]) -> list[Kept]:
        """Dead letters that RabbitMQ made: nobody has told of their death yet."""
        now = clock.wall_ms()
        items: list[Kept] = []
        events: list[Event] = []
        for one in taken:
            envelope, reason = headers.dead_lettered(one.properties, one.body)
            queue_name = self._broker.topology.queue_of(envelope.queue_name)
            kept = headers.kept(envelope, "dead", None, now, reason)
            kept = headers.in_queue(kept, queue_name)
            items.append(kept)
            settlement = Settlement(headers.kept_delivery(kept), Dead(reason), finished_at=now)
            events.append(changes.settled(settlement, "", now))
        self._broker.publisher.deliver([], events)
        return items

    def release_due(self, limit: int) -> int:
        """Send up to ``limit`` messages whose time has come; how many were sent."""
        return self._promote(require_room().claim_due(limit))

    def unpark(self, mark: str, queue_name: str, limit: int) -> int:
        """Send up to ``limit`` messages of a queue that are parked with this mark; how many were sent."""
        return self._promote(require_room().claim_parked(mark, queue_name, limit))

    def _promote(self, items: Sequence[Kept]) -> int:
        now = clock.wall_ms()
        return self.send(
            items,
            lambda item: changes.promoted(
                item.message_id, now, item.life, item.retries, item.number, item.lost, item.record
            ),
        )

    def send(self, items: Sequence[Kept], event: Callable[[Kept], Event]) -> int:
        """Send what was claimed in the room; how many were sent. What cannot be stays there."""
        if not items:
            return 0
        room, now = require_room(), clock.wall_ms()
        parcels = [self._broker.dispatch.work(headers.promoted(item, now)) for item in items]
        error = self._broker.publisher.deliver(parcels, [event(item) for item in items])
        sent = [item for item, parcel in zip(items, parcels, strict=True) if parcel.is_confirmed]
        unsent = [item for item, parcel in zip(items, parcels, strict=True) if not parcel.is_confirmed]
        if sent:
            room.remove(sent)
        if unsent:
            room.give_up(unsent)
            raise _first_error(error, (parcel.error for parcel in parcels))
        return len(sent)


def _first_error(error: BrokerError | None, errors: Iterable[BrokerError | None]) -> BrokerError:
    return next((one for one in errors if one is not None), error or BrokerError())


def discarded(item: Kept, now: int, state: State = State.DISCARDED) -> Event:
    """What is told of a message that somebody threw away, or called off, while it waited."""
    return changes.discarded(item.message_id, now, item.life, item.retries, item.number, item.lost, item.record, state)
