"""Actors: functions that can be sent for."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, overload

from .broker import Broker, check_delay, get_broker
from .common import MAX_NAME_LENGTH, check_priority, check_queue_name
from .errors import did_you_mean
from .logging import get_logger
from .message import MAX_ID_LENGTH, Message
from .outcomes import milliseconds
from .signature import Signature

P = ParamSpec("P")
R = TypeVar("R")

ENGINE_OPTIONS = frozenset({"delivery_limit", "record"})
"""Options that the engine itself reads, for actors and messages alike."""

ACTOR_ENGINE_OPTIONS = ENGINE_OPTIONS | {"on_commit"}
"""What the engine reads of actors."""

_MESSAGE_ONLY = frozenset({"priority", "message_id", "pipe_target"})
_ACTOR_ONLY = frozenset({"retry_when", "throws", "queue_name", "schedule"})
_TARGETS = ("on_failure", "on_success", "on_retry_exhausted")


class Actor(Generic[P, R]):
    """A function that messages can call; calling it directly runs it here and now.

    Attributes:
        fn: the function.
        broker, actor_name, queue_name, priority, options: as declared.
        app_label: the Django app it was declared in, or the first part of its module's name.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        broker: Broker,
        actor_name: str,
        queue_name: str,
        priority: int,
        options: dict[str, Any],
    ) -> None:
        self.fn = _on_a_loop(fn) if inspect.iscoroutinefunction(fn) else fn
        self.broker = broker
        self.actor_name = actor_name
        self.queue_name = queue_name
        self.priority = priority
        self._own_options = dict(options)
        self.take_defaults()
        self.app_label = _app_label(fn)
        self.signature = Signature(fn)
        self.logger = get_logger(fn.__module__ or "_", actor_name)
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", actor_name)
        self.__module__ = fn.__module__
        self.__wrapped__ = fn
        broker.declare_actor(self)

    def take_defaults(self) -> None:
        """Let the options that this actor does not declare itself be those of the broker's ``actor_defaults``."""
        options = {**self.broker.actor_defaults, **self._own_options}
        self.options = {**options, **_named_targets(options), **_durations(options)}

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """A message that calls this actor; nothing is sent. TypeError when the arguments do not fit the signature.

        Arguments may be missing here: a later step of a pipeline gets the result of the one before as its last.
        """
        return self.message_with_options(args=args, kwargs=kwargs)

    def message_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        delay: int | timedelta | None = None,
        eta: int | datetime | None = None,
        **options: Any,
    ) -> Message[R]:
        """A message that calls this actor, with options of its own.

        Parameters:
            delay: milliseconds or a timedelta, at most a year.
            eta: when, as an aware datetime or epoch milliseconds; not together with ``delay``.
            options: any option that the broker's middleware reads; ``message_id`` is the caller's own id.

        Raises:
            TypeError: the arguments do not fit the signature; ones that are missing are noticed at send.
            ValueError: an unknown option, a bad delay, eta or priority.
        """
        args, arguments = _arguments(args, kwargs)
        self.signature.check_partial(args, arguments)
        checked = self._message_options(options) if options else {}
        checked |= _when(delay, eta)
        return Message(self.queue_name, self.actor_name, args, arguments, checked)

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """Send a message that calls this actor with these arguments; returns it.

        Raises:
            TypeError: the arguments do not fit the signature.
            EncodeError: one of them cannot be encoded; the error names its path.
            BrokerConnectionError: the broker cannot be reached.
        """
        self.signature.check(args, kwargs)
        return self._send(self.message_with_options(args=args, kwargs=kwargs))

    def send_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        delay: int | timedelta | None = None,
        eta: int | datetime | None = None,
        **options: Any,
    ) -> Message[R]:
        """Send a message with options of its own; see :meth:`message_with_options` and :meth:`send`."""
        args, kwargs = _arguments(args, kwargs)
        self.signature.check(args, kwargs)
        return self._send(self.message_with_options(args=args, kwargs=kwargs, delay=delay, eta=eta, **options))

    def _send(self, message: Message[R]) -> Message[R]:
        """As the actor wants it: now, or with the commit."""
        if self.options.get("on_commit"):
            self.broker.enqueue_on_commit([message])
            return message
        return self.broker.enqueue(message)

    def send_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """Send a message when the open transaction of the default database commits; at once when none is open.

        Nothing is sent when the transaction is rolled back, or the savepoint it was sent in. Once it has committed the
        message is not lost, whatever happens to this process or the broker: it waits in a row of the same transaction.

        Returns the message, with the id that it will have. Errors as :meth:`send`; a broker that is away is none.
        """
        return self.send_on_commit_with_options(args=args, kwargs=kwargs)

    def send_on_commit_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        delay: int | timedelta | None = None,
        eta: int | datetime | None = None,
        using: str | None = None,
        **options: Any,
    ) -> Message[R]:
        """:meth:`send_on_commit` with options of its own; ``using`` is the database whose transaction it waits for.

        A delay counts from the commit.
        """
        args, kwargs = _arguments(args, kwargs)
        self.signature.check(args, kwargs)
        message = self.message_with_options(args=args, kwargs=kwargs, delay=delay, eta=eta, **options)
        self.broker.enqueue_on_commit([message], using=using)
        return message

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """:meth:`send` from async code, without blocking the event loop."""
        sent: Message[R] = await _off_the_loop(self.send, *args, **kwargs)
        return sent

    async def asend_with_options(self, **options: Any) -> Message[R]:
        """:meth:`send_with_options` from async code, without blocking the event loop."""
        sent: Message[R] = await _off_the_loop(self.send_with_options, **options)
        return sent

    async def asend_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """:meth:`send_on_commit` from async code, without blocking the event loop."""
        sent: Message[R] = await _off_the_loop(self.send_on_commit, *args, **kwargs)
        return sent

    async def asend_on_commit_with_options(self, **options: Any) -> Message[R]:
        """:meth:`send_on_commit_with_options` from async code, without blocking the event loop."""
        sent: Message[R] = await _off_the_loop(self.send_on_commit_with_options, **options)
        return sent

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        if not self.logger.isEnabledFor(10):
            return self.fn(*args, **kwargs)
        shown = self.broker.recording.shown_arguments(self.actor_name, args, kwargs)
        self.logger.debug("Received args=%r kwargs=%r.", *shown)
        start = time.perf_counter()
        try:
            return self.fn(*args, **kwargs)
        finally:
            self.logger.debug("Completed after %.02fms.", (time.perf_counter() - start) * 1000)

    def __repr__(self) -> str:
        return f"Actor({self.fn!r}, queue_name={self.queue_name!r}, actor_name={self.actor_name!r})"

    def __str__(self) -> str:
        return f"Actor({self.actor_name})"

    def _message_options(self, options: dict[str, Any]) -> dict[str, Any]:
        known = (self.broker.actor_options | ENGINE_OPTIONS | _MESSAGE_ONLY) - _ACTOR_ONLY
        _refuse_unknown(options, known, f"{self.actor_name}: a message has no option")
        if "priority" in options:
            check_priority(options["priority"])
        if "message_id" in options and not 0 < len(str(options["message_id"])) <= MAX_ID_LENGTH:
            raise ValueError(f"message_id has 1 to {MAX_ID_LENGTH} characters: {options['message_id']!r:.80}")
        _check_numbers(options)
        return {**options, **_named_targets(options), **_durations(options)}


def _on_a_loop(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function as one that runs it to its end, on an event loop of its own."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        import asyncio  # costs a worker 50 ms at boot, so only those pay that have such actors

        return asyncio.run(fn(*args, **kwargs))

    return run


async def _off_the_loop(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Sends use the caller's database connection, so they go to the thread that Django keeps for it."""
    from asgiref.sync import sync_to_async

    return await sync_to_async(call, thread_sensitive=True)(*args, **kwargs)


@overload
def actor(fn: Callable[P, R], /) -> Actor[P, R]: ...
@overload
def actor(
    fn: None = None,
    *,
    actor_class: Callable[..., Any] = ...,
    actor_name: str | None = ...,
    queue_name: str = ...,
    priority: int = ...,
    broker: Broker | None = ...,
    **options: Any,
) -> Callable[[Callable[P, R]], Actor[P, R]]: ...
def actor(
    fn: Callable[..., Any] | None = None,
    *,
    actor_class: Callable[..., Any] = Actor,
    actor_name: str | None = None,
    queue_name: str = "default",
    priority: int = 0,
    broker: Broker | None = None,
    **options: Any,
) -> Any:
    """Declare a function as an actor; with or without options.

    Parameters:
        actor_name: unique on the broker; the function's name when not given.
        queue_name: the queue that its messages travel through.
        priority: -100 to 100; smaller runs sooner.
        broker: the one to declare it on; the process's broker when not given.
        options: whatever the broker's middleware reads.

    Raises:
        ValueError: an unknown option, a bad name, queue or priority, or a name that another function has.
    """

    def decorate(fn: Callable[..., Any]) -> Any:
        if isinstance(fn, Actor):
            raise TypeError(f"{fn.actor_name} is an actor already; declare the function it runs, {fn.actor_name}.fn.")
        on = broker or get_broker()
        name = actor_name or fn.__name__
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise ValueError(f"An actor name has 1 to {MAX_NAME_LENGTH} printable characters: {name!r:.80}")
        check_queue_name(queue_name)
        check_priority(priority)
        check_actor_options(on, {**on.actor_defaults, **options}, f"{name}: an actor has no option")
        _refuse_namesake(on, name, fn)
        return actor_class(fn, broker=on, actor_name=name, queue_name=queue_name, priority=priority, options=options)

    if fn is not None and not callable(fn):
        raise TypeError(f"@actor takes options by name, such as @actor(queue_name='mail'); not {fn!r:.40}.")
    return decorate if fn is None else decorate(fn)


def _arguments(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What ``args=`` and ``kwargs=`` say; TypeError for ``args=("one")``, which would be a call with three letters."""
    if type(args) is not tuple and (isinstance(args, str | bytes) or not isinstance(args, Iterable)):
        raise TypeError(
            f"args is a list or tuple of arguments, not {args!r:.40}; a single one is args=({args!r:.40},)."
        )
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs is a dict of arguments, not {kwargs!r:.40}.")
    return tuple(args), dict(kwargs or {})


def check_actor_options(broker: Broker, options: Mapping[str, Any], what: str) -> None:
    """Raise ValueError for an option that the broker's middleware does not read or a bad number, TypeError for a
    callback that is no actor."""
    _check_numbers(options)
    _named_targets(options)
    _refuse_unknown(options, broker.actor_options | ACTOR_ENGINE_OPTIONS, what)


_DURATIONS = ("min_backoff", "max_backoff", "max_age", "time_limit")


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Raise ValueError for a number that would fail in the worker, at every attempt, or silently mean nothing."""
    for name in _DURATIONS:
        value = options.get(name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if value is not None and (type(value) not in (int, float) or not value >= 0):
            raise ValueError(f"{name} is milliseconds, from 0 on, or a timedelta: {options[name]!r}")
    retries = options.get("max_retries")
    if retries is not None and (type(retries) is not int or retries < 0):
        raise ValueError(f"max_retries is a whole number from 0 on, or None for ever: {retries!r}")
    for name in ("record", "on_commit"):
        if type(options.get(name, True)) is not bool:
            raise ValueError(f"{name} is True or False: {options[name]!r}")
    _check_delivery_limit(options)


def _check_delivery_limit(options: Mapping[str, Any]) -> None:
    limit = options.get("delivery_limit", 3)
    if type(limit) is not int or limit < 2:
        raise ValueError(f"delivery_limit is an integer of at least 2: {limit!r}")


def _refuse_unknown(options: Mapping[str, Any], known: frozenset[str] | set[str], what: str) -> None:
    for name in options:
        if name not in known:
            raise ValueError(f"{what} {name!r}.{did_you_mean(name, sorted(known))}")


def _refuse_namesake(broker: Broker, name: str, fn: Callable[..., Any]) -> None:
    known = broker.actors.get(name)
    if known is None:
        return
    raise ValueError(
        f"Two actors are called {name!r}: {known.fn.__module__}.{known.fn.__qualname__} and "
        f'{fn.__module__}.{fn.__qualname__}. Give one of them actor_name="{_app_label(fn)}.{fn.__name__}".'
    )


def _named_targets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Callbacks as names: actors do not fit into a message."""
    named = {}
    for role in _TARGETS:
        target = options.get(role)
        if target is None:
            continue
        if not isinstance(target, str | Actor):
            raise TypeError(f"{role} is an actor or the name of one: {target!r}")
        named[role] = target.actor_name if isinstance(target, Actor) else target
    return named


def _durations(options: Mapping[str, Any]) -> dict[str, int]:
    """Durations as milliseconds, which is what middleware reads and what fits into a message."""
    return {name: milliseconds(value) for name, value in options.items() if isinstance(value, timedelta)}


def _when(delay: int | timedelta | None, eta: int | datetime | None) -> dict[str, int]:
    if delay is not None and eta is not None:
        raise ValueError("Give delay= or eta=, not both.")
    if isinstance(delay, timedelta):
        delay = round(delay.total_seconds() * 1000)
    if isinstance(eta, datetime):
        if eta.tzinfo is None:
            raise ValueError(f"eta is an aware datetime or epoch milliseconds; this one has no time zone: {eta!r}")
        eta = round(eta.timestamp() * 1000)
    check_delay(delay, eta)
    if delay is not None:
        return {"delay": delay}
    return {"eta": eta} if eta is not None else {}


def _app_label(fn: Callable[..., Any]) -> str:
    """The label of the app that a function's module belongs to, as its module path tells."""
    package = (fn.__module__ or "").split(".")
    return package[-2] if len(package) > 1 else package[0]
