"""The RabbitMQ broker: sending, burying, looking."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

import msgspec
from pika.connection import Parameters

from ... import changes, clock
from ...actor import Actor
from ...broker import MAX_BATCH, Broker, refuse_one_id
from ...capabilities import Capabilities, Capability
from ...deliveries import Casualty, Delivery, Held, Judge, Outgoing, QueueCounts, WorkerInfo
from ...errors import (
    BrokerConnectionError,
    BrokerError,
    ConnectionFailed,
    PartialSendError,
    QueueNotFound,
)
from ...events import Event
from ...waiting_room import Kept, Waiting, get_waiting_room
from . import headers, heartbeats, notes, topology
from .connection import Connection
from .consumer import RabbitmqConsumer
from .journal import RabbitmqJournal
from .parameters import address, make_parameters
from .parcel import Item
from .publisher import Publisher
from .reader import Reader
from .settling import Dispatch
from .waiting import Passage, discarded, require_room

if TYPE_CHECKING:
    from ...middleware import Middleware


class _Lines:
    """The connections of one process; none crosses a fork."""

    def __init__(self, broker: RabbitmqBroker) -> None:
        self.pid = os.getpid()
        self.publisher = Publisher(broker)
        self.reader = Reader(broker)
        self.journal = RabbitmqJournal(broker, self.reader)
        self.consumers: WeakSet[RabbitmqConsumer] = WeakSet()

    def forget(self) -> None:
        self.publisher.forget()
        self.reader.forget()

    def close(self) -> None:
        self.journal.close()
        self.publisher.close()
        self.reader.close()


class RabbitmqBroker(Broker):
    """Keeps messages in durable queues of RabbitMQ. Every send is routed and confirmed, or an error.

    What must wait (delays, retries, parked messages, dead letters) waits in the project's database.

    Parameters:
        url: ``amqp://`` or ``amqps://``; several nodes are several URLs, in a list or with ``;`` between them.
        middleware: the stack; None for the default one.
        max_priority: how many priority levels each queue gets; None: 10 where an actor has a priority, else none.
        confirm_delivery: kept for Dramatiq's users; messages are always confirmed.
        parameters: of pika, instead of the URL; heartbeat and blocked_connection_timeout are this broker's business.
        namespace: begins the names of all queues.
        queue_type: ``classic``, or ``quorum`` for queues that are replicated.
        delivery_timeout: RabbitMQ's ``consumer_timeout``, in milliseconds; None when it has none.
        pika_parameters: what ``pika.ConnectionParameters`` takes, instead of either.
    """

    capabilities = Capabilities(
        priorities=Capability("weaker", "11 levels for 201 priorities, and only on queues with an actor that has one"),
        fenced_settle=Capability(
            "weaker", "the connection is the lease: who lost it is refused, who still has it is never fenced"
        ),
        atomic_settle=Capability("weaker", "what a message causes is confirmed first, then it is acknowledged"),
        unique_ids=Capability("none", "RabbitMQ does not know which messages it holds"),
        suspects=Capability("weaker", "a loss is counted by the worker that gets the message next"),
        peek=Capability("weaker", "what waits in rows can be looked at; what is ready or runs cannot"),
        delays=Capability("weaker", "messages that wait are rows of the database, which must be there"),
        counts=Capability("weaker", "without what workers of other processes hold, and how long the oldest waits"),
        prompt_claims=Capability(
            "weaker", "RabbitMQ pushes: an exchange returns what has arrived, within the prefetch"
        ),
        delivery_numbers=Capability("weaker", "what is given back uncounted by RabbitMQ may keep its number"),
        journal=Capability("weaker", "one partition; what is read is hidden from others until it is trimmed"),
    )

    def __init__(
        self,
        *,
        url: str | Sequence[str] | None = None,
        middleware: Iterable[Middleware] | None = None,
        max_priority: int | None = None,
        confirm_delivery: bool = True,
        parameters: Parameters | Iterable[Parameters] | None = None,
        namespace: str = "dtq",
        queue_type: topology.QueueType = "classic",
        delivery_timeout: int | None = 1_800_000,
        **pika_parameters: Any,
    ) -> None:
        _check_options(max_priority, queue_type, delivery_timeout)
        if queue_type == "quorum":
            self.capabilities = _QUORUM_CAPABILITIES
        self._addresses = make_parameters(url, parameters, pika_parameters)
        self.topology = topology.Topology(namespace, queue_type, max_priority)
        self._levels: dict[str, int] = {}
        self._lines_lock = Lock()
        self._lines: _Lines | None = None
        self._has_warned = False
        super().__init__(middleware)
        self.delivery_timeout = delivery_timeout
        self.dispatch = Dispatch(self)
        self.passage = Passage(self)

    @property
    def address(self) -> str:
        return address(self._addresses)

    # Connections

    @property
    def _mine(self) -> _Lines:
        """The connections of this process."""
        lines = self._lines
        if lines is None or lines.pid != os.getpid():
            lines = self._open_lines()
        return lines

    def _open_lines(self) -> _Lines:
        if self._lines is not None and self._lines.pid != os.getpid():
            self._lines_lock = Lock()  # a thread of the parent may have held it at the fork
            self._lines.forget()
            self._lines = None
        with self._lines_lock:
            if self._lines is None:
                self._lines = _Lines(self)
            return self._lines

    @property
    def publisher(self) -> Publisher:
        return self._mine.publisher

    @property
    def reader(self) -> Reader:
        return self._mine.reader

    @property
    def journal(self) -> RabbitmqJournal:
        return self._mine.journal

    def connect(self, purpose: str, *, holds: bool = False) -> Connection:
        """A new connection to one of the nodes, within ``send_timeout``. Raises ConnectionFailed.

        ``holds``: messages, which others must have within a lease when this process is cut off.
        """
        seconds = self.send_timeout / 1000 / len(self._addresses)
        error = ConnectionFailed()
        for parameters in random.sample(self._addresses, len(self._addresses)):
            if holds:
                parameters = self._with_heartbeat(parameters)
            try:
                return Connection(parameters, seconds, f"{self.topology.namespace} {purpose}, process {os.getpid()}")
            except ConnectionFailed as failure:
                error = failure
        raise error

    def _with_heartbeat(self, parameters: Parameters) -> Parameters:
        beating = copy(parameters)
        beating.heartbeat = heartbeats.seconds(self.lease, alone=parameters.ssl_options is not None)
        return beating

    def register(self, consumer: RabbitmqConsumer) -> None:
        """Count what this consumer holds."""
        self._mine.consumers.add(consumer)

    def unregister(self, consumer: RabbitmqConsumer) -> None:
        self._mine.consumers.discard(consumer)

    # Queues

    def _open_queue(self, queue_name: str) -> Any:
        self.topology.check_name(queue_name)
        return None

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        super().declare_actor(actor)
        self._levels.clear()

    def levels(self, queue_name: str) -> int:
        """How many priority levels a queue has; 0: none."""
        if queue_name not in self._levels:
            self._levels[queue_name] = self.topology.levels(self, queue_name)
        return self._levels[queue_name]

    def declare_target(self, connection: Connection, name: str, queue_name: str | None) -> None:
        """Make sure that a queue of RabbitMQ's is there, once for each connection.

        ``queue_name`` is ours when it carries work. Raises QueueMismatch when it is there with other arguments.
        """
        if name in connection.declared:
            return
        if queue_name is not None:
            self.declare_target(connection, self.topology.dead_lettered, None)
            arguments = self.topology.arguments(connection, self.levels(queue_name))
        elif self.topology.is_for_notes(name):
            arguments = self.topology.short_lived()
        else:
            arguments = self.topology.plain(connection)
        topology.declare(connection, name, arguments)
        connection.declared.add(name)

    def declare_journal(self, connection: Connection) -> int:
        """Make sure that there is a journal; how many messages it holds. Raises QueueMismatch when it is another."""
        arguments = self.topology.budgeted(connection, self.journal_max_bytes)
        return topology.declare(connection, self.topology.journal, arguments)

    # Sending

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish, and wait for the confirms. A part of many may be sent: PartialSendError says which."""
        now = clock.wall_ms()
        if any(changes.due_at(item, now) is not None for item in outgoing):
            require_room()
        items = [self.dispatch.outgoing(item, now) for item in outgoing]
        error = self.publisher.deliver(items, [changes.created(item, now) for item in outgoing])
        if not all(item.is_confirmed for item in items):
            raise _unsent(outgoing, items, error)

    def publish(self, outgoing: Sequence[Outgoing]) -> None:
        sent = 0
        try:
            for start in range(0, len(outgoing), MAX_BATCH):
                self._enqueue(outgoing[start : start + MAX_BATCH])
                sent = start + MAX_BATCH
        except BrokerError as error:
            self._tell_of_part(outgoing, outgoing[:sent], error)
            raise
        for item in outgoing:
            self.announce(item)

    def _tell_of_part(self, outgoing: Sequence[Outgoing], before: Sequence[Outgoing], error: BrokerError) -> None:
        """Announce what was sent before ``error``, and raise PartialSendError when anything was."""
        known = {id(message) for message in error.sent} if isinstance(error, PartialSendError) else set()
        arrived = {id(item) for item in before} | {id(item) for item in outgoing if id(item.message) in known}
        sent = [item for item in outgoing if id(item) in arrived]
        if not sent:
            return
        for item in sent:
            self.announce(item)
        unsent = [item.message for item in outgoing if id(item) not in arrived]
        raise PartialSendError(error.message, [item.message for item in sent], unsent) from error

    # Consuming

    def consume(self, worker: WorkerInfo) -> RabbitmqConsumer:
        for queue_name in worker.queues:
            if queue_name not in self.queues:
                raise QueueNotFound(f"No queue is called {queue_name!r}.")
        if get_waiting_room() is None and not self._has_warned:
            self._has_warned = True
            self.logger.warning(
                "There is no database for messages that wait: retries and dead letters stay in %s until a process with "
                "'django_tasks_q' in INSTALLED_APPS takes them.",
                self.topology.waiting,
            )
        return RabbitmqConsumer(self, worker)

    def renew(self, worker_ids: Sequence[str]) -> None:
        """A worker's connection is its lease, and its pulse renews it; here the keeper shows that it lives itself."""
        self._mine.reader.breathe()

    def bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge, reason: str = "") -> int:
        """Leave a note for each message that was running. RabbitMQ has given back everything when the worker died.

        Whoever gets such a message next counts the loss. Returns the number of casualties, all that is known.
        """
        now = clock.wall_ms()
        items = [notes.as_item(self.topology, notes.NoteOfLoss(casualty, worker_id, now)) for casualty in casualties]
        if items:
            self.publisher.send(items)
        return len(items)

    def rescue(self, judge: Judge) -> list[str]:
        """Nobody is to be rescued: RabbitMQ itself gives back what a lost connection held."""
        self._mine.journal.release_if_idle()
        return []

    def has_suspects(self) -> bool:
        return bool(self.reader.ready(self.topology.suspects))

    # What waits in rows

    @property
    def waits_in_rows(self) -> bool:
        return True

    def take_in(self, limit: int) -> int:
        return self.passage.take_in(limit)

    def release_due(self, limit: int) -> int:
        return self.passage.release_due(limit)

    def _catch_up(self) -> None:
        """What is on its way to the rows should be found there by who asks."""
        if get_waiting_room() is not None:
            self.take_in(MAX_BATCH)

    # Looking and operating

    def counts(self) -> list[QueueCounts]:
        self._catch_up()
        room = get_waiting_room()
        waiting = {} if room is None else room.counts()
        held = [consumer.counts() for consumer in list(self._mine.consumers)]
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

    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        refuse_one_id(message_ids)
        self._catch_up()
        now = clock.wall_ms()
        requeued: list[str] = []
        for start in range(0, len(message_ids), MAX_BATCH):
            revived = require_room().revive(message_ids[start : start + MAX_BATCH])
            self.passage.send(
                revived, lambda item: changes.requeued(item.message_id, now, item.life, item.number, item.record)
            )
            requeued += [item.message_id for item in revived]
        return requeued

    def discard(self, message_ids: Sequence[str]) -> list[str]:
        """Drop messages that wait in rows; what is ready at RabbitMQ cannot be picked out."""
        refuse_one_id(message_ids)
        room = get_waiting_room()
        if room is None:
            return []
        self._catch_up()
        found: list[str] = []
        for start in range(0, len(message_ids), MAX_BATCH):
            found += self._note_discarded(room.discard(message_ids[start : start + MAX_BATCH]))
        return found

    def _note_discarded(self, items: Sequence[Kept]) -> list[str]:
        now = clock.wall_ms()
        self._tell([discarded(item, now) for item in items])
        return [item.message_id for item in items]

    def _tell(self, events: Sequence[Event]) -> None:
        """Put events into the journal. What they tell of has happened, so that nobody fails for it."""
        if events:
            self.publisher.deliver([], events, patient=False)

    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        self._catch_up()
        now = clock.wall_ms()
        envelope = headers.sent(outgoing, now)
        due = changes.due_at(outgoing, now)
        item = headers.kept(envelope, "delay", due, now)
        letter = require_room().replace(message_id, item)
        if letter is None:
            return False
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
        return len(found)

    # Readiness

    def check_ready(self) -> None:
        with self.publisher.connected() as connection:
            for queue_name in self.queues:
                self.declare_target(connection, self.topology.work(queue_name), queue_name)
            self.declare_target(connection, self.topology.waiting, None)

    def close(self) -> None:
        lines = self._lines
        if lines is not None and lines.pid == os.getpid():
            lines.close()


_QUORUM_CAPABILITIES = msgspec.structs.replace(
    RabbitmqBroker.capabilities,
    priorities=Capability("none", "quorum queues have none"),
    front_requeue=Capability("weaker", "what is given back to a quorum queue comes in an order of its own"),
)


def _check_options(max_priority: int | None, queue_type: str, delivery_timeout: int | None) -> None:
    if delivery_timeout is not None and (type(delivery_timeout) is not int or delivery_timeout < 1):
        raise ValueError(f"delivery_timeout is milliseconds, or None: {delivery_timeout!r:.80}")
    if queue_type not in ("classic", "quorum"):
        raise ValueError(f"queue_type is 'classic' or 'quorum': {queue_type!r}")
    if max_priority is not None and (type(max_priority) is not int or not 1 <= max_priority <= 255):
        raise ValueError(f"max_priority is 1 to 255, better 10: {max_priority!r}")
    if max_priority is not None and queue_type == "quorum":
        raise ValueError("Quorum queues have no priorities: leave max_priority out.")


def _unsent(outgoing: Sequence[Outgoing], items: Sequence[Item], error: BrokerError | None) -> BrokerError:
    """Why not all was sent."""
    first = next((item.error for item in items if item.error is not None), error) or BrokerConnectionError()
    sent = [one.message for one, item in zip(outgoing, items, strict=True) if item.is_confirmed]
    if not sent:
        return first
    unsent = [one.message for one, item in zip(outgoing, items, strict=True) if not item.is_confirmed]
    return PartialSendError(f"{len(sent)} of {len(outgoing)} messages were sent: {first}", sent, unsent)
