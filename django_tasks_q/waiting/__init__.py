"""Messages that wait in rows: those of a transaction until it has committed and the broker has them, and those of a
broker that cannot keep what is delayed or dead itself."""

from __future__ import annotations

from .gathered import DatabaseGatheredItems, GatheredRows
from .holders import DatabaseUniqueHolders
from .outbox import DatabaseOutbox, note_left_out, sent_before
from .room import DatabaseWaitingRoom
from .rows import WaitingRow, WaitingRows

__all__ = [
    "DatabaseGatheredItems",
    "DatabaseOutbox",
    "DatabaseUniqueHolders",
    "DatabaseWaitingRoom",
    "GatheredRows",
    "WaitingRow",
    "WaitingRows",
    "note_left_out",
    "sent_before",
]
