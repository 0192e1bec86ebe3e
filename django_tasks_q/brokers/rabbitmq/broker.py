"""The RabbitMQ broker: sending, consuming, burying."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ... import changes, clock
from ...broker import MAX_BATCH
from ...capabilities import Capabilities, Capability
from ...deliveries import Casualty, Delivery, Judge, Outgoing, WorkerInfo
from ...errors import BrokerConnectionError, BrokerError, PartialSendError, QueueNotFound
from ...outbox import is_safe, seconds_left
from ...unique import take_keys
from ...waiting_room import get_waiting_room
from . import notes
from .consumer import RabbitmqConsumer
from .keys import recorded, require_holders
from .operating import Operating
from .parameters import Given, make_parameters
from .parcel import Item
from .topology import QueueType, Topology
from .waiting import require_room

if TYPE_CHECKING:
    from ...middleware import Middleware


class RabbitmqBroker(Operating):
    """Keeps messages in durable queues of RabbitMQ. Every send is routed and confirmed, or an error.

    What must wait (delays, retries, parked messages, dead letters) waits in the project's database.

    Parameters:
        url: ``amqp://`` or ``amqps://``; several nodes are several URLs, in a list or with ``;`` between them.
        middleware: the stack; None for the default one.
        max_priority: how many priority levels each queue gets; None: 10 where an actor has a priority, else none.
        confirm_delivery: kept for Dramatiq's users; messages are always confirmed.
        parameters: of pika, or dicts of what makes them, instead of the URL; several are several nodes. Heartbeat and
            blocked_connection_timeout are this broker's business.
        namespace: begins the names of all queues.
        queue_type: ``classic``, or ``quorum`` for queues that are replicated.
        delivery_timeout: RabbitMQ's ``consumer_timeout``, in milliseconds; None when it has none.
        pika_parameters: what ``pika.ConnectionParameters`` takes, instead of either.
    """

    has_leases = False
    capabilities = Capabilities(
        priorities=Capability("weaker", "11 levels for 201 priorities, and only on queues with an actor that has one"),
        fenced_settle=Capability(
            "weaker", "the connection is the lease: who lost it is refused, who still has it is never fenced"
        ),
        atomic_settle=Capability("weaker", "what a message causes is confirmed first, then it is acknowledged"),
        unique_ids=Capability("none", "RabbitMQ does not know which messages it holds"),
        unique_keys=Capability(
            "weaker", "keys are rows of the database; what is ready at RabbitMQ is neither replaced nor refreshed"
        ),
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
        parameters: Given | Iterable[Given] | None = None,
        namespace: str = "dtq",
        queue_type: QueueType = "classic",
        delivery_timeout: int | None = 1_800_000,
        **pika_parameters: Any,
    ) -> None:
        _check_options(max_priority, queue_type, delivery_timeout)
        if queue_type == "quorum":
            self.capabilities = _QUORUM_CAPABILITIES
        self._has_warned = False
        addresses = make_parameters(url, parameters, pika_parameters)
        super().__init__(addresses, middleware, Topology(namespace, queue_type, max_priority))
        self.delivery_timeout = delivery_timeout

    # Sending

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        """Publish, and wait for the confirms. A part of many may be sent: PartialSendError says which."""
        now = clock.wall_ms()
        if any(changes.due_at(item, now) is not None for item in outgoing):
            require_room()
        if not take_keys(outgoing):
            self._publish(outgoing, now)
            return {}
        left_out = self.unique.take(outgoing)
        outgoing = [recorded(item) for item in outgoing if item.message.message_id not in left_out]
        if outgoing:
            self._publish(outgoing, now)
        return left_out

    def _publish(self, outgoing: Sequence[Outgoing], now: int) -> None:
        items = [self.dispatch.outgoing(item, now) for item in outgoing]
        births = [changes.created(item, now) for item in outgoing]
        error = self.publisher.deliver(items, births, seconds_left(), is_safe=is_safe())
        if take_keys(outgoing):
            self.unique.published(outgoing, items)
        if not all(item.is_confirmed for item in items):
            raise _unsent(outgoing, items, error)

    def publish(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        sent = 0
        left_out: dict[str, str] = {}
        try:
            for start in range(0, len(outgoing), MAX_BATCH):
                left_out.update(self._enqueue(outgoing[start : start + MAX_BATCH]) or {})
                sent = start + MAX_BATCH
        except BrokerError as error:
            before = [item for item in outgoing[:sent] if item.message.message_id not in left_out]
            self._tell_of_part(outgoing, before, error)
            raise
        for item in outgoing:
            if item.message.message_id not in left_out:
                self.announce(item)
        return left_out

    # Keys of which there is one message

    keys_in_rows = True

    def _holder_of(self, queue_name: str, key: str) -> str | None:
        return require_holders().holder(key)

    def let_go(self, delivery: Delivery, key: str) -> None:
        require_holders().release([(key, delivery.message_id)])

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

    def register(self, consumer: RabbitmqConsumer) -> None:
        """Count what this consumer holds."""
        self.lines.get().consumers.add(consumer)

    def unregister(self, consumer: RabbitmqConsumer) -> None:
        self.lines.get().consumers.discard(consumer)

    def renew(self, worker_ids: Sequence[str]) -> None:
        """A worker's connection is its lease, and its pulse renews it; here the keeper shows that it lives itself."""
        self.lines.get().reader.breathe()

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
        self.lines.get().journal.release_if_idle()
        return []

    def has_suspects(self) -> bool:
        return bool(self.reader.ready(self.topology.suspects))

    # Readiness

    def check_ready(self) -> None:
        with self.publisher.connected() as connection:
            for queue_name in self.queues:
                self.declare_target(connection, self.topology.work(queue_name), queue_name)
            self.declare_target(connection, self.topology.waiting, None)

    def close(self) -> None:
        self.unique.close()
        self.lines.close()


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
