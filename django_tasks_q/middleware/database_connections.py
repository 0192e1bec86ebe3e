"""Healthy database connections for people's code, whatever the task before did to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from contextvars import ContextVar
from threading import local
from typing import TYPE_CHECKING, Any

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from .. import clock
from ..asyncio import get_event_loop_thread
from ..deliveries import MessageProxy
from ..logging import get_logger
from .middleware import Middleware

if TYPE_CHECKING:
    from ..broker import Broker
    from ..worker import Worker, WorkerThread

logger = get_logger(__name__)

_LAST_CALL = 1.0
"""Seconds that a function beside the loop has to end when its worker stops."""

_LOOK_INTERVAL = 1.0
"""Seconds after which Django is asked again which connections a thread has."""

_is_left_alone: ContextVar[bool] = ContextVar("django_tasks_q_connections_left_alone", default=False)


class DatabaseConnections(Middleware):
    """Closes connections that are too old or broken before and after each task, and ends transactions left open.

    Only connections that this thread has opened are looked at, so a task that uses no database pays next to nothing;
    and those of the one thread that ``sync_to_async`` has for everything on event loops, where there is one.
    """

    def __init__(self) -> None:
        self._beside_the_loop = _BesideTheLoop()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        tidy()
        self._tidy_beside_the_loop(broker, message)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is not None:
            _own.look()
        tidy()
        self._tidy_beside_the_loop(broker, message)

    after_skip_message = before_process_message

    def _tidy_beside_the_loop(self, broker: Broker, message: MessageProxy) -> None:
        if _is_left_alone.get():
            return
        actor = broker.actors.get(message.actor_name)
        if get_event_loop_thread() is not None or (actor is not None and actor.is_async):
            self._beside_the_loop.ask_to_tidy()

    def before_worker_thread_shutdown(self, broker: Broker, thread: WorkerThread) -> None:
        connections.close_all()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        connections.close_all()
        self._beside_the_loop.close()


class _BesideTheLoop:
    """The thread in which ``sync_to_async`` runs what uses the database, one function at a time.

    Between two of them nothing is under way there, so a transaction that is open then was left open. The hooks, which
    run elsewhere, only ask it to look, and once is enough for everybody who asks before it does.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._is_used = False

    def ask_to_tidy(self) -> None:
        if not self._is_asked:
            self._is_asked = self._is_used = True
            SyncToAsync.single_thread_executor.submit(self._tidy)

    def _tidy(self) -> None:
        self._is_asked = False
        tidy()

    def close(self) -> None:
        if self._is_used:
            self._is_used = False
            wait([SyncToAsync.single_thread_executor.submit(connections.close_all)], _LAST_CALL)


@contextmanager
def left_alone() -> Iterator[None]:
    """The connections belong to somebody who has a transaction open: a test that runs tasks in the middle of it."""
    token = _is_left_alone.set(True)
    try:
        yield
    finally:
        _is_left_alone.reset(token)


class _Own(local):
    """The connections of this thread. To ask Django for them costs more than all of an empty task, so that is done when
    one was opened; after a failure, and now and then, because nobody says of one that opening it broke off halfway.

    What somebody opened beside Django's is not among them: other threads may use it.
    """

    connections: Sequence[BaseDatabaseWrapper] = ()
    look_at = 0.0

    def look(self) -> None:
        self.connections = connections.all(initialized_only=True)
        self.look_at = clock.monotonic() + _LOOK_INTERVAL


_own = _Own()


@receiver(connection_created)
def _note_opened(**_: Any) -> None:
    _own.look()


def tidy() -> None:
    """Make this thread's connections fit for the next task."""
    if _is_left_alone.get():
        return
    if clock.monotonic() >= _own.look_at:
        _own.look()
    for connection in _own.connections:
        connection.queries_log.clear()
        if connection.connection is None:
            continue
        if _is_in_transaction(connection):
            logger.warning("A task left a transaction open on %r; it is rolled back.", connection.alias)
            _abandon(connection)
        else:
            connection.close_if_unusable_or_obsolete()


_IN_TRANSACTION = 1
"""A bit of what MySQL and MariaDB say with every answer."""


def _is_in_transaction(connection: Any) -> bool:
    """Whether a transaction is open, also one that Django did not open: raw SQL, or a send that a time limit cut off.

    A connection that cannot tell, because somebody closed it beneath Django, is as little to be relied on.
    """
    if connection.in_atomic_block or not connection.autocommit:
        return True
    raw = connection.connection
    if connection.vendor == "sqlite":
        try:
            return bool(raw.in_transaction)
        except connection.Database.Error:
            return True
    if connection.vendor == "mysql":
        return _is_in_mysql_transaction(connection)
    return connection.vendor == "postgresql" and bool(raw.info.transaction_status)


def _is_in_mysql_transaction(connection: Any) -> bool:
    """PyMySQL knows what the server said last. mysqlclient does not, so what may be open is rolled back unseen."""
    status = getattr(connection.connection, "server_status", None)
    if status is not None:
        return bool(status & _IN_TRANSACTION)
    try:
        connection.connection.rollback()
    except connection.Database.Error:
        return True
    return False


def _abandon(connection: Any) -> None:
    """Forget a connection with everything that was open on it; the server rolls it back."""
    connection.in_atomic_block = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.needs_rollback = False
    connection.close()
