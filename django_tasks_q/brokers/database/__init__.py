"""Django's own database as a broker: nothing to set up, and a send inside ``atomic()`` is part of the transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .broker import DatabaseBroker

if TYPE_CHECKING:
    from ...middleware import Middleware

__all__ = ["DatabaseBroker", "from_url"]


def from_url(url: str, middleware: Iterable[Middleware] | None = None, **options: Any) -> DatabaseBroker:
    """The broker of a ``database://alias`` URL; the alias is a key of ``DATABASES``."""
    alias = urlsplit(url).netloc or "default"
    if alias not in connections.settings:
        known = ", ".join(sorted(connections.settings))
        raise ImproperlyConfigured(f"BROKER_URL: DATABASES has no {alias!r}, only: {known}.")
    return DatabaseBroker(using=alias, middleware=middleware, **options)
