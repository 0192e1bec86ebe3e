"""The settings: one dict, ``DJANGO_TASKS_Q``, every key with a default, read when they are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from django.conf import settings as django_settings
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured
from django.utils.module_loading import import_string

from .common import MAX_NAME_LENGTH
from .errors import did_you_mean
from .timetable import make_timetable

DEFAULTS: dict[str, Any] = {
    "BROKER_URL": "database://default",
    "BROKER_OPTIONS": {},
    "MIDDLEWARE": None,
    "AUTODISCOVER": ["tasks"],
    "ENCODER": "django_tasks_q.encoder.JSONEncoder",
    "ACTOR_DEFAULTS": {},
    "MESSAGE_OPTIONS": [],
    "OUTBOX": True,
    "RATE_LIMITS_URL": None,
    "RESULTS_URL": None,
    "NAMESPACE": "dtq",
    "RECORDS": {},
    "SCHEDULES": {},
    "LEASE": 30_000,
    "DELIVERY_LIMIT": 3,
    "DEAD_LETTER_TTL": 604_800_000,
    "MAX_MESSAGE_BYTES": 1_048_576,
    "JOURNAL_MAX_BYTES": 268_435_456,
    "SEND_TIMEOUT": 10_000,
    "TIME_LIMIT_GRACE": 10_000,
    "UNKNOWN_ACTOR_GRACE": 600_000,
    "PROCESSES": None,
    "THREADS": 8,
    "ASYNC_CONCURRENCY": 1_000,
    "WORKER_SHUTDOWN_TIMEOUT": 30_000,
    "SWITCH_INTERVAL": 0.0005,
}
"""Durations are milliseconds. ``PROCESSES`` None: one for each CPU. ``MIDDLEWARE`` None: the default stack.

``RATE_LIMITS_URL`` None: the database or the Redis of the broker, memory for a broker in memory, else the database of
the records. ``RESULTS_URL`` None: the broker's own store; with RabbitMQ the database of the records. ``NAMESPACE``
begins the names of everything in Redis and RabbitMQ.
"""

RECORDS: dict[str, Any] = {
    "ENABLED": True,
    "DATABASE": None,
    "ARGUMENTS": True,
    "REDACT": None,
    "SUCCEEDED_TTL": 86_400_000,
    "DEAD_TTL": 604_800_000,
}
"""What ``RECORDS`` may say. ``DATABASE`` None: the database broker's alias, else "default"."""

SCHEDULES: dict[str, Any] = {
    "actor": None,
    "schedule": None,
    "args": (),
    "kwargs": {},
    "time_zone": None,
    "catch_up": "skip",
    "options": {},
}
"""What an entry of ``SCHEDULES`` may say; ``actor`` and ``schedule`` it must. ``time_zone`` None: Django's."""

CATCH_UP = ("skip", "once", "all")
"""What happens to slots that were missed: none runs, the latest of them, each of them."""

NAME = "DJANGO_TASKS_Q"


class WrongSetting(ImproperlyConfigured):
    """A setting that cannot be used; the system check of this number says it too."""

    def __init__(self, text: str, number: str = "E001", hint: str | None = None) -> None:
        super().__init__(text)
        self.number = number
        self.hint = hint


Rule = tuple[Callable[[Any], bool], str]
"""What a value must be, as a test and in words."""


def _whole(minimum: int) -> Rule:
    return lambda value: type(value) is int and value >= minimum, f"is an integer of at least {minimum}"


def _milliseconds(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value) is not None


_TEXT: Rule = (lambda value: isinstance(value, str), "is text")
_SWITCH: Rule = (lambda value: type(value) is bool, "is True or False")
_DICT: Rule = (lambda value: isinstance(value, Mapping), "is a dict")

_RULES: dict[str, Rule] = {
    "BROKER_URL": _TEXT,
    "BROKER_OPTIONS": _DICT,
    "MIDDLEWARE": (lambda value: isinstance(value, list | tuple), "is a list of dotted paths"),
    "AUTODISCOVER": (
        lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
        'is a list of module names, such as ["tasks"]',
    ),
    "ENCODER": (lambda value: isinstance(value, str), "is a dotted path"),
    "ACTOR_DEFAULTS": _DICT,
    "MESSAGE_OPTIONS": (
        lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
        'is a list of names, such as ["campaign"]',
    ),
    "OUTBOX": _SWITCH,
    "RATE_LIMITS_URL": _TEXT,
    "RESULTS_URL": _TEXT,
    "NAMESPACE": (_is_name, "is 1 to 64 letters, digits, dots, dashes or underscores"),
    "RECORDS": _DICT,
    "SCHEDULES": _DICT,
    "LEASE": _whole(1),
    "DELIVERY_LIMIT": _whole(2),
    "DEAD_LETTER_TTL": _whole(1),
    "MAX_MESSAGE_BYTES": _whole(1),
    "JOURNAL_MAX_BYTES": _whole(1),
    "SEND_TIMEOUT": _whole(1),
    "TIME_LIMIT_GRACE": _whole(0),
    "UNKNOWN_ACTOR_GRACE": _whole(0),
    "PROCESSES": _whole(1),
    "THREADS": _whole(1),
    "ASYNC_CONCURRENCY": _whole(1),
    "WORKER_SHUTDOWN_TIMEOUT": _whole(0),
    "SWITCH_INTERVAL": (lambda value: type(value) in (int, float) and 0 < value < 60, "is seconds, above 0"),
}
"""A wrong value would show only in a worker, as a traceback. The default itself, such as None, is always right."""

_SECRET = ("BROKER_URL", "BROKER_OPTIONS", "RATE_LIMITS_URL", "RESULTS_URL")
"""What may hold a password, and is never repeated."""

_RECORDS_RULES: dict[str, Rule] = {
    "ENABLED": _SWITCH,
    "DATABASE": (lambda value: isinstance(value, str), "is an alias of DATABASES"),
    "ARGUMENTS": _SWITCH,
    "REDACT": (lambda value: isinstance(value, str) or callable(value), "is a dotted path or a callable"),
    "SUCCEEDED_TTL": (_milliseconds, "is milliseconds, at least 1"),
    "DEAD_TTL": (_milliseconds, "is milliseconds, at least 1"),
}

_SCHEDULE_RULES: dict[str, Rule] = {
    "actor": (lambda value: isinstance(value, str), "is the name of an actor"),
    "schedule": (lambda value: True, ""),
    "args": (lambda value: isinstance(value, list | tuple), "is a list of arguments"),
    "kwargs": _DICT,
    "time_zone": _TEXT,
    "catch_up": (lambda value: value in CATCH_UP, 'is "skip", "once" or "all"'),
    "options": _DICT,
}


def get(key: str) -> Any:
    """The value of one setting, or its default. ImproperlyConfigured when any setting cannot be meant."""
    value = configured().get(key, DEFAULTS[key])
    if key == "PROCESSES" and value is None:
        return os.cpu_count() or 1
    return value


def records() -> dict[str, Any]:
    """What ``RECORDS`` says, every key with its value or default. ImproperlyConfigured as :func:`get`."""
    return {**RECORDS, **get("RECORDS")}


def schedules() -> dict[str, dict[str, Any]]:
    """What ``SCHEDULES`` says, every key of each entry with its value or default. ImproperlyConfigured as :func:`get`.

    A time zone that is not given is Django's.
    """
    own = {**SCHEDULES, "time_zone": time_zone()}
    return {name: {**own, **entry} for name, entry in get("SCHEDULES").items()}


def time_zone() -> str:
    """The name of Django's time zone."""
    return str(django_settings.TIME_ZONE)


_accepted: object = None


def configured() -> Mapping[str, Any]:
    """What the project set. ImproperlyConfigured, with the first of the :func:`problems`, when that cannot be meant.

    The same dict is looked through once; overriding the setting makes another one.
    """
    global _accepted
    value = getattr(django_settings, NAME, DEFAULTS)
    if value is not _accepted:
        for problem in problems():
            raise WrongSetting(problem)
        _accepted = value
    return cast(Mapping[str, Any], value)


def problems() -> Iterator[str]:
    """Everything about the settings that cannot be meant, judged by names and values alone, in words."""
    value = getattr(django_settings, NAME, DEFAULTS)
    if not isinstance(value, Mapping):
        yield f"{NAME} is a dict of settings, not a {type(value).__name__}."
        return
    yield from _problems(value, DEFAULTS, _RULES, f"{NAME} has no setting {{!r}}.", f"{NAME}: {{}}")
    wanted = value.get("RECORDS")
    if isinstance(wanted, Mapping):
        unknown = f"{NAME}: RECORDS has no key {{!r}}."
        yield from _problems(wanted, RECORDS, _RECORDS_RULES, unknown, f"{NAME}: RECORDS[{{!r}}]")
    entries = value.get("SCHEDULES")
    if isinstance(entries, Mapping):
        for name in entries:
            yield from _schedule_problems(name, entries[name])


def _schedule_problems(name: Any, entry: Any) -> Iterator[str]:
    where = f"{NAME}: SCHEDULES[{name!r:.80}]"
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        yield f"{where}: a name has 1 to {MAX_NAME_LENGTH} printable characters."
    elif not isinstance(entry, Mapping):
        yield f"{where} is a dict with 'actor' and 'schedule', not a {type(entry).__name__}."
    else:
        wrong = list(_problems(entry, SCHEDULES, _SCHEDULE_RULES, f"{where} has no key {{!r}}.", f"{where}[{{!r}}]"))
        wrong += [
            f"{where} has no {key!r}, which each needs." for key in ("actor", "schedule") if entry.get(key) is None
        ]
        yield from wrong or _timetable_problems(where, {"time_zone": "UTC", **entry})


def _timetable_problems(where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    try:
        make_timetable(entry["schedule"], entry["time_zone"])
    except (ValueError, ImportError) as error:
        yield f"{where}: {error}."


def _problems(
    value: Mapping[str, Any], defaults: Mapping[str, Any], rules: Mapping[str, Rule], unknown: str, name: str
) -> Iterator[str]:
    for key in value:
        if key not in defaults:
            yield unknown.format(key) + did_you_mean(str(key), list(defaults))
            continue
        is_right, words = rules[key]
        if value[key] is not defaults[key] and not is_right(value[key]):
            yield f"{name.format(key)} {words}: {_shown(key, value[key])}"


def _shown(key: str, value: Any) -> str:
    return f"a {type(value).__name__}" if key in _SECRET else f"{value!r:.200}"


def load(path: str, key: str) -> Any:
    """What a dotted path, the value of ``key``, names. WrongSetting when it names nothing."""
    try:
        return import_string(path)
    except AppRegistryNotReady:
        raise  # too early for any import; the settings may be right
    except Exception as error:  # people's code, which may do anything when it is imported
        raise WrongSetting(f"{NAME}: {key}: {path!r} cannot be imported: {error}") from error
