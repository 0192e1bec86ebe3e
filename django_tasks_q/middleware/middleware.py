"""The base of all middleware: every hook, doing nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..deliveries import MessageProxy
from ..errors import MiddlewareError, SkipMessage
from ..message import Message
from ..outcomes import Outcome

__all__ = ["Middleware", "MiddlewareError", "SkipMessage", "option"]

if TYPE_CHECKING:
    from ..actor import Actor
    from ..broker import Broker
    from ..results import ResultBackend
    from ..worker import ConsumerThread, Worker, WorkerThread

__all__ = ["Middleware", "MiddlewareError", "SkipMessage"]

Hook = TypeVar("Hook", bound=Callable[..., Any])


def _no_op(hook: Hook) -> Hook:
    """Marks a hook that nobody has filled in, so that the broker does not call it for every message."""
    hook.no_op = True  # type: ignore[attr-defined]
    return hook


class Middleware:
    """Listens to what happens to messages, actors and workers.

    ``before_`` hooks are called in the order of the stack, ``after_`` hooks in the reverse order. The options that a
    middleware reads are named by ``actor_options``; what no middleware names is refused at ``@actor``.
    """

    @property
    def actor_options(self) -> set[str]:
        """The options that this middleware reads."""
        return set()

    @property
    def forks(self) -> Sequence[Callable[[], object]]:
        """Functions that ``runworkers`` runs beside its workers, each once in a process of its own.

        The process ends when the function returns, and with the workers. It is started again only when it failed.
        """
        return ()

    @property
    def results_backend(self) -> ResultBackend | None:
        """Where this middleware stores results, if it does."""
        return None

    @_no_op
    def before_ack(self, broker: Broker, message: MessageProxy) -> None:
        """Before a message is settled that is not a dead letter."""

    @_no_op
    def after_ack(self, broker: Broker, message: MessageProxy) -> None:
        """The broker has confirmed the settlement."""

    @_no_op
    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Before a message becomes a dead letter."""

    @_no_op
    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        """The broker has confirmed the dead letter."""

    @_no_op
    def before_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None: ...

    @_no_op
    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None: ...

    @_no_op
    def before_declare_queue(self, broker: Broker, queue_name: str) -> None: ...

    @_no_op
    def after_declare_queue(self, broker: Broker, queue_name: str) -> None: ...

    @_no_op
    def after_declare_delay_queue(self, broker: Broker, queue_name: str) -> None:
        """Never called: there are no delay queues. Kept so that Dramatiq's middleware can call ``super()``."""

    @_no_op
    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None: ...

    @_no_op
    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None: ...

    @_no_op
    def before_delay_message(self, broker: Broker, message: MessageProxy) -> None:
        """A message has come that was delayed, by its options or by a retry; delayed messages wait in the broker."""

    @_no_op
    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Before an actor is called. SkipMessage skips it; any other exception is a failed attempt."""

    @_no_op
    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """After an actor returned or raised."""

    @_no_op
    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None: ...

    @_no_op
    def after_outcome(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        outcome: Outcome,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """All other hooks have had their say: what becomes of the message, which nobody can change any more."""

    @_no_op
    def after_result(self, broker: Broker, message: MessageProxy, *, outcome: Outcome) -> None:
        """The same, and its result is made: who counts messages does it here.

        What it causes is sent. It may put a Parked or a Dead into ``message.outcome`` when the message must not end.
        """

    @_no_op
    def after_process_boot(self, broker: Broker) -> None:
        """In a worker process, before its threads start."""

    @_no_op
    def before_worker_boot(self, broker: Broker, worker: Worker) -> None: ...

    @_no_op
    def after_worker_boot(self, broker: Broker, worker: Worker) -> None: ...

    @_no_op
    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None: ...

    @_no_op
    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None: ...

    @_no_op
    def after_consumer_thread_boot(self, broker: Broker, thread: ConsumerThread) -> None: ...

    @_no_op
    def before_consumer_thread_shutdown(self, broker: Broker, thread: ConsumerThread) -> None: ...

    @_no_op
    def after_worker_thread_boot(self, broker: Broker, thread: WorkerThread) -> None: ...

    @_no_op
    def before_worker_thread_shutdown(self, broker: Broker, thread: WorkerThread) -> None: ...


def option(broker: Broker, message: MessageProxy, name: str, default: Any) -> Any:
    """An option of a message: its own, else its actor's, else the middleware's."""
    options = message.options
    if name in options:
        return options[name]
    actor = broker.actors.get(message.actor_name)
    return default if actor is None else actor.options.get(name, default)
