"""The run of a slot: its row, the way to the next one and the message, together or not at all."""

from __future__ import annotations

from .. import clock
from ..broker import Broker
from ..dialect import now_ms
from ..errors import DuplicateMessage
from ..logging import get_logger
from ..message import Message
from ..sql import Database
from .entries import Entry
from .rows import ScheduleRows

logger = get_logger(__name__)


class _SomebodyElse(Exception):
    """Somebody else has moved the entry on, or disabled it."""


def run_slot(broker: Broker, database: Database, entry: Entry, slot: int, expected: int, following: int) -> bool:
    """Run a slot of an entry whose next slot was ``expected``; all in epoch milliseconds. False: somebody
    else has moved the entry on, or disabled it.

    The message is a part of the transaction with a broker in this database; else it waits in a row of it, and the relay
    publishes what nobody lives to publish. So whoever is killed at any moment, a slot has a message exactly when it has
    a row. Raises what :meth:`Entry.message` and a send raise.
    """
    message = entry.message_of(broker, slot)
    try:
        return _run(broker, database, entry, message, slot, expected, following)
    except DuplicateMessage as error:
        if error.holder:
            logger.error("The message of %s for %s is left out: %s", entry.name, clock.as_datetime(slot), error)
        else:
            logger.info("The message of %s for this slot is there already: %s", entry.name, message.message_id)
        there = error.holder or message.message_id
        return _run(broker, database, entry, message, slot, expected, following, there)


def _run(
    broker: Broker,
    database: Database,
    entry: Entry,
    message: Message[object],
    slot: int,
    expected: int,
    following: int,
    there: str = "",
) -> bool:
    """``there``: the message that is there already, so that none is sent."""
    rows = ScheduleRows(database)
    try:
        with database.atomic(savepoint=False):
            # The insert comes first: on SQLite it takes the lock for what follows.
            is_new = rows.add_run(entry.name, slot, there or message.message_id)
            if not rows.advance(entry.name, expected, following, slot):
                raise _SomebodyElse
            if is_new and not there:
                _send(broker, database, rows, entry, slot, message)
    except _SomebodyElse:
        return False
    return True


def _send(
    broker: Broker, database: Database, rows: ScheduleRows, entry: Entry, slot: int, message: Message[object]
) -> Message[object]:
    """Send it for a slot; the row names what is there in its place, where its key is held."""
    (there,) = broker.enqueue_on_commit([message], using=database.alias)
    if there.message_id != message.message_id:
        rows.name_run(entry.name, slot, there.message_id)
    return there


def run_now(broker: Broker, database: Database, entry: Entry) -> Message[object]:
    """Have an entry run once more, now, whether it is enabled or not; its next slot stays. Returns what was sent, or
    the message that holds its key.

    In the caller's transaction, if one is open. Raises what :meth:`Entry.message` and a send raise.
    """
    message = entry.message(broker)
    rows = ScheduleRows(database)
    with database.atomic(savepoint=True):
        rows.add_run(entry.name, now := now_ms(database), message.message_id)
        rows.ran(entry.name, now)
        return _send(broker, database, rows, entry, now, message)
