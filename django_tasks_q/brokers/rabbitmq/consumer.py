"""One worker's side of RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace
from pika import exceptions

from ... import changes, clock
from ...broker import Consumer
from ...deliveries import Delivery, Exchange, Settlement, Started, WorkerInfo
from ...errors import BrokerConnectionError, ConnectionClosed
from ...events import Event
from ...judge import make_judge
from ...outcomes import Requeue
from ...unique import key_in
from ...waker import Waker
from .connection import ChannelClosed
from .holding import Held
from .intake import Found, Intake
from .overdue import Overdue
from .settling import goes_back, told

if TYPE_CHECKING:
    from .broker import RabbitmqBroker

PUBLISH_PATIENCE = 1.0
"""Seconds to wait until what settlements publish is confirmed; then they stay open and are tried again."""

_DOUBT_PAUSE = 0.1


class Verdict(NamedTuple):
    """A settlement as it is told: by whom, and as which kind of attempt (None: as it says itself)."""

    settlement: Settlement
    worker_id: str
    kind: str | None = None


class RabbitmqConsumer(Consumer):
    """Takes what RabbitMQ pushes, and settles in batches: publish, wait for the confirms, acknowledge.

    The connection is the lease: when it ends, RabbitMQ gives everything back, and what this worker settles of it later
    is refused. A deed of this class never rests on an acknowledgement, because RabbitMQ does not answer one.
    """

    def __init__(self, broker: RabbitmqBroker, worker: WorkerInfo) -> None:
        self._broker = broker
        self._worker = worker
        self._judge = make_judge(broker)
        self._waker = Waker()
        self._is_closed = False
        self._taken_away: set[Any] = set()
        self._verdicts: list[Verdict] = []
        self._unsaid: list[Event] = []
        self._overdue = Overdue(broker, worker.worker_id)
        try:
            self._intake = Intake(broker, worker, self._waker)
        except BaseException:
            self._waker.close()
            raise
        broker.register(self)

    # Exchanging

    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        if self._is_closed:
            raise ConnectionClosed("This consumer is closed.")
        try:
            self._ensure_open()
            return self._exchange(settlements, room, started)
        except (exceptions.AMQPError, ChannelClosed) as error:
            self.disconnect()
            raise ConnectionClosed(f"The channel to RabbitMQ was closed: {error}") from error
        except BrokerConnectionError:
            self.disconnect()
            raise

    def _exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started]) -> Exchange:
        self._judge_found()
        self._intake.let_wait(self.paused)
        self._intake.look_who_is_full(self.left_out)
        held = {s.delivery.handle: self._intake.held(s.delivery.handle) for s in settlements}
        refused = frozenset(handle for handle, found in held.items() if found is None)
        mine = [Verdict(s, self._worker.worker_id) for s in settlements if s.delivery.handle not in refused]
        events = [*self._unsaid, *self._late(settlements, refused), *self._running(started)]
        self._unsaid = []
        open_handles = self._settle([*mine, *self._verdicts], events)
        self._verdicts = [verdict for verdict in self._verdicts if verdict.settlement.delivery.handle in open_handles]
        unsettled = frozenset(handle for handle in held if handle in open_handles)
        is_expecting = self._intake.is_expecting or bool(self._verdicts)
        return Exchange(self._hand_out(room), refused, unsettled, is_expecting=is_expecting)

    def _hand_out(self, room: int) -> list[Delivery]:
        if room <= 0:
            return []
        self._intake.has_news = False
        deliveries = self._intake.holding.hand_out(room, self._intake.weights, self.left_out)
        self._intake.extend(room - len(deliveries))
        return deliveries

    def _settle(self, verdicts: Sequence[Verdict], events: list[Event]) -> set[Any]:
        """Publish, then acknowledge what may be; the handles of the others."""
        now = clock.wall_ms()
        held: list[tuple[Settlement, Held]] = []
        for settlement, worker_id, kind in verdicts:
            found = self._intake.held(settlement.delivery.handle)
            if found is None:
                continue  # handed over twice in one exchange
            held.append((settlement, found))
            if found.items is None:  # once handed to the publisher events stay there until RabbitMQ has them
                caused = self._broker.unique.take_for_caused(settlement)
                events += told(settlement, caused, worker_id, now, kind)
                found.items = self._broker.dispatch.settlement(settlement, caused, found.envelope.priority, now)
            for item in found.items:  # made once; of what failed before, only that is tried again
                item.error = None
        items = [item for _, found in held for item in found.items or () if not item.is_confirmed]
        if items or events:
            self._broker.publisher.deliver(items, events, PUBLISH_PATIENCE, patient=False)
        else:
            self._broker.publisher.catch_up()
        return self._acknowledge(held)

    def _acknowledge(self, held: Sequence[tuple[Settlement, Held]]) -> set[Any]:
        done: list[Held] = []
        back: list[Held] = []
        settled: list[Settlement] = []
        still_open: set[Any] = set()
        for settlement, found in held:
            if not all(item.is_confirmed for item in found.items or ()):
                still_open.add(found.handle)
            elif goes_back(settlement):
                back.append(found)
            else:
                done.append(found)
                settled.append(settlement)
        self._overdue.forget(found.handle for found in (*done, *back))
        if done or back:
            self._intake.acknowledge(done, back)
            self._intake.flush()
        self._broker.unique.settled(settled)
        return still_open

    def _running(self, started: Sequence[Started]) -> list[Event]:
        mine = [report for report in started if self._intake.held(report.delivery.handle) is not None]
        self._overdue.note(mine)
        return [changes.started(report, self._worker.worker_id) for report in mine]

    def _late(self, settlements: Sequence[Settlement], refused: frozenset[Any]) -> list[Event]:
        """Attempts that ended after their message was taken away, each told of once."""
        events: list[Event] = []
        for settlement in settlements:
            handle = settlement.delivery.handle
            if handle in refused and handle in self._taken_away:
                self._taken_away.discard(handle)
                event = changes.late(settlement, self._worker.worker_id, clock.wall_ms())
                if event is not None:
                    events.append(event)
        return events

    # Messages that were lost with another worker

    def _judge_found(self) -> None:
        found, self._intake.found = self._intake.found, []
        for lost in found:
            self._judge_lost(lost)

    def _judge_lost(self, lost: Found) -> None:
        """What becomes of a message whose worker died while it ran: told as if the keeper had settled it."""
        held = lost.held
        for note in lost.notes:
            held.before = max(held.before, note.casualty.number - held.envelope.number)
            then = held.as_given(note.casualty.number)
            outcome = self._judge(then, note.casualty)
            settlement = replace(
                changes.buried(then, note.casualty, outcome, note.at), unique=key_in(held.envelope.payload)
            )
            if not isinstance(outcome, Requeue) or (outcome.suspect and not self._worker.suspects):
                self._verdicts.append(Verdict(settlement, note.worker_id, note.casualty.kind))
                return
            self._unsaid.append(changes.settled(settlement, note.worker_id, note.at, note.casualty.kind))
            held.lost += outcome.lost
        self._intake.line_up(held)

    # The connection

    def _ensure_open(self) -> None:
        """What was held on a connection that has ended is refused from now on; work goes on with a new one."""
        self._intake.breathe()
        if not self._intake.is_open:
            self.disconnect()
            self._intake = Intake(self._broker, self._worker, self._waker)
        self._intake.consume()

    def has_lost(self, handle: Any) -> bool:
        return not self._intake.is_open or self._intake.held(handle) is None

    def disconnect(self) -> None:
        """Drop the connection. What is held goes back, and nobody here may settle it any more."""
        for held in self._intake.holding.handed_out:
            self._taken_away.add(held.handle)
        self._verdicts = []
        self._overdue.blame(self._intake.closing_reason)
        self._intake.drop()

    def counts(self) -> Any:
        """By queue, how many messages wait and run here."""
        return {} if self._is_closed or not self._intake.is_open else self._intake.holding.counts()

    def wait(self, timeout: float) -> None:
        deadline = clock.monotonic() + timeout
        while not self._has_reason_to_return(deadline):
            left = min(deadline - clock.monotonic(), self._intake.seconds_to_rest)
            if self._waker.wait(max(0.0, left)):
                return
            self._intake.breathe()
        self._intake.has_news = False

    def _has_reason_to_return(self, deadline: float) -> bool:
        if not self._intake.is_open:
            self._overdue.blame(self._intake.closing_reason)
            self._waker.sleep(min(_DOUBT_PAUSE, max(0.0, deadline - clock.monotonic())))
            return True
        return self._intake.has_news or clock.monotonic() >= deadline

    def wake(self) -> None:
        self._waker.wake()

    def close(self, *, give_back: bool = True) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._broker.unregister(self)
        if give_back:
            self._intake.give_back()
        else:
            self._intake.drop()
        self._waker.close()
