"""The settings: one dict, ``DJANGO_TASKS_Q``, every key with a default, read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .errors import did_you_mean

DEFAULTS: dict[str, Any] = {
    "BROKER_URL": "database://default",
    "BROKER_OPTIONS": {},
    "MIDDLEWARE": None,
    "AUTODISCOVER": ["tasks"],
    "ENCODER": "django_tasks_q.encoder.JSONEncoder",
    "ACTOR_DEFAULTS": {},
    "LEASE": 30_000,
    "DELIVERY_LIMIT": 3,
    "MAX_MESSAGE_BYTES": 1_048_576,
    "TIME_LIMIT_GRACE": 10_000,
    "UNKNOWN_ACTOR_GRACE": 600_000,
    "PROCESSES": None,
    "THREADS": 8,
    "WORKER_SHUTDOWN_TIMEOUT": 30_000,
    "SWITCH_INTERVAL": 0.0005,
}
"""Durations are milliseconds. ``PROCESSES`` None: one for each CPU. ``MIDDLEWARE`` None: the default stack."""

NAME = "DJANGO_TASKS_Q"

_MINIMUM = {
    "LEASE": 1,
    "MAX_MESSAGE_BYTES": 1,
    "TIME_LIMIT_GRACE": 0,
    "UNKNOWN_ACTOR_GRACE": 0,
    "PROCESSES": 1,
    "THREADS": 1,
    "WORKER_SHUTDOWN_TIMEOUT": 0,
}
"""Whole numbers, and the smallest that makes sense: a wrong one would show only in a worker, as a traceback."""


def get(key: str) -> Any:
    """The value of one setting, or its default."""
    value = configured().get(key, DEFAULTS[key])
    if key == "PROCESSES" and value is None:
        return os.cpu_count() or 1
    return value


def configured() -> Mapping[str, Any]:
    """What the project set. ImproperlyConfigured when that is no dict or has a key that does not exist."""
    value = getattr(django_settings, NAME, {})
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{NAME} is a dict of settings, not a {type(value).__name__}.")
    for key in value:
        if key not in DEFAULTS:
            raise ImproperlyConfigured(f"{NAME} has no setting {key!r}.{did_you_mean(str(key), list(DEFAULTS))}")
        if key == "AUTODISCOVER" and isinstance(value[key], str):
            raise ImproperlyConfigured(f"{NAME}: AUTODISCOVER is a list of module names: [{value[key]!r}]")
        if key in _MINIMUM and value[key] != DEFAULTS[key]:
            _check_number(key, value[key])
    return value


def _check_number(key: str, value: object) -> None:
    if type(value) is not int or value < _MINIMUM[key]:
        raise ImproperlyConfigured(f"{NAME}: {key} is an integer of at least {_MINIMUM[key]}: {value!r}")


def load(path: str) -> Any:
    """What a dotted path names. ImproperlyConfigured, naming the path, when it names nothing."""
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{NAME}: {path!r} cannot be imported: {error}") from error
