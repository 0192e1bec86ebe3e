"""The next step of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..deliveries import MessageProxy
from ..message import Message
from .middleware import Middleware

if TYPE_CHECKING:
    from ..broker import Broker


class Pipelines(Middleware):
    """After a success, sends the message in ``pipe_target`` with the result as its last positional argument.

    The result is left out where the receiving message, or the actor that returned it, says ``pipe_ignore``.
    """

    @property
    def actor_options(self) -> set[str]:
        return {"pipe_ignore", "pipe_target"}

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        target = message.options.get("pipe_target")
        if exception is not None or message.failed or not target:
            return
        step = Message.from_dict(dict(target))
        actor = broker.actors.get(message.actor_name)
        ignore = step.options.get("pipe_ignore", False) or (actor is not None and actor.options.get("pipe_ignore"))
        message.cause(step if ignore else step.copy(args=(*step.args, result)))
