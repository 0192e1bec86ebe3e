"""When what is composed begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from .. import clock
from ..message import Message
from ..options import when
from ..outcomes import milliseconds


def postponed(message: Message[Any], delay: int | timedelta | None) -> Message[Any]:
    """A message that runs ``delay`` milliseconds after it is sent, or when it says itself, whichever is later.

    ValueError for a delay that makes no sense.
    """
    if delay is None:
        return message
    wait = when(delay, None)["delay"]
    own, eta = message.options.get("delay"), message.options.get("eta")
    if own is not None:
        wait = max(wait, milliseconds(own))
    elif eta is not None and eta - clock.wall_ms() >= wait:
        return message
    return message.copy(options={"delay": wait})
