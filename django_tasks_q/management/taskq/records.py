"""Rows as a program reads them: every field by its public name."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from django_tasks_q import get_broker
from django_tasks_q.models import MessageRecord
from django_tasks_q.operations.progress import progress_of
from django_tasks_q.recording import HIDDEN


def as_dict(row: Model) -> dict[str, Any]:
    """The fields of a row, a foreign key by its name alone; without the progress of an attempt that is over."""
    fields = {field.name: _plain(getattr(row, field.attname)) for field in row._meta.concrete_fields}
    if isinstance(row, MessageRecord) and progress_of(row) is None:
        fields |= {"progress_done": None, "progress_total": None, "progress_text": ""}
    if isinstance(row, MessageRecord) and row.raw is not None and get_broker().recording.hides:
        fields["raw"] = HIDDEN.encode()  # what nobody can decode nobody can redact
    return fields


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
