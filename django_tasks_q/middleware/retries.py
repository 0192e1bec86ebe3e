"""Failed attempts, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..deliveries import MessageProxy
from ..outcomes import MAX_BACKOFF, Dead, Retry, RetryPolicy, decide, milliseconds
from .derived import derived_message
from .middleware import Middleware

if TYPE_CHECKING:
    from ..broker import Broker


class Retries(Middleware):
    """Runs failed messages again, later and later; see :func:`django_tasks_q.outcomes.decide`.

    Parameters:
        max_retries: how often; ``None`` for ever.
        min_backoff, max_backoff: milliseconds, or timedeltas.
        retry_when: ``(retries so far, exception) -> bool``, instead of ``max_retries``.
    """

    def __init__(
        self,
        *,
        max_retries: int | None = 20,
        min_backoff: int = 15_000,
        max_backoff: int = MAX_BACKOFF,
        retry_when: Callable[[int, BaseException], bool] | None = None,
    ) -> None:
        self.max_retries = max_retries
        self.min_backoff = min_backoff
        self.max_backoff = max_backoff
        self.retry_when = retry_when

    @property
    def actor_options(self) -> set[str]:
        return {"max_retries", "min_backoff", "max_backoff", "retry_when", "throws", "on_retry_exhausted"}

    def policy(self, broker: Broker, message: MessageProxy) -> RetryPolicy:
        """The policy of one message: its own options, else its actor's, else this middleware's."""
        actor = broker.actors.get(message.actor_name)
        options = {**(actor.options if actor is not None else {}), **message.options}
        throws = () if actor is None else actor.options.get("throws", ())
        return RetryPolicy(
            options.get("max_retries", self.max_retries),
            milliseconds(options.get("min_backoff", self.min_backoff)),
            milliseconds(options.get("max_backoff", self.max_backoff)),
            self.retry_when if actor is None else actor.options.get("retry_when", self.retry_when),
            throws if isinstance(throws, tuple) else (throws,) if isinstance(throws, type) else tuple(throws),
        )

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is None or message.outcome is not None:
            return
        retries = message.retries
        outcome = message.outcome = decide(exception, retries, self.policy(broker, message))
        if isinstance(outcome, Dead):
            message.fail()
            if outcome.reason != "throws":
                message.options["retries"] = retries + 1
                self._exhausted(broker, message, retries)
        elif isinstance(outcome, Retry):
            message.options["retries"] = retries + 1

    def _exhausted(self, broker: Broker, message: MessageProxy, retries: int) -> None:
        actor = broker.actors.get(message.actor_name)
        target = message.options.get("on_retry_exhausted") or (
            None if actor is None else actor.options.get("on_retry_exhausted")
        )
        if not target:
            return
        told = {"retries": retries, "max_retries": self.policy(broker, message).max_retries}
        message.cause(
            derived_message(broker, message, str(target), (dict(message.asdict()), told), "on_retry_exhausted")
        )
