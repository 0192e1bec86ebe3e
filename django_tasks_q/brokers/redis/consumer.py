"""One worker's side of the Redis broker."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import clock
from ...broker import MAX_QUEUES_PER_EXCHANGE, Consumer
from ...deliveries import Delivery, Exchange, Settlement, Started, WorkerInfo
from ...errors import BrokerConnectionError, BrokerError
from ...fairness import quotas, without
from ...outcomes import HANDED_BACK
from ...waker import Waker
from .bell import Bell
from .entry import brought
from .trade import Answer, Terms, Trade

if TYPE_CHECKING:
    from .broker import RedisBroker

MOST = 200
"""Messages that one script call settles or claims: 1.3 ms of the server's time."""

LOOK_INTERVAL = 5.0
"""Seconds after which a worker that was told to wait looks for itself."""

_DOUBT_PAUSE = 0.1
_NEVER = float("inf")


class RedisConsumer(Consumer):
    """Settles and claims in one script call; on a cluster in one for each queue, all at once.

    While it waits and runs nothing, whoever sends a message may claim it for this worker; it comes with the ring of the
    bell. When the bell was gone meanwhile, what the worker does not know of goes back.

    A call whose answer was lost is made again under its number before anything else is asked, and answers as it did.

    A server that has not heard of everything it should have answered (a replica that became the master) may think that
    this worker still holds what it has settled: that goes back to its queue, for nobody else would ever end it.
    """

    def __init__(self, broker: RedisBroker, worker: WorkerInfo) -> None:
        self._broker = broker
        self._worker = worker
        self._turn = 0
        self._number = 0
        self._open: list[Trade] = []
        self._found = _Found()
        self._answered: dict[str | None, int] = {}
        self._held: set[Any] = set()
        self._given_back: list[Delivery] = []
        self._must_ask = False
        self._stands_elsewhere = False
        self._quiet_in: set[str] = set()
        self._look_at = 0.0
        self._due_at = _NEVER
        self._known_in: set[str] = set()
        self._waker = Waker()
        self._bell = Bell(broker.link, self._waker)
        self._get_known(self._weights())

    # Exchanging

    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        if not (settlements or started or self._open):
            if room > 0 and not self.has_arrivals and self._may_rest():
                return Exchange()
            if self._is_at_hand(room):
                self._stands_elsewhere = len(self._weights()) > 1
                return self._hand_out()
        if self._open:
            self._carry_out()
        surplus = [Settlement(delivery, HANDED_BACK) for delivery in self._found.deliveries[max(0, room) :]]
        left = [s for s in (*settlements, *surplus) if _claim(s.delivery) not in self._found.asked]
        batch, left = left[:MOST], left[MOST:]
        while left:
            self._trade(batch, 0)
            batch, left = left[:MOST], left[MOST:]
        self._trade(batch, max(0, room - len(self._found.deliveries)), started)
        self._must_ask = False
        if self._found.forgotten or self._bell.has_missed:
            self._give_back_strays()
        self._broker.note_late(self._worker.worker_id, self._found.refused)  # failing, it must not take claims along
        return self._hand_out()

    def _is_at_hand(self, room: int) -> bool:
        """Whether what was brought is all there is to say. Who rings and brings nothing may have buried this worker."""
        is_in_doubt = self._must_ask or self._bell.has_missed or self._found.asked
        return 0 < len(self._found.deliveries) <= room and not is_in_doubt

    def _hand_out(self) -> Exchange:
        found, self._found = self._found, _Found()
        kept = found.kept
        self._held -= found.asked
        self._held.update(map(_claim, kept))
        refused = frozenset(s.delivery.handle for s in found.refused)
        return Exchange([] if found.fenced else kept, refused, fenced=found.fenced)

    def _trade(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> None:
        shares = self._shares(room)
        self._get_known(shares)
        listens = room > 0 and not self._worker.suspects
        if listens:
            self._bell.listen(self._broker.channels(self._worker.worker_id, shares))
        self._ask(shares, room, settlements, started, listens)
        if listens and self._has_found_nothing():
            self._settle_down(shares, room)
        else:
            self._quiet_in.clear()

    def _give_back_strays(self) -> None:
        """What the server takes for this worker's, which knows nothing of it."""
        self._quiet_in.clear()
        self._hear()
        known = self._held - self._found.asked | self._found.claims
        strays = [
            Settlement(delivery, HANDED_BACK)
            for delivery in self._broker.held_by(self._worker.worker_id, self._known_in)
            if _claim(delivery) not in known
        ]
        self._given_back = [settlement.delivery for settlement in strays]
        for start in range(0, len(strays), MOST):
            self._trade(strays[start : start + MOST], 0)
        self._bell.has_missed = False

    def _ask(
        self,
        shares: Mapping[str, int],
        room: int,
        settlements: Sequence[Settlement] = (),
        started: Sequence[Started] = (),
        listens: bool = False,
    ) -> None:
        self._number += 1
        self._stands_elsewhere = False
        terms = Terms(
            self._worker.worker_id,
            self._number,
            min(room, MOST),
            shares,
            listens,
            listens and not self._runs_something(settlements),
            self._worker.suspects,
            answered=self._answered,
        )
        self._open = self._broker.propose(terms, settlements, started)
        self._carry_out()

    def _runs_something(self, settlements: Sequence[Settlement]) -> bool:
        """Whether it holds more than is settled now. What runs may keep this thread from hearing."""
        if self._found.kept or len(self._held) > len(self._found.asked) + len(settlements):
            return True
        return not self._held - self._found.asked <= {_claim(settlement.delivery) for settlement in settlements}

    def _has_found_nothing(self) -> bool:
        return not self._found.deliveries and not self._found.fenced

    def _shares(self, room: int) -> dict[str, int]:
        """Which queues to ask, and for how much of the room; without room only for what is due."""
        self._turn += 1
        shares = quotas(self._weights(), max(room, 1), self._turn, MAX_QUEUES_PER_EXCHANGE)
        return {name: share if room > 0 else 0 for name, share in shares}

    def _weights(self) -> Mapping[str, int]:
        return without(self._worker.queues or dict.fromkeys(self._broker.queues, 1), self.left_out)

    def _get_known(self, queue_names: Mapping[str, int]) -> None:
        new = queue_names.keys() - self._known_in
        if new or not self._known_in:
            self._broker.register(self._worker.worker_id, sorted(new), is_new=not self._known_in)
            self._known_in |= new

    def _carry_out(self) -> None:
        """Make the open calls; those that were answered are not open any more."""
        trouble: BrokerError | None = None
        trades, self._open = self._open, []
        for trade, reply in zip(trades, self._broker.carry_out(trades), strict=True):
            if not isinstance(reply, BrokerError):
                self._answered[trade.terms.queue_name] = trade.terms.number
                answer = self._broker.trader.understand(trade, reply)
                self._broker.tell_of_left_out((i for s in trade.settlements for i in s.then), answer.left_out)
                self._found.add(trade, answer)
            else:
                trouble = reply
                if isinstance(reply, BrokerConnectionError):
                    self._open.append(trade)
        if trouble is not None:
            self._bell.close()
            self._quiet_in.clear()
            raise trouble

    # Waiting

    def _may_rest(self) -> bool:
        """Whether the store promised to wake this worker, and has not done so."""
        if self._hear() or clock.monotonic() >= min(self._look_at, self._due_at):
            self._quiet_in.clear()
        return bool(self._quiet_in) and self._weights().keys() <= self._quiet_in

    def _settle_down(self, shares: Mapping[str, int], room: int) -> None:
        """There was nothing, and the store will wake this worker when there is something."""
        next_due = self._found.next_due
        if self._broker.link.is_cluster:
            # Only when all queues have answered is it known whether there is nothing: each was asked for its share.
            full, next_due = self._broker.listen(self._worker.worker_id, list(shares))
            if full:
                self._quiet_in.clear()
                self._ask(dict.fromkeys(full, room), room)
                return
        now = clock.monotonic()
        if not self._quiet_in:
            self._look_at, self._due_at = now + LOOK_INTERVAL * random.uniform(0.8, 1), _NEVER
        if next_due is not None:
            self._due_at = min(self._due_at, now + max(0, next_due - self._broker.clock.now()) / 1000)
        self._quiet_in |= shares.keys()

    def _hear(self) -> bool:
        """Whether the bell has rung. What it brought is claimed already; the next exchange hands it out."""
        has_rung = self._bell.has_rung()
        rings = self._bell.take()
        self._must_ask |= b"" in rings
        deliveries = [brought(self._broker.keys, data) for data in rings if data]
        # Compared as a whole: its id may be sent again one day, when this is still remembered.
        self._found.deliveries += [delivery for delivery in deliveries if delivery not in self._given_back]
        return has_rung

    @property
    def has_arrivals(self) -> bool:
        return bool(self._found.deliveries) or self._bell.has_missed

    def wait(self, timeout: float) -> None:
        if self._stands_elsewhere:
            # It runs something now, which may keep it from hearing what it is brought in its other queues.
            self._stands_elsewhere = False
            return
        if self._open:
            self._waker.wait(min(timeout, _DOUBT_PAUSE))
            return
        if self.has_arrivals:
            return
        now = clock.monotonic()
        limit = min(self._due_at, self._look_at if self._quiet_in else _NEVER)
        self._waker.wait(max(0.0, min(timeout, limit - now)))
        if self._hear():
            self._quiet_in.clear()
        if clock.monotonic() >= self._due_at:
            # Said once: who has no room now would be woken again and again. The next exchange asks, whenever it is.
            self._due_at = _NEVER
            self._quiet_in.clear()

    def wake(self) -> None:
        self._waker.wake()

    def close(self, *, give_back: bool = True) -> None:
        try:
            if give_back:
                self._broker.bury(self._worker.worker_id, (), lambda delivery, casualty: HANDED_BACK)
        finally:
            self._bell.close()
            self._waker.close()


class _Found:
    """What came of the calls of one exchange, until it is handed out."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.refused: list[Settlement] = []
        self.asked: set[Any] = set()
        self.fenced = False
        self.forgotten = False
        self.next_due: int | None = None

    @property
    def kept(self) -> list[Delivery]:
        """All that was not given back again."""
        return [delivery for delivery in self.deliveries if _claim(delivery) not in self.asked]

    @property
    def claims(self) -> set[Any]:
        return {_claim(delivery) for delivery in self.kept}

    def add(self, trade: Trade, answer: Answer) -> None:
        self.deliveries += answer.deliveries
        self.refused += answer.refused
        self.asked.update(_claim(settlement.delivery) for settlement in trade.settlements)
        self.fenced = self.fenced or answer.fenced
        self.forgotten = self.forgotten or answer.forgotten
        if answer.next_due is not None:
            self.next_due = min(answer.next_due, self.next_due or answer.next_due)


def _claim(delivery: Delivery) -> tuple[Any, int]:
    return delivery.handle, delivery.number
