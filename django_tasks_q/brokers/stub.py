"""The broker in memory: for tests, and the model that every other broker is compared with."""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from threading import Condition, RLock
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .. import changes, clock
from ..broker import MAX_QUEUES_PER_EXCHANGE, Broker, Consumer, Journal, refuse_one_id
from ..capabilities import SAME, Capabilities, Capability
from ..deliveries import (
    Casualty,
    Delivery,
    Exchange,
    Judge,
    MessageProxy,
    Outgoing,
    QueueCounts,
    Settlement,
    Started,
    WorkerInfo,
)
from ..errors import BrokerConnectionError, DecodeError, DuplicateMessage, QueueJoinTimeout, QueueNotFound
from ..events import Event
from ..fairness import quotas
from ..message import Message
from ..outcomes import HANDED_BACK, Dead, Parked, Requeue, Retry
from ..waker import Waker

if TYPE_CHECKING:
    from ..middleware import Middleware

Place = Literal["ready", "suspect", "delayed", "in_flight", "dead"]

JOURNAL_LENGTH = 100_000


class Entry(msgspec.Struct):
    """One message as the broker holds it. ``sequence`` is its place in line and never changes."""

    sequence: int
    message_id: str
    queue_name: str
    payload: bytes
    priority: int
    place: Place = "ready"
    due_at: int = 0
    owner: str = ""
    number: int = 0
    retries: int = 0
    lost: int = 0
    life: int = 0
    enqueued_at: int = 0
    started_at: int | None = None
    died: int = 0
    reason: str = ""

    def delivery(self) -> Delivery:
        return Delivery(
            self.sequence,
            self.message_id,
            self.queue_name,
            self.payload,
            self.number,
            self.retries,
            self.lost,
            self.life,
            self.enqueued_at,
        )


class StubJournal(Journal):
    """The newest events, in memory."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=JOURNAL_LENGTH)

    def read(self, limit: int) -> list[Event]:
        return [self.events[index] for index in range(min(limit, len(self.events)))]

    def trim(self, count: int) -> None:
        for _ in range(min(count, len(self.events))):
            self.events.popleft()


class StubBroker(Broker):
    """Keeps messages in this process's memory.

    Parameters:
        middleware: the stack; None for the default one.
        fail_fast_default: whether :meth:`join` raises the error of a dead letter when not told otherwise.
    """

    capabilities = Capabilities(survives_restart=Capability("none", "messages are in memory"), journal=SAME)

    def __init__(self, middleware: Iterable[Middleware] | None = None, *, fail_fast_default: bool = True) -> None:
        super().__init__(middleware)
        self.fail_fast_default = fail_fast_default
        self.now: Callable[[], int] = clock.wall_ms
        self.dead_letters_by_queue: defaultdict[str, list[MessageProxy]] = defaultdict(list)
        self._journal = StubJournal()
        self._changed = Condition(RLock())
        self._entries: dict[str, Entry] = {}
        self._by_sequence: dict[int, Entry] = {}
        self._ready: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._delayed: list[tuple[int, int]] = []
        self._sequence = count(1)
        self._leases: dict[str, int] = {}
        self._wakers: set[Waker] = set()
        self._busy: Counter[str] = Counter()
        self._next_lives: dict[str, int] = {}

    # Sending

    def _open_queue(self, queue_name: str) -> Any:
        return queue_name

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> None:
        with self._changed:
            fresh: set[str] = set()
            for item in outgoing:
                if item.message.message_id in self._entries or item.message.message_id in fresh:
                    raise DuplicateMessage(f"{item.message.message_id} is still waiting or running.")
                fresh.add(item.message.message_id)
            for item in outgoing:
                self._store(item)
            self._wake()

    def _store(self, item: Outgoing) -> None:
        now = self.now()
        message = item.message
        entry = Entry(
            next(self._sequence), message.message_id, message.queue_name, item.payload, item.priority, enqueued_at=now
        )
        entry.life = self._next_lives.pop(entry.message_id, 0)
        self._entries[entry.message_id] = entry
        self._by_sequence[entry.sequence] = entry
        self._busy[entry.queue_name] += 1
        due = changes.due_at(item, now)
        self._put(entry, "ready" if due is None else "delayed", due or 0)
        self._note(changes.created(item, now, entry.life))

    # Moving entries

    def _put(self, entry: Entry, place: Place, due_at: int = 0) -> None:
        entry.place, entry.due_at, entry.owner, entry.started_at = place, due_at, "", None
        if place in ("ready", "suspect"):
            heapq.heappush(self._line(entry.queue_name, place), (entry.priority, entry.sequence))
        elif place == "delayed":
            heapq.heappush(self._delayed, (due_at, entry.sequence))

    def _line(self, queue_name: str, place: Place) -> list[tuple[int, int]]:
        return self._ready[queue_name if place == "ready" else f"{queue_name} suspects"]

    def _drop(self, entry: Entry) -> None:
        self._busy[entry.queue_name] -= entry.place != "dead"
        del self._entries[entry.message_id]
        del self._by_sequence[entry.sequence]
        self._next_lives[entry.message_id] = entry.life + 1
        if len(self._next_lives) > JOURNAL_LENGTH:
            del self._next_lives[next(iter(self._next_lives))]

    def _note(self, event: Event) -> None:
        self._journal.events.append(event)

    def _wake(self) -> None:
        self._changed.notify_all()
        for waker in self._wakers:
            waker.wake()

    def _promote(self) -> None:
        now = self.now()
        while self._delayed and self._delayed[0][0] <= now:
            due, sequence = heapq.heappop(self._delayed)
            entry = self._by_sequence.get(sequence)
            if entry is None or entry.place != "delayed" or entry.due_at != due:
                continue
            entry.enqueued_at = now
            self._put(entry, "ready")
            self._note(changes.promoted(entry.message_id, now, entry.life, entry.retries, entry.number, entry.lost))

    def _next_due(self) -> int | None:
        return self._delayed[0][0] if self._delayed else None

    # Consuming

    def consume(self, worker: WorkerInfo) -> StubConsumer:
        for queue_name in worker.queues:
            if queue_name not in self.queues:
                raise QueueNotFound(f"No queue is called {queue_name!r}.")
        with self._changed:
            self._leases[worker.worker_id] = self.now() + self.lease
        return StubConsumer(self, worker)

    def _claim(self, worker: WorkerInfo, room: int, turn: int) -> list[Delivery]:
        weights = worker.queues or dict.fromkeys(self.queues, 1)
        place: Place = "suspect" if worker.suspects else "ready"
        claimed: list[Delivery] = []
        for queue_name, share in quotas(weights, room, turn, MAX_QUEUES_PER_EXCHANGE):
            line = self._line(queue_name, place)
            taken = 0
            while line and taken < share and len(claimed) < room:
                entry = self._by_sequence.get(heapq.heappop(line)[1])
                if entry is None or entry.place != place:
                    continue
                entry.place, entry.owner = "in_flight", worker.worker_id
                entry.number += 1
                taken += 1
                claimed.append(entry.delivery())
        return claimed

    def _settle(self, settlement: Settlement, worker_id: str, attempt_outcome: str | None = None) -> bool:
        """Carry one settlement out; False when the delivery is no longer this worker's."""
        delivery, outcome = settlement.delivery, settlement.outcome
        entry = self._by_sequence.get(delivery.handle)
        if entry is None or (entry.place, entry.owner, entry.number) != ("in_flight", worker_id, delivery.number):
            return False
        now = self.now()
        self._note(changes.settled(settlement, worker_id, now, attempt_outcome))
        entry.retries, entry.lost = changes.retries_after(settlement), changes.lost_after(delivery, outcome)
        if settlement.payload is not None:
            entry.payload = settlement.payload
        if isinstance(outcome, Retry | Parked):
            self._put(entry, "delayed", now + outcome.delay)
        elif isinstance(outcome, Dead):
            entry.reason, entry.died = outcome.reason, next(self._sequence)
            self._busy[entry.queue_name] -= 1
            self._put(entry, "dead")
            self._remember(entry, settlement)
        elif isinstance(outcome, Requeue):
            self._put(entry, "suspect" if outcome.suspect else "ready")
        else:
            self._drop(entry)
        for item in settlement.then:
            if item.message.message_id not in self._entries:
                self._store(item)
        return True

    def _remember(self, entry: Entry, settlement: Settlement) -> None:
        """A dead letter as tests look at it: the message with the exception that ended it."""
        try:
            message = Message.decode(entry.payload)
        except DecodeError:
            message = Message(entry.queue_name, "?", message_id=entry.message_id)
        proxy = MessageProxy(message, settlement.delivery)
        proxy.fail()
        proxy.outcome = settlement.outcome
        if settlement.exception is not None:
            proxy.stuff_exception(settlement.exception)
        self.dead_letters_by_queue[entry.queue_name].append(proxy)

    # Leases and burials

    def renew(self, worker_ids: Sequence[str]) -> None:
        with self._changed:
            for worker_id in worker_ids:
                if worker_id in self._leases:
                    self._leases[worker_id] = self.now() + self.lease

    def bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge, reason: str = "") -> int:
        started = {(casualty.message_id, casualty.number): casualty for casualty in casualties}
        with self._changed:
            self._leases.pop(worker_id, None)
            held = [entry for entry in self._entries.values() if entry.owner == worker_id]
            for entry in held:
                delivery = entry.delivery()
                casualty = started.get((entry.message_id, entry.number))
                if casualty is None:
                    self._settle(Settlement(delivery, HANDED_BACK), worker_id)
                else:
                    settlement = changes.buried(delivery, casualty, judge(delivery, casualty), self.now())
                    self._settle(settlement, worker_id, casualty.kind)
            self._wake()
            return len(held)

    def rescue(self, judge: Judge) -> list[str]:
        with self._changed:
            expired = [worker_id for worker_id, until in self._leases.items() if until < self.now()]
            for worker_id in expired:
                ran = [e for e in self._entries.values() if e.owner == worker_id and e.started_at is not None]
                detail, alone = "its worker's lease ran out", len(ran) == 1
                known = [Casualty(e.message_id, e.number, "lost", e.started_at, detail, alone) for e in ran]
                self.bury(worker_id, known, judge)
            return expired

    def has_suspects(self) -> bool:
        with self._changed:
            return any(entry.place == "suspect" for entry in self._entries.values())

    # Looking and operating

    def counts(self) -> list[QueueCounts]:
        with self._changed:
            now = self.now()
            return [self._count(queue_name, now) for queue_name in sorted(self.queues)]

    def _count(self, queue_name: str, now: int) -> QueueCounts:
        here = [entry for entry in self._entries.values() if entry.queue_name == queue_name]
        waiting = [entry.enqueued_at for entry in here if entry.place in ("ready", "suspect")]
        return QueueCounts(
            queue_name,
            len(waiting),
            sum(entry.place == "in_flight" for entry in here),
            sum(entry.place == "delayed" for entry in here),
            sum(entry.place == "dead" for entry in here),
            max(0, now - min(waiting)) if waiting else 0,
        )

    def peek(
        self, queue_name: str, state: Literal["ready", "delayed", "in_flight", "dead"] = "ready", limit: int = 100
    ) -> list[Delivery]:
        with self._changed:
            here = [e for e in self._entries.values() if e.queue_name == queue_name and e.place == state]
            here.sort(key=lambda entry: (entry.due_at, _rank(entry), entry.sequence))
            return [entry.delivery() for entry in here[:limit]]

    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        refuse_one_id(message_ids)
        with self._changed:
            dead = [self._entries[i] for i in message_ids if i in self._entries and self._entries[i].place == "dead"]
            for entry in dead:
                entry.life += 1
                entry.retries = entry.lost = 0
                entry.reason = ""
                entry.enqueued_at = self.now()
                self._busy[entry.queue_name] += 1
                self._put(entry, "ready")
                self._note(changes.requeued(entry.message_id, entry.enqueued_at, entry.life, entry.number))
                letters = self.dead_letters_by_queue[entry.queue_name]
                letters[:] = [letter for letter in letters if letter.message_id != entry.message_id]
            self._wake()
            return [entry.message_id for entry in dead]

    def flush(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
        with self._changed:
            for entry in [e for e in self._entries.values() if e.queue_name == queue_name]:
                if entry.place != "in_flight":
                    self._drop(entry)
                    self._note(
                        changes.discarded(
                            entry.message_id, self.now(), entry.life, entry.retries, entry.number, entry.lost
                        )
                    )
            self.dead_letters_by_queue[queue_name].clear()
            self._changed.notify_all()

    @property
    def dead_letters(self) -> list[MessageProxy]:
        """All dead letters, those of one queue together."""
        return [letter for letters in self.dead_letters_by_queue.values() for letter in letters]

    @property
    def journal(self) -> StubJournal:
        return self._journal

    def join(self, queue_name: str, *, timeout: int | None = None, fail_fast: bool | None = None) -> None:
        """Wait until nothing in the queue is waiting, delayed or running.

        Parameters:
            timeout: milliseconds; None for ever.
            fail_fast: raise the error of the first dead letter as soon as there is one.

        Raises:
            QueueNotFound: nobody declared the queue.
            QueueJoinTimeout: the time was up.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
        raising = self.fail_fast_default if fail_fast is None else fail_fast
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        with self._changed:
            while True:
                if raising:
                    self._raise_first_dead_letter(queue_name)
                if not self._busy[queue_name]:
                    return
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise QueueJoinTimeout(f"{queue_name!r} was not empty after {timeout} ms.")
                self._changed.wait(left)

    def _raise_first_dead_letter(self, queue_name: str) -> None:
        for letter in self.dead_letters_by_queue[queue_name]:
            reason = letter.outcome.reason if isinstance(letter.outcome, Dead) else "failed"
            raise (letter.exception or Exception(f"{letter} died: {reason}")) from None


def _rank(entry: Entry) -> int:
    """What orders messages of one place, before their place in line does."""
    return {"ready": entry.priority, "dead": entry.died}.get(entry.place, 0)


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
            refused = frozenset(s.delivery.handle for s in settlements if not broker._settle(s, worker_id))
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
            return Exchange(broker._claim(self._worker, room, self._turn), refused)

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


def from_url(url: str, middleware: Iterable[Middleware] | None = None) -> StubBroker:
    """The broker of a ``stub://`` URL."""
    return StubBroker(middleware)
