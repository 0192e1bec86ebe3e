"""What checks say, and of which broker."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS

from .. import conf, records_database
from ..broker import Broker, get_broker
from ..brokers.database import DatabaseBroker
from ..brokers.unusable import UnusableBroker


def error(number: str, text: str, hint: str | None = None) -> checks.Error:
    return checks.Error(text, hint=hint, id=f"django_tasks_q.{number}")


def warning(number: str, text: str, hint: str | None = None) -> checks.Warning:
    return checks.Warning(text, hint=hint, id=f"django_tasks_q.{number}")


def usable_broker() -> Broker | None:
    """The broker of this process; None when the settings cannot be used, which is said elsewhere."""
    try:
        conf.configured()
        broker = get_broker()
    except ImproperlyConfigured:
        return None
    return None if isinstance(broker, UnusableBroker) else broker


def broker_alias(broker: Broker) -> str | None:
    """The database that is the broker, if one is."""
    return broker.using if isinstance(broker, DatabaseBroker) else None


def records_alias(broker: Broker) -> str:
    """The database that the records are in."""
    return records_database.alias(broker)


def results_alias(broker: Broker) -> str | None:
    """The database that results are in, if they are in one."""
    try:
        return getattr(broker.get_results_backend(), "using", None)
    except RuntimeError:  # it stores none
        return None


def limits_alias() -> str | None:
    """The database that rate limits are in, if the settings name one; else they are in one of the others."""
    url = urlsplit(conf.get("RATE_LIMITS_URL") or "")
    return (url.netloc or DEFAULT_DB_ALIAS) if url.scheme == "database" else None


def engine_aliases(broker: Broker) -> set[str]:
    """The databases that the engine works with all the time: of the broker, the records, results and rate limits."""
    aliases = (broker_alias(broker), records_alias(broker), results_alias(broker), limits_alias())
    return {alias for alias in aliases if alias is not None}
