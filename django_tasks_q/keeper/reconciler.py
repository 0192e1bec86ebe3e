"""Records that say something else than the broker: what a lost journal, or a broker that lost its data, left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, NamedTuple

from .. import changes, clock
from ..broker import Broker
from ..dialect import dialect, ids, moment, now_ms
from ..events import Event, guard
from ..logging import get_logger
from ..mirror import RecordWriter
from ..models import MessageRecord
from ..sql import Database
from ..states import State
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

NAME = "reconciler"

_RECORDS = MessageRecord._meta.db_table
_STATES = (State.ENQUEUED, State.RUNNING, State.RETRYING, State.DELAYED)
"""What the broker must know of. A pending message it has never seen, and of an unknown one nothing is claimed."""

_QUIET = 60_000
"""Milliseconds for which a record must not have changed: what moves now is nobody's loss."""

_ROUND = 1_000
_BATCH = 100
"""Messages in one look at the broker, which hands them over whole."""

_DEAD_LETTERS = 100
_QUEUES = 16


class Record(NamedTuple):
    """What a record says of a message that is not finished. ``created_at`` as the database sorts it."""

    message_id: str
    created_at: Any
    guard: int
    life: int
    retries: int
    deliveries: int
    lost: int
    started_at: int | None
    worker: str
    is_old: bool
    is_quiet: bool

    def missed(self, now: int) -> Event:
        numbers = (self.life, self.retries)
        event = changes.missed(self.message_id, now, *numbers, self.deliveries, self.lost, self.started_at, self.worker)
        if guard(event) > self.guard:
            return event
        # The last that was heard of it is its promotion, which belongs to the delivery that never came.
        return changes.missed(
            self.message_id, now, *numbers, self.deliveries + 1, self.lost, self.started_at, self.worker
        )


class Reconciler(Service):
    """Walks a bounded part of the unfinished records each minute and asks the broker for them.

    What it does not hold is dead, ``lost``, if everything that the broker ever told of it is in the records: its
    journal was empty after it was asked, and the record is the same as before. Whoever settles a message in between
    has moved its record, so the truth stays; and what is heard later of a new delivery wins by its guard.

    The other way round, a dead letter that has no record gets one.
    """

    interval = 60.0

    def __init__(self, broker: Broker, database: Database, owner: str, *, quiet: int = _QUIET) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._writer = RecordWriter(database, broker.recording)
        self._lease = LeaderLease(database, NAME, owner)
        self._quiet = quiet
        self._walk = self._all()
        self._queues: list[str] = []

    def work(self) -> None:
        if self._broker.capabilities.peek.level != "same" or not self._lease.hold():
            return
        found = self._check(list(islice(self._walk, _ROUND // _BATCH)))
        self._record_dead_letters()
        if found:
            logger.warning("%d messages are not known to the broker any more; they are dead letters, 'lost'.", found)
            self.again_in(1.0)

    def close(self) -> None:
        self._lease.release()

    # Records without a message

    def _check(self, batches: Sequence[Sequence[Record]]) -> int:
        if len(batches) < _ROUND // _BATCH:
            self._walk = self._all()
        return sum(self._check_batch(batch) for batch in batches)

    def _all(self) -> Iterator[list[Record]]:
        """All unfinished records, in batches; each is read when its turn comes."""
        for state in _STATES:
            after: tuple[Any, str] | None = None
            while batch := self._read(state, after):
                yield [record for record in batch if record.is_quiet]
                after = batch[-1].created_at, batch[-1].message_id

    def _read(self, state: State, after: tuple[Any, str] | None) -> list[Record]:
        """The next records of a state, up to the first that is too young.

        That end is no condition: PostgreSQL would take a range for small, and sort all of it instead of walking.
        """
        words = dialect(self._database)
        until = moment(self._database, now_ms(self._database) - self._quiet)
        mark, params = words.mark, [until, until, until]
        beyond = ""
        if after is not None:
            beyond = f"AND created_at >= {mark} AND (created_at > {mark} OR message_id > {mark}) "
            params += [after[0], *after]
        rows = self._database.rows(
            f"SELECT message_id, {words.sortable.format('created_at')}, guard, life, retries, deliveries, lost, "
            f"{words.epoch_ms.format('started_at')}, worker, created_at < {mark}, "
            f"COALESCE(enqueued_at, created_at) < {mark} AND COALESCE(started_at, created_at) < {mark} FROM {_RECORDS} "
            # The second condition says what the first one implies: so that the index of unfinished records is used.
            f"WHERE state = '{state.value}' AND NOT (state = '{State.SUCCEEDED.value}') AND created_at IS NOT NULL "
            f"{beyond}ORDER BY created_at, message_id LIMIT {_BATCH}",
            params,
        )
        return list(takewhile(lambda record: record.is_old, (Record(*row) for row in rows)))

    def _check_batch(self, records: Sequence[Record]) -> int:
        if not records:
            return 0
        held = self._broker.look_up([record.message_id for record in records])
        missing = [record for record in records if record.message_id not in held]
        if not missing or not self._has_told_everything():
            return 0
        with self._database.transaction():
            unchanged = self._lock_unchanged(missing)
            return self._writer.write([record.missed(clock.wall_ms()) for record in unchanged])

    def _has_told_everything(self) -> bool:
        """Whether all that the broker told until now is in the records. Asked after the look-up: what it had heard of
        until then it cannot tell later."""
        journal = self._broker.journal
        if journal is None:
            return True
        backlogs = [journal.backlog(partition) for partition in journal.partitions()]
        return all(not backlog.events and backlog.gap is None for backlog in backlogs)

    def _lock_unchanged(self, records: Sequence[Record]) -> list[Record]:
        words = dialect(self._database)
        rows = self._database.rows(
            f"SELECT message_id, guard FROM {_RECORDS} WHERE message_id {words.in_ids}{words.skip_locked}",
            (ids(self._database, [record.message_id for record in records]),),
        )
        guards = {row[0]: row[1] for row in rows}
        return [record for record in records if guards.get(record.message_id) == record.guard]

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
        sql = f"SELECT message_id FROM {_RECORDS} WHERE message_id {dialect(self._database).in_ids}"
        return {row[0] for row in self._database.rows(sql, (ids(self._database, message_ids),))}
