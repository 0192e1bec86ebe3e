"""The life of one delivery, from bytes to settlement."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import clock
from ..broker import Broker
from ..context import Running, enter, leave
from ..deliveries import Delivery, MessageProxy, Outgoing, Settlement
from ..errors import DecodeError, RateLimitExceeded, Shutdown, SkipMessage, UnsupportedVersion
from ..errors import Retry as RetryRequest
from ..logging import get_logger
from ..message import Message
from ..middleware import Retries
from ..outcomes import (
    DONE,
    HANDED_BACK,
    SKIPPED,
    UNDECODABLE,
    Dead,
    ErrorInfo,
    Outcome,
    Parked,
    Requeue,
    Retry,
    decide_unknown_actor,
)
from .slot import Slot

if TYPE_CHECKING:
    from ..actor import Actor

logger = get_logger(__name__)

_NEWER_RELEASE_PAUSE = 10_000
"""Milliseconds that a message of a newer release waits before it is offered to a worker again."""


class Finished(NamedTuple):
    """A delivery that came to its end; ``proxy`` is None when no middleware has seen it."""

    settlement: Settlement
    proxy: MessageProxy | None


class Executor:
    """Runs deliveries; one for all threads of a process.

    Parameters:
        time_limit_grace: milliseconds between a time limit and the end of the process.
        unknown_actor_grace: milliseconds that a message waits for its actor to be deployed.
        worker_id: of the worker whose board shows what runs here.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        time_limit_grace: int = 10_000,
        unknown_actor_grace: int = 600_000,
        worker_id: str = "",
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._time_limit_grace = time_limit_grace
        self._unknown_actor_grace = unknown_actor_grace
        self._pid = os.getpid()
        retries = next((item for item in broker.middleware if isinstance(item, Retries)), None)
        self._max_retries = retries.max_retries if retries else 0
        self.out_of_memory = False

    def process(self, delivery: Delivery, slot: Slot) -> Finished:
        """Decode, find the actor, run it between its hooks, and say what becomes of it. Raises nothing."""
        try:
            message = Message.decode(delivery.payload)
        except UnsupportedVersion:
            return self._unread(delivery, Parked("message_version", _NEWER_RELEASE_PAUSE))
        except DecodeError as error:
            logger.error("A message of queue %r cannot be decoded: %s", delivery.queue_name, error)
            return self._unread(delivery, UNDECODABLE, error)
        actor = self._broker.actors.get(message.actor_name)
        if actor is None:
            return self._unknown(delivery, message)
        _set_retries(message, delivery)
        proxy = MessageProxy(message, delivery)
        token = enter(Running(message, delivery.retries, self._retry_limit(message, actor), proxy, self._worker_id))
        try:
            return self._run(proxy, actor, slot)
        finally:
            leave(token)

    def _run(self, proxy: MessageProxy, actor: Actor[Any, Any], slot: Slot) -> Finished:
        result: Any = None
        exception: BaseException | None = None
        skipped = False
        try:
            for hook in self._broker.hooks("before_process_message"):
                hook(self._broker, proxy)
            if not proxy.failed:
                result = self._call(proxy, actor, slot)
        except SkipMessage as skip:
            skipped = True
            logger.info("%s was skipped: %s", actor.actor_name, skip)
        except BaseException as error:
            exception = error
        # Once more: an interrupt that landed on the first step of closing would leave the slot open to the next one.
        slot.close()
        self._notice(exception)
        if skipped:
            self._tell("after_skip_message", proxy)
        else:
            self._tell("after_process_message", proxy, result=result, exception=exception)
        outcome = _outcome(proxy, exception, skipped)
        then, outcome = self._prepare_caused(proxy, outcome)
        return Finished(self._settlement(proxy, outcome, exception, then, slot.started_at), proxy)

    def _call(self, proxy: MessageProxy, actor: Actor[Any, Any], slot: Slot) -> Any:
        args, kwargs = proxy.args, proxy.kwargs
        actor.signature.check(args, kwargs)
        try:
            slot.open(proxy.time_limit, self._time_limit_grace, proxy.notify_shutdown)
            return actor(*args, **kwargs)
        finally:
            slot.close()

    def _tell(self, hook_name: str, proxy: MessageProxy, **facts: Any) -> None:
        """Call the hooks of a message that has run. Whatever they raise, SystemExit too, it has run and is settled."""
        for hook in self._broker.hooks(hook_name):
            try:
                hook(self._broker, proxy, **facts)
            except BaseException:
                logger.critical("Unexpected failure in %s.", hook_name, exc_info=True)

    def _notice(self, exception: BaseException | None) -> None:
        if os.getpid() != self._pid:
            # People's code forked and the child came back here: it owns neither the message nor the connections.
            os._exit(0)
        if isinstance(exception, MemoryError):
            self.out_of_memory = True

    def _settlement(
        self,
        proxy: MessageProxy,
        outcome: Outcome,
        exception: BaseException | None,
        then: tuple[Outgoing, ...],
        started_at: int,
    ) -> Settlement:
        delivery = proxy.delivery
        assert delivery is not None
        error = None if exception is None else ErrorInfo.of(exception)
        payload = _encoded(proxy._message) if type(outcome) is Retry else None
        if error is not None or type(outcome) is Dead:
            _log(proxy, outcome, exception)
        actor = self._broker.actors.get(proxy.actor_name)
        label = "" if actor is None else actor.app_label
        return Settlement(delivery, outcome, error, then, payload, started_at, clock.wall_ms(), exception, label)

    def _prepare_caused(self, proxy: MessageProxy, outcome: Outcome) -> tuple[tuple[Outgoing, ...], Outcome]:
        """What the hooks want to send, ready for the settlement. What cannot be sent must not vanish: a dead letter.

        An attempt that does not count, because it was interrupted or has to wait, causes nothing.
        """
        if not proxy.caused or isinstance(outcome, Parked | Requeue):
            return (), outcome
        prepared = []
        for message, delay in proxy.caused:
            try:
                prepared.append(self._broker.prepare(message, delay, proxy.message_id))
            except Exception:
                logger.exception("%s could not send %s.", proxy.actor_name, message.actor_name)
                outcome = Dead("not_sendable")
        return tuple(prepared), outcome

    def _unread(self, delivery: Delivery, outcome: Outcome, error: BaseException | None = None) -> Finished:
        info = None if error is None else ErrorInfo.of(error)
        return Finished(Settlement(delivery, outcome, info, finished_at=clock.wall_ms(), exception=error), None)

    def _unknown(self, delivery: Delivery, message: Message[Any]) -> Finished:
        outcome = decide_unknown_actor(delivery.retries, self._unknown_actor_grace)
        text = f"No actor is called {message.actor_name!r} here."
        logger.warning("%s The message waits for a worker that knows it: %s", text, outcome)
        error = ErrorInfo("ActorNotFound", text)
        return Finished(Settlement(delivery, outcome, error, finished_at=clock.wall_ms()), None)

    def _retry_limit(self, message: Message[Any], actor: Actor[Any, Any]) -> int | None:
        limit: int | None = message.options.get("max_retries", actor.options.get("max_retries", self._max_retries))
        return limit


def _outcome(proxy: MessageProxy, exception: BaseException | None, skipped: bool) -> Outcome:
    """The hooks' word, else what the plain facts say."""
    if proxy.outcome is not None:
        return proxy.outcome
    if isinstance(exception, Shutdown):
        return HANDED_BACK
    if exception is not None:
        return Dead("retries_exhausted")
    if proxy.failed:
        return Dead("rejected")
    return SKIPPED if skipped else DONE


def _set_retries(message: Message[Any], delivery: Delivery) -> None:
    """The broker's counter is the truth; the option is how Dramatiq's middleware reads it."""
    if delivery.retries:
        message.options["retries"] = delivery.retries
    else:
        message.options.pop("retries", None)


def _encoded(message: Message[Any]) -> bytes | None:
    """The message with the options that middleware set; None keeps the stored one when that cannot be encoded."""
    try:
        return message.encode()
    except Exception:
        logger.exception("%s is retried without the options that middleware set.", message.actor_name)
        return None


def _log(proxy: MessageProxy, outcome: Outcome, exception: BaseException | None) -> None:
    """One line for what will be tried again, the traceback for what will not."""
    if isinstance(exception, RateLimitExceeded | RetryRequest):
        logger.debug("%s will run again: %s", proxy.actor_name, exception)
    elif isinstance(outcome, Dead) and outcome.reason == "throws":
        logger.info("%s failed as declared: %r", proxy.actor_name, type(exception).__name__)
    elif isinstance(outcome, Dead):
        logger.error("%s is dead: %s.", proxy.actor_name, outcome.reason, exc_info=exception)
    elif isinstance(outcome, Retry):
        logger.warning("%s failed (%s); next attempt in %d ms.", proxy.actor_name, _name(exception), outcome.delay)
    else:
        logger.info("%s was interrupted; it goes back to its queue.", proxy.actor_name)


def _name(exception: BaseException | None) -> str:
    return "" if exception is None else f"{type(exception).__name__}: {ErrorInfo.of(exception).message:.200}"
