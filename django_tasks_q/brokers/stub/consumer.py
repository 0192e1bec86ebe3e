"""One worker's side of the stub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import changes
from ...broker import Consumer
from ...deliveries import (
    Exchange,
    Settlement,
    Started,
    WorkerInfo,
)
from ...errors import BrokerConnectionError
from ...outcomes import HANDED_BACK
from ...waker import Waker

if TYPE_CHECKING:
    from .broker import StubBroker


class StubConsumer(Consumer):
    """One worker's side of a :class:`StubBroker`."""

    def __init__(self, broker: StubBroker, worker: WorkerInfo) -> None:
        self._broker = broker
        self._worker = worker
        self._turn = 0
        self._waker = Waker()
        self._closed = False
        self._told: int | None = None
        broker._wakers.add(self._waker)

    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        broker, worker_id = self._broker, self._worker.worker_id
        if self._closed:
            raise BrokerConnectionError("This consumer is closed.")
        self._told = None
        with broker._changed:
            late = [s for s in settlements if not broker._settle(s, worker_id)]
            for settlement in late:
                broker._note_late(settlement, worker_id)
            refused = frozenset(settlement.delivery.handle for settlement in late)
            for report in started:
                entry = broker._by_sequence.get(report.delivery.handle)
                if entry is not None and (entry.owner, entry.number) == (worker_id, report.delivery.number):
                    entry.started_at = report.started_at
                    broker._note(changes.started(report, worker_id))
            broker._promote()
            if settlements:
                broker._wake()
            if worker_id not in broker._leases:
                return Exchange([], refused, fenced=True)
            self._turn += 1
            return Exchange(broker._claim(self._worker, room, self._turn, self.left_out), refused)

    def wait(self, timeout: float) -> None:
        due = self._broker._next_due()
        if due is not None and due != self._told:
            timeout = min(timeout, max(0.0, (due - self._broker.now()) / 1000))
        self._waker.wait(timeout)
        if due is not None and due <= self._broker.now():
            self._told = due  # once: who has no room now would be woken again and again

    def wake(self) -> None:
        self._waker.wake()

    def close(self, *, give_back: bool = True) -> None:
        if self._closed:
            return
        self._closed = True
        if give_back:
            self._broker.bury(self._worker.worker_id, (), lambda delivery, casualty: HANDED_BACK)
        self._broker._wakers.discard(self._waker)
        self._waker.close()
