"""What travels between a broker and a worker, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from .message import Message
from .outcomes import ErrorInfo, Outcome, Retry
from .progress import Progress
from .unique import Unique


class Outgoing(msgspec.Struct, frozen=True):
    """A message ready for the store: encoded, checked, its time known.

    ``delay`` is milliseconds from now by the store's clock, ``eta`` epoch milliseconds; both None: at once.
    ``sent_since`` (epoch milliseconds of this machine's clock): it was made then and may have been sent since, so a
    broker that can tell leaves out what it has, or had at that time or later. What ended before was another message,
    whose id is used again. ``life``: at least; of a message that begins another one. ``unique``: the key that it takes
    or finds taken.
    """

    message: Message[Any]
    payload: bytes
    priority: int = 0
    delay: int | None = None
    eta: int | None = None
    app_label: str = ""
    parent_id: str = ""
    record: bool = True
    sent_since: int | None = None
    life: int = 0
    unique: Unique | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One claim of one message by one worker. ``handle`` is the broker's own; (handle, number) is the fence."""

    handle: Any
    message_id: str
    queue_name: str
    payload: bytes
    number: int
    retries: int = 0
    lost: int = 0
    life: int = 0
    enqueued_at: int = 0
    record: bool = True


class Held(msgspec.Struct, frozen=True):
    """A message as the broker holds it: whole, never redacted. ``due_at`` is epoch milliseconds where it is delayed."""

    delivery: Delivery
    state: Literal["ready", "delayed", "in_flight", "dead"]
    due_at: int = 0
    owner: str = ""


class Result(msgspec.Struct, frozen=True):
    """A result, or the failure that stands in its place, ready to be stored for ``ttl`` milliseconds."""

    key: str
    payload: bytes
    ttl: int


class Settlement(msgspec.Struct, frozen=True):
    """What became of a delivery: carried out in one step, and only for whoever still owns it.

    ``payload`` replaces the stored message where middleware changed it; ``then`` are the messages that this one causes;
    times are epoch milliseconds of the worker's clock and only shown to people; ``exception`` never leaves the process;
    ``app_label`` is the actor's, for the record that a message without one gets when it dies. ``result`` is stored
    before, or in the same step where :meth:`Broker.carries_results`; ``result_error`` is what kept it from that, which
    is recorded where the message itself has no error. ``progress``: the last that the attempt said of itself.
    ``unique``: the key that the message carries, for a broker that does not find it by the message.
    """

    delivery: Delivery
    outcome: Outcome
    error: ErrorInfo | None = None
    then: tuple[Outgoing, ...] = ()
    payload: bytes | None = None
    started_at: int | None = None
    finished_at: int = 0
    exception: BaseException | None = None
    app_label: str = ""
    result: Result | None = None
    result_error: ErrorInfo | None = None
    progress: Progress | None = None
    unique: str = ""


class Started(msgspec.Struct, frozen=True):
    """A delivery that has been running for longer than a moment, and since when (epoch milliseconds).

    ``progress`` is how far it is, if it said so. It is reported again when that has changed: ``number`` counts the
    reports from 1 on.
    """

    delivery: Delivery
    started_at: int
    progress: Progress | None = None
    number: int = 1


class Exchange(msgspec.Struct, frozen=True):
    """The answer to one exchange.

    ``refused``: handles of settlements that came too late, another worker owns the message now.
    ``unsettled``: handles whose settlement the broker has not confirmed yet; they are handed over again.
    ``fenced``: this worker was declared dead and must stop itself.
    ``is_expecting``: messages may be on their way to this worker, so that none does not mean that there is none.
    """

    deliveries: list[Delivery] = []
    refused: frozenset[Any] = frozenset()
    unsettled: frozenset[Any] = frozenset()
    fenced: bool = False
    is_expecting: bool = False


class Casualty(msgspec.Struct, frozen=True):
    """A delivery that was running when its worker died: ``lost``, over its ``time_limit``, ``revoked`` or
    ``interrupted``.

    ``alone``: nothing else is known to have been running there.
    """

    message_id: str
    number: int
    kind: Literal["lost", "time_limit", "revoked", "interrupted"]
    started_at: int | None = None
    detail: str = ""
    alone: bool = True


class QueueCounts(msgspec.Struct, frozen=True):
    """What a queue holds. ``oldest_ms`` is how long its oldest ready message has been waiting."""

    queue_name: str
    ready: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead: int = 0
    oldest_ms: int = 0


Judge = Callable[[Delivery, Casualty], Outcome]
"""Decides what becomes of a casualty; made by whoever knows the actors' options."""


class WorkerInfo(msgspec.Struct, frozen=True):
    """Who consumes. ``queues`` maps each queue to its weight; an empty mapping means all that the broker knows.

    ``suspects``: takes only messages that must run alone (the quarantine child).
    """

    worker_id: str
    queues: Mapping[str, int] = {}
    threads: int = 8
    suspects: bool = False


class MessageProxy:
    """A message on its way through the hooks: attribute access falls through to the message.

    What every hook asks for is at hand, for a fall through costs more than most hooks do otherwise. Hooks may call
    :meth:`fail`, may set ``outcome`` and ``result``, and may keep what they like in attributes of their own until the
    message is settled. What they send on account of this message goes through :meth:`cause`, so that it happens exactly
    when the settlement does.

    Attributes:
        latest_progress: what the running code said of itself last.
        has_gathered: whether its argument is a list of items that were gathered for it.
    """

    latest_progress: Progress | None = None
    has_gathered: bool = False

    __slots__ = (
        "__dict__",
        "_exception",
        "_whole",
        "actor_name",
        "args",
        "caused",
        "delivery",
        "failed",
        "has_ended",
        "kwargs",
        "notify_shutdown",
        "options",
        "outcome",
        "result",
        "result_error",
        "time_limit",
    )

    def __init__(self, message: Message[Any], delivery: Delivery | None = None) -> None:
        # Not by the property, whose call would cost each message more than its assignments do.
        self._whole = message
        self.actor_name = message.actor_name
        self.args = message.args
        self.kwargs = message.kwargs
        self.options = message.options
        self._exception: BaseException | None = None
        self.delivery = delivery
        self.failed = False
        self.outcome: Outcome | None = None
        self.result: Result | None = None
        self.result_error: ErrorInfo | None = None
        self.time_limit: int | None = None
        self.notify_shutdown = False
        self.has_ended = False
        self.caused: list[tuple[Message[Any], int | None]] = []

    @property
    def _message(self) -> Message[Any]:
        return self._whole

    @_message.setter
    def _message(self, message: Message[Any]) -> None:
        """Dramatiq's way to have another message processed, with other arguments for example."""
        self._whole = message
        self.actor_name = message.actor_name
        self.args = message.args
        self.kwargs = message.kwargs
        self.options = message.options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def __str__(self) -> str:
        return str(self._message)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MessageProxy):
            return bool(self._message == other._message)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._message.message_id)

    def fail(self) -> None:
        """Mark the message as failed: it becomes a dead letter unless an outcome says otherwise."""
        self.failed = True

    def stuff_exception(self, exception: BaseException) -> None:
        self._exception = exception

    def clear_exception(self) -> None:
        self._exception = None

    @property
    def exception(self) -> BaseException | None:
        return self._exception

    @property
    def retries(self) -> int:
        """How many attempts failed before this one."""
        return self.delivery.retries if self.delivery is not None else int(self._message.options.get("retries", 0))

    def cause(self, message: Message[Any], delay: int | None = None) -> None:
        """Send ``message`` as part of this message's settlement: both happen, or neither."""
        self.caused.append((message, delay))

    def retry_as(self, message: Message[Any], delay: int | None) -> None:
        """The message was enqueued again from inside its own delivery: that is its retry, not a second message."""
        self._message = message
        self.outcome = Retry(delay or 0)
