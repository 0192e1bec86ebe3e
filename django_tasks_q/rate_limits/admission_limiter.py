"""What limits in a time have in common."""

from __future__ import annotations

from .admissions import Span
from .backend import RateLimiterBackend
from .rate_limiter import RateLimiter, check_limit


class AdmissionLimiter(RateLimiter[bool]):
    """At most ``limit`` admissions within a span. What was done stays done: only time makes room.

    Parameters:
        kind: limiters of one key and different kinds share nothing.
    """

    def __init__(self, backend: RateLimiterBackend, key: str, kind: str, limit: int, span: Span) -> None:
        super().__init__(backend, key)
        check_limit(limit)
        self.limit = limit
        self._name = f"{kind} {key}"
        self._span = span

    def _acquire(self) -> bool:
        return self.backend.admit(self._name, self.limit, self._span) == 0

    def _release(self, grant: bool) -> None:
        """Nothing is taken back."""
