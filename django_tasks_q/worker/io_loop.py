"""The one thread of a process that talks to the broker: it trades settlements for new deliveries."""

from __future__ import annotations

import random
from collections import deque
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from msgspec.structs import replace

from .. import clock
from ..broker import MAX_QUEUES_PER_EXCHANGE, Broker, Consumer
from ..deliveries import Delivery, Exchange, Result, Started, WorkerInfo
from ..errors import BrokerError
from ..logging import get_logger
from ..outcomes import HANDED_BACK, Dead, Revoked
from ..results.post import ResultPost
from ..results.result import not_stored
from .attempt import Returned
from .board import Region
from .executor import Finished, not_started
from .lease import begin
from .pace import BATCH, BREATH, LINGER, PATIENCE, Pace
from .settling_batch import SettlingBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .async_runner import AsyncRunner

logger = get_logger(__name__)

_LOOK_PAUSE = 0.1
"""Seconds between two looks of a worker whose lease may be over: whether it was renewed, or whether it was buried."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
"""Seconds between attempts to reach a broker that is gone; jittered, so that workers do not come back all at once."""


class ConsumerThread(Thread):
    """Settles and fetches in batches. Idle, each settlement goes out at once; under load they gather by themselves.

    Parameters:
        worker: who consumes.
        work: where deliveries are put for the worker threads.
        region: the worker's part of the board, which says until when it has its lease.
        poll: the longest wait for work, in seconds.
        most: fetch no more messages than this in all; None: without end.
        is_kept: whether somebody renews the worker's lease and writes that on the board.
        on_fenced: called once when the broker says that this worker was declared dead.
        loop: where async actors run, which take no thread.
    """

    def __init__(
        self,
        broker: Broker,
        worker: WorkerInfo,
        work: SimpleQueue[Delivery | Returned | None],
        region: Region,
        *,
        poll: float,
        most: int | None = None,
        is_kept: bool,
        on_fenced: Callable[[], None],
        loop: AsyncRunner | None = None,
    ) -> None:
        super().__init__(daemon=True, name=f"ConsumerThread({worker.worker_id})")
        self._broker = broker
        self._worker = worker
        self._work = work
        self._region = region
        self._poll = poll
        self._most = most
        self._is_kept = is_kept
        self._on_fenced = on_fenced
        self._loop = loop
        self._pace = Pace(worker.threads)
        self._consumer: Consumer | None = None
        self._batch = SettlingBatch()
        self._results = ResultPost(broker)
        self._brought: list[Result] = []
        self._reports: deque[Started] = deque()
        self._fetched_at = 0.0
        self._unfinished = 0
        self._paused = False
        self._draining = False
        self._paused_queues: frozenset[str] = frozenset()
        self._has_new_rules = False
        self.knows_rules = False
        """Whether it was read which messages are called off: until then nothing is fetched."""
        self._ending = Event()
        self._give_back_on_exit = True
        self._failures = 0
        self._has_rested = False
        self._has_found_few = False
        self._empty_handed = 0
        self.dry = False
        self.is_expecting = False
        self.processed = 0
        self.failed = 0
        self.connected = Event()
        self.drained = Event()
        """Set once nothing that is fetched can reach a worker thread any more."""
        self.has_left = False
        """Whether everything was settled or given back and the broker knows of the end."""

    # Called by other threads

    def finish(self, finished: Finished) -> None:
        """A worker thread is done with a delivery."""
        self._batch.add(finished)
        if self._is_worth_a_trip():
            self.wake()

    def report_started(self, report: Started) -> None:
        """The ticker has seen that a delivery runs for longer than a moment, or has come further."""
        self._reports.append(report)
        self.wake()

    @property
    def has_reports(self) -> bool:
        """Whether the broker has not heard yet of something that was reported."""
        return bool(self._reports)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.wake()

    def obey(self, paused_queues: frozenset[str]) -> None:
        """From any thread: fetch nothing from these queues, and look again at what has been fetched and not started."""
        if paused_queues != self._paused_queues:
            self._has_new_rules = True
        self._paused_queues = paused_queues
        self.knows_rules = True
        self.wake()

    def drain(self) -> None:
        """Fetch no more, and give back what has not started."""
        self._draining = True
        self.wake()

    def end(self, give_back: bool) -> None:
        """Settle what is done and stop. ``give_back`` only when nothing is running any more."""
        self._give_back_on_exit = give_back
        self._draining = True
        self._ending.set()
        self.wake()

    def wake(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            consumer.wake()

    @property
    def idle(self) -> bool:
        """Nothing claimed, nothing to settle."""
        return self._unfinished == 0 and not len(self._batch)

    @property
    def has_nothing_running(self) -> bool:
        """Every delivery that was fetched is finished, though perhaps not settled yet."""
        return self._unfinished <= len(self._batch)

    # The loop

    def run(self) -> None:
        self._broker.emit_after("consumer_thread_boot", self)
        while not self._is_over():
            try:
                self._round()
                self._failures = 0
            except BrokerError as error:
                self._stumble(error)
            except Exception:
                self._stumble(None)
        self._broker.emit_before("consumer_thread_shutdown", self)
        self._leave()

    def _is_over(self) -> bool:
        return self._ending.is_set() and (not len(self._batch) or self._failures > 2)

    def _round(self) -> None:
        if self._draining:
            self._give_back()
            self.drained.set()
        consumer = self._consumer
        if consumer is None:
            consumer = self._consumer = self._open()
            self.connected.set()
        if self._has_waited_too_long() or self._has_new_rules:
            self._has_new_rules = False
            self._give_back()
        room = self._room()
        must_trade = self._is_worth_a_trip() or self._reports or consumer.has_arrivals or self._is_lease_over()
        if must_trade or (room > 0 and self._is_worth_a_fetch(room)):
            self._trade(consumer, room)
        if self._ending.is_set() or self._is_worth_a_trip():
            return
        if self._has_found_few:
            self._has_found_few = False
            consumer.wait(BREATH)
        elif not self._is_worth_a_fetch(self._room()):
            consumer.wait(self._patience())

    def _open(self) -> Consumer:
        """Nobody's lease may run out on the board where nobody would ever renew it there."""
        return begin(self._broker, self._worker, self._region) if self._is_kept else self._broker.consume(self._worker)

    def _room(self) -> int:
        if self._paused or self._draining or not self.knows_rules or self._is_lease_over():
            return 0
        running = self._unfinished - len(self._batch)
        if self._loop is not None:
            running -= self._loop.running
        room = max(0, self._pace.capacity - running)
        return room if self._most is None else min(room, max(0, self._most - self.processed - self._unfinished))

    def _is_lease_over(self) -> bool:
        """Whether nothing may be started, and so nothing be fetched, until the broker has said whose it is."""
        return not self._paused and self._region.is_lease_over(clock.monotonic())

    def _is_worth_a_trip(self) -> bool:
        """Whether the settlements at hand should go out now: always, unless the threads have work to go on with."""
        batch = self._batch
        if not len(batch):
            return False
        return batch.is_full or self._work.empty() or self._draining or not batch.time_left

    def _is_worth_a_fetch(self, room: int) -> bool:
        if room <= 0:
            return False
        if self.dry and not self._has_rested:
            return False
        return self._work.empty() or room >= self._pace.capacity // 2

    def _patience(self) -> float:
        """How long the thread may sleep when nobody wakes it."""
        if len(self._batch):
            return self._batch.time_left
        if self._has_work_at_hand():
            return LINGER
        self._has_rested = True
        self._empty_handed = 0
        return min(self._poll, _LOOK_PAUSE) if self._is_lease_over() else self._poll

    def _trade(self, consumer: Consumer, room: int) -> None:
        if self._batch.is_isolating:
            room = 0
        handed = self._batch.hand_over()
        started = list(self._reports)
        if self._broker.hooks("before_ack") or self._broker.hooks("before_nack"):
            for finished in handed:
                self._emit("before", finished)
        are_kept_back = self._may_be_late(consumer, handed)
        if not are_kept_back:
            self._store_results(handed)
        full = frozenset() if self._loop is None else self._loop.left_out
        paused = consumer.paused = self._paused_queues
        consumer.left_out = full | paused if paused else full
        exchange = consumer.exchange([finished.settlement for finished in handed], room, started)
        for _ in started:
            self._reports.popleft()
        self._unfinished += len(exchange.deliveries)
        self._hand_out(exchange, room, bool(full - paused))
        settled = self._batch.confirm(exchange.unsettled)
        if are_kept_back and not exchange.fenced:
            self._store_results([one for one in settled if one.settlement.delivery.handle not in exchange.refused])
        self._account(settled, exchange)
        if exchange.fenced:
            self._be_fenced()

    def _may_be_late(self, consumer: Consumer, handed: list[Finished]) -> bool:
        """Whether somebody else may have run one of these since, whose result is newer.

        Then the broker says first whose they are: a result that comes after its settlement is better than a wrong one.
        """
        if not self._results_of(handed):
            return False
        return self._region.is_lease_over(clock.monotonic()) or any(
            consumer.has_lost(finished.settlement.delivery.handle) for finished in handed
        )

    def _results_of(self, handed: list[Finished]) -> list[Result]:
        """Those that the settlements do not store themselves."""
        results = [result for finished in handed if (result := finished.settlement.result) is not None]
        return [] if results and self._broker.carries_results() else results

    def _store_results(self, handed: list[Finished]) -> None:
        """Before the settlements: who knows that a message is done finds its result.

        Once: while the broker is away somebody else may have run the message, whose result is newer.
        """
        results = self._results_of(handed)
        if results:
            known = {id(result) for result in self._brought}
            new = [result for result in results if id(result) not in known]
            self._brought = results
            if new:
                self._note_not_stored(handed, self._results.bring(new))

    def _note_not_stored(self, handed: list[Finished], why: Mapping[str, str]) -> None:
        """What could not be stored, or not yet, is said by the records of the messages."""
        for index, finished in enumerate(handed if why else ()):
            settlement = finished.settlement
            if settlement.result is not None and settlement.result.key in why:
                told = replace(settlement, result_error=not_stored(why[settlement.result.key]))
                handed[index] = finished._replace(settlement=told)

    def _hand_out(self, exchange: Exchange, room: int, has_left_out: bool) -> None:
        if room > 0:
            self.dry, self._has_rested = self._has_asked_all_in_vain(exchange), False
            self.is_expecting = exchange.is_expecting or has_left_out
            self._has_found_few = 0 < len(exchange.deliveries) < min(room, BATCH)
        if exchange.deliveries:
            self._fetched_at = clock.monotonic()
        for delivery in exchange.deliveries:
            self._work.put(delivery)

    def _has_asked_all_in_vain(self, exchange: Exchange) -> bool:
        """An exchange asks some of the queues; only who has asked all of them in vain may rest."""
        if exchange.deliveries:
            self._empty_handed = 0
            return False
        self._empty_handed += 1
        queues = len(self._worker.queues or self._broker.queues)
        return self._worker.suspects or self._empty_handed * MAX_QUEUES_PER_EXCHANGE >= queues

    def _account(self, settled: list[Finished], exchange: Exchange) -> None:
        self._unfinished -= len(settled)
        ran = 0
        for finished in settled:
            settlement = finished.settlement
            if settlement.delivery.handle in exchange.refused:
                if settlement.outcome is not HANDED_BACK:
                    logger.warning("Message %s finished late: it is not ours any more.", settlement.delivery.message_id)
                continue
            if settlement.outcome is not HANDED_BACK:
                ran += 1
                self.failed += settlement.error is not None and not isinstance(settlement.outcome, Revoked)
            self._emit("after", finished)
            for outgoing in settlement.then:
                self._broker.announce(outgoing)
        self.processed += ran
        self._pace.finished(ran)

    def _emit(self, when: str, finished: Finished) -> None:
        """ack and nack hooks, for whoever listens."""
        if finished.proxy is None:
            return
        signal = "nack" if isinstance(finished.settlement.outcome, Dead) else "ack"
        if self._broker.hooks(f"{when}_{signal}"):
            emit = self._broker.emit_before if when == "before" else self._broker.emit_after
            emit(signal, finished.proxy)

    def _be_fenced(self) -> None:
        """Declared dead: what is here belongs to others now, so nothing of it may be settled or started."""
        logger.error("This worker was declared dead and stops.")
        self._batch.clear()
        self._take_back()
        self._unfinished = 0
        self._paused = True
        self._on_fenced()

    # Giving back

    def _has_waited_too_long(self) -> bool:
        return self._has_work_at_hand() and clock.monotonic() - self._fetched_at > PATIENCE

    def _has_work_at_hand(self) -> bool:
        """Whether something that was fetched has not started."""
        return not self._work.empty() or (self._loop is not None and self._loop.has_waiting)

    def _give_back(self) -> None:
        """What has not started goes back to the front of its queue, uncounted."""
        deliveries = self._take_back()
        if deliveries:
            self._pace.slow_down()
        for delivery in deliveries:
            self._batch.add(not_started(delivery))

    def _take_back(self) -> list[Delivery]:
        """What no thread has taken, nor a place on the loop."""
        deliveries, others = [], []
        while True:
            try:
                item = self._work.get_nowait()
            except Empty:
                break
            if isinstance(item, Delivery):
                deliveries.append(item)
            else:
                others.append(item)
        for item in others:
            self._work.put(item)
        return deliveries if self._loop is None else [*deliveries, *self._loop.turn_away()]

    # Trouble

    def _stumble(self, error: BrokerError | None) -> None:
        self._failures += 1
        if error is None:
            logger.critical("The exchange with the broker failed unexpectedly.", exc_info=True)
            self._reports.clear()
            self._unfinished -= self._batch.isolate() is not None
        elif self._failures == 1:
            logger.warning("The broker cannot be reached (%s); trying again.", error)
        pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2 ** min(self._failures, 10))
        self._ending.wait(pause * random.uniform(0.5, 1))

    def _leave(self) -> None:
        self._results.close()
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close(give_back=self._give_back_on_exit)
            self.has_left = self._give_back_on_exit
        except BrokerError as error:
            logger.warning("The broker was not told of this worker's end (%s); its lease will run out.", error)
