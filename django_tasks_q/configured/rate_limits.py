"""The store of rate limits that the settings describe."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from .. import conf
from ..broker import get_broker
from ..rate_limits import RateLimiterBackend
from .addresses import RATE_LIMITS, check_scheme

_lock = Lock()


def rate_limiter_backend() -> RateLimiterBackend:
    """The backend of ``RATE_LIMITS_URL``, else on the broker's store; the same one for the same store."""
    url = conf.get("RATE_LIMITS_URL")
    if url is None:
        using = getattr(get_broker(), "using", None)
        url = "stub://" if using is None else f"database://{using}"
    with _lock:  # two stubs would not know of each other's leases
        return _rate_limiter_backend(url)


@lru_cache(maxsize=1)
def _rate_limiter_backend(url: str) -> RateLimiterBackend:
    scheme = check_scheme(url, "RATE_LIMITS_URL", list(RATE_LIMITS))
    backend: RateLimiterBackend = conf.load(RATE_LIMITS[scheme], "RATE_LIMITS_URL")(url)
    return backend
