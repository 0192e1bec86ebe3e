"""When what is composed begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..message import Message
from ..outcomes import milliseconds


def postponed(message: Message[Any], delay: int | timedelta | None) -> Message[Any]:
    """A message that runs ``delay`` milliseconds after it is sent, or after its own delay, whichever is longer."""
    if delay is None:
        return message
    own = message.options.get("delay")
    waits = [milliseconds(wait) for wait in (delay, own) if wait is not None]
    return message.copy(options={"delay": max(waits)})
