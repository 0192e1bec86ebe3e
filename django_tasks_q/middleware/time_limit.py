"""How long an actor may run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..deliveries import MessageProxy
from ..errors import TimeLimitExceeded
from .middleware import Middleware, option

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["TimeLimit", "TimeLimitExceeded"]


class TimeLimit(Middleware):
    """Says how many milliseconds an actor may run; ``None`` or ``float("inf")``: as long as it likes.

    The worker raises :class:`TimeLimitExceeded` in its thread when the time is up, which is a failed attempt. Code that
    cannot be interrupted (C calls, a bare ``except``) costs its process, after ``TIME_LIMIT_GRACE``.
    ``interval`` is accepted for Dramatiq's sake; deadlines are looked at ten times a second.
    """

    def __init__(self, *, time_limit: float | None = 600_000, interval: int = 1_000) -> None:
        self.time_limit = time_limit

    @property
    def actor_options(self) -> set[str]:
        return {"time_limit"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        limit = option(broker, message, "time_limit", self.time_limit)
        message.time_limit = None if limit is None or math.isinf(limit) else int(limit)
