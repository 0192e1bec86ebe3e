"""Running what waits, on the calling thread."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from math import ceil
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe

from ..broker import MAX_QUEUES_PER_EXCHANGE, Broker, get_broker
from ..changes import settled
from ..deliveries import Delivery, WorkerInfo
from ..errors import ActorNotFound, DecodeError, Interrupt, RateLimitExceeded
from ..errors import Retry as RetryRequest
from ..message import Message
from ..middleware.database_connections import left_alone
from ..outcomes import Dead, Outcome, Retry
from ..results.post import store_now
from ..rules import control_store
from ..states import State
from ..worker.board import Board
from ..worker.executor import Executor, Finished
from ..worker.slot import Slot
from ..worker.worker import new_worker_id
from .attempts import async_actors_on_this_thread, shielded_transactions
from .commits import on_commit
from .stores import bring_forward, open_consumer

LIMIT = 1_000
"""How many messages run before a drain is taken for endless."""

_drained: ContextVar[tuple[Broker, ...]] = ContextVar("django_tasks_q_drained", default=())


class DrainLimitReached(AssertionError):
    """More messages ran than the limit allows and others are waiting: probably an actor sends itself without end."""


class MessageFailed(AssertionError):
    """A message failed without an exception of its own."""


class Ran(NamedTuple):
    """One attempt: the message as it ran, the state that it is in now, and the exception if there was one.

    ``outcome`` is the engine's word for what becomes of it; a retry has a ``delay``, a death a ``reason``.
    """

    message: Message[Any]
    state: State
    outcome: Outcome
    error: BaseException | None = None


@async_unsafe("drain() blocks and uses the database; in async code use 'await adrain()'.")
def drain(
    queue: str | None = None,
    *,
    limit: int = LIMIT,
    with_delayed: bool = False,
    raise_errors: bool = True,
    broker: Broker | None = None,
) -> list[Ran]:
    """Run what is waiting, and what follows from it, until nothing is ready; one result for each attempt, in order.

    Everything happens on the calling thread and its database connections, so it works inside of ``TestCase``: through
    the same middleware, executor and settlement as in a worker. Callbacks that an actor leaves to ``on_commit()`` run
    after it. Time limits are not enforced.

    Parameters:
        queue: only this queue.
        limit: how many attempts at most.
        with_delayed: skip waits: delayed messages and retries run too, in the order of their times.
        raise_errors: in the end, raise the first error of what failed and does not run again in this drain. Asking for
            a retry (``raise Retry``, a rate limit) is no failure.
        broker: the process's broker when not given.

    Raises:
        QueueNotFound: nobody declared the queue.
        DrainLimitReached: after ``limit`` attempts something is still ready; it stays where it is.
        TypeError: ``with_delayed`` with a broker whose clock cannot be skipped.
        SynchronousOnlyOperation: called on a running event loop.
    """
    if limit < 1:
        raise ValueError(f"limit is at least 1: {limit!r}")
    drain = _Drain(broker or get_broker(), queue, limit, with_delayed)
    ran = drain.run()
    if raise_errors:
        _raise_first_failure(ran, with_delayed)
    return ran


async def adrain(queue: str | None = None, **options: Any) -> list[Ran]:
    """:func:`drain` from async code, on the thread whose database connections async code uses."""
    ran: list[Ran] = await sync_to_async(drain, thread_sensitive=True)(queue, **options)
    return ran


def is_drained(broker: Broker) -> bool:
    """Whether this happens in an attempt of a drain of ``broker``."""
    return broker in _drained.get()


class _Drain:
    """A worker of one thread, the caller's."""

    def __init__(self, broker: Broker, queue: str | None, limit: int, with_delayed: bool) -> None:
        self._broker = broker
        self._queue = queue
        self._limit = limit
        self._with_delayed = with_delayed
        self._worker_id = new_worker_id()
        self._executor = Executor(broker, worker_id=self._worker_id)
        self._slot = Slot(Board(1, 1).regions[0], 0)
        worker = WorkerInfo(self._worker_id, {} if queue is None else {queue: 1}, threads=1)
        self._consumer = open_consumer(broker, worker)
        self._store = control_store(broker)
        self._has_read = False
        self._ran: list[Ran] = []

    def run(self) -> list[Ran]:
        with async_actors_on_this_thread(self._broker):
            return self._run()

    def _run(self) -> list[Ran]:
        try:
            while (delivery := self._next()) is not None:
                if len(self._ran) == self._limit:
                    raise DrainLimitReached(self._endless())
                self._attempt(delivery)
        finally:
            self._consumer.close()  # what was claimed and did not run goes back to its place
        return self._ran

    def _next(self) -> Delivery | None:
        self._obey()
        while True:
            for _ in range(ceil(len(self._queues) / MAX_QUEUES_PER_EXCHANGE)):
                deliveries = self._consumer.exchange([], 1).deliveries
                if deliveries:
                    return deliveries[0]
            if not (self._with_delayed and bring_forward(self._broker, self._queues)):
                return None

    def _obey(self) -> None:
        """Revocations and pauses hold here as in a worker. Those in a database are read once for each drain."""
        if self._store is None or (self._has_read and not self._store.is_at_hand):
            return
        rules = self._store.rules()
        self._has_read = True
        self._executor.rules = rules or None
        self._consumer.left_out = self._consumer.paused = rules.paused_queues

    @property
    def _queues(self) -> list[str]:
        return list(self._broker.queues) if self._queue is None else [self._queue]

    def _attempt(self, delivery: Delivery) -> None:
        token = _drained.set((*_drained.get(), self._broker))
        try:
            with on_commit():
                with left_alone(), shielded_transactions():
                    finished = self._process(delivery)
                self._settle(finished)
                self._ran.append(self._result(finished))
        finally:
            _drained.reset(token)
        exception = finished.settlement.exception
        if exception is not None and not isinstance(exception, Exception | SystemExit | Interrupt):
            raise exception  # Ctrl-C and its like: it means the test run, not the message

    def _process(self, delivery: Delivery) -> Finished:
        self._slot.begin(delivery)
        try:
            return self._executor.process(delivery, self._slot)
        finally:
            self._slot.end()

    def _settle(self, finished: Finished) -> None:
        settlement, broker = finished.settlement, self._broker
        signal = "nack" if isinstance(settlement.outcome, Dead) else "ack"
        if finished.proxy is not None:
            broker.emit_before(signal, finished.proxy)
        if settlement.result is not None and not broker.carries_results():
            store_now(broker, [settlement.result])
        exchange = self._consumer.exchange([settlement], 0)
        if settlement.delivery.handle in exchange.refused:
            return  # the actor itself flushed its queue, for example
        if finished.proxy is not None:
            broker.emit_after(signal, finished.proxy)
        for outgoing in settlement.then:
            broker.announce(outgoing)

    def _result(self, finished: Finished) -> Ran:
        settlement = finished.settlement
        error = settlement.exception
        if error is None and settlement.error is not None:
            error = ActorNotFound(settlement.error.message)  # the one failure that no exception tells of
        state = settled(settlement, self._worker_id, settlement.finished_at).state
        return Ran(_message(finished), state, settlement.outcome, error)

    def _endless(self) -> str:
        names = Counter(result.message.actor_name for result in self._ran).most_common(3)
        often = ", ".join(f"{name} {number} times" for name, number in names)
        return (
            f"{self._limit} messages ran and more are waiting. Does an actor send itself without end? Ran: {often}. "
            "A larger limit= lets more of them run."
        )


def _message(finished: Finished) -> Message[Any]:
    delivery = finished.settlement.delivery
    if finished.proxy is not None:
        return finished.proxy._message
    try:
        return Message.decode(delivery.payload)
    except DecodeError:
        return Message(delivery.queue_name, "?", message_id=delivery.message_id)


def _raise_first_failure(ran: list[Ran], with_delayed: bool) -> None:
    failures = [result for result in ran if _is_failure(result, with_delayed)]
    if not failures:
        return
    message, _, outcome, error = failures[0]
    if error is None:
        reason = outcome.reason if isinstance(outcome, Dead) else outcome
        raise MessageFailed(f"{message} died: {reason}.")
    more = f"; {len(failures) - 1} more failed" if len(failures) > 1 else ""
    error.add_note(f"Raised by message {message.message_id}, {message!s:.500}{more}.")
    raise error


def _is_failure(result: Ran, with_delayed: bool) -> bool:
    if isinstance(result.outcome, Retry):
        return not with_delayed and not isinstance(result.error, RateLimitExceeded | RetryRequest)
    return isinstance(result.outcome, Dead)
