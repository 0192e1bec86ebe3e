"""Where Dramatiq has these two."""

from __future__ import annotations

from ..threading import Interrupt, raise_thread_exception

__all__ = ["Interrupt", "raise_thread_exception"]
