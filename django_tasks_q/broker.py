"""The seam between the engine and what stores messages.

The worker knows these words and no broker. They speak of meaning (settle, claim, bury), never of storage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from . import clock
from .capabilities import Capabilities
from .common import MAX_NAME_LENGTH, check_priority, check_queue_name, q_name
from .context import get_running
from .deliveries import (
    Casualty,
    Delivery,
    Exchange,
    Held,
    Judge,
    MessageProxy,
    Outgoing,
    QueueCounts,
    Settlement,
    Started,
    WorkerInfo,
)
from .errors import ActorNotFound, MessageTooLarge, MiddlewareError, QueueNotFound, did_you_mean
from .journal import Journal
from .logging import get_logger
from .message import MAX_ID_LENGTH, Message
from .outbox import get_outbox
from .recording import Recording

if TYPE_CHECKING:
    from .actor import Actor
    from .middleware import Middleware

MAX_DELAY = 366 * 86_400_000
"""Milliseconds; further ahead than a year is more likely a mistake than a plan."""

_END_OF_TIME = 253_370_764_800_000
"""The year 9999 in epoch milliseconds: later times cannot be stored, or not be shown in every time zone."""

MAX_QUEUES_PER_EXCHANGE = 16
MAX_BATCH = 1_000
"""Messages in one call to the store, whatever the caller hands over."""

__all__ = ["Broker", "Consumer", "Journal", "MessageProxy", "get_broker", "set_broker"]


class Consumer(ABC):
    """One worker process's side of the broker. Only its I/O thread calls it, except :meth:`wake`."""

    @abstractmethod
    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        """Settle what is done, note what is running, promote what is due and claim up to ``room`` new deliveries.

        On brokers that can, all of it is one atomic step. Raises :class:`BrokerConnectionError` when the broker cannot
        be reached; nobody knows then whether it happened. The same settlements may be handed over again, which settles
        nothing twice, and the consumer itself finds the claims whose answer was lost and returns them.
        """

    @abstractmethod
    def wait(self, timeout: float) -> None:
        """Block until there may be work, somebody called :meth:`wake`, or ``timeout`` seconds have passed."""

    @abstractmethod
    def wake(self) -> None:
        """End a :meth:`wait`, from any thread."""

    @abstractmethod
    def close(self, *, give_back: bool = True) -> None:
        """Leave. With ``give_back``, what is still owned goes to the front of its queue and this worker is forgotten.

        Without it nothing is given back, because something may still be running here: burial or the end of the lease
        will do it.
        """


class Broker(ABC):
    """Keeps messages and hands them out. Subclasses fill in the store; hooks, names and checks are here.

    Parameters:
        middleware: the stack, in order; None for the default one.
    """

    capabilities: Capabilities = Capabilities()
    lease: int = 30_000
    """Milliseconds that a worker counts as alive after its lease was last renewed."""
    delivery_limit: int = 3
    """How often a message may be lost with its worker, where neither it nor its actor says; at least 2."""
    send_timeout: int = 10_000
    """Milliseconds after which a send gives up on a broker that cannot be reached."""
    journal_max_bytes: int = 268_435_456
    """The journal's budget, on brokers that keep one."""
    delivery_timeout: int | None = None
    """Milliseconds after which the server takes back what a worker still runs; None: it never does."""

    def __init__(self, middleware: Iterable[Middleware] | None = None) -> None:
        self.logger = get_logger(type(self).__module__, type(self).__name__)
        self.actors: dict[str, Actor[Any, Any]] = {}
        self.queues: dict[str, Any] = {}
        self.actor_options: set[str] = set()
        self.middleware: list[Middleware] = []
        self.max_message_bytes = 1_048_576
        self.actor_defaults: Mapping[str, Any] = {}
        self.recording = Recording()
        self._hooks: dict[str, list[Callable[..., Any]]] = {}
        for item in _default_middleware() if middleware is None else middleware:
            self.add_middleware(item)

    # Hooks

    def add_middleware(
        self, middleware: Middleware, *, before: type[Middleware] | None = None, after: type[Middleware] | None = None
    ) -> None:
        """Put ``middleware`` at the end of the stack, or before or after the first of a class.

        It hears of the queues and actors that are declared already. ValueError when the anchor is not in the stack or
        both are given.
        """
        if before is not None and after is not None:
            raise ValueError("Give before= or after=, not both.")
        anchor = before or after
        if anchor is None:
            self.middleware.append(middleware)
        else:
            positions = [i for i, item in enumerate(self.middleware) if isinstance(item, anchor)]
            if not positions:
                raise ValueError(f"{anchor.__name__} is not in the middleware of this broker.")
            self.middleware.insert(positions[0] + (after is not None), middleware)
        self.actor_options |= middleware.actor_options
        self._hooks.clear()
        for queue_name in self.queues:
            middleware.after_declare_queue(self, queue_name)
        for actor in self.actors.values():
            middleware.after_declare_actor(self, actor)

    def hooks(self, signal: str) -> list[Callable[..., Any]]:
        """The methods that listen to ``signal``, in calling order; inherited no-ops are left out."""
        found = self._hooks.get(signal)
        if found is None:
            methods = [getattr(item, signal, None) for item in self.middleware]
            found = [method for method in methods if method is not None and not hasattr(method, "no_op")]
            if signal.startswith("after_"):
                found.reverse()
            self._hooks[signal] = found
        return found

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call ``before_<signal>`` of every middleware, in order. Only MiddlewareError gets through."""
        for hook in self.hooks("before_" + signal):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                self.logger.critical("Unexpected failure in before_%s.", signal, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call ``after_<signal>`` of every middleware, in reverse order. What they raise is logged and contained."""
        for hook in self.hooks("after_" + signal):
            try:
                hook(self, *args, **kwargs)
            except Exception:
                self.logger.critical("Unexpected failure in after_%s.", signal, exc_info=True)

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

    # Sending

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Send ``message``, ``delay`` milliseconds from now.

        Inside the delivery that owns the message's id this becomes its retry instead.

        Raises:
            QueueNotFound: nobody in this process declared the queue.
            DuplicateMessage: a message of this id is still waiting or running.
            EncodeError: an argument cannot be encoded.
            BrokerConnectionError: the broker cannot be reached.
        """
        running = get_running()
        if running is not None and running.message.message_id == message.message_id:
            running.proxy.retry_as(message, delay)
            return message
        outgoing = self.prepare(message, delay)
        self._enqueue([outgoing])
        self.announce(outgoing)
        return outgoing.message

    def enqueue_many(self, messages: Iterable[Message[Any]]) -> list[Message[Any]]:
        """Send many messages in as few round trips as possible; each queue's batch all or nothing.

        All of them are checked and encoded before the first is sent.
        """
        outgoing = [self.prepare(message) for message in messages]
        self.publish(outgoing)
        return [item.message for item in outgoing]

    def enqueue_on_commit(self, messages: Iterable[Message[Any]], *, using: str | None = None) -> list[Message[Any]]:
        """Send messages when the open transaction of database ``using`` commits; at once when none is open.

        They are checked and encoded now. None is Django's default database; without Django there are no transactions.
        Errors as :meth:`enqueue`, except that a broker that is away at the commit is nobody's error: the messages wait
        in rows.
        """
        outgoing = [self.prepare(message) for message in messages]
        outbox = get_outbox()
        if outbox is None:
            self.publish(outgoing)
        elif outgoing:
            outbox.send(self, outgoing, using)
        return [item.message for item in outgoing]

    def sends_within(self, using: str) -> bool:
        """Whether a send is part of the open transaction of the database ``using``."""
        return False

    def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Send what was prepared, in as few round trips as possible. Errors as :meth:`enqueue`."""
        for start in range(0, len(outgoing), MAX_BATCH):
            self._enqueue(outgoing[start : start + MAX_BATCH])
        for item in outgoing:
            self.announce(item)

    def prepare(self, message: Message[Any], delay: int | None = None, parent_id: str = "") -> Outgoing:
        """Check, announce to ``before_enqueue`` and encode a message; nothing is sent yet."""
        queue_name = q_name(message.queue_name)
        if queue_name != message.queue_name:  # one of Dramatiq's names, which nobody consumes: delays wait in the queue
            message = message.copy(queue_name=queue_name)
        self._check(message)
        if delay is None:
            delay = message.options.get("delay")
        eta = message.options.get("eta") if delay is None else None
        check_delay(delay, eta)
        self.emit_before("enqueue", message, delay)
        payload = message.encode()
        if len(payload) > self.max_message_bytes:
            raise MessageTooLarge(
                f"{message.actor_name}: {len(payload)} bytes encoded, MAX_MESSAGE_BYTES is {self.max_message_bytes}."
            )
        return self._outgoing(message, payload, delay, eta, parent_id or _parent_id())

    def reopen(self, payload: bytes, parent_id: str, age: int) -> Outgoing:
        """What was prepared ``age`` milliseconds ago and may have been sent since. DecodeError for what is no message.

        No hook hears of it again; what is left of a delay counts from now.
        """
        message = Message.decode(payload)
        delay = message.options.get("delay")
        eta = message.options.get("eta") if delay is None else None
        left = None if delay is None else max(0, delay - age)
        outgoing = self._outgoing(message, payload, left, eta, parent_id)
        return msgspec.structs.replace(outgoing, repeat=True)

    def _outgoing(
        self, message: Message[Any], payload: bytes, delay: int | None, eta: int | None, parent_id: str
    ) -> Outgoing:
        actor = self.actors.get(message.actor_name)
        priority = message.options.get("priority", 0 if actor is None else actor.priority)
        app_label, options = ("", {}) if actor is None else (actor.app_label, actor.options)
        record = self.recording.wants(message.options, options)
        return Outgoing(message, payload, priority, delay, eta, app_label, parent_id, record)

    def announce(self, outgoing: Outgoing) -> None:
        """Tell ``after_enqueue`` that the broker has the message."""
        self.emit_after("enqueue", outgoing.message, outgoing.delay)

    def _check(self, message: Message[Any]) -> None:
        if message.queue_name not in self.queues:
            hint = did_you_mean(message.queue_name, list(self.queues))
            raise QueueNotFound(f"No queue is called {message.queue_name!r}; declare_queue() makes one known.{hint}")
        if not 0 < len(message.message_id) <= MAX_ID_LENGTH or not message.message_id.isprintable():
            raise ValueError(f"A message id has 1 to {MAX_ID_LENGTH} printable characters: {message.message_id!r:.80}")
        name, created = message.actor_name, message.message_timestamp
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise ValueError(f"An actor name has 1 to {MAX_NAME_LENGTH} printable characters: {name!r:.80}")
        if type(created) is not int or not 0 <= created < _END_OF_TIME:
            raise ValueError(f"message_timestamp is epoch milliseconds before the year 9999: {created!r:.80}")
        options = message.options
        if "priority" in options:
            check_priority(options["priority"])
        if "message_id" in options:
            _check_correlation_id(str(options["message_id"]))

    @abstractmethod
    def _enqueue(self, outgoing: Sequence[Outgoing]) -> None:
        """Store a batch, all or nothing for each queue. Raises DuplicateMessage or a BrokerError."""

    # Consuming

    @abstractmethod
    def consume(self, worker: WorkerInfo) -> Consumer:
        """Register a worker and open its consumer."""

    @abstractmethod
    def renew(self, worker_ids: Sequence[str]) -> None:
        """Renew the leases of workers that are alive, by the store's clock."""

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

    @abstractmethod
    def peek(
        self, queue_name: str, state: Literal["ready", "delayed", "in_flight", "dead"] = "ready", limit: int = 100
    ) -> list[Delivery]:
        """Look at messages without taking them, in the order in which they would run (dead ones: oldest first)."""

    @abstractmethod
    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        """The messages of these ids that the broker holds, whole, by id; what it does not know is not there."""

    @abstractmethod
    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        """Give dead letters a new life, attempts and losses forgotten. Returns the ids that were dead letters."""

    @abstractmethod
    def discard(self, message_ids: Sequence[str]) -> list[str]:
        """Drop messages that wait, are delayed or dead; what runs is left alone. Returns the ids that were dropped."""

    def replace(self, message_id: str, message: Message[Any]) -> bool:
        """Send ``message`` in the place of a dead letter, which is discarded in the same step.

        False, and nothing is sent, when it was no dead letter any more: asked twice, it happens once. Errors as
        :meth:`enqueue`.
        """
        outgoing = self.prepare(message, parent_id=message_id)
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


def check_delay(delay: object, eta: object) -> None:
    """Raise ValueError for a delay or eta that is negative, no integer, or more than a year ahead."""
    if delay is not None and (type(delay) is not int or not 0 <= delay <= MAX_DELAY):
        raise ValueError(f"delay is milliseconds between 0 and {MAX_DELAY} (a year): {delay!r}")
    if eta is not None and (type(eta) is not int or eta - clock.wall_ms() > MAX_DELAY):
        raise ValueError(f"eta is epoch milliseconds, at most a year ahead: {eta!r}")


def _check_correlation_id(correlation_id: str) -> None:
    # What is not printable would be stored escaped, and not fit its column.
    if not 0 < len(correlation_id) <= MAX_ID_LENGTH or not correlation_id.isprintable():
        raise ValueError(f"message_id has 1 to {MAX_ID_LENGTH} printable characters: {correlation_id!r:.80}")


def refuse_one_id(message_ids: object) -> None:
    """Raise TypeError for a text where a list of ids is wanted: its letters would pass as ids that nobody knows."""
    if isinstance(message_ids, str):
        raise TypeError(f"A list of message ids is wanted, not one id: [{message_ids!r}]")


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
