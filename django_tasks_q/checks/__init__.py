"""System checks: what is wrong with the project, said before anything runs. ``docs/checks.md`` explains each."""

from __future__ import annotations

from django.core.checks import Tags, register

from .actors import check_actors
from .databases import check_databases, check_engines
from .schedules import check_schedules
from .servers import check_server
from .settings import check_settings, check_values
from .workers import check_broker_is_shared, check_workers

__all__ = [
    "check_actors",
    "check_broker_is_shared",
    "check_databases",
    "check_engines",
    "check_schedules",
    "check_server",
    "check_settings",
    "check_values",
    "check_workers",
    "register_checks",
]


def register_checks() -> None:
    for check in (check_settings, check_values, check_engines, check_actors, check_schedules):
        register(check)
    register(check_databases, Tags.database)
    register(check_broker_is_shared, deploy=True)
    register(check_workers, Tags.database, deploy=True)
    register(check_server, Tags.database, deploy=True)
