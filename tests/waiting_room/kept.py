"""Messages for a waiting room."""

from __future__ import annotations

from typing import Any

import msgspec

from django_tasks_q import clock
from django_tasks_q.waiting_room import Kept

MINUTE = 60_000


def delayed(message_id: str, due_in: int = -10, **fields: Any) -> Kept:
    """Due so many milliseconds from now; a moment ago, unless said otherwise."""
    now = clock.wall_ms()
    told: dict[str, Any] = {"kind": "delay", "enqueued_at": now - 5, "since": now, **fields}
    return Kept(message_id, told.pop("queue_name", "q"), b"payload of " + message_id.encode(), told.pop("kind"),
                now + due_in, **told)  # fmt: skip


def dead(message_id: str, died_ago: int = 0, **fields: Any) -> Kept:
    """A letter of a message that died so many milliseconds ago."""
    letter = delayed(
        message_id, kind="dead", since=clock.wall_ms() - died_ago, **{"reason": "retries_exhausted", **fields}
    )
    return msgspec.structs.replace(letter, due_at=None)


def names(items: list[Kept]) -> list[str]:
    return [item.message_id for item in items]
