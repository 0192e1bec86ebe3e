"""The next step of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..deliveries import MessageProxy
from .membership import next_messages
from .middleware import Middleware

if TYPE_CHECKING:
    from ..broker import Broker


class Pipelines(Middleware):
    """After a success, sends what is in ``pipe_target`` with the result as its last positional argument.

    That is a message, or the messages of a group. The result is left out where the receiving message, or the actor that
    returned it, says ``pipe_ignore``.
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
        actor = broker.actors.get(message.actor_name)
        ignore = actor is not None and actor.options.get("pipe_ignore")
        owner = message.options
        if "group_size" in owner and message.delivery is not None and message.delivery.life:
            owner = {**owner, "group_told": True}
        for step in next_messages(owner, target, () if ignore else (result,)):
            message.cause(step)
