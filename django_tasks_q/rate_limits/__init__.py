"""Rate limiters: how many may do something at once."""

from __future__ import annotations

from ..errors import RateLimitExceeded
from .admissions import Span
from .backend import Held, RateLimiterBackend, get_rate_limiter_backend
from .barrier import Barrier
from .bucket import BucketRateLimiter
from .concurrent import ConcurrentRateLimiter
from .gathering import Arrival
from .lease import Lease
from .rate import Rate, parse_rate
from .rate_limiter import RateLimiter
from .window import WindowRateLimiter

__all__ = [
    "Arrival",
    "Barrier",
    "BucketRateLimiter",
    "ConcurrentRateLimiter",
    "Held",
    "Lease",
    "Rate",
    "RateLimitExceeded",
    "RateLimiter",
    "RateLimiterBackend",
    "Span",
    "WindowRateLimiter",
    "get_rate_limiter_backend",
    "parse_rate",
]
