"""Leases and burials: what becomes of the messages of workers that are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from ... import changes, clock
from ...deliveries import Casualty, Delivery, Judge, Settlement
from ...errors import BrokerError
from ...outcomes import HANDED_BACK
from .consumer import MOST
from .entry import as_delivery, owner_in
from .store import RedisStore
from .trade import Terms

Owned = tuple[Delivery, int | None]
"""A delivery, and since when it is known to run (epoch ms)."""

_A_MOMENT = 0.1


class Burials(RedisStore):
    """A burial fences first, so that nothing is added, and then hands back what is held.

    The lease stays as a note until it is done: one that was interrupted is found and done again.
    """

    _suspects: tuple[bool, float] | None = None
    """Whether there were any, and when that was."""

    def register(self, worker_id: str, queue_names: Sequence[str], *, is_new: bool) -> None:
        """Begin the lease of a worker, or make one known in more queues."""
        self.make_known(queue_names)
        lease = b"%d" % self.lease if is_new else b""
        if is_new or self.link.is_cluster:
            for key in self._worker_keys(worker_id, queue_names):
                self.call_with("admit", [key])
        if not self.call_with("register", [self.keys.leases], worker_id.encode(), lease):
            # Buried meanwhile, perhaps before the keys were written.
            self._fence(worker_id, queue_names)

    def _worker_keys(self, worker_id: str, queue_names: Sequence[str]) -> list[bytes]:
        if self.link.is_cluster:
            return [self.keys.worker(worker_id, name) for name in queue_names]
        return [self.keys.worker(worker_id)]

    def _fence(self, worker_id: str, queue_names: Sequence[str]) -> None:
        """From now on the worker claims nothing, and hears of it at once if it waits."""
        for key in self._worker_keys(worker_id, queue_names):
            self.link.command(key, b"DEL", key)
        for channel, slot_key in self.channels(worker_id, queue_names).items():
            self.link.command(slot_key, self.link.publish, channel, b"")

    def channels(self, worker_id: str, queue_names: Iterable[str]) -> dict[bytes, bytes]:
        """The channels on which a worker is woken, each with a key of its slot."""
        if self.link.is_cluster:
            return {self.keys.channel(worker_id, name): self.keys.named(name, "messages") for name in queue_names}
        return {self.keys.channel(worker_id): self.keys.leases}

    def renew(self, worker_ids: Sequence[str]) -> Collection[str]:
        names = [name.encode() for name in self.queues]
        head = (self.link.publish, b"%d" % self.lease, b"%d" % len(names))
        workers = (worker_id.encode() for worker_id in worker_ids)
        renewed = self.call_with("renew", [self.keys.leases, self.keys.queues], *head, *names, *workers)
        return [worker_id.decode() for worker_id in renewed]

    def bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge, reason: str = "") -> int:
        self._suspects = None
        self.call_with("condemn", [self.keys.leases], worker_id.encode(), b"0")
        return self._bury(worker_id, casualties, judge)

    def _bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge) -> int:
        known = {(casualty.message_id, casualty.number): casualty for casualty in casualties}
        self.forget_queues()  # nobody looks again for what is held in one that is overlooked now
        queue_names = self.known_queues()
        self._fence(worker_id, queue_names)
        number = sum(
            self._hand_back(worker_id, batch, known, judge)
            for queue_name in queue_names
            for batch in self._owned(worker_id, queue_name)
        )
        self.link.command(self.keys.leases, b"ZREM", self.keys.leases, worker_id.encode())
        return number

    def held_by(self, worker_id: str, queue_names: Iterable[str]) -> Iterator[Delivery]:
        """What a worker has claimed in these queues and not settled; it does not wait in them any more."""
        for queue_name in queue_names:
            for batch in self._owned(worker_id, queue_name):
                yield from (delivery for delivery, _ in batch)

    def _owned(self, worker_id: str, queue_name: str) -> Iterator[list[Owned]]:
        """What a worker holds in a queue, in batches."""
        cursor = b"0"
        channel = self.keys.channel(worker_id, queue_name if self.link.is_cluster else None)
        while True:
            cursor, rows = self.call_on("owned", queue_name, worker_id.encode(), cursor, channel)
            since = {rows[at]: int(rows[at + 1]) if rows[at + 1] else None for at in range(0, len(rows), 2)}
            for _, held in self.ask_about_ids("look_up", [queue_name], list(since)):
                yield [
                    (as_delivery(queue_name, held[at], held[at + 1], claimed=True), since[held[at]])
                    for at in range(0, len(held), 5)
                    if owner_in(held[at + 4]) == worker_id
                ]
            if cursor == b"0":
                return

    def _hand_back(
        self, worker_id: str, owned: Sequence[Owned], known: dict[tuple[str, int], Casualty], judge: Judge
    ) -> int:
        """Settle in the worker's place; how many it still held."""
        settlements, names = [], {}
        for delivery, _ in owned:
            casualty = known.get((delivery.message_id, delivery.number))
            if casualty is None:
                settlements.append(Settlement(delivery, HANDED_BACK))
            else:
                outcome = judge(delivery, casualty)
                settlements.append(changes.buried(delivery, casualty, outcome, self.clock.now()))
                names[delivery.handle] = casualty.kind
        refused = 0
        for start in range(0, len(settlements), MOST):
            queue_name = settlements[start].delivery.queue_name if self.link.is_cluster else None
            terms = Terms(worker_id, queue_name=queue_name)
            trade = self.trader.propose(terms, settlements[start : start + MOST], names=names)
            refused += len(self.trader.understand(trade, self.link.call(trade.call)).refused)
        return len(settlements) - refused

    def rescue(self, judge: Judge) -> list[str]:
        rescued = []
        expired, names = self.call_with("expired", [self.keys.leases, self.keys.queues])
        self.remember_queues(names)
        for worker_id in [name.decode() for name in expired]:
            if not self.call_with("condemn", [self.keys.leases], worker_id.encode(), b"1"):
                continue
            try:
                self._bury(worker_id, self._started(worker_id), judge)
                rescued.append(worker_id)
            except BrokerError:
                raise
            except Exception:
                # One that cannot be buried must not keep the others waiting; it is tried again the next time.
                self.logger.exception("Worker %s cannot be buried.", worker_id)
        self._suspects = self._attend(), clock.monotonic()
        return rescued

    def _started(self, worker_id: str) -> list[Casualty]:
        """What the store knows to have been running at a worker whose lease ran out."""
        ran = [
            (delivery, since)
            for queue_name in self.known_queues()
            for batch in self._owned(worker_id, queue_name)
            for delivery, since in batch
            if since is not None
        ]
        detail, alone = "its worker's lease ran out", len(ran) == 1
        return [Casualty(d.message_id, d.number, "lost", since, detail, alone) for d, since in ran]

    def _attend(self) -> bool:
        """Make ready what is due in queues that nobody consumes from just now; whether there are suspects."""
        rows = self.ask_about("promote", self.known_queues(), self.budget, self.link.publish, b"%d" % MOST)
        return any(rows)

    def has_suspects(self) -> bool:
        """As it was at the end of a rescue that was a moment ago."""
        asked, self._suspects = self._suspects, None
        if asked is not None and clock.monotonic() - asked[1] < _A_MOMENT:
            return asked[0]
        return self._attend()
