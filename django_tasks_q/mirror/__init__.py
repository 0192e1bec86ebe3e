"""Events become rows: the same writer for every broker."""

from __future__ import annotations

from .mirror import Mirror
from .writer import RecordWriter

__all__ = ["Mirror", "RecordWriter"]
