"""Gathered items that nobody comes for, because who should have sent for them died, and those that are done with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import clock, conf
from ..actor import Actor
from ..broker import Broker
from ..gather import Gather
from ..gathering import collect
from ..logging import get_logger
from ..sql import Database
from ..states import FINAL, State
from ..waiting import GatheredRows
from ..waiting.gathered import Standing, Taken
from .running import running
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

MARGIN = 3_000
"""Milliseconds beyond their wait for which items are left to who was sent for them."""

_UNTOLD = 3_600_000
"""Milliseconds after which something is recorded of a message that has taken items, or never will be."""

_SEEN = 15_000
"""Milliseconds after which who takes items is known to run."""

_REST = 15.0
"""Seconds between two looks at what messages have taken: nobody waits for that, and dead letters keep theirs long."""

_LONGEST = 300.0
"""Seconds to the next collector at most, where one after the other ends without taking anything: it is called off, too
old, or refused by a middleware."""

_COLLECTIONS = 200
_MESSAGES = 200

_ENDED = frozenset(state.value for state in FINAL - {State.DEAD})


class _Sent(NamedTuple):
    """Who was sent last for the items of which ``oldest`` is the first; the next one not before ``until``, which is
    ``pause`` seconds later."""

    oldest: int
    pause: float
    until: float


class Gathered(Service):
    """Sends for items that have waited for too long, and deletes those whose message has ended.

    A dead letter keeps its items: it may be requeued. So does, whatever is recorded, a message that its broker has or
    that a worker runs: one that was delivered again after its end may have taken others. Those of a message of which
    nobody knows what became of it (``unknown``, or nothing was ever told) are for others to run, since one that has
    succeeded leaves none. Nothing is asked where no actor gathers.
    """

    interval = 3.0

    def __init__(self, broker: Broker, database: Database, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._database = database
        self._rows = GatheredRows(database)
        self._lease = LeaderLease(database, "gathered items", owner)
        self._leads = False
        self._sent: dict[str, _Sent] = {}
        self._told: set[str] = set()
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
                now = clock.monotonic()
                self._sent = {name: sent for name, sent in self._sent.items() if sent.until + _LONGEST > now}
                return
            actor = actors.get(standing.actor_name)
            if actor is None:
                self._tell_of_unknown(standing)
            elif self._is_late(actor, standing):
                self._send_for(actor, standing)

    def _tell_of_unknown(self, standing: Standing) -> None:
        """Items of an actor that only another release knows are left to that one; unless there is none."""
        name = standing.actor_name
        if standing.age > conf.get("UNKNOWN_ACTOR_GRACE") and name not in self._told:
            self._told.add(name)
            logger.warning("Items wait for %s, and no actor of this name gathers here.", name)

    def _send_for(self, actor: Actor[Any, Any], standing: Standing) -> None:
        now, last = clock.monotonic(), self._sent.get(standing.collection)
        is_again = last is not None and last.oldest == standing.oldest
        if last is not None and is_again and now < last.until:
            return
        if collect(actor, standing.key, None):
            pause = min(last.pause * 2, _LONGEST) if last is not None and is_again else self.interval
            self._sent[standing.collection] = _Sent(standing.oldest, pause, now + pause)

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
        gone = self._gone([taken for taken in found if _has_ended(taken) or _is_untold(taken)])
        done = [taken.message_id for taken in gone if _has_ended(taken) or _is_forgotten(taken)]
        again = [taken.message_id for taken in gone if taken.message_id not in done]
        if done or again:
            with self._database.transaction():
                deleted = self._rows.delete(done) if done else 0
                self._rows.give_back(again)
            logger.info("%d gathered items of messages that have ended are deleted.", deleted)
        if again:
            logger.warning("The items of %d messages that are gone are for others.", len(again))

    def _gone(self, ended: list[Taken]) -> list[Taken]:
        """Those that their broker does not have, as far as it can tell, and that nobody runs."""
        if not ended:
            return []
        held = self._broker.look_up([one.message_id for one in ended])
        ours = running(self._database)
        return [one for one in ended if one.message_id not in held and one.message_id not in ours]


def _has_ended(taken: Taken) -> bool:
    return taken.state in _ENDED and taken.age > _SEEN


def _is_untold(taken: Taken) -> bool:
    return taken.state in (None, State.UNKNOWN.value) and taken.age > _UNTOLD


def _is_forgotten(taken: Taken) -> bool:
    """Whether it may have had a record, which is deleted; that is not so soon after it has taken something."""
    return taken.state is None and taken.age > min(conf.get("DEAD_LETTER_TTL"), conf.records()["DEAD_TTL"])
