"""So many within any stretch of time."""

from __future__ import annotations

from .admission_limiter import AdmissionLimiter
from .admissions import Span
from .backend import RateLimiterBackend
from .rate_limiter import check_limit


class WindowRateLimiter(AdmissionLimiter):
    """At most ``limit`` within any ``window`` seconds, whenever they begin.

    Parameters:
        limit: at least 1.
        window: seconds, at least 1, by the clock of the store.
    """

    def __init__(self, backend: RateLimiterBackend, key: str, *, limit: int = 1, window: int = 1) -> None:
        check_limit(window, "window")
        super().__init__(backend, key, "window", limit, Span.sliding(window * 1000))
        self.window = window
