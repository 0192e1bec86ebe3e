"""The backends of rate limiters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...backends import find_in
from .stub import StubBackend

if TYPE_CHECKING:
    from .database import DatabaseBackend
    from .redis import RedisBackend

__all__ = ["DatabaseBackend", "RedisBackend", "StubBackend"]

__getattr__ = find_in(__name__)
