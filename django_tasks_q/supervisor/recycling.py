"""When a worker process has served long enough."""

from __future__ import annotations

from ..worker.board import Region
from .options import Options


def reason_to_retire(region: Region, age: float, options: Options) -> str | None:
    """Why this worker should be replaced now, in words; None when it may go on. ``age`` is in seconds."""
    if region.wants_retirement:
        return "it ran out of memory once"
    if options.max_messages is not None and region.processed >= options.max_messages:
        return f"it has run {region.processed} messages"
    if options.max_age_seconds is not None and age >= options.max_age_seconds:
        return f"it is {int(age)} s old"
    if options.max_memory_mib is not None and region.rss >= options.max_memory_mib * 1024 * 1024:
        return f"it uses {region.rss // (1024 * 1024)} MiB"
    return None
