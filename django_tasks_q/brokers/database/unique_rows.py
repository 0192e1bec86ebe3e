"""Messages of which one is enough, as rows: the key is a column of the holder's own row, so it ends with the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.db import IntegrityError

from ... import changes, clock
from ...dialect import ids
from ...errors import BrokerConnectionError
from ...logging import get_logger
from ...mirror import RecordWriter
from ...models import Place
from ...sql import Database
from ...unique import held_by, tell_of_left_out
from .queries import Born, Queries, place_of

logger = get_logger(__name__)

_ROUNDS = 20
"""How often a key may pass from one message to another while somebody tries to take it."""

_WAITING = (Place.READY, Place.DELAYED, Place.SUSPECT)


class Holder(NamedTuple):
    """Who has a key. ``is_over``: for longer than it may."""

    key: str
    id: int
    message_id: str
    place: int
    life: int
    retries: int
    deliveries: int
    lost: int
    record: bool
    is_over: bool

    @property
    def counters(self) -> tuple[int, int, int, int, bool]:
        return self.life, self.retries, self.deliveries, self.lost, bool(self.record)


class UniqueRows:
    """Stores messages that take keys, in the caller's transaction."""

    def __init__(self, database: Database, queries: Queries, writer: RecordWriter) -> None:
        self._database = database
        self._queries = queries
        self._writer = writer

    def store(self, born: Sequence[Born], *, caused: bool) -> tuple[int, Mapping[str, str]]:
        """How many were new, and by id who keeps the others out; a known id is left as it is.

        ``caused``: nobody is there to be told of a conflict. DuplicateMessage where somebody is and wants to be.
        """
        left_out: dict[str, str] = {}
        stored, waiting = 0, list(born)
        for _ in range(_ROUNDS):
            new = self._queries.store_unique(self._database, waiting, self._writer.recording)
            stored += len(new)
            waiting = self._meet([one for one in waiting if one[0].message.message_id not in new], left_out, caused)
            if not waiting:
                return stored, left_out
        raise BrokerConnectionError(f"The key of {waiting[0][0].message.message_id} passes on faster than it is taken.")

    def _meet(self, born: Sequence[Born], left_out: dict[str, str], caused: bool) -> list[Born]:
        """Those that are to try again, because the key may be free now."""
        if not born:
            return []
        holders = self._holders(born)
        nobodys = [one[0].message.message_id for one in born if _key(one) not in holders]
        known = self._known(nobodys) if nobodys else set()
        again = []
        for one in born:
            holder, message_id = holders.get(_key(one)), one[0].message.message_id
            if holder is None:
                if message_id not in known:
                    again.append(one)
            elif self._makes_way(holder, one):
                again.append(one)
            elif holder.message_id != message_id:  # or else it was sent before
                self._leave_out(one, holder.message_id, left_out, caused)
        return again

    def _makes_way(self, holder: Holder, one: Born) -> bool:
        """Whether the key may be free now."""
        if holder.is_over:
            self._database.count(self._queries.give_up_over, (holder.id,))
            return True
        item = one[0]
        assert item.unique is not None
        if holder.message_id == item.message.message_id or holder.place not in _WAITING:
            return False
        if item.unique.on_conflict == "replace":
            self._drop(holder)
            return True
        return item.unique.on_conflict == "refresh" and not self._refresh(holder, one)

    def _drop(self, holder: Holder) -> None:
        """What a new message replaces; who has claimed it meanwhile keeps it."""
        if self._database.count(self._queries.drop_waiting, (holder.id, holder.deliveries)):
            self._writer.write([changes.discarded(holder.message_id, clock.wall_ms(), *holder.counters)])

    def _refresh(self, holder: Holder, one: Born) -> bool:
        """Whether the holder waits anew; who has claimed it meanwhile runs it. One that must run alone waits as it
        did."""
        if holder.place == Place.SUSPECT:
            return True
        item, event = one
        assert item.unique is not None
        is_called = event.eta is None and holder.place == Place.DELAYED
        wait = (place_of(event), event.eta or 0, item.unique.ttl, is_called)
        claim = (holder.id, holder.deliveries, holder.place)
        is_refreshed = bool(self._database.count(self._queries.refresh, (*wait, *claim)))
        if is_refreshed and is_called:
            self._writer.write([changes.promoted(holder.message_id, clock.wall_ms(), *holder.counters)])
            self._queries.notify(self._database)
        return is_refreshed

    @staticmethod
    def _leave_out(one: Born, holder: str, left_out: dict[str, str], caused: bool) -> None:
        item = one[0]
        assert item.unique is not None
        if caused:
            tell_of_left_out(logger, item, holder)
        elif item.unique.on_conflict == "raise":
            raise held_by(item, holder)
        left_out[item.message.message_id] = holder

    def take_again(self, message_id: str, kept: str) -> None:
        """Give a dead letter that lives again the key that it had, unless that is held, or its time is over."""
        key = kept.partition("/")[0]
        holders = self._database.rows(self._queries.holders(), (ids(self._database, [key]),))
        if holders and Holder(*holders[0]).is_over:
            self._database.count(self._queries.give_up_over, (holders[0][1],))
            holders = []
        own = self._database.rows(self._queries.holders(), (ids(self._database, [kept]),))
        if holders or not own or Holder(*own[0]).is_over:
            self._database.count(self._queries.take_key, (None, message_id))
            return
        try:
            with self._database.atomic(savepoint=True):
                self._database.count(self._queries.take_key, (key, message_id))
        except IntegrityError:  # somebody has taken it in this moment
            self._database.count(self._queries.take_key, (None, message_id))

    def _holders(self, born: Sequence[Born]) -> dict[str, Holder]:
        keys = list(dict.fromkeys(_key(one) for one in born))
        rows = self._database.rows(self._queries.holders(), (ids(self._database, keys),))
        return {row[0]: Holder(*row) for row in rows}

    def _known(self, message_ids: Sequence[str]) -> set[str]:
        rows = self._database.rows(self._queries.known(), (ids(self._database, message_ids),))
        return {row[0] for row in rows}


def _key(one: Born) -> str:
    unique = one[0].unique
    assert unique is not None
    return unique.key
