"""The store of rate limits that the settings describe."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from .. import conf, records_database
from ..broker import Broker, get_broker
from ..rate_limits import RateLimiterBackend
from .addresses import RATE_LIMITS, check_scheme

_lock = Lock()


def rate_limiter_backend() -> RateLimiterBackend:
    """The backend of ``RATE_LIMITS_URL``, else the one that fits the broker; the same one for the same store."""
    url = conf.get("RATE_LIMITS_URL") or _url_for(get_broker())
    with _lock:  # two stubs would not know of each other's leases
        return _rate_limiter_backend(url)


def _url_for(broker: Broker) -> str:
    """The database of the records, which every process of the project shares; memory for a broker in memory."""
    if not broker.capabilities.survives_restart:
        return "stub://"
    using = getattr(broker, "using", None) or records_database.alias(broker)
    return f"database://{using}"


@lru_cache(maxsize=1)
def _rate_limiter_backend(url: str) -> RateLimiterBackend:
    scheme = check_scheme(url, "RATE_LIMITS_URL", list(RATE_LIMITS))
    backend: RateLimiterBackend = conf.load(RATE_LIMITS[scheme], "RATE_LIMITS_URL")(url)
    return backend
