"""Members of groups that ended where no worker was left to say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from .. import clock
from ..broker import Broker
from ..dialect import dialect, ids, moment, now_ms
from ..errors import BrokerError, DecodeError, DuplicateMessage, QueueNotFound
from ..logging import get_logger
from ..message import Message
from ..middleware import GroupCallbacks
from ..middleware.membership import is_counted
from ..mirror.text import original_document
from ..models import MessageRecord
from ..sql import Database
from ..stamps import of_options
from ..states import State
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

_RECORDS = MessageRecord._meta.db_table
_FAILED = (State.DEAD, State.DISCARDED, State.REVOKED)
_BATCH = 200

_LATE = 600_000
"""Milliseconds by which a record may be older than it should be: the clocks of hosts differ."""

_ADVANCE = 60_000
"""Milliseconds between two looks whether everything older is done with."""

_SINCE = "since"

_SETTLED = 1_000
"""Milliseconds after which the records of what a settlement caused are written too, as a rule."""


class Member(NamedTuple):
    """A record of a member that failed for good. ``finished_at`` is epoch milliseconds."""

    message_id: str
    life: int
    finished_at: int
    document: str

    @property
    def options(self) -> Mapping[str, Any]:
        """As they are recorded; none for what nobody can read."""
        try:
            options = original_document(self.document)
        except msgspec.DecodeError:
            return {}
        return options if isinstance(options, dict) else {}


class Groups(Service):
    """Tells groups of members that were buried with their worker, called off, or thrown away.

    It reads the records of members that failed, each once, and has ``GroupCallbacks`` count them, which does no harm
    where a worker has done so. What follows is sent unless it is known already: the ids of callbacks are the group's.
    """

    interval = 2.0

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._lease = LeaderLease(database, "groups", owner)
        self._begin: int | None = None
        self._after: tuple[int, str] | None = None
        self._batches = 0
        self._advanced_at = 0
        self._told: dict[tuple[str, int], int] = {}
        self._warned: set[str] = set()

    def work(self) -> None:
        middleware = next((item for item in self._broker.middleware if isinstance(item, GroupCallbacks)), None)
        if middleware is None:
            return
        if not self._lease.hold():
            self._begin = self._after = None  # whoever has it reads on, and notes how far
            return
        self._database.own()
        now = now_ms(self._database)
        if self._begin is None:
            self._begin = self._noted(now - middleware.barrier_ttl)
        members = self._read(self._after or (self._begin, ""), now - _SETTLED)
        self._tell(middleware, [member for member in members if (member.message_id, member.life) not in self._told])
        if len(members) == _BATCH:
            self._after = members[-1].finished_at, members[-1].message_id
            self._batches += 1
            self.again_in(0)
            return
        if now - self._advanced_at >= _ADVANCE and self._has_heard_all():
            self._advance(max(self._begin, now - _LATE))
            self._advanced_at = now
        # The longer a walk through the time that is looked at takes, the more rarely it begins anew.
        self.again_in(self.interval * (1 + self._batches))
        self._after, self._batches = None, 0

    def _advance(self, begin: int) -> None:
        """Look no more at what ended before."""
        self._begin = begin
        self._told = {told: at for told, at in self._told.items() if at >= begin}
        self._warned.clear()
        self._lease.note({_SINCE: begin})

    def _has_heard_all(self) -> bool:
        """Whether no record is still to be written, of what ended while the database was away, for example."""
        journal = self._broker.journal
        return journal is None or not any(journal.backlog(partition).events for partition in journal.partitions())

    def _noted(self, earliest: int) -> int:
        """Where the keeper before has come to: what has been told once is not to be looked at for a day."""
        since = self._lease.notes().get(_SINCE, 0)
        return max(since, earliest) if isinstance(since, int) else earliest

    def close(self) -> None:
        self._lease.release()

    def _read(self, after: tuple[int, str], until: int) -> list[Member]:
        words = dialect(self._database)
        begin, end = (moment(self._database, at) for at in (after[0], until))
        states = ", ".join(f"'{state.value}'" for state in _FAILED)
        rows = self._database.rows(
            f"SELECT message_id, life, {words.epoch_ms.format('finished_at')}, {words.text.format('options')} "
            f"FROM {_RECORDS} WHERE state IN ({states}) AND NOT (group_id = '') AND finished_at >= {words.mark} "
            f"AND finished_at <= {words.mark} AND (finished_at > {words.mark} OR message_id > {words.mark}) "
            f"ORDER BY finished_at, message_id LIMIT {_BATCH}",
            (begin, end, begin, after[1]),
        )
        return [Member(pk, life, int(at), options or "{}") for pk, life, at, options in rows]

    def _tell(self, middleware: GroupCallbacks, members: Sequence[Member]) -> None:
        counted = {member.message_id: options for member in members if is_counted(options := member.options)}
        whole = self._whole(list(counted))
        for member in members:
            if member.message_id in counted:
                try:
                    self._count(middleware, member, counted[member.message_id], whole.get(member.message_id))
                except QueueNotFound as error:  # the next release may know it; until then others do not wait for it
                    self._warn(member, error)
                    continue
                except BrokerError:
                    raise
                except Exception as error:  # what options say may be anything
                    logger.error("The group of message %s cannot be told of its end: %r", member.message_id, error)
            self._told[member.message_id, member.life] = member.finished_at

    def _warn(self, member: Member, error: QueueNotFound) -> None:
        if member.message_id not in self._warned:
            self._warned.add(member.message_id)
            logger.error("What follows the group of message %s cannot be sent yet: %s", member.message_id, error)

    def _count(
        self,
        middleware: GroupCallbacks,
        member: Member,
        recorded: Mapping[str, Any],
        whole: Mapping[str, Any] | None,
    ) -> None:
        """What follows is sent as the message says that is still there, else as the record says that hides nothing."""
        options = recorded if whole is None else whole
        messages = middleware.ended(self._broker, options)
        if whole is not None or not self._broker.recording.hides:
            self._send(messages, member, of_options(options))
        elif messages:
            logger.error(
                "What follows the group of message %s is not sent: records hide arguments, and the message is gone.",
                member.message_id,
            )

    def _whole(self, message_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The options of those that are still there, dead letters as a rule, as they were sent."""
        found: dict[str, Mapping[str, Any]] = {}
        for message_id, held in self._broker.look_up(message_ids).items() if message_ids else ():
            with suppress(DecodeError):  # it was something else when it was recorded
                found[message_id] = Message.decode(held.delivery.payload).options
        return found

    def _send(self, messages: Sequence[Message[Any]], member: Member, stamps: Mapping[str, list[str]]) -> None:
        known = self._known([message.message_id for message in messages])
        for message in messages:
            if message.message_id in known:
                continue
            outgoing = self._broker.prepare(message, parent_id=member.message_id, stamps=stamps)
            since = min(clock.wall_ms(), member.finished_at)
            try:
                self._broker.publish([msgspec.structs.replace(outgoing, sent_since=since - _LATE)])
            except DuplicateMessage:
                continue

    def _known(self, message_ids: Sequence[str]) -> set[str]:
        if not message_ids:
            return set()
        sql = f"SELECT message_id FROM {_RECORDS} WHERE message_id {dialect(self._database).in_ids}"
        return {row[0] for row in self._database.rows(sql, (ids(self._database, message_ids),))}
