"""What actors declare of themselves: how many of their messages may run at once, and how many in a time."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .. import clock
from ..deliveries import MessageProxy
from ..errors import BrokerError, SkipMessage
from ..logging import get_logger
from ..outcomes import Parked
from ..rate_limits import RateLimiterBackend, get_rate_limiter_backend, parse_rate
from ..rate_limits.concurrent import owner_here
from ..rate_limits.rate_limiter import MAX_KEY_LENGTH
from .middleware import Middleware, option

if TYPE_CHECKING:
    from ..actor import Actor
    from ..broker import Broker
    from ..worker import Worker

logger = get_logger(__name__)

PREFIX = "concurrency "
"""What the keys of these leases begin with: limiters that people make in their actors share none with them."""

_PREFIXES = {"concurrency": PREFIX, "rate_limit": "rate "}
_MAX_KEY_LENGTH = MAX_KEY_LENGTH - len(PREFIX)

_LEASE = 60_000
"""Milliseconds of a lease. The keeper renews it while the message runs, and frees it when its worker is dead."""

_FIRST_LOOK, _RARE_LOOK, _SPACING = 2.0, 600.0, 0.5
"""Seconds after which a parked message looks by itself whether there is room, should nobody call it: at first, and at
most. The more are parked on a key, the rarer each of them looks: on average one of those that this process has parked
in the last of these times, so that a long line costs no more than a short one."""

_RETURN = 15_000
"""Milliseconds after which a message comes back that could not even ask."""

_REST = 5.0
"""Seconds for which nobody is called after the store of the limits could not be reached; the keeper frees the rest."""


_TRUST = 10.0
"""Seconds for which it goes without saying that a lease taken here is held here."""

_AWAY = "the store of limits is away"
_ANY_KEY = ""

_MOST_KNOWN = 10_000
"""Keys of which it is remembered in which queue they were seen, where that has to be one."""


class _Held(NamedTuple):
    """A lease of a message that runs here, or has run and is not settled."""

    message: MessageProxy
    key: str
    token: int
    since: float


class Limits(Middleware):
    """Runs at most ``concurrency`` messages of a key at once, and at most ``rate_limit`` of a key in a time.

    A message that has to wait is parked: no attempt is counted, no thread waits. Its place is given on when a message
    of its key is settled; who waits for a rate comes back at a time of his own.

    Parameters:
        backend: where limits are kept; None for the one of the settings.
    """

    def __init__(self, *, backend: RateLimiterBackend | None = None) -> None:
        self._given = backend
        self._held: dict[int, _Held] = {}
        """By delivery, as its proxy stands for it: a message whose delivery was lost may be here a second time."""
        self._queues: defaultdict[str, set[str]] = defaultdict(set)
        """Where messages of a key may be parked, by key; those of ``_ANY_KEY`` may have every one."""
        self._owed: dict[tuple[str, str], int] = {}
        """By key and queue: how many could not be called when they should have been."""
        self._turns: dict[str, float] = {}
        """Until when the looks of those that were parked here are spread, by key."""
        self._used_in: dict[str, str] = {}
        """The queue of each key, where it has to be one."""
        self._resting_until = 0.0
        self._is_used = False

    @property
    def actor_options(self) -> set[str]:
        return {"concurrency", "concurrency_key", "rate_limit", "rate_limit_key"}

    @property
    def backend(self) -> RateLimiterBackend:
        return self._given or get_rate_limiter_backend()

    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        if actor.options.get("concurrency") is not None:
            self._queues[_declared_key(actor, "concurrency") or _ANY_KEY].add(actor.queue_name)

    # Before a message runs

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        concurrency = option(broker, message, "concurrency", None)
        rate = option(broker, message, "rate_limit", None)
        if concurrency is None and rate is None:
            return
        self._is_used = True
        try:
            if concurrency is not None:
                self._hold(broker, message, concurrency)
            if rate is not None:
                self._pass(broker, message, rate)
        except BrokerError as error:  # no fault of the message
            logger.warning("Limits cannot be looked at: %s", error)
            _park(message, Parked(_AWAY, int(_RETURN * random.uniform(0.5, 1))))

    def _hold(self, broker: Broker, message: MessageProxy, concurrency: int) -> None:
        key = self._key(broker, message, "concurrency")
        # Who holds all there is need not be asked whether there is more.
        is_full = self._held_here(key) >= concurrency
        token = None if is_full else self.backend.apart().acquire(key, owner_here(), concurrency, _LEASE)
        if "concurrency_key" in message.options:
            self._queues[_ANY_KEY].add(message.queue_name)
        if token is None:
            _park(message, Parked(key, self._patience(key)))
        self._held[id(message)] = _Held(message, key, token, clock.monotonic())

    def _patience(self, key: str) -> int:
        """For how many milliseconds to wait to be called. Spread at random, so that the looks of those that are left
        over are spread as well, however many were called before."""
        now = clock.monotonic()
        if len(self._turns) >= _MOST_KNOWN:
            self._turns = {other: turn for other, turn in list(self._turns.items()) if turn > now}
        turn = max(now + _FIRST_LOOK, self._turns.get(key, 0.0) + _SPACING)
        self._turns[key] = turn = min(turn, now + _RARE_LOOK)
        return int(random.uniform(_FIRST_LOOK / 2, turn - now) * 1000)

    def _held_here(self, key: str) -> int:
        """How many leases of a key were taken here lately and are still held."""
        youngest = clock.monotonic() - _TRUST
        return sum(held.key == key and held.since > youngest for held in list(self._held.values()))

    def _pass(self, broker: Broker, message: MessageProxy, rate: str) -> None:
        limit, span = parse_rate(rate)
        key = self._key(broker, message, "rate_limit")
        wait = self.backend.apart().admit(key, limit, span, queues=True)
        if wait:
            _park(message, Parked(key, wait))

    def _key(self, broker: Broker, message: MessageProxy, name: str) -> str:
        """Of the limit of that name: what the message shares it with."""
        key = _PREFIXES[name] + _said_key(broker, message, f"{name}_key")
        if broker.one_queue_per_limit:
            if len(self._used_in) >= _MOST_KNOWN:
                self._used_in.clear()
            queue_name = self._used_in.setdefault(key, message.queue_name)
            if queue_name != message.queue_name:
                raise _two_queues(key, queue_name, message.queue_name)
        return key

    # After it was settled

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:
        held = self._held.pop(id(message), None)
        if held is not None:
            self._let_go(broker, held)
        elif isinstance(message.outcome, Parked):
            if broker.unparks and message.outcome.key.startswith(PREFIX):
                self._look_again(broker, message, message.outcome.key)
        elif message.delivery is not None and message.delivery.number > 1:
            self._pass_by(broker, message)
        if self._owed:
            self._pay(broker)

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        self.after_ack(broker, message)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self._is_used:
            self.backend.close()

    def _let_go(self, broker: Broker, held: _Held) -> None:
        with self._care(held.key) as is_awake:
            if is_awake:
                self.backend.release(held.key, held.token)
                self._call(broker, held.key, 1, held.message.queue_name)

    def _pass_by(self, broker: Broker, message: MessageProxy) -> None:
        """It may have been called, and has ended without taking the place: too old, for example."""
        if option(broker, message, "concurrency", None) is None:
            return
        try:
            key = self._key(broker, message, "concurrency")
        except Exception:
            return  # so it was never parked on one
        self._look_again(broker, message, key)

    def _look_again(self, broker: Broker, message: MessageProxy, key: str) -> None:
        """Whoever held the key may have left before this message was parked, and called nobody."""
        concurrency = option(broker, message, "concurrency", 1)
        if self._held_here(key) >= concurrency:
            return  # they are here who will leave later
        with self._care(key) as is_awake:
            if is_awake and (free := concurrency - self.backend.held(key)) > 0:
                self._call(broker, key, free, message.queue_name)

    def _call(self, broker: Broker, key: str, number: int, queue_name: str) -> None:
        """Whoever of the queues that share the key: their order says who is asked first, so it is another each time."""
        queues = sorted({queue_name} | self.queues_of(key))
        try:
            if broker.unpark(key, number, random.sample(queues, len(queues))) < number and broker.unparks:
                self._turns.pop(key, None)  # nobody is parked on it any more
        except BrokerError:
            self._owed[key, queue_name] = self._owed.get((key, queue_name), 0) + number
            raise

    def queues_of(self, key: str) -> set[str]:
        """Where messages may be parked on it, by what actors declare and messages have said."""
        return self._queues.get(key, set()) | self._queues[_ANY_KEY]

    def _pay(self, broker: Broker) -> None:
        """Call those who were not, now that the broker can be reached again."""
        for key, queue_name in list(self._owed):
            with self._care(key) as is_awake:
                if is_awake and (number := self._owed.pop((key, queue_name), 0)):
                    self._call(broker, key, number, queue_name)

    @contextmanager
    def _care(self, key: str) -> Iterator[bool]:
        """What is settled is settled, also when the store is away. False for a while after that."""
        try:
            yield clock.monotonic() >= self._resting_until
        except BrokerError as error:
            self._resting_until = clock.monotonic() + _REST
            logger.warning("%r could not be passed on, that will be done later: %s", key, error)


def call_next(broker: Broker, key: str) -> None:
    """Said by who ends somebody else's lease: the next one that is parked on it is made ready."""
    if key.startswith(PREFIX):
        known = (middleware.queues_of(key) for middleware in broker.middleware if isinstance(middleware, Limits))
        broker.unpark(key, 1, list(next(known, None) or broker.queues))


def _park(message: MessageProxy, outcome: Parked) -> NoReturn:
    message.outcome = outcome
    raise SkipMessage(f"It is parked on {outcome.key!r} for up to {outcome.delay} ms.")


def check_limits(broker: Broker, actor: Actor[Any, Any]) -> None:
    """ValueError when the actor shares a limit with one of another queue, on a broker where that may not be.

    Keys that are made of arguments are looked at when they are made.
    """
    if not broker.one_queue_per_limit:
        return
    for name in _PREFIXES:
        key = _declared_key(actor, name)
        for other in broker.actors.values():
            if key and key == _declared_key(other, name) and actor.queue_name != other.queue_name:
                raise _two_queues(key, other.queue_name, actor.queue_name)


def _declared_key(actor: Actor[Any, Any], name: str) -> str:
    """Of the limit of that name: empty when the actor has none, or makes its key of the arguments."""
    key = actor.options.get(f"{name}_key") or actor.actor_name
    return "" if actor.options.get(name) is None or callable(key) else _PREFIXES[name] + key


def _two_queues(key: str, queue_name: str, another: str) -> ValueError:
    limit, _, name = key.partition(" ")
    return ValueError(
        f"The {limit} limit {name!r} is shared by messages of the queues {queue_name!r} and {another!r}. On a Redis "
        f"Cluster they have to be in one queue: name another key for one of them."
    )


def _said_key(broker: Broker, message: MessageProxy, name: str) -> str:
    """What the option says, made of the message's arguments perhaps, else the name of its actor."""
    key = option(broker, message, name, None)
    if key is None:
        key = message.actor_name
    if callable(key):
        key = key(*message.args, **message.kwargs)
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY_LENGTH or not key.isprintable():
        raise ValueError(f"{name} is text of 1 to {_MAX_KEY_LENGTH} printable characters: {key!r:.80}")
    return key
