"""Messages that are too old to be of use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import clock
from ..deliveries import MessageProxy
from ..errors import SkipMessage
from ..outcomes import Dead
from .middleware import Middleware, option

if TYPE_CHECKING:
    from ..broker import Broker


class AgeLimit(Middleware):
    """Makes a dead letter (reason ``age_limit``) of a message that was sent more than ``max_age`` milliseconds ago.

    Waiting for a delay or a retry counts, as in Dramatiq.
    """

    def __init__(self, *, max_age: int | None = None) -> None:
        self.max_age = max_age

    @property
    def actor_options(self) -> set[str]:
        return {"max_age"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        max_age = option(broker, message, "max_age", self.max_age)
        if not max_age:
            return
        age = clock.wall_ms() - message.message_timestamp
        if age > max_age:
            message.fail()
            message.outcome = Dead("age_limit")
            raise SkipMessage(f"It is {age} ms old; max_age is {max_age} ms.")
