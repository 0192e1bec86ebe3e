"""Redis or Valkey as a broker: fast, for many hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

try:
    import redis as redis
except ImportError as error:
    raise ImportError('The Redis broker needs redis-py: pip install "django-tasks-q[redis]"') from error

from .broker import RedisBroker
from .journal import RedisJournal

if TYPE_CHECKING:
    from ...middleware import Middleware

__all__ = ["RedisBroker", "RedisJournal", "from_url"]


def from_url(url: str, middleware: Iterable[Middleware] | None = None, **options: Any) -> RedisBroker:
    """The broker of a ``redis://`` URL, or of one of its relatives. ``options`` as of :class:`RedisBroker`."""
    return RedisBroker(url=url, middleware=middleware, **options)
