"""Messages that follow a success or a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..deliveries import MessageProxy
from ..errors import MessageRevoked
from ..outcomes import ErrorInfo
from .derived import derived_message
from .middleware import Middleware, option

if TYPE_CHECKING:
    from ..broker import Broker


class Callbacks(Middleware):
    """Sends a message to ``on_success`` (message as a dict, result) or, for each failed attempt, to ``on_failure``.

    ``on_failure`` gets the message as a dict and ``{"type": …, "message": …}`` of the exception. Both options take an
    actor or its name. The callback is part of the settlement and has an id derived from its cause.
    """

    @property
    def actor_options(self) -> set[str]:
        return {"on_failure", "on_success"}

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        role = "on_success" if exception is None else "on_failure"
        target = option(broker, message, role, None)
        if not target or (exception is None and message.failed) or isinstance(exception, MessageRevoked):
            return  # what was called off has not failed
        outcome = result if exception is None else _described(exception)
        message.cause(derived_message(broker, message, str(target), (dict(message.asdict()), outcome), role))


def _described(exception: BaseException) -> dict[str, str]:
    info = ErrorInfo.of(exception)
    return {"type": type(exception).__name__, "message": info.message}
