"""Gathered items that nobody comes for, because who should have sent for them died, and those that are done with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import clock
from ..actor import Actor
from ..broker import Broker
from ..gather import Gather
from ..gathering import collect
from ..logging import get_logger
from ..sql import Database
from ..states import FINAL, State
from ..waiting import GatheredRows
from ..waiting.gathered import Standing, Taken
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

MARGIN = 3_000
"""Milliseconds beyond their wait for which items are left to who was sent for them."""

_UNTOLD = 3_600_000
"""Milliseconds after which something is recorded of a message that has taken items, or never will be."""

_REST = 15.0
"""Seconds between two looks at what messages have taken: nobody waits for that, and dead letters keep theirs long."""

_COLLECTIONS = 200
_MESSAGES = 200

_ENDED = frozenset(state.value for state in FINAL - {State.DEAD})


class Gathered(Service):
    """Sends for items that have waited for too long, and deletes those whose message has ended.

    A dead letter keeps its items: it may be requeued. Those of a message of which nobody knows what became of it
    (``unknown``), and that its broker does not have, are for others to run, since one that has succeeded leaves none.
    Nothing is asked where no actor gathers.
    """

    interval = 3.0

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._rows = GatheredRows(database)
        self._lease = LeaderLease(database, "gathered items", owner)
        self._leads = False
        self._after = ""
        self._after_message = ""
        self._judge_at = 0.0

    def work(self) -> None:
        actors = {name: actor for name, actor in self._broker.actors.items() if actor.options.get("gather")}
        if not actors:
            return
        self._database.own()
        if self._rows.is_empty():
            return
        self._leads = self._lease.hold()
        if self._leads:
            if clock.monotonic() >= self._judge_at:
                self._judge()
                self._judge_at = clock.monotonic() + _REST
            self._send(actors)

    def close(self) -> None:
        if self._leads:
            self._lease.release()

    # Nobody has taken them

    def _send(self, actors: Mapping[str, Actor[Any, Any]]) -> None:
        for _ in range(_COLLECTIONS):
            standing = self._rows.next_standing(self._after)
            self._after = "" if standing is None else standing.collection
            if standing is None:
                return
            actor = actors.get(standing.actor_name)  # one that only another release knows is left to that one
            if actor is not None and self._is_late(actor, standing):
                collect(actor, standing.key, None)

    def _is_late(self, actor: Actor[Any, Any], standing: Standing) -> bool:
        """Whether they have waited for long enough; or as many wait as a run gets, and nobody could say so."""
        gather: Gather = actor.options["gather"]
        if standing.age < MARGIN:
            return False
        if standing.age >= gather.wait_ms + MARGIN:
            return True
        return self._rows.waiting(standing.collection, gather.size) >= gather.size

    # Somebody has

    def _judge(self) -> None:
        found = self._rows.next_taken(self._after_message, _MESSAGES)
        self._after_message = found[-1].message_id if len(found) == _MESSAGES else ""
        done = [taken.message_id for taken in found if taken.state in _ENDED]
        lost = self._lost(found)
        done += [taken.message_id for taken in lost if taken.state is None]
        again = [taken.message_id for taken in lost if taken.state is not None]
        if done or again:
            with self._database.transaction():
                deleted = self._rows.delete(done) if done else 0
                self._rows.give_back(again)
            logger.info("%d gathered items of messages that have ended are deleted.", deleted)
        if again:
            logger.warning("The items of %d messages that are gone are for others.", len(again))

    def _lost(self, found: list[Taken]) -> list[Taken]:
        """Those of which nothing is known, and that their broker does not have."""
        untold = [one for one in found if one.state in (None, State.UNKNOWN.value) and one.age > _UNTOLD]
        held = self._broker.look_up([one.message_id for one in untold]) if untold else {}
        return [one for one in untold if one.message_id not in held]
