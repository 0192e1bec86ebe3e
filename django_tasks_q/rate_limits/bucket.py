"""So many in each piece of time."""

from __future__ import annotations

from .admission_limiter import AdmissionLimiter
from .admissions import Span
from .backend import RateLimiterBackend
from .rate_limiter import check_limit


class BucketRateLimiter(AdmissionLimiter):
    """At most ``limit`` in each bucket; buckets lie side by side, so there may be twice as many around their border.

    Parameters:
        limit: at least 1.
        bucket: milliseconds, at least 1, by the clock of the store.
    """

    def __init__(self, backend: RateLimiterBackend, key: str, *, limit: int = 1, bucket: int = 1000) -> None:
        check_limit(bucket, "bucket")
        super().__init__(backend, key, "bucket", limit, Span(bucket))
        self.bucket = bucket
