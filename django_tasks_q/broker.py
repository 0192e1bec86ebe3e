"""The seam between the engine and what stores messages.

The worker knows these words and no broker. They speak of meaning (settle, claim, bury), never of storage.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from . import clock
from .capabilities import Capabilities
from .common import check_queue_name, q_name
from .consumer import MAX_QUEUES_PER_EXCHANGE, Consumer
from .context import get_running
from .deliveries import (
    Casualty,
    Delivery,
    Held,
    Judge,
    MessageProxy,
    Outgoing,
    QueueCounts,
    WorkerInfo,
)
from .errors import ActorNotFound, MessageTooLarge, QueueJoinTimeout, QueueNotFound, did_you_mean
from .hooks import Hooks
from .inheritance import stamped
from .journal import Journal
from .message import Message
from .outbox import get_outbox
from .recording import Recording
from .sendable import check_delay, check_message, refuse_one_id
from .states import State
from .unique import HELD, is_unique, unique_of, with_key

if TYPE_CHECKING:
    from .actor import Actor
    from .middleware import Middleware
    from .results import ResultBackend
    from .rules import ControlStore

MAX_BATCH = 1_000
"""Messages in one call to the store, whatever the caller hands over."""

__all__ = [
    "MAX_QUEUES_PER_EXCHANGE",
    "Broker",
    "Consumer",
    "Journal",
    "MessageProxy",
    "check_delay",
    "get_broker",
    "refuse_one_id",
    "set_broker",
]


_EMPTY_LOOKS = 3
"""How often in a row a queue is seen empty before it counts as that: a message may be between two places."""


class Broker(Hooks):
    """Keeps messages and hands them out. Subclasses fill in the store; hooks, names and checks are here.

    Parameters:
        middleware: the stack, in order; None for the default one.
    """

    capabilities: Capabilities = Capabilities()
    lease: int = 30_000
    """Milliseconds that a worker counts as alive after its lease was last renewed."""
    has_leases: bool = True
    """Whether a worker's lease begins with :meth:`consume` and runs out; False where its connection is its lease."""
    delivery_limit: int = 3
    """How often a message may be lost with its worker, where neither it nor its actor says; at least 2."""
    send_timeout: int = 10_000
    """Milliseconds after which a send gives up on a broker that cannot be reached."""
    journal_max_bytes: int = 268_435_456
    """The journal's budget, on brokers that keep one."""
    message_options: ClassVar[frozenset[str]] = frozenset()
    """Options that messages may carry besides those that the engine and the middleware name."""
    own_control: ControlStore | None = None
    """Where revocations and pauses are kept by a broker that nothing outlives."""
    delivery_timeout: int | None = None
    """Milliseconds after which the server takes back what a worker still runs; None: it never does."""

    def __init__(self, middleware: Iterable[Middleware] | None = None) -> None:
        super().__init__()
        self.actors: dict[str, Actor[Any, Any]] = {}
        self.queues: dict[str, Any] = {}
        self.max_message_bytes = 1_048_576
        self.actor_defaults: Mapping[str, Any] = {}
        self.recording = Recording()
        for item in _default_middleware() if middleware is None else middleware:
            self.add_middleware(item)

    def _introduce(self, middleware: Middleware) -> None:
        for queue_name in self.queues:
            middleware.after_declare_queue(self, queue_name)
        for actor in self.actors.values():
            middleware.after_declare_actor(self, actor)

    # Results

    def get_results_backend(self) -> ResultBackend:
        """Where results are stored. RuntimeError without ``Results`` in the middleware."""
        for item in self.middleware:
            backend: ResultBackend | None = getattr(item, "results_backend", None)
            if backend is not None:
                return backend
        raise RuntimeError("This broker stores no results: its middleware has no Results(backend=…).")

    def carries_results(self) -> bool:
        """Whether a settlement stores its result itself, in the same step."""
        return False

    # Names

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        self.emit_before("declare_actor", actor)
        self.declare_queue(actor.queue_name)
        self.actors[actor.actor_name] = actor
        self.emit_after("declare_actor", actor)

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known to this process. ValueError for a name that a broker could not carry."""
        if queue_name in self.queues:
            return
        check_queue_name(queue_name)
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = self._open_queue(queue_name)
        self.emit_after("declare_queue", queue_name)

    def _open_queue(self, queue_name: str) -> Any:
        """What ``queues`` holds for a queue; brokers whose queues are made by using them hold nothing."""
        return None

    def get_actor(self, actor_name: str) -> Actor[Any, Any]:
        try:
            return self.actors[actor_name]
        except KeyError:
            hint = did_you_mean(actor_name, list(self.actors))
            raise ActorNotFound(f"No actor is called {actor_name!r}.{hint}") from None

    def get_declared_actors(self) -> set[str]:
        return set(self.actors)

    def get_declared_queues(self) -> set[str]:
        return set(self.queues)

    def get_declared_delay_queues(self) -> set[str]:
        """Always empty: delayed messages wait in the queue they belong to."""
        return set()

    @property
    def delay_queues(self) -> set[str]:
        return self.get_declared_delay_queues()

    # Sending

    def enqueue(self, message: Message[Any] | MessageProxy, *, delay: int | None = None) -> Message[Any]:
        """Send ``message``, ``delay`` milliseconds from now; also what a hook was given.

        Inside the delivery that owns the message's id this becomes its retry instead. Where a message holds the key of
        this one, and that is to be the only one, nothing is sent and the message that is there is returned.

        Raises:
            QueueNotFound: nobody in this process declared the queue.
            DuplicateMessage: a message of this id is still waiting or running; or one of its key (``holder``), and
                ``on_conflict`` is "raise".
            EncodeError: an argument cannot be encoded.
            BrokerConnectionError: the broker cannot be reached.
        """
        if isinstance(message, MessageProxy):
            message = message._message
        running = get_running()
        if running is not None and running.message.message_id == message.message_id and not running.proxy.has_ended:
            message = stamped(message, _declared(self.actors.get(message.actor_name)))
            running.proxy.retry_as(message, delay)
            return message
        outgoing = self.prepare(message, delay)
        left_out = self._enqueue([outgoing])
        if left_out:
            return self._there([outgoing], left_out)[0]
        self.announce(outgoing)
        return outgoing.message

    def enqueue_many(self, messages: Iterable[Message[Any]]) -> list[Message[Any]]:
        """Send many messages in as few round trips as possible; each queue's batch all or nothing.

        All of them are checked and encoded before the first is sent. In the place of one that was left out, because
        its key is held, stands the message that is there.
        """
        outgoing = [self.prepare(message) for message in messages]
        left_out = self.publish(outgoing)
        return self._there(outgoing, left_out) if left_out else [item.message for item in outgoing]

    def enqueue_on_commit(self, messages: Iterable[Message[Any]], *, using: str | None = None) -> list[Message[Any]]:
        """Send messages when the open transaction of database ``using`` commits; at once when none is open.

        They are checked and encoded now. None is Django's default database; without Django there are no transactions.
        Errors as :meth:`enqueue`, except that a broker that is away at the commit is nobody's error: the messages wait
        in rows.
        """
        outgoing = [self.prepare(message) for message in messages]
        outbox = get_outbox()
        left_out: Mapping[str, str] | None = None
        if outbox is None:
            left_out = self.publish(outgoing)
        elif outgoing:
            left_out = outbox.send(self, outgoing, using)
        return self._there(outgoing, left_out) if left_out else [item.message for item in outgoing]

    def sends_within(self, using: str) -> bool:
        """Whether a send is part of the open transaction of the database ``using``."""
        return False

    def publish(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        """Send what was prepared, in as few round trips as possible. Errors as :meth:`enqueue`.

        Returns what was left out because its key is held, by id: the ids of the holders.
        """
        left_out: dict[str, str] = {}
        for start in range(0, len(outgoing), MAX_BATCH):
            left_out.update(self._enqueue(outgoing[start : start + MAX_BATCH]) or {})
        for item in outgoing:
            if item.message.message_id not in left_out:
                self.announce(item)
        return left_out

    def _there(self, outgoing: Sequence[Outgoing], left_out: Mapping[str, str]) -> list[Message[Any]]:
        """What was sent, and in the place of what was left out the messages that hold its key.

        One that has ended meanwhile, or that its broker cannot show, has the id of the holder and is otherwise as what
        was left out.
        """
        sent = {item.message.message_id: item.message for item in outgoing if item.message.message_id not in left_out}
        wanted = [holder for holder in dict.fromkeys(left_out.values()) if holder not in sent]
        held = self.look_up(wanted) if wanted and self.capabilities.peek.level == "same" else {}
        there = []
        for item in outgoing:
            holder = left_out.get(item.message.message_id)
            if holder is None:
                there.append(item.message)
            elif holder in sent:
                there.append(sent[holder])
            elif holder in held:
                there.append(Message.decode(held[holder].delivery.payload))
            else:
                there.append(item.message.copy(message_id=holder))
        return there

    def prepare(
        self,
        message: Message[Any],
        delay: int | None = None,
        parent_id: str = "",
        stamps: Mapping[str, list[str]] | None = None,
    ) -> Outgoing:
        """Check, announce to ``before_enqueue`` and encode a message; nothing is sent yet.

        ``parent_id`` and ``stamps`` are of the message that causes it; of the one that runs here, when not given.
        """
        queue_name = q_name(message.queue_name)
        if queue_name != message.queue_name:  # one of Dramatiq's names, which nobody consumes: delays wait in the queue
            message = message.copy(queue_name=queue_name)
        check_message(message, self.queues)
        actor = self.actors.get(message.actor_name)
        declared = _declared(actor)
        message = stamped(message, declared, stamps)
        if delay is None:
            delay = message.options.get("delay")
        eta = message.options.get("eta") if delay is None else None
        check_delay(delay, eta)
        # Whether anybody says so is asked first, and here: this is the way of every message.
        if ("unique" in message.options or "unique" in declared) and is_unique(message, actor):
            message = with_key(message, actor)
        self.emit_before("enqueue", message, delay)
        payload = message.encode()
        if len(payload) > self.max_message_bytes:
            raise MessageTooLarge(
                f"{message.actor_name}: {len(payload)} bytes encoded, MAX_MESSAGE_BYTES is {self.max_message_bytes}."
            )
        return self._outgoing(message, actor, payload, delay, eta, parent_id or _parent_id())

    def reopen(self, payload: bytes, parent_id: str, made_at: int) -> Outgoing:
        """What was prepared then (epoch milliseconds of this machine's clock, rather too early than too late) and may
        have been sent since. DecodeError for what is no message.

        No hook hears of it again; what is left of a delay counts from now.
        """
        message = Message.decode(payload)
        delay = message.options.get("delay")
        eta = message.options.get("eta") if delay is None else None
        left = None if delay is None else max(0, delay - (clock.wall_ms() - made_at))
        outgoing = self._outgoing(message, self.actors.get(message.actor_name), payload, left, eta, parent_id)
        return msgspec.structs.replace(outgoing, sent_since=made_at)

    def _outgoing(
        self,
        message: Message[Any],
        actor: Actor[Any, Any] | None,
        payload: bytes,
        delay: int | None,
        eta: int | None,
        parent_id: str,
    ) -> Outgoing:
        priority = message.options.get("priority", 0 if actor is None else actor.priority)
        app_label = "" if actor is None else actor.app_label
        record = self.recording.wants(message.options, _declared(actor))
        if HELD not in message.options:
            return Outgoing(message, payload, priority, delay, eta, app_label, parent_id, record)
        unique = unique_of(message)
        return Outgoing(message, payload, priority, delay, eta, app_label, parent_id, record, unique=unique)

    def announce(self, outgoing: Outgoing) -> None:
        """Tell ``after_enqueue`` that the broker has the message."""
        self.emit_after("enqueue", outgoing.message, outgoing.delay)

    @abstractmethod
    def _enqueue(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str] | None:
        """Store a batch, all or nothing for each queue. Raises DuplicateMessage or a BrokerError.

        Returns what was left out because its key is held, by id: the ids of the holders. None: nothing was.
        """

    # Keys of which there is one message

    def unique_holder(self, message: Message[Any]) -> str | None:
        """The id of the message that holds the key which ``message`` would take; None when it is free.

        Nothing is sent. ValueError for a message that takes no key, otherwise errors as :meth:`enqueue`.
        """
        actor = self.actors.get(message.actor_name)
        if not is_unique(message, actor):
            raise ValueError(f"Messages of {message.actor_name!r} take no key: the option unique says that they do.")
        unique = unique_of(with_key(message, actor))
        assert unique is not None
        return self._holder_of(q_name(message.queue_name), unique.key)

    keys_in_rows: bool = False
    """Whether who holds which key is kept by :mod:`django_tasks_q.unique_holders`, and the keeper looks after it."""

    def _holder_of(self, queue_name: str, key: str) -> str | None:
        """The id of the message that holds a key."""
        return None

    def let_go(self, delivery: Delivery, key: str) -> None:
        """The attempt of this delivery begins, and its message holds ``key`` no longer than until then.

        Does nothing when the delivery is somebody else's by now. Raises BrokerConnectionError.
        """

    # Consuming

    @abstractmethod
    def consume(self, worker: WorkerInfo) -> Consumer:
        """Register a worker and open its consumer."""

    @abstractmethod
    def renew(self, worker_ids: Sequence[str]) -> Collection[str] | None:
        """Renew the leases of workers that are alive, by the store's clock.

        Returns who has a lease: who was buried gets none. None where no lease runs out, because it is the connection.
        """

    @abstractmethod
    def bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge, reason: str = "") -> int:
        """Declare a worker dead: from now on it can neither claim nor settle.

        What it had claimed goes back to the front of its queues; ``casualties``, which had started, get the outcome
        that ``judge`` finds. Returns how many deliveries it held. Burying twice is harmless.
        """

    @abstractmethod
    def rescue(self, judge: Judge) -> list[str]:
        """Bury every worker whose lease ran out, and return their ids. What the store knows to have started is lost."""

    @abstractmethod
    def has_suspects(self) -> bool:
        """Whether messages are waiting that must run alone."""

    # Looking and operating

    @abstractmethod
    def counts(self) -> list[QueueCounts]:
        """What every queue holds, by name."""

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Wait until nothing in the queue is waiting, delayed or running; dead letters do not count. For tests.

        Parameters:
            interval: milliseconds between two looks.
            timeout: milliseconds; None for ever.

        Raises:
            QueueNotFound: nobody declared the queue.
            QueueJoinTimeout: the time was up.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
        deadline = None if timeout is None else clock.monotonic() + timeout / 1000
        empty_looks = 0
        while empty_looks < _EMPTY_LOOKS:
            if deadline is not None and clock.monotonic() > deadline:
                raise QueueJoinTimeout(f"{queue_name!r} was not empty after {timeout} ms.")
            empty_looks = 0 if self._is_busy(queue_name) else empty_looks + 1
            time.sleep(interval / 1000)

    def _is_busy(self, queue_name: str) -> bool:
        counts = next((counts for counts in self.counts() if counts.queue_name == queue_name), None)
        return counts is not None and bool(counts.ready or counts.in_flight or counts.delayed)

    @abstractmethod
    def peek(
        self, queue_name: str, state: Literal["ready", "delayed", "in_flight", "dead"] = "ready", limit: int = 100
    ) -> list[Delivery]:
        """Look at messages without taking them, in the order in which they would run (dead ones: oldest first)."""

    @abstractmethod
    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        """The messages of these ids that the broker holds, whole, by id; what it does not know is not there."""

    def drained_until(self) -> Mapping[str, int]:
        """What a broker that cannot be asked for a ready or running message can say instead, by queue.

        Everything that came into the queue before that (epoch milliseconds) was given out, and whoever got it has had
        to settle it since, or to give it back. To be asked now and then, since it rests on what was seen; a queue of
        which nothing can be said is not there.
        """
        return {}

    @abstractmethod
    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        """Give dead letters a new life, attempts and losses forgotten. Returns the ids that were dead letters."""

    def discard(self, message_ids: Sequence[str]) -> list[str]:
        """Drop messages that wait, are delayed or dead; what runs is left alone. Returns the ids that were dropped."""
        return self._withdraw(message_ids, State.DISCARDED)

    def revoke(self, message_ids: Sequence[str]) -> list[str]:
        """The same of messages that somebody called off; see :func:`django_tasks_q.revoke`, which knows why."""
        return self._withdraw(message_ids, State.REVOKED)

    @abstractmethod
    def _withdraw(self, message_ids: Sequence[str], state: State) -> list[str]:
        """Drop what nobody runs, in one step with the event that says so: its new state is ``state``."""

    def replace(self, message_id: str, message: Message[Any]) -> bool:
        """Send ``message`` in the place of a dead letter, which is discarded in the same step.

        False, and nothing is sent, when it was no dead letter any more: asked twice, it happens once. Errors as
        :meth:`enqueue`.
        """
        outgoing = self.prepare(message, parent_id=message_id)
        if outgoing.unique is not None:  # a dead letter does not go for a message that is left out
            unique = msgspec.structs.replace(outgoing.unique, on_conflict="raise")
            outgoing = msgspec.structs.replace(outgoing, unique=unique)
        replaced = self._replace(message_id, outgoing)
        if replaced:
            self.announce(outgoing)
        return replaced

    @abstractmethod
    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        """Discard a dead letter and store another message, both or neither."""

    @abstractmethod
    def expire_dead_letters(self, ttl: int, limit: int = MAX_BATCH) -> int:
        """Drop up to ``limit`` dead letters that died more than ``ttl`` milliseconds ago; how many there were."""

    @abstractmethod
    def flush(self, queue_name: str) -> None:
        """Drop everything that waits in a queue, delayed and dead included; what runs is left alone."""

    def flush_all(self) -> None:
        for queue_name in list(self.queues):
            self.flush(queue_name)

    # Waiting in rows

    @property
    def waits_in_rows(self) -> bool:
        """Whether what is delayed or dead is in the waiting room; the keeper calls the two methods below then."""
        return False

    def take_in(self, limit: int) -> int:
        """Carry up to ``limit`` messages that are to wait into the waiting room, each out of here once it is there.

        Returns how many there were; any number of processes may do it at once. Raises BrokerConnectionError or
        BrokerNotReady when the broker or the room cannot be used: what was on its way is where it was, or in both.
        """
        return 0

    def release_due(self, limit: int) -> int:
        """Publish up to ``limit`` messages whose time has come, each out of the waiting room once it is here.

        Returns how many there were; otherwise as :meth:`take_in`.
        """
        return 0

    unparks: bool = False
    """Whether :meth:`unpark` finds everybody who is parked, at once."""

    one_queue_per_limit: bool = False
    """Whether messages that share the key of a limit have to be in one queue."""

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        """Make up to so many messages ready now that are parked on ``key`` in these queues; how many.

        Those that stood first in line. A broker that cannot lets each come back when its time is over.
        """
        return 0

    @property
    def journal(self) -> Journal | None:
        """Where events wait for the mirror; None where the broker writes the records itself, with the change."""
        return None

    @property
    def address(self) -> str:
        """What to show people as the broker's address; never with a password."""
        return type(self).__name__

    def check_ready(self) -> None:
        """Raise BrokerNotReady or BrokerConnectionError with the next step in words when messages cannot travel."""

    def risks(self) -> list[str]:
        """How the server is set up so that it may lose or stop messages: a sentence for each, with what to do.

        It asks the server; errors as :meth:`check_ready`.
        """
        return []

    def forget_settings(self) -> None:
        """Forget what was derived from ``recording`` and the other values of the settings: they have changed."""

    def close(self) -> None:
        """Let go of this process's connections."""


def _declared(actor: Actor[Any, Any] | None) -> Mapping[str, Any]:
    """The options of a message's actor, as far as this process knows it."""
    return {} if actor is None else actor.options


def _parent_id() -> str:
    running = get_running()
    return "" if running is None else running.message.message_id


_broker: Broker | None = None
_factory: Callable[[], Broker] | None = None
_default_middleware: Callable[[], list[Middleware]] = list


def get_broker() -> Broker:
    """The broker of this process: the one set, else the one that the settings describe.

    RuntimeError when there is neither.
    """
    global _broker
    if _broker is None:
        if _factory is None:
            raise RuntimeError(
                "There is no broker: call set_broker(), or put 'django_tasks_q' in INSTALLED_APPS and set Django up."
            )
        _broker = _factory()
    return _broker


def set_broker(broker: Broker | None) -> None:
    """Make ``broker`` the one that actors declared from now on belong to; None forgets the present one."""
    global _broker
    _broker = broker


def replace_broker(old: Broker, new: Broker) -> None:
    """Put ``new`` where ``old`` is; a broker that somebody has set stays."""
    global _broker
    if _broker is old:
        _broker = new


def set_broker_factory(factory: Callable[[], Broker]) -> None:
    """Say who makes the broker of the settings; the Django floor does."""
    global _factory
    _factory = factory


def set_default_middleware(factory: Callable[[], list[Middleware]]) -> None:
    """Say which stack a broker gets when none is given; the middleware family does."""
    global _default_middleware
    _default_middleware = factory
