"""Settings that cannot be used, or hardly make sense."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .. import conf, configured
from ..broker import Broker, get_broker
from ..brokers.unusable import UnusableBroker
from ..encoder import PickleEncoder
from .findings import engine_aliases, error, usable_broker, warning

_PARTS: tuple[Callable[[], object], ...] = (
    configured.check_broker_url,
    configured.check_records_database,
    *(partial(configured.check_backend_url, key) for key in configured.BACKENDS),
    configured.middleware_stack,
    configured.encoder_class,
    configured.make_recording,
    lambda: configured.open_store([]),
)
"""What can be looked at apart from the rest, without running people's constructors again."""

_HINT = "See docs/settings.md for what there is to set."

SECOND, HOUR = 1_000, 3_600_000


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001, E005 to E012, E015, E016: the settings cannot be used."""
    found: list[CheckMessage] = [error("E001", text, _HINT) for text in conf.problems()]
    if found:
        return found
    said = {str(wrong): wrong for wrong in _wrong_parts()}
    return [error(getattr(wrong, "number", "E001"), text, getattr(wrong, "hint", None)) for text, wrong in said.items()]


def _wrong_parts() -> Iterator[ImproperlyConfigured]:
    for part in _PARTS:
        try:
            part()
        except ImproperlyConfigured as wrong:
            yield wrong
    broker: object = get_broker()
    if isinstance(broker, UnusableBroker) and isinstance(broker.error, ImproperlyConfigured):
        yield broker.error


def check_values(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E014: no time zones, or another than UTC. W004: pickle. W006: durations that make no sense."""
    broker = usable_broker()
    if broker is None:
        return []
    found: list[CheckMessage] = list(_wrong_zones(broker))
    if not settings.USE_TZ:
        found.append(
            error(
                "E014",
                "USE_TZ is False: the records have moments with a time zone, which the admin and taskq could not show.",
                "Set USE_TZ = True, Django's default; TIME_ZONE is still what people see.",
            )
        )
    found += [warning("W006", text, "Durations are milliseconds.") for text in _odd_durations()]
    if issubclass(configured.encoder_class(), PickleEncoder):
        found.append(
            warning(
                "W004",
                "ENCODER is a PickleEncoder: whoever can write to the broker can run any code in the workers.",
                "Send what JSON can say, and leave ENCODER out.",
            )
        )
    return found


def _wrong_zones(broker: Broker) -> Iterator[CheckMessage]:
    for alias in sorted(engine_aliases(broker)):
        zone = connections[alias].settings_dict["TIME_ZONE"]
        if connections[alias].vendor != "postgresql" and zone not in (None, "UTC"):
            yield error(
                "E014",
                f"Database {alias!r} has TIME_ZONE {zone!r}: Django would take the moments of the records, which are "
                "in UTC, for that zone's, and the admin and taskq would find no worker alive.",
                "Leave TIME_ZONE out of this entry of DATABASES; the setting TIME_ZONE is still what people see.",
            )


def _odd_durations() -> Iterator[str]:
    records = conf.records()
    if conf.get("LEASE") < 5 * SECOND:
        yield f"LEASE is {conf.get('LEASE')} ms: workers of a busy machine may be taken for dead."
    for key in ("WORKER_SHUTDOWN_TIMEOUT", "TIME_LIMIT_GRACE", "UNKNOWN_ACTOR_GRACE"):
        if 0 < conf.get(key) < SECOND:
            yield f"{key} is {conf.get(key)} ms, less than a second."
    if conf.get("DEAD_LETTER_TTL") < HOUR:
        yield f"DEAD_LETTER_TTL is {conf.get('DEAD_LETTER_TTL')} ms: dead letters are gone before anybody sees them."
    elif records["DEAD_TTL"] < conf.get("DEAD_LETTER_TTL"):
        yield "RECORDS['DEAD_TTL'] is less than DEAD_LETTER_TTL: records of dead letters end before the letters do."
