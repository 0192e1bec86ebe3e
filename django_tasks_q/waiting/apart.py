"""Statements of the engine where the caller's transaction may be open, which must neither hold nor undo them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..sql import Database

T = TypeVar("T")


def commit_apart(database: Database, work: Callable[[], T]) -> T:
    """Run ``work`` in a transaction of its own, committed when this returns, and return what it returns.

    Where the server ends that as a deadlock, ``work`` is run once more.

    Within the caller's transaction that needs another connection, in a thread that ends with it. Where it cannot be
    had it becomes part of the caller's transaction: SQLite has one writer, who may be the caller himself, and nobody
    else sees what a test has written that is rolled back at its end.
    """
    if not database.is_in_transaction:
        return database.in_own_transaction(work)
    if database.vendor == "sqlite" or is_a_tests(database.connection):
        with database.atomic(savepoint=True):
            return work()
    with ThreadPoolExecutor(1, thread_name_prefix="Apart") as thread:
        return thread.submit(_commit, database, work).result()


def is_a_tests(connection: Any) -> bool:
    """Whether the open transaction is one that Django's ``TestCase`` began."""
    blocks = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)


def _commit(database: Database, work: Callable[[], T]) -> T:
    try:
        return database.in_own_transaction(work)
    finally:
        database.close()
