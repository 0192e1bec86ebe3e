"""What people and the keeper ask for: what waits in rows, and the little that RabbitMQ shows of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pika.connection import Parameters

from ... import changes, clock
from ...broker import MAX_BATCH, refuse_one_id
from ...deliveries import Delivery, Held, Outgoing, QueueCounts
from ...errors import QueueNotFound
from ...events import Event
from ...outcomes import mark_of
from ...states import State
from ...waiting_room import Kept, Waiting, get_waiting_room
from . import headers
from .ebb import Ebb
from .keys import Keys, recorded
from .store import RabbitmqStore
from .topology import Topology
from .waiting import discarded, require_room

if TYPE_CHECKING:
    from ...middleware import Middleware


class Operating(RabbitmqStore):
    """Looking at messages, and operating on them."""

    def __init__(
        self, addresses: Sequence[Parameters], middleware: Iterable[Middleware] | None, queues: Topology
    ) -> None:
        super().__init__(addresses, middleware, queues)
        self._ebb = Ebb(self)
        self.unique = Keys(self)

    # What waits in rows

    @property
    def waits_in_rows(self) -> bool:
        return True

    def take_in(self, limit: int) -> int:
        return self.passage.take_in(limit)

    def release_due(self, limit: int) -> int:
        return self.passage.release_due(limit)

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        """Of those that have reached their rows: who was parked a moment ago is still on the way, and comes back when
        its time is over."""
        if get_waiting_room() is None:
            return 0
        unparked = 0
        for queue_name in queue_names:
            if unparked < number:
                unparked += self.passage.unpark(mark_of(key), queue_name, number - unparked)
        return unparked

    def _catch_up(self) -> None:
        """What is on its way to the rows should be found there by who asks."""
        if get_waiting_room() is not None:
            self.take_in(MAX_BATCH)

    # Looking and operating

    def counts(self) -> list[QueueCounts]:
        self._catch_up()
        room = get_waiting_room()
        waiting = {} if room is None else room.counts()
        held = [consumer.counts() for consumer in list(self.lines.get().consumers)]
        return [self._count(name, waiting.get(name, Waiting()), held) for name in sorted({*self.queues, *waiting})]

    def _count(self, queue_name: str, waiting: Waiting, held: Sequence[Any]) -> QueueCounts:
        here = [counts.get(queue_name, (0, 0)) for counts in held]
        ready = self.reader.ready(self.topology.work(queue_name)) or 0
        return QueueCounts(
            queue_name,
            ready + sum(arrived for arrived, _ in here),
            sum(running for _, running in here),
            waiting.delayed,
            waiting.dead,
        )

    def peek(
        self, queue_name: str, state: Literal["ready", "delayed", "in_flight", "dead"] = "ready", limit: int = 100
    ) -> list[Delivery]:
        """Look at what waits in rows; RabbitMQ cannot show what it holds without giving it out."""
        room = get_waiting_room()
        if room is None or (state != "delayed" and state != "dead"):
            return []
        self._catch_up()
        return [headers.kept_delivery(item) for item in room.peek(queue_name, state, limit)]

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        refuse_one_id(message_ids)
        room = get_waiting_room()
        if room is None:
            return {}
        self._catch_up()
        return {item.message_id: headers.kept_held(item) for item in room.look_up(message_ids)}

    def drained_until(self) -> Mapping[str, int]:
        return self._ebb.look()

    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        refuse_one_id(message_ids)
        self._catch_up()
        now = clock.wall_ms()
        requeued: list[str] = []
        for start in range(0, len(message_ids), MAX_BATCH):
            revived = require_room().revive(message_ids[start : start + MAX_BATCH])
            self.unique.take_again(revived)
            self.passage.send(
                revived, lambda item: changes.requeued(item.message_id, now, item.life, item.number, item.record)
            )
            requeued += [item.message_id for item in revived]
        return requeued

    def _withdraw(self, message_ids: Sequence[str], state: State) -> list[str]:
        """Drop messages that wait in rows; what is ready at RabbitMQ cannot be picked out."""
        refuse_one_id(message_ids)
        room = get_waiting_room()
        if room is None:
            return []
        self._catch_up()
        found: list[str] = []
        for start in range(0, len(message_ids), MAX_BATCH):
            found += self._note_discarded(room.discard(message_ids[start : start + MAX_BATCH]), state)
        return found

    def _note_discarded(self, items: Sequence[Kept], state: State = State.DISCARDED) -> list[str]:
        now = clock.wall_ms()
        self._tell([discarded(item, now, state) for item in items])
        self.unique.forget([item.message_id for item in items])
        return [item.message_id for item in items]

    def _tell(self, events: Sequence[Event]) -> None:
        """Put events into the journal. What they tell of has happened, so that nobody fails for it."""
        if events:
            self.publisher.deliver([], events, patient=False)

    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        self._catch_up()
        if outgoing.unique is not None:
            self.unique.take([outgoing])
            outgoing = recorded(outgoing)
        now = clock.wall_ms()
        envelope = headers.sent(outgoing, now)
        due = changes.due_at(outgoing, now)
        item = headers.kept(envelope, "delay", due, now)
        letter = require_room().replace(message_id, item)
        if letter is None:
            self.unique.forget([outgoing.message.message_id] if outgoing.unique is not None else [])
            return False
        self.unique.confirm([outgoing])
        self._tell([discarded(letter, now)])
        if due is None:
            self.passage.send([item], lambda _: changes.created(outgoing, now))
        else:
            self._tell([changes.created(outgoing, now)])
        return True

    def expire_dead_letters(self, ttl: int, limit: int = MAX_BATCH) -> int:
        room = get_waiting_room()
        return 0 if room is None else len(self._note_discarded(room.expire(ttl, limit)))

    def flush(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
        self._catch_up()
        room = get_waiting_room()
        while room is not None and (items := room.empty(queue_name, MAX_BATCH)):
            self._note_discarded(items)
        left = self.reader.ready(self.topology.work(queue_name)) or 0
        while left > 0:
            left -= self._flush_ready(queue_name) or left

    def _flush_ready(self, queue_name: str) -> int:
        with self.reader.taking(self.topology.work(queue_name), MAX_BATCH) as taken:
            now = clock.wall_ms()
            found = [headers.open_envelope(one.properties, one.body, queue_name) for one in taken]
        self._tell([changes.discarded(e.message_id, now, e.life, e.retries, e.number, e.lost, e.record) for e in found])
        self.unique.forget([envelope.message_id for envelope in found])
        return len(found)
