"""Sends that wait for a commit: a row in the caller's transaction, published right after it.

The rows are the truth. A rollback takes them away, so what is published after a commit is exactly what is still there;
whatever dies or is away at that moment, the rows stay and the relay publishes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from .. import changes, clock, conf, records_database
from ..broker import MAX_BATCH, Broker
from ..deliveries import Outgoing
from ..errors import BrokerError, DuplicateMessage, PartialSendError
from ..logging import get_logger
from ..mirror import RecordWriter
from ..models import MessageRecord
from ..outbox import COMMIT_PATIENCE, Outbox, safe
from ..sql import Database
from ..states import State
from .apart import is_a_tests
from .rows import WaitingRows

logger = get_logger(__name__)

PAUSE = 1.0
"""Seconds that commits leave their rows to the relay after the broker was found away: nobody else waits for it."""


class DatabaseOutbox(Outbox):
    """The outbox of a Django project."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def send(self, broker: Broker, outgoing: Sequence[Outgoing], using: str | None) -> Mapping[str, str] | None:
        alias = using or DEFAULT_DB_ALIAS
        database = Database(alias)
        if not database.is_in_transaction or broker.sends_within(alias):
            return broker.publish(outgoing)
        if not conf.get("OUTBOX"):
            transaction.on_commit(lambda: broker.publish(outgoing), using=alias)
        else:
            self._wait(broker, database, outgoing)
        return None

    def _wait(self, broker: Broker, database: Database, outgoing: Sequence[Outgoing]) -> None:
        connection: Any = database.connection
        hears_of_commit = connection.in_atomic_block
        with database.doom():
            inserted = WaitingRows(database).insert(outgoing, claimed=hears_of_commit)
        if inserted < len(outgoing):
            # Half a batch must not stay, whatever the caller makes of the error.
            connection.needs_rollback = hears_of_commit
            raise DuplicateMessage("A message with one of these ids waits for its commit already.")
        if not hears_of_commit:
            return  # a transaction that Django does not manage: nobody tells us of its end, so the relay does it
        block = outermost(connection)
        for start in range(0, len(outgoing), MAX_BATCH):
            part = outgoing[start : start + MAX_BATCH]
            batch = getattr(connection, "_django_tasks_q_batch", None)
            if batch is None or not batch.takes(broker, block, len(part)):
                batch = connection._django_tasks_q_batch = _Batch(self, broker, database, block)
            batch.add(part)
            transaction.on_commit(batch.publish, using=database.alias)

    # After the commit

    def publish(self, broker: Broker, database: Database, waiting: dict[str, Outgoing]) -> None:
        """Publish those of ``waiting`` whose rows are still there. Raises nothing: the rows are safe.

        Where a transaction is open that the broker's rows would be part of, and go with, that is done at its end. After
        a rollback the relay does it.
        """
        try:
            around = _transaction_of(broker)
            if around is not None:
                self._wait_for(around, broker, database, waiting)
                return
            claimed = WaitingRows(database).claim_own(list(waiting))
            items = [item for message_id, item in waiting.items() if message_id in claimed]
            if not items:
                return
            if clock.monotonic() < self._silent_until:
                self._leave(broker, database, items)
            else:
                self._publish(broker, database, items)
        except Exception:
            # The transaction has committed; an error now would tell the caller that it had not.
            logger.exception("%d messages could not be published after their commit; the relay will.", len(waiting))

    def _wait_for(self, around: Any, broker: Broker, database: Database, waiting: dict[str, Outgoing]) -> None:
        if around.in_atomic_block:
            transaction.on_commit(lambda: self.publish(broker, database, waiting), using=around.alias)
        else:  # nobody tells us of its end
            WaitingRows(database).give_up(list(waiting))

    def _publish(self, broker: Broker, database: Database, items: list[Outgoing]) -> None:
        try:
            with safe(COMMIT_PATIENCE):
                _publish_each_once(broker, items)
        except BrokerError as error:
            self._silent_until = clock.monotonic() + PAUSE
            arrived = sent_before(error)
            WaitingRows(database).delete(list(arrived))
            left = [item for item in items if item.message.message_id not in arrived]
            logger.warning("The broker is away (%s); %d messages wait in rows.", error, len(left))
            self._leave(broker, database, left)
        else:
            WaitingRows(database).delete([item.message.message_id for item in items])

    def _leave(self, broker: Broker, database: Database, items: list[Outgoing]) -> None:
        """Give rows up at once, and let people see what waits."""
        WaitingRows(database).give_up([item.message.message_id for item in items])
        if broker.journal is not None:  # one that writes the records itself is away with them
            note_pending(broker, items)


def _transaction_of(broker: Broker) -> Any:
    """The connection whose open transaction a send would be part of; a test's own, which never commits, is none."""
    for connection in connections.all(initialized_only=True):
        is_open = broker.sends_within(connection.alias) and Database(connection.alias).is_in_transaction
        if is_open and not is_a_tests(connection):
            return connection
    return None


def _publish_each_once(broker: Broker, items: list[Outgoing]) -> None:
    """Together; when one of them is there already, one by one, so that it does not keep the others back."""
    try:
        broker.publish(items)
    except DuplicateMessage:
        for item in items:
            try:
                broker.publish([item])
            except DuplicateMessage as error:
                logger.error("A message sent on commit was there already: %s", error)


def sent_before(error: BrokerError) -> set[str]:
    """The ids of the messages that the broker had taken when it failed: sent again they would run twice."""
    return {message.message_id for message in error.sent} if isinstance(error, PartialSendError) else set()


def note_pending(broker: Broker, items: list[Outgoing]) -> None:
    """Records of what no broker has seen yet."""
    database = Database(records_database.alias(broker))
    now = clock.wall_ms()
    with database.atomic(savepoint=True):  # the caller may have a transaction open there, which is not ours to undo
        RecordWriter(database, broker.recording).write([changes.pending(item, now) for item in items])


def note_left_out(broker: Broker, message_ids: Sequence[str]) -> None:
    """The records of messages that people saw waiting for their broker, and that were not sent: their keys are held."""
    if message_ids and broker.journal is not None:
        pending = MessageRecord.objects.using(records_database.alias(broker)).filter(
            message_id__in=message_ids, state=State.PENDING.value
        )
        pending.update(state=State.DISCARDED.value, finished_at=clock.as_datetime(clock.wall_ms()))


class _Batch:
    """What one transaction sends: published together by the first callback that runs.

    The callbacks of savepoints that were rolled back never run, and their rows are gone, so whichever comes first
    finds exactly what was committed.
    """

    def __init__(self, outbox: DatabaseOutbox, broker: Broker, database: Database, block: object) -> None:
        self._outbox = outbox
        self._broker = broker
        self._database = database
        self._block = block
        self._waiting: dict[str, Outgoing] = {}
        self._is_published = False

    def takes(self, broker: Broker, block: object, number: int) -> bool:
        """Whether this is the batch of the transaction that ``block`` began, and has room left."""
        is_same = self._broker is broker and self._block is block and block is not None
        return is_same and not self._is_published and len(self._waiting) + number <= MAX_BATCH

    def add(self, outgoing: Sequence[Outgoing]) -> None:
        for item in outgoing:
            self._waiting[item.message.message_id] = item

    def publish(self) -> None:
        if not self._is_published:
            self._is_published = True
            self._outbox.publish(self._broker, self._database, self._waiting)


def outermost(connection: Any) -> object:
    """The block that the transaction began with; None in a test's own transaction, where callbacks stay single."""
    return next((block for block in connection.atomic_blocks if not block._from_testcase), None)
