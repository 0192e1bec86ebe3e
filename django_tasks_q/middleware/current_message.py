"""Dramatiq's way to the running message."""

from __future__ import annotations

from typing import Any

from ..context import get_current_message
from ..message import Message
from .middleware import Middleware


class CurrentMessage(Middleware):
    """Kept for Dramatiq's sake: the engine itself always knows the running message.

    See :func:`django_tasks_q.get_current_message`.
    """

    @classmethod
    def get_current_message(cls) -> Message[Any] | None:
        return get_current_message()
