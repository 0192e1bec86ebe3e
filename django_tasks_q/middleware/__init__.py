"""Middleware: one file for each policy, and the default stack."""

from __future__ import annotations

from ..broker import set_default_middleware
from ..errors import Interrupt, MiddlewareError, Shutdown, SkipMessage, TimeLimitExceeded
from ..threading import raise_thread_exception
from .age_limit import AgeLimit
from .asyncio import AsyncIO
from .callbacks import Callbacks
from .current_message import CurrentMessage
from .group_callbacks import GroupCallbacks
from .limits import Limits
from .middleware import Middleware
from .pipelines import Pipelines
from .retries import Retries
from .shutdown import ShutdownNotifications
from .time_limit import TimeLimit

default_middleware: list[type[Middleware]] = [
    AgeLimit,
    TimeLimit,
    ShutdownNotifications,
    Callbacks,
    Pipelines,
    Retries,
    CurrentMessage,
    Limits,
]
"""Dramatiq's default six, in its order, CurrentMessage, and Limits: last, so that nobody waits for who will not run."""

set_default_middleware(lambda: [kind() for kind in default_middleware])

__all__ = [
    "AgeLimit",
    "AsyncIO",
    "Callbacks",
    "CurrentMessage",
    "GroupCallbacks",
    "Interrupt",
    "Limits",
    "Middleware",
    "MiddlewareError",
    "Pipelines",
    "Retries",
    "Shutdown",
    "ShutdownNotifications",
    "SkipMessage",
    "TimeLimit",
    "TimeLimitExceeded",
    "default_middleware",
    "raise_thread_exception",
]
