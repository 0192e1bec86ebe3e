"""One attempt on the caller's connections, with as little difference to a worker's as his transaction allows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connections, transaction

from ..broker import Broker


@contextmanager
def async_actors_on_this_thread(broker: Broker) -> Iterator[None]:
    """What async actors ask of the database goes to the calling thread, whose transaction has the test's rows.

    On an event loop of their own it would go to another one.
    """
    swapped = [(actor, actor.fn) for actor in broker.actors.values() if inspect.iscoroutinefunction(actor.__wrapped__)]
    for actor, _ in swapped:
        actor.fn = async_to_sync(actor.__wrapped__)
    try:
        yield
    finally:
        for actor, fn in swapped:
            actor.fn = fn


@contextmanager
def shielded_transactions() -> Iterator[None]:
    """The caller's open transactions outlive whatever the block does to them.

    A worker runs each statement for itself, so what an actor wrote before it failed stays. Here it does too, except
    that a database error which leaves the transaction unusable takes everything with it that the attempt wrote.
    """
    with ExitStack() as stack:
        for connection in _in_transactions():
            stack.enter_context(_shield(connection))
        yield


def _in_transactions() -> list[Any]:
    if not settings.configured:
        return []
    return [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]


@contextmanager
def _shield(connection: Any) -> Iterator[None]:
    depth = len(connection.atomic_blocks)
    block: Any = transaction.atomic(using=connection.alias)
    # A worker has no transaction open, so atomic(durable=True) must not be refused on account of this one.
    block._from_testcase = True
    with block:
        yield
        while len(connection.atomic_blocks) > depth + 1:  # left open by the attempt: rolled back, as a worker does
            transaction.set_rollback(True, connection.alias)
            connection.atomic_blocks[-1].__exit__(None, None, None)
        if _is_broken(connection):
            transaction.set_rollback(True, connection.alias)


def _is_broken(connection: Any) -> bool:
    """Whether the server refuses everything until a rollback; Django knows the other cases itself."""
    if connection.vendor != "postgresql" or connection.connection is None:
        return False
    from psycopg.pq import TransactionStatus

    return bool(connection.connection.info.transaction_status == TransactionStatus.INERROR)
