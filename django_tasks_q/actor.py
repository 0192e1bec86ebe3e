"""Actors: functions that can be sent for."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from .broker import Broker, get_broker
from .common import MAX_NAME_LENGTH, check_priority, check_queue_name
from .gathering import gather
from .logging import get_logger
from .message import Message
from .options import check_actor_options, message_options, plain, when
from .signature import Signature

P = ParamSpec("P")
R = TypeVar("R")


class Actor(Generic[P, R]):
    """A function that messages can call; calling it directly runs it here and now.

    Attributes:
        fn: the function.
        broker, actor_name, queue_name, priority, options: as declared.
        app_label: the Django app it was declared in, or the first part of its module's name.
        is_async: whether the function is a coroutine function; a worker runs many of these at once on an event loop.
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        broker: Broker,
        actor_name: str,
        queue_name: str,
        priority: int,
        options: dict[str, Any],
    ) -> None:
        self.is_async = inspect.iscoroutinefunction(fn)
        self.fn: Callable[P, R] = _on_a_loop(fn) if self.is_async else fn
        self.broker = broker
        self.actor_name = actor_name
        self.queue_name = queue_name
        self.priority = priority
        self._own_options = dict(options)
        self.take_defaults()
        self.app_label = _app_label(fn)
        self.signature = Signature(fn)
        if self.options.get("schedule") is not None:
            self.signature.check((), {})  # with which each slot calls it
        if self.options.get("gather") is not None:
            self.signature.check(([],), {})
        self.logger = get_logger(fn.__module__ or "_", actor_name)
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", actor_name)
        self.__module__ = fn.__module__
        self.__wrapped__ = fn
        broker.declare_actor(self)

    def take_defaults(self) -> None:
        """Let the options that this actor does not declare itself be those of the broker's ``actor_defaults``."""
        options = {**self.broker.actor_defaults, **self._own_options}
        self.options = plain(options)

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
            options: any option that the broker's middleware reads; ``message_id`` is the caller's own id. Stamps are
                ``stamps={"batch_id": 42}`` or, as Celery says it, ``stamped_headers=["batch_id"], batch_id=42``.

        Raises:
            TypeError: the arguments do not fit the signature; ones that are missing are noticed at send.
            ValueError: an unknown option, a bad delay, eta or priority.
        """
        args, arguments = _arguments(args, kwargs)
        self.signature.check_partial(args, arguments)
        checked = message_options(self.broker, options, f"{self.actor_name}: a message") if options else {}
        checked |= when(delay, eta)
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
            return self.broker.enqueue_on_commit([message])[0]
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
        return self.broker.enqueue_on_commit([message], using=using)[0]

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

    def unique_holder(self, *args: P.args, **kwargs: P.kwargs) -> str | None:
        """The id of the message that holds the key of this call; None when it is free.

        ``Broker.unique_holder(message)`` says it of a message with options of its own. ValueError for an actor that is
        not ``unique``; BrokerConnectionError.
        """
        return self.broker.unique_holder(self.message(*args, **kwargs))

    def gather(self, item: Any, *, key: str = "") -> None:
        """Have an item run together with others: the function gets a list of them, as ``gather=`` of the actor says.

        Items of different keys never share a run. It is part of the transaction that is open on the database of the
        records, and goes with a rollback; at once when none is open. Once it is committed it runs, whatever happens to
        this process or the broker: then a broker that is away is nobody's error.

        Raises:
            ValueError: the actor is declared without ``gather``, or a key that is no printable text.
            EncodeError: the item cannot be encoded; the error names its path.
            BrokerConnectionError: the database of the records cannot be reached.
            BrokerNotReady: it has no tables, or there is none.
        """
        gather(self, (item,), key)

    def gather_many(self, items: Iterable[Any], *, key: str = "") -> None:
        """:meth:`gather` for many items, all or none of them, in the order in which runs get them."""
        gather(self, items, key)

    async def agather(self, item: Any, *, key: str = "") -> None:
        """:meth:`gather` from async code, without blocking the event loop."""
        await _off_the_loop(self.gather, item, key=key)

    async def agather_many(self, items: Iterable[Any], *, key: str = "") -> None:
        """:meth:`gather_many` from async code, without blocking the event loop."""
        await _off_the_loop(self.gather_many, items, key=key)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        if not self.logger.isEnabledFor(10):
            return self.fn(*args, **kwargs)
        with self._logged(args, kwargs):
            return self.fn(*args, **kwargs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the coroutine function of an async actor here and now, on the loop that is running."""
        if not self.logger.isEnabledFor(10):
            return cast(R, await self.__wrapped__(*args, **kwargs))
        with self._logged(args, kwargs):
            return cast(R, await self.__wrapped__(*args, **kwargs))

    @contextmanager
    def _logged(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[None]:
        shown = self.broker.recording.shown_arguments(self.actor_name, args, kwargs)
        self.logger.debug("Received args=%r kwargs=%r.", *shown)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.logger.debug("Completed after %.02fms.", (time.perf_counter() - start) * 1000)

    def __repr__(self) -> str:
        return f"Actor({self.fn!r}, queue_name={self.queue_name!r}, actor_name={self.actor_name!r})"

    def __str__(self) -> str:
        return f"Actor({self.actor_name})"


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


class ActorDecorator(Protocol):
    """What ``@actor(…)`` gives: an async actor is typed by what it returns once it was awaited."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Actor[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Actor[P, R]: ...


@overload
def actor(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Actor[P, R]: ...
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
) -> ActorDecorator: ...
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
        ValueError: an unknown option, a bad name, queue, priority or schedule, or a name that another function has.
        TypeError: it has a schedule, and its function cannot be called without arguments; or it gathers items, and
            cannot be called with a list.
    """

    def decorate(fn: Callable[..., Any]) -> Any:
        if isinstance(fn, Actor):
            raise TypeError(f"{fn.actor_name} is an actor already; declare the function it runs, {fn.actor_name}.fn.")
        on = broker or get_broker()
        name = actor_name or fn.__name__
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(f"{name} yields: calling it would run nothing of it. An actor's function may only return.")
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise ValueError(f"An actor name has 1 to {MAX_NAME_LENGTH} printable characters: {name!r:.80}")
        check_queue_name(queue_name)
        check_priority(priority)
        check_actor_options(on, {**on.actor_defaults, **options}, f"{name}: an actor")
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


def _refuse_namesake(broker: Broker, name: str, fn: Callable[..., Any]) -> None:
    known = broker.actors.get(name)
    if known is None:
        return
    raise ValueError(
        f"Two actors are called {name!r}: {known.fn.__module__}.{known.fn.__qualname__} and "
        f'{fn.__module__}.{fn.__qualname__}. Give one of them actor_name="{_app_label(fn)}.{fn.__name__}".'
    )


def _app_label(fn: Callable[..., Any]) -> str:
    """The label of the app that a function's module belongs to, as its module path tells."""
    package = (fn.__module__ or "").split(".")
    return package[-2] if len(package) > 1 else package[0]
