"""The life of one delivery, from bytes to settlement."""

from __future__ import annotations

import os
import random
from logging import DEBUG, INFO
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import clock
from ..broker import Broker
from ..context import Running, context_of
from ..deliveries import Delivery, MessageProxy, Outgoing, Settlement
from ..errors import DecodeError, MessageRevoked, RateLimitExceeded, Shutdown, SkipMessage, UnsupportedVersion
from ..errors import Retry as RetryRequest
from ..gather import GATHERS
from ..gathering import forget, take
from ..logging import get_logger
from ..message import Message
from ..middleware import Retries
from ..outcomes import (
    DONE,
    HANDED_BACK,
    REVOKED,
    SKIPPED,
    UNDECODABLE,
    Dead,
    Done,
    ErrorInfo,
    Outcome,
    Parked,
    Requeue,
    Retry,
    Revoked,
    Skipped,
    decide_unknown_actor,
)
from ..results.middleware import failure_of
from ..rules.rules import paused_key
from ..unique import HELD, UNTIL_STARTED
from .attempt import Attempt, Returned
from .slot import Slot

if TYPE_CHECKING:
    from ..actor import Actor
    from ..rules import Rules
    from .async_runner import AsyncRunner
    from .async_slot import AsyncSlot

logger = get_logger(__name__)

_NEWER_RELEASE_PAUSE = 10_000
"""Milliseconds that a message of a newer release waits before it is offered to a worker again."""


_PAUSED_ACTOR = 60_000
"""Milliseconds after which a message of a paused actor looks again, should nobody call it."""

_PAUSED_QUEUE = 1_000
"""Milliseconds until one whose worker died waits in its paused queue again."""


class Finished(NamedTuple):
    """A delivery that came to its end; ``proxy`` is None when no middleware has seen it."""

    settlement: Settlement
    proxy: MessageProxy | None


def not_started(delivery: Delivery) -> Finished:
    """It goes back to the front of its queue, uncounted; if it is still ours."""
    return Finished(Settlement(delivery, HANDED_BACK), None)


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
        self.rules: Rules | None = None
        """Revocations and pauses; None while there are none, so that nobody is asked for them."""
        self.out_of_memory = False
        self._warned: set[str] = set()

    def process(self, delivery: Delivery, slot: Slot) -> Finished:
        """Decode, find the actor, run it between its hooks, and say what becomes of it. Raises nothing."""
        finished = self.begin(delivery, slot, None)
        assert finished is not None
        return finished

    def begin(self, delivery: Delivery, slot: Slot, loop: AsyncRunner | None) -> Finished | None:
        """The same, but an async actor goes to ``loop`` when there is one: then None.

        It comes back to :meth:`conclude`; or to here, when it has to wait for a place on the loop.
        """
        try:
            message = Message.decode(delivery.payload)
        except UnsupportedVersion:
            return self._unread(delivery, Parked("message_version", _NEWER_RELEASE_PAUSE))
        except DecodeError as error:
            logger.error("A message of queue %r cannot be decoded: %s", delivery.queue_name, error)
            return self._unread(delivery, UNDECODABLE, error)
        if self.rules is not None and (held_up := self._held_up(delivery, message, self.rules)) is not None:
            return held_up
        actor = self._broker.actors.get(message.actor_name)
        if actor is None:
            return self._unknown(delivery, message)
        place = None
        if loop is not None and actor.is_async and (place := loop.reserve(delivery)) is None:
            return None
        _set_retries(message, delivery)
        proxy = MessageProxy(message, delivery)
        running = Running(message, delivery.retries, self._retry_limit(message, actor), proxy, self._worker_id)
        attempt = Attempt(proxy, actor, context_of(running), slot, self._time_limit_grace)
        slot.proxy = proxy
        if loop is None or place is None:
            return attempt.context.run(self._run, attempt)
        return self._begin_on(loop, place, attempt)

    def _begin_on(self, loop: AsyncRunner, place: AsyncSlot, attempt: Attempt) -> Finished | None:
        finished: Finished | None = not_started(attempt.delivery)
        try:
            finished = attempt.context.run(self._run, attempt, calls=False)
            # Not in that context: the loop may enter it at once.
            if finished is None and not loop.launch(attempt, place):
                finished = attempt.context.run(self._end, attempt, None, Shutdown())
        finally:
            if finished is not None:
                loop.free(place)
        return finished

    def conclude(self, returned: Returned) -> Finished:
        """Run the last hooks of an attempt that a loop has brought back, and say what becomes of it."""
        attempt, result, exception = returned
        return attempt.context.run(self._end, attempt, result, exception)

    def _run(self, attempt: Attempt, calls: bool = True) -> Finished | None:
        """All of an attempt; with ``calls=False`` all that comes before its actor, and None when that may run."""
        result: Any = None
        exception: BaseException | None = None
        skipped = False
        proxy = attempt.proxy
        if self._broker.hooks("before_delay_message") and _has_waited(proxy):
            self._tell("before_delay_message", proxy)
        try:
            for hook in self._broker.hooks("before_process_message"):
                hook(self._broker, proxy)
            if not proxy.failed:
                attempt.actor.signature.check(proxy.args, proxy.kwargs)
                if HELD in proxy.options and proxy.options.get("unique") == UNTIL_STARTED:
                    self._broker.let_go(attempt.delivery, proxy.options[HELD])
                    if GATHERS in proxy.options:
                        take(self._broker, attempt.actor, proxy)
                if not calls:
                    return None
                result = self._call(attempt)
        except SkipMessage as skip:
            skipped = True
            waits = isinstance(proxy.outcome, Parked)  # as many may do on one limit
            logger.log(DEBUG if waits else INFO, "%s was skipped: %s", proxy.actor_name, skip)
        except BaseException as error:
            exception = error
        return self._end(attempt, result, exception, skipped)

    def _end(self, attempt: Attempt, result: Any, exception: BaseException | None, skipped: bool = False) -> Finished:
        proxy, slot = attempt.proxy, attempt.slot
        # Once more: an interrupt that landed on the first step of closing would leave the slot open to the next one.
        slot.close()
        if type(result) is CoroutineType:
            result, exception = None, _never_ran(result, proxy)
        self._notice(exception)
        if skipped:
            self._tell("after_skip_message", proxy)
        else:
            self._tell("after_process_message", proxy, result=result, exception=exception)
        outcome = _outcome(proxy, exception, skipped)
        if self.rules is not None and isinstance(outcome, Retry | Parked | Dead):
            outcome = self._unless_revoked(proxy, outcome, self.rules)
        then: tuple[Outgoing, ...] = ()
        if proxy.caused and type(outcome) is not Revoked:
            then, outcome = self._prepare_caused(proxy, outcome)
        self._tell("after_outcome", proxy, outcome=outcome, result=result, exception=exception)
        if result is not None and proxy.result is None:
            self._warn_of_loss(proxy)
        proxy.outcome = outcome
        if self._broker.hooks("after_result"):
            then, outcome = self._tell_the_group(proxy, outcome, then)
        if proxy.has_gathered and isinstance(outcome, Done | Skipped | Revoked):
            forget(self._broker, proxy)
        proxy.has_ended = True
        return Finished(self._settlement(attempt, outcome, exception, then), proxy)

    def _call(self, attempt: Attempt) -> Any:
        proxy, slot = attempt.proxy, attempt.slot
        try:
            slot.open(proxy.time_limit, attempt.grace, proxy.notify_shutdown)
            return attempt.actor(*proxy.args, **proxy.kwargs)
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
        self, attempt: Attempt, outcome: Outcome, exception: BaseException | None, then: tuple[Outgoing, ...]
    ) -> Settlement:
        proxy, options = attempt.proxy, attempt.proxy.options
        delivery = proxy.delivery
        assert delivery is not None
        error = None if exception is None else ErrorInfo.of(exception)
        kind = type(outcome)
        if kind is Revoked:
            error = self._told_by(proxy._message) or error
        payload = _encoded(proxy._message) if kind is Retry else None
        if error is not None or kind is Dead:
            _log(proxy, outcome, exception)
        return Settlement(
            delivery, outcome, error, then, payload, attempt.slot.started_at, clock.wall_ms(), exception,
            attempt.actor.app_label, proxy.result, proxy.result_error, proxy.latest_progress,
            options[HELD] if HELD in options else "",  # noqa: SIM401 - no call for those without, which are most
        )  # fmt: skip

    def _warn_of_loss(self, proxy: MessageProxy) -> None:
        """What an actor returned goes nowhere; said once for each of them."""
        name = proxy.actor_name
        if name in self._warned or proxy.options.get("pipe_target"):
            return
        self._warned.add(name)
        actor = self._broker.actors.get(name)
        if actor is None or not actor.options.get("on_success"):
            logger.warning("%s returns a value that nobody gets: its results are not stored (store_results).", name)

    def _tell_the_group(
        self, proxy: MessageProxy, outcome: Outcome, then: tuple[Outgoing, ...]
    ) -> tuple[tuple[Outgoing, ...], Outcome]:
        """Those that count messages hear of its end, which nothing else can change now. What they cause comes last."""
        proxy.caused, proxy.outcome = [], outcome
        self._tell("after_result", proxy, outcome=outcome)
        outcome = proxy.outcome
        if isinstance(outcome, Parked):
            proxy.result = None
            return (), outcome
        more, outcome = self._prepare_caused(proxy, outcome)
        return (*then, *more), outcome

    def _prepare_caused(self, proxy: MessageProxy, outcome: Outcome) -> tuple[tuple[Outgoing, ...], Outcome]:
        """What the hooks want to send, ready for the settlement. What cannot be sent must not vanish: a dead letter.

        An attempt that does not count, because it was interrupted or has to wait, causes nothing.
        """
        if isinstance(outcome, Parked | Requeue):
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
        result = failure_of(self._broker, delivery.message_id, outcome, info)
        settlement = Settlement(delivery, outcome, info, finished_at=clock.wall_ms(), exception=error, result=result)
        return Finished(settlement, None)

    def _unknown(self, delivery: Delivery, message: Message[Any]) -> Finished:
        outcome = decide_unknown_actor(delivery.retries, self._unknown_actor_grace)
        text = f"No actor is called {message.actor_name!r} here."
        logger.warning("%s The message waits for a worker that knows it: %s", text, outcome)
        error = ErrorInfo("ActorNotFound", text)
        result = failure_of(self._broker, delivery.message_id, outcome, error, message)
        proxy = MessageProxy(message, delivery)
        then, outcome = self._tell_the_group(proxy, outcome, ())
        settlement = Settlement(delivery, outcome, error, then, finished_at=clock.wall_ms(), result=result)
        return Finished(settlement, None)

    # Called off, or paused

    def _held_up(self, delivery: Delivery, message: Message[Any], rules: Rules) -> Finished | None:
        """What becomes of a message that must not start; None of one that may."""
        rule = rules.revoking(message)
        if rule is not None:
            return self._revoked(delivery, message, rule.told())
        if delivery.queue_name in rules.paused_queues:
            # A suspect does not come out of its queue, and would be here again at once.
            return not_started(delivery) if not delivery.lost else _parked(delivery, delivery.queue_name, _PAUSED_QUEUE)
        if message.actor_name in rules.paused_actors:
            return _parked(delivery, message.actor_name, int(_PAUSED_ACTOR * random.uniform(0.5, 1)))
        return None

    def _revoked(self, delivery: Delivery, message: Message[Any], told: ErrorInfo) -> Finished:
        """It has not run and never will. Its group hears of it, and whoever waits for its result."""
        proxy = MessageProxy(message, delivery)
        proxy.result = failure_of(self._broker, delivery.message_id, REVOKED, told, message)
        then, outcome = self._tell_the_group(proxy, REVOKED, ())
        proxy.outcome = outcome
        actor = self._broker.actors.get(message.actor_name)
        settlement = Settlement(
            delivery, outcome, told if type(outcome) is Revoked else None, then,
            finished_at=clock.wall_ms(), app_label="" if actor is None else actor.app_label, result=proxy.result,
        )  # fmt: skip
        return Finished(settlement, proxy)

    def _unless_revoked(self, proxy: MessageProxy, outcome: Outcome, rules: Rules) -> Outcome:
        """What is to run again or is dead, unless it was called off meanwhile: that is neither."""
        return outcome if rules.revoking(proxy._message) is None else REVOKED

    def _told_by(self, message: Message[Any]) -> ErrorInfo | None:
        """Who called a message off, and why; None when it was lifted meanwhile."""
        rule = None if self.rules is None else self.rules.revoking(message)
        return None if rule is None else rule.told()

    def _retry_limit(self, message: Message[Any], actor: Actor[Any, Any]) -> int | None:
        limit: int | None = message.options.get("max_retries", actor.options.get("max_retries", self._max_retries))
        return limit


def _parked(delivery: Delivery, paused_name: str, milliseconds: int) -> Finished:
    return Finished(Settlement(delivery, Parked(paused_key(paused_name), milliseconds)), None)


def _outcome(proxy: MessageProxy, exception: BaseException | None, skipped: bool) -> Outcome:
    """The hooks' word, else what the plain facts say."""
    if proxy.outcome is not None:
        return proxy.outcome
    if exception is not None:
        return _outcome_of(exception)
    if proxy.failed:
        return Dead("rejected")
    return SKIPPED if skipped else DONE


def _outcome_of(exception: BaseException) -> Outcome:
    if isinstance(exception, Shutdown):
        return HANDED_BACK
    return REVOKED if isinstance(exception, MessageRevoked) else Dead("retries_exhausted")


def _never_ran(coroutine: CoroutineType[Any, Any, Any], proxy: MessageProxy) -> TypeError:
    """Nothing of it has run, so the message must not pass for done."""
    coroutine.close()
    return TypeError(
        f"{proxy.actor_name} returned a coroutine that nobody awaits: its function is not async itself. Perhaps a "
        "decorator hides that it is; inspect.markcoroutinefunction() says so of the wrapper."
    )


def _has_waited(proxy: MessageProxy) -> bool:
    """Whether the message was delayed by its options, or by a retry."""
    return proxy.retries > 0 or "delay" in proxy.options or "eta" in proxy.options


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
    elif isinstance(outcome, Revoked):
        logger.info("%s was revoked while it ran.", proxy.actor_name)
    elif isinstance(outcome, Retry):
        logger.warning("%s failed (%s); next attempt in %d ms.", proxy.actor_name, _name(exception), outcome.delay)
    else:
        logger.info("%s was interrupted; it goes back to its queue.", proxy.actor_name)


def _name(exception: BaseException | None) -> str:
    return "" if exception is None else f"{type(exception).__name__}: {ErrorInfo.of(exception).message:.200}"
