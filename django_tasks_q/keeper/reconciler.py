"""Records that say something else than the broker: what a lost journal, or a broker that lost its data, left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import changes, clock
from ..broker import Broker
from ..dialect import dialect, ids
from ..events import Event
from ..logging import get_logger
from ..mirror import RecordWriter
from ..models import MessageRecord
from ..sql import Database
from ..states import State
from .running import running
from .service import Service
from .service_lease import LeaderLease
from .unfinished import Record, Unfinished

logger = get_logger(__name__)

NAME = "reconciler"

_STATES = (State.ENQUEUED, State.RUNNING, State.RETRYING, State.DELAYED)
"""What the broker must know of. A pending message it has never seen, and of an unknown one nothing is claimed."""

_QUIET = 60_000

_DEAD_LETTERS = 100
_QUEUES = 16


class Reconciler(Service):
    """Walks a bounded part of the unfinished records each minute and asks the broker for them.

    What it does not hold is dead, ``lost``, if everything that the broker ever told of it is in the records: its
    journal was empty after it was asked, and the record is the same as before. Whoever settles a message in between
    has moved its record, so the truth stays; and what is heard later of a new delivery wins by its guard.

    A broker that cannot be asked for a message proves nothing by not showing it. What must have been run by now, had
    it been there, is ``unknown``, which claims nothing.

    The other way round: what a record does not know any more, and the broker holds, it knows again; and a dead letter
    that has no record gets one.
    """

    interval = 60.0

    def __init__(self, broker: Broker, database: Database, owner: str, *, quiet: int = _QUIET) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._writer = RecordWriter(database, broker.recording)
        self._lease = LeaderLease(database, NAME, owner)
        self._unfinished = Unfinished(database, _STATES, quiet)
        self._unknown = Unfinished(database, (State.UNKNOWN,), quiet)
        self._queues: list[str] = []

    def work(self) -> None:
        if not self._lease.hold():
            return
        for batch in self._unknown.next_round():
            self._find_again(batch)
        if self._broker.capabilities.peek.level == "same":
            self._look_for_lost()
            self._record_dead_letters()
        else:
            self._look_for_doubtful()

    def close(self) -> None:
        self._lease.release()

    # Records without a message

    def _look_for_lost(self) -> None:
        found = sum(self._bury(batch) for batch in self._unfinished.next_round())
        if found:
            logger.warning("%d messages are not known to the broker any more; they are dead letters, 'lost'.", found)
            self.again_in(1.0)

    def _bury(self, records: Sequence[Record]) -> int:
        missing = self._not_held(records)
        if not missing:
            return 0
        with self._database.transaction():
            unchanged = self._unfinished.lock_unchanged(missing)
            return self._writer.write([record.missed(clock.wall_ms()) for record in unchanged])

    def _look_for_doubtful(self) -> None:
        drained = self._broker.drained_until()
        found = 0
        for batch in self._unfinished.next_round():
            found += self._doubt([one for one in batch if one.moves_until < drained.get(one.queue_name, 0)])
        if found:
            logger.warning(
                "%d messages should have been run or told of by now; nobody knows what became of them, and their "
                "records say 'unknown'.",
                found,
            )

    def _doubt(self, records: Sequence[Record]) -> int:
        missing = self._not_held(records)
        if not missing:
            return 0
        ours = running(self._database)
        with self._database.transaction():
            unchanged = self._unfinished.lock_unchanged([one for one in missing if one.message_id not in ours])
            for record in unchanged:
                self._writer.disown(record.message_id)
        return len(unchanged)

    def _not_held(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those that the broker does not show, though it has told everything."""
        if not records:
            return ()
        held = self._broker.look_up([record.message_id for record in records])
        missing = [record for record in records if record.message_id not in held]
        return missing if missing and self._has_told_everything() else ()

    def _has_told_everything(self) -> bool:
        """Whether all that the broker told until now is in the records. Asked after the look-up: what it had heard of
        until then it cannot tell later."""
        journal = self._broker.journal
        if journal is None:
            return True
        backlogs = [journal.backlog(partition) for partition in journal.partitions()]
        return all(not backlog.events and backlog.gap is None for backlog in backlogs)

    # Messages of which the records do not know any more

    def _find_again(self, records: Sequence[Record]) -> None:
        held = self._broker.look_up([record.message_id for record in records]) if records else {}
        found = {name: event for name, one in held.items() if (event := changes.found(one, clock.wall_ms()))}
        if found:
            with self._database.transaction():
                unchanged = self._unknown.lock_unchanged([one for one in records if one.message_id in found])
                self._writer.find_again((one.guard, found[one.message_id]) for one in unchanged)

    # Dead letters without a record

    def _record_dead_letters(self) -> None:
        """A look at the oldest dead letters of some queues; the other queues have their turn in the next round."""
        queues = self._queues or sorted(self._broker.queues)
        self._queues = queues[_QUEUES:]
        for queue_name in queues[:_QUEUES]:
            letters = self._broker.peek(queue_name, "dead", _DEAD_LETTERS)
            known = self._known([letter.message_id for letter in letters])
            events = [self._found(letter) for letter in letters if letter.message_id not in known]
            if events and self._has_told_everything():
                with self._database.transaction():
                    self._writer.write(events)

    def _found(self, letter: Any) -> Event:
        event = changes.found_dead(letter, clock.wall_ms())
        actor = None if event.birth is None else self._broker.actors.get(event.birth.actor_name)
        return event if actor is None else changes.found_dead(letter, event.at, actor.app_label)

    def _known(self, message_ids: Sequence[str]) -> set[str]:
        if not message_ids:
            return set()
        table = MessageRecord._meta.db_table
        sql = f"SELECT message_id FROM {table} WHERE message_id {dialect(self._database).in_ids}"
        return {row[0] for row in self._database.rows(sql, (ids(self._database, message_ids),))}
