"""The broker in memory: for tests, and the model that every other broker is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .broker import StubBroker
from .journal import StubJournal

if TYPE_CHECKING:
    from ...middleware import Middleware

__all__ = ["StubBroker", "StubJournal", "from_url"]


def from_url(url: str, middleware: Iterable[Middleware] | None = None) -> StubBroker:
    """The broker of a ``stub://`` URL."""
    return StubBroker(middleware)
