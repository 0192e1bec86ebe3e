"""The backends of rate limiters. The database's needs Django with its apps loaded, so it is imported when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .stub import StubBackend

if TYPE_CHECKING:
    from .database import DatabaseBackend

__all__ = ["DatabaseBackend", "StubBackend"]


def __getattr__(name: str) -> Any:
    if name == "DatabaseBackend":
        from .database import DatabaseBackend

        return DatabaseBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
