"""Commits that never come: the callbacks of a test's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections

from ..logging import get_logger

logger = get_logger(__name__)


@contextmanager
def on_commit(*, execute: bool = True, using: str | None = None) -> Iterator[list[Callable[[], Any]]]:
    """Run what the block leaves to the commit of the open transactions, as if they committed at its end.

    As ``TestCase.captureOnCommitCallbacks(execute=True)``, for all databases at once (or ``using`` only), with the
    callbacks that callbacks leave behind, each of them once however the blocks are nested. A block that raises runs
    nothing; neither does one outside of transactions, whose commits come by themselves.

    Yields the list that holds the callbacks after the block; with ``execute=False`` they only land there.
    """
    opened = [connections[using]] if using is not None else _all()
    marks = {connection.alias: len(connection.run_on_commit) for connection in opened}
    callbacks: list[Callable[[], Any]] = []
    yield callbacks
    while found := _next(opened, marks, remove=execute):
        _, callback, robust = found
        callbacks.append(callback)
        if execute:
            _call(callback, robust)


def _all() -> list[Any]:
    return list(connections.all()) if settings.configured else []


def _next(opened: list[Any], marks: dict[str, int], *, remove: bool) -> Any:
    """The next callback beyond the marks; None when there is none."""
    for connection in opened:
        mark = marks[connection.alias]
        if len(connection.run_on_commit) > mark:
            if remove:
                return connection.run_on_commit.pop(mark)
            marks[connection.alias] += 1
            return connection.run_on_commit[mark]
    return None


def _call(callback: Callable[[], Any], robust: bool) -> None:
    try:
        callback()
    except Exception:
        if not robust:
            raise
        logger.exception("Error calling %r in on_commit().", callback)
