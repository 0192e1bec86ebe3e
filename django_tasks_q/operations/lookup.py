"""One message by its id: what the broker holds, else what is recorded."""

from __future__ import annotations

from typing import Any

from .. import records_database
from ..broker import get_broker
from ..errors import DecodeError
from ..message import Message
from ..mirror.text import original_value
from ..models import MessageRecord
from ..progress import Progress
from .progress import progress_of, progress_rows


def fetch(message_id: str) -> Message[Any] | None:
    """See :meth:`Message.fetch`."""
    held = get_broker().look_up([message_id]).get(message_id)
    if held is not None:
        try:
            return Message.decode(held.delivery.payload)
        except DecodeError:
            pass  # nobody can read it; its record says what is known
    found = record(message_id)
    return None if found is None else _as_recorded(found)


def record(message_id: str) -> MessageRecord | None:
    """See :meth:`Message.record`."""
    alias = records_database.alias(get_broker())
    return MessageRecord.objects.using(alias).filter(pk=message_id).first()


def progress(message_id: str) -> Progress | None:
    """See :meth:`Message.get_progress`."""
    found = progress_rows(message_id).first()
    return None if found is None else progress_of(found)


async def aprogress(message_id: str) -> Progress | None:
    """See :meth:`Message.aget_progress`."""
    found = await progress_rows(message_id).afirst()
    return None if found is None else progress_of(found)


def _as_recorded(record: MessageRecord) -> Message[Any]:
    created = record.created_at
    return Message(
        record.queue_name,
        record.actor_name,
        tuple(original_value(record.args or [])),
        original_value(record.kwargs or {}),
        original_value(record.options or {}),
        record.message_id,
        0 if created is None else round(created.timestamp() * 1000),
    )
