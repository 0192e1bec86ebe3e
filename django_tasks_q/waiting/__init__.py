"""Messages that wait in rows: those of a transaction until it has committed and the broker has them."""

from __future__ import annotations

from .outbox import DatabaseOutbox
from .rows import WaitingRow, WaitingRows

__all__ = ["DatabaseOutbox", "WaitingRow", "WaitingRows"]
