"""Addresses, by the names that the admin gives them."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

LABEL = "django_tasks_q"


def url(name: str, *args: Any) -> str:
    """``url("deadletter_changelist")``, ``url("messagerecord_change", message_id)``."""
    return reverse(f"admin:{LABEL}_{name}", args=[quote(arg) for arg in args])
