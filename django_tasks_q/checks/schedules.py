"""Schedules that no worker could run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage

from .. import schedules
from .findings import error, usable_broker

_HINT = "An entry of SCHEDULES names an actor by its actor_name, and gives it arguments that fit."


def check_schedules(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E019: a schedule calls an actor that is not there, or one that cannot be called like that."""
    broker = usable_broker()
    if broker is None:
        return []
    return [error("E019", f"Schedule {name!r}: {text}", _HINT) for name, text in schedules.problems(broker)]
