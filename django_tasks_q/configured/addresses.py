"""The stores that settings name by URL or alias: do they exist, and can they be what they are named for?"""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import load_backend

from .. import conf
from ..conf import WrongSetting
from ..dialect import VENDORS
from ..errors import did_you_mean
from .servers import RABBITMQ, REDIS, check_client, check_server_url, split

BROKERS = {
    "database": "django_tasks_q.brokers.database.from_url",
    "stub": "django_tasks_q.brokers.stub.from_url",
    "immediate": "django_tasks_q.testing.immediate_broker.from_url",
    **dict.fromkeys(REDIS, "django_tasks_q.brokers.redis.from_url"),
    **dict.fromkeys(RABBITMQ, "django_tasks_q.brokers.rabbitmq.from_url"),
}
"""By scheme: who makes it."""

_FAMILIES = {"RATE_LIMITS_URL": "rate_limits", "RESULTS_URL": "results"}
BACKENDS = {
    key: {
        "database": f"django_tasks_q.{family}.backends.database.from_url",
        "stub": f"django_tasks_q.{family}.backends.stub.from_url",
        **dict.fromkeys(REDIS, f"django_tasks_q.{family}.backends.redis.from_url"),
    }
    for key, family in _FAMILIES.items()
}
"""By setting, and by the scheme of its URL: who makes it."""

NAMESPACED = (*REDIS, *RABBITMQ)
"""Stores that are shared with others, so that all names in them begin with ``NAMESPACE``."""


def check_broker_url() -> str:
    """The scheme of ``BROKER_URL``. WrongSetting when no broker is meant by it, or one that cannot be used."""
    url = conf.get("BROKER_URL")
    scheme = check_scheme(url, "BROKER_URL", list(BROKERS))
    if scheme == "database":
        alias = split(url, "BROKER_URL").netloc or DEFAULT_DB_ALIAS
        _check_alias(alias, "BROKER_URL")
    elif scheme in NAMESPACED:
        check_server_url(url, "BROKER_URL")
        check_client(scheme, "BROKER_URL")
    return scheme


def check_records_database() -> None:
    """WrongSetting when ``RECORDS["DATABASE"]`` is none, or another one than the database broker's."""
    alias = conf.records()["DATABASE"]
    if alias is None:
        return
    _check_alias(alias, 'RECORDS["DATABASE"]')
    url = split(conf.get("BROKER_URL"), "BROKER_URL")
    if url.scheme == "database" and alias != (url.netloc or DEFAULT_DB_ALIAS):
        raise WrongSetting(
            f'{conf.NAME}: RECORDS["DATABASE"] is {alias!r}, but the broker writes the records itself, in '
            f"{url.netloc or DEFAULT_DB_ALIAS!r}.",
            "E006",
            'Leave RECORDS["DATABASE"] out: records and messages change in one transaction.',
        )


def check_backend_url(key: str) -> None:
    """WrongSetting when one of ``BACKENDS`` names no store, or one that cannot be used."""
    url = conf.get(key)
    if url is None:
        return
    scheme = check_scheme(url, key, list(BACKENDS[key]))
    if scheme == "database":
        _check_alias(split(url, key).netloc or DEFAULT_DB_ALIAS, key)
    elif scheme in REDIS:
        check_server_url(url, key)
        check_client(scheme, key)


def check_scheme(url: str, key: str, known: list[str]) -> str:
    """The scheme of a URL that is the value of ``key``. WrongSetting when it is not ``known``."""
    scheme = split(url, key).scheme
    if scheme not in known:
        names = ", ".join(f"{name}://" for name in known)
        raise WrongSetting(
            f"{conf.NAME}: {key} begins with {scheme + '://'!r}; known are {names}.{did_you_mean(scheme, known)}"
        )
    return scheme


def _check_alias(alias: str, key: str) -> None:
    known = sorted(connections.settings)
    if alias not in known:
        raise WrongSetting(
            f"{conf.NAME}: {key}: DATABASES has no {alias!r}, only: {', '.join(known)}.{did_you_mean(alias, known)}",
            "E007",
        )
    vendor = load_backend(connections.settings[alias]["ENGINE"]).DatabaseWrapper.vendor
    if vendor not in VENDORS:
        raise WrongSetting(
            f"{conf.NAME}: {key}: database {alias!r} is {vendor}, which is not supported yet.",
            "E005",
            "Name an alias of DATABASES that is PostgreSQL, MySQL, MariaDB or SQLite.",
        )
