"""Which queues there are at RabbitMQ, with which arguments."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ...common import MAX_PRIORITY, MIN_PRIORITY
from ...errors import BrokerConnectionError, QueueMismatch
from .connection import ChannelClosed, Connection, Unanswered

if TYPE_CHECKING:
    from ...broker import Broker

QueueType = Literal["classic", "quorum"]

PRIORITY_LEVELS = 10
"""Levels above the lowest. Each costs RabbitMQ a queue of its own within the queue."""

NOTES_TTL = 3_600_000
"""Milliseconds that a note about a lost message waits for the worker that gets the message next."""

SOON = 10_000
"""Milliseconds: what is due within them need not queue behind what is due tomorrow on its way to the rows."""

_RESERVED = frozenset({"waiting", "waiting.soon", "journal", "suspects", "XQ"})

_LONGEST_NAME = 255
_MISMATCH = 406
MISSING = 404


def priority_level(priority: int, levels: int) -> int:
    """RabbitMQ's priority, where more is sooner, of ours, where less is."""
    return round((MAX_PRIORITY - priority) * levels / (MAX_PRIORITY - MIN_PRIORITY))


class Topology(msgspec.Struct, frozen=True):
    """The names of all queues of a namespace, and the arguments that they are declared with."""

    namespace: str
    queue_type: QueueType = "classic"
    max_priority: int | None = None

    # Names

    def work(self, queue_name: str) -> str:
        return f"{self.namespace}.{queue_name}"

    def queue_of(self, routing_key: str) -> str:
        """The queue of ours that RabbitMQ's is."""
        return routing_key.removeprefix(f"{self.namespace}.")

    @property
    def waiting(self) -> str:
        """Delayed, retrying, parked and dead messages on their way to rows."""
        return f"{self.namespace}.waiting"

    @property
    def waiting_soon(self) -> str:
        """Those that are due soon, who go first."""
        return f"{self.namespace}.waiting.soon"

    @property
    def dead_lettered(self) -> str:
        """What RabbitMQ itself took out of a queue, because a policy or its delivery limit said so."""
        return f"{self.namespace}.XQ"

    @property
    def suspects(self) -> str:
        """Messages that must run alone."""
        return f"{self.namespace}.suspects"

    @property
    def journal(self) -> str:
        return f"{self.namespace}.journal"

    def notes(self, message_id: str) -> str:
        """What the keepers noted about the losses of a message."""
        return f"{self.namespace}.lost.{sha256(message_id.encode()).hexdigest()[:40]}"

    def is_for_notes(self, name: str) -> bool:
        return name.startswith(f"{self.namespace}.lost.")

    def check_name(self, queue_name: str) -> None:
        """Raise ValueError for a queue whose name at RabbitMQ is taken."""
        if queue_name in _RESERVED or queue_name.startswith("lost."):
            raise ValueError(
                f"{queue_name!r} is not a queue name with RabbitMQ: {self.work(queue_name)} is the engine's."
            )
        if len(self.work(queue_name)) > _LONGEST_NAME:
            raise ValueError(f"{queue_name!r} is too long: RabbitMQ's names have at most {_LONGEST_NAME} characters.")

    # Arguments

    def levels(self, broker: Broker, queue_name: str) -> int:
        """How many priority levels a queue has; 0: none. They cost a quarter of the rate, so not all queues do."""
        if self.queue_type == "quorum":
            return 0
        if self.max_priority is not None:
            return self.max_priority
        actors = (actor for actor in broker.actors.values() if actor.queue_name == queue_name)
        return PRIORITY_LEVELS if any(actor.priority for actor in actors) else 0

    def arguments(self, connection: Connection, levels: int = 0) -> dict[str, Any]:
        """Of a queue that carries work."""
        arguments = self.plain(connection)
        if levels:
            arguments["x-max-priority"] = levels
        arguments["x-dead-letter-exchange"] = ""
        arguments["x-dead-letter-routing-key"] = self.dead_lettered
        return arguments

    def plain(self, connection: Connection) -> dict[str, Any]:
        """Of a queue that nothing is taken out of but by us."""
        arguments: dict[str, Any] = {"x-queue-type": self.queue_type}
        if self.queue_type == "quorum" and _major_version(connection) >= 4:
            arguments["x-delivery-limit"] = -1  # there is a default since then; who is lost is counted by us
        return arguments

    @staticmethod
    def short_lived() -> dict[str, Any]:
        """Of the notes about one message."""
        return {"x-queue-type": "classic", "x-expires": NOTES_TTL}

    def budgeted(self, connection: Connection, size: int) -> dict[str, Any]:
        """Of the journal: the oldest is dropped when ``size`` bytes are full."""
        return {**self.plain(connection), "x-max-length-bytes": size, "x-overflow": "drop-head"}


def _major_version(connection: Connection) -> int:
    version = (connection.server_properties or {}).get("version", "0")
    text = version.decode() if isinstance(version, bytes) else str(version)
    first = text.split(".")[0]
    return int(first) if first.isdigit() else 0


def declare(
    connection: Connection, name: str, arguments: dict[str, Any], durable: bool = True, seconds: float | None = None
) -> int:
    """Make sure that a queue is there; how many messages are ready in it.

    Raises QueueMismatch when it is there with other arguments; Unanswered when nobody knows within ``seconds``.
    """
    channel = connection.open_channel()
    try:
        answer = connection.ask(channel.queue_declare, name, durable=durable, arguments=arguments, seconds=seconds)
    except Unanswered:
        channel.close()  # once it is answered
        raise
    except ChannelClosed as error:
        if error.code == _MISMATCH:
            raise QueueMismatch(_mismatch(name, error.text)) from error
        raise BrokerConnectionError(f"RabbitMQ refuses the queue {name}: {error}") from error
    channel.close()
    return int(answer.method.message_count)


def ready(connection: Connection, name: str) -> int | None:
    """How many messages are ready in a queue; None when there is no such queue."""
    channel = connection.open_channel()
    try:
        answer = connection.ask(channel.queue_declare, name, passive=True)
    except ChannelClosed as error:
        if error.code == MISSING:
            return None
        raise BrokerConnectionError(f"RabbitMQ does not show the queue {name}: {error}") from error
    channel.close()
    return int(answer.method.message_count)


def _mismatch(name: str, text: str) -> str:
    """What RabbitMQ says names the argument, what was asked for and what there is."""
    return (
        f"The queue {name} exists with other arguments than this project wants: {text}. RabbitMQ cannot change a "
        f"queue. Let the workers empty it, stop them, delete it (rabbitmqctl delete_queue {name}) and start them "
        f"again; or keep it, and set what it was made with: queue_type and max_priority of BROKER_OPTIONS, or "
        f"JOURNAL_MAX_BYTES."
    )
