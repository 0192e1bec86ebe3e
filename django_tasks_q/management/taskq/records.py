"""Rows as a program reads them: every field by its public name."""

from __future__ import annotations

from typing import Any

from django.db.models import Model


def as_dict(row: Model) -> dict[str, Any]:
    """The fields of a row, a foreign key by its name alone."""
    return {field.name: _plain(getattr(row, field.attname)) for field in row._meta.concrete_fields}


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
