"""The middleware that makes results of what actors return."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..deliveries import MessageProxy, Result
from ..errors import EncodeError
from ..logging import get_logger
from ..message import Message
from ..middleware.middleware import Middleware, option
from ..outcomes import Dead, Done, ErrorInfo, Outcome, Revoked, Skipped, milliseconds
from .backend import DEFAULT_TTL, ResultBackend, get_result_backend
from .result import not_stored, pack_failure, pack_value

if TYPE_CHECKING:
    from ..broker import Broker

logger = get_logger(__name__)


class Results(Middleware):
    """Stores what actors return, and what ended them for good, where ``store_results`` says so.

    It may stand anywhere in the stack: a result is made when it is decided what becomes of the message. A skipped
    message has the result None; a failed attempt that is repeated has none yet.

    Parameters:
        backend: where results are kept; the settings' (``RESULTS_URL``) when not given.
        store_results: for actors and messages that do not say so themselves.
        result_ttl: milliseconds, or a timedelta, that a result is kept; 600,000 when not given.
    """

    def __init__(
        self,
        *,
        backend: ResultBackend | None = None,
        store_results: bool = False,
        result_ttl: int | timedelta | None = None,
    ) -> None:
        self._backend = backend
        self.store_results = store_results
        self.result_ttl = DEFAULT_TTL if result_ttl is None else milliseconds(result_ttl)

    @property
    def actor_options(self) -> set[str]:
        return {"store_results", "result_ttl"}

    @property
    def results_backend(self) -> ResultBackend:
        return self._backend or get_result_backend()

    def after_outcome(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        outcome: Outcome,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        if message.result is not None or not option(broker, message, "store_results", self.store_results):
            return
        if isinstance(outcome, Dead | Revoked):
            error = _death(outcome) if exception is None else ErrorInfo.of(exception)
            message.result = self._failure(broker, message._message, error)
        elif isinstance(outcome, Done | Skipped):
            message.result = self._success(broker, message, result if isinstance(outcome, Done) else None)

    def _success(self, broker: Broker, proxy: MessageProxy, value: Any) -> Result:
        backend, message = self.results_backend, proxy._message
        try:
            payload = pack_value(backend.encoder, value, broker.max_message_bytes)
        except Exception as error:  # the outcome stands; it is the reader who has to know
            if not isinstance(error, EncodeError):
                logger.exception("The encoder failed on the result of %s.", message.actor_name)
            logger.error("The result of %s (%s) is not stored: %s", message.actor_name, message.message_id, error)
            info = ErrorInfo.of(error)
            proxy.result_error = not_stored(info.message, info.type)
            return self._failure(broker, message, info)
        return backend.kept(backend.build_message_key(message), payload, self._ttl(broker, message))

    def _failure(self, broker: Broker, message: Message[Any], error: ErrorInfo) -> Result:
        backend = self.results_backend
        return backend.kept(
            backend.build_message_key(message), pack_failure(backend.encoder, error), self._ttl(broker, message)
        )

    def failure_of(
        self,
        broker: Broker,
        message_id: str,
        outcome: Dead | Revoked,
        error: ErrorInfo | None,
        message: Message[Any] | None,
    ) -> Result | None:
        """The failure of a message that no hook sees end: nobody could read it, run it, or was left to tell.

        Where nobody here knows whether its results are wanted, somebody may be waiting for one.
        """
        told = error or _death(outcome)
        if message is None:
            backend = self.results_backend
            return backend.kept(backend.key_of(message_id), pack_failure(backend.encoder, told), self.result_ttl)
        default = self.store_results if message.actor_name in broker.actors else True
        if not option(broker, MessageProxy(message), "store_results", default):
            return None
        return self._failure(broker, message, told)

    def _ttl(self, broker: Broker, message: Message[Any]) -> int:
        ttl = option(broker, MessageProxy(message), "result_ttl", None)
        return self.result_ttl if ttl is None else milliseconds(ttl)


def failure_of(
    broker: Broker,
    message_id: str,
    outcome: Outcome,
    error: ErrorInfo | None = None,
    message: Message[Any] | None = None,
) -> Result | None:
    """What the broker's ``Results`` says of an end that no hook sees; None without one. Raises nothing."""
    middleware = next((item for item in broker.middleware if isinstance(item, Results)), None)
    if middleware is None or not isinstance(outcome, Dead | Revoked):
        return None
    try:
        return middleware.failure_of(broker, message_id, outcome, error, message)
    except Exception:
        logger.exception("Nobody is told that message %s is dead.", message_id)
        return None


def _death(outcome: Dead | Revoked) -> ErrorInfo:
    if isinstance(outcome, Revoked):
        return ErrorInfo("MessageRevoked", "The message was revoked.")
    return ErrorInfo("Dead", f"The message died: {outcome.reason.replace('_', ' ')}.")
