"""The seam for sends that wait for a transaction: what they mean, and no storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING

from . import clock
from .deliveries import Outgoing

if TYPE_CHECKING:
    from .broker import Broker


class Outbox(ABC):
    """Sends messages when a transaction commits, whatever happens to the process or the broker at that moment."""

    @abstractmethod
    def send(self, broker: Broker, outgoing: Sequence[Outgoing], using: str | None) -> Mapping[str, str] | None:
        """Publish when the open transaction of database ``using`` commits, at once when none is open.

        None is the default database. Nothing is published when the transaction, or the savepoint it happened in, is
        rolled back. Returns what :meth:`Broker.publish` does, where that is known already.
        """


COMMIT_PATIENCE = 1.8
"""Seconds that a commit may wait for its broker, whatever is tried in them: it returns within two."""

_safe_until: ContextVar[float | None] = ContextVar("_safe_until", default=None)


@contextmanager
def safe(seconds: float = inf) -> Iterator[None]:
    """What is sent inside waits in rows as well: who is told at once that its broker takes nothing loses nothing.

    ``seconds``: all that may be spent inside on a broker that does not answer, where that is less than each send may.
    """
    token = _safe_until.set(clock.monotonic() + seconds)
    try:
        yield
    finally:
        _safe_until.reset(token)


def is_safe() -> bool:
    """Whether the present send is :func:`safe`, so that nobody need wait for a broker that takes nothing just now."""
    return _safe_until.get() is not None


def seconds_left() -> float | None:
    """How long the present send may still take; None when it is as long as any send may."""
    until = _safe_until.get()
    return None if until is None or until == inf else until - clock.monotonic()


_outbox: Outbox | None = None


def get_outbox() -> Outbox | None:
    """The outbox of this process; None where there are no transactions to wait for."""
    return _outbox


def set_outbox(outbox: Outbox | None) -> None:
    """Say how sends wait for a transaction; the Django floor does."""
    global _outbox
    _outbox = outbox
