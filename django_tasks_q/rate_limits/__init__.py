"""Rate limiters: how many may do something at once."""

from __future__ import annotations

from ..errors import RateLimitExceeded
from .backend import Held, RateLimiterBackend, get_rate_limiter_backend
from .concurrent import ConcurrentRateLimiter
from .lease import Lease
from .rate_limiter import RateLimiter

__all__ = [
    "ConcurrentRateLimiter",
    "Held",
    "Lease",
    "RateLimitExceeded",
    "RateLimiter",
    "RateLimiterBackend",
    "get_rate_limiter_backend",
]
