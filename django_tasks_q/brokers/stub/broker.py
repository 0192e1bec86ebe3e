"""The broker in memory: for tests, and the model that every other broker is compared with."""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from threading import Condition, RLock
from typing import TYPE_CHECKING, Literal

from ... import changes, clock
from ...broker import MAX_BATCH, MAX_QUEUES_PER_EXCHANGE, Broker, refuse_one_id
from ...capabilities import SAME, Capabilities, Capability
from ...deliveries import (
    Casualty,
    Delivery,
    Held,
    Judge,
    MessageProxy,
    Outgoing,
    QueueCounts,
    Settlement,
    WorkerInfo,
)
from ...errors import DecodeError, DuplicateMessage, QueueJoinTimeout, QueueNotFound
from ...events import Event
from ...fairness import quotas, without
from ...message import Message
from ...outcomes import HANDED_BACK, Dead, Parked, Requeue, Retry
from ...recording import is_recorded
from ...states import State
from ...unique import Unique, held_by, tell_of_left_out
from ...waker import Waker
from .consumer import StubConsumer
from .control import StubControlStore
from .entry import Entry, Place, counters, rank
from .journal import JOURNAL_LENGTH, StubJournal
from .queue import StubQueue, StubQueues

if TYPE_CHECKING:
    from ...middleware import Middleware


class StubBroker(Broker):
    """Keeps messages in this process's memory.

    Parameters:
        middleware: the stack; None for the default one.
        fail_fast_default: whether :meth:`join` raises the error of a dead letter when not told otherwise.
    """

    capabilities = Capabilities(survives_restart=Capability("none", "messages are in memory"), journal=SAME)

    def __init__(self, middleware: Iterable[Middleware] | None = None, *, fail_fast_default: bool = True) -> None:
        super().__init__(middleware)
        self.queues = StubQueues()
        self.fail_fast_default = fail_fast_default
        self.now: Callable[[], int] = clock.wall_ms
        self.dead_letters_by_queue: defaultdict[str, list[MessageProxy]] = defaultdict(list)
        self._journal = StubJournal()
        self.own_control = StubControlStore(self)
        self._changed = Condition(RLock())
        self._entries: dict[str, Entry] = {}
        self._by_sequence: dict[int, Entry] = {}
        self._ready: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._delayed: list[tuple[int, int]] = []
        self._sequence = count(1)
        self._leases: dict[str, int] = {}
        self._wakers: set[Waker] = set()
        self._busy: Counter[str] = Counter()
        self._ended: dict[str, tuple[int, int]] = {}  # the next life, and when the last one ended
        self._holders: dict[str, Entry] = {}
        """Of keys of which there is one message; what finds one that is over takes its place."""
        self._taken: deque[tuple[str, int, int]] = deque(maxlen=JOURNAL_LENGTH)

    # Sending

    def _open_queue(self, queue_name: str) -> StubQueue:
        return StubQueue(self, queue_name)

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str] | None:
        left_out: dict[str, str] = {}
        with self._changed:
            fresh: set[str] = set()
            new: list[Outgoing] = []
            for item in outgoing:
                message_id = item.message.message_id
                if item.sent_since is not None and (message_id in fresh or self._had(message_id, item.sent_since)):
                    continue
                if message_id in self._entries or message_id in fresh:
                    raise DuplicateMessage(f"{message_id} is still waiting or running.")
                fresh.add(message_id)
                new.append(item)
            self._refuse_held([item for item in new if item.unique is not None])
            for item in new:
                self._admit(item, left_out)
            self._wake()
        return left_out

    def _had(self, message_id: str, since: int) -> bool:
        """Whether the message is here, or was at that time or later."""
        return message_id in self._entries or self._ended.get(message_id, (0, -1))[1] >= since

    # Keys of which there is one message

    def _refuse_held(self, items: Sequence[Outgoing]) -> None:
        """Raise DuplicateMessage for one that is to be refused, before any is stored."""
        taken: dict[str, str] = {}
        for item in items:
            unique = item.unique
            assert unique is not None
            holder = taken.get(unique.key) or self._holder_of("", unique.key)
            if holder is not None and unique.on_conflict == "raise":
                raise held_by(item, holder)
            taken[unique.key] = item.message.message_id

    def _admit(self, item: Outgoing, left_out: dict[str, str]) -> None:
        """Store a message, or note whose key keeps it out."""
        holder = None if item.unique is None else self._holder(item.unique.key)
        if item.unique is None or holder is None:
            self._store(item)
        elif item.unique.on_conflict == "replace" and holder.place not in ("in_flight", "dead"):
            self._discard([holder])
            self._store(item)
        else:
            if item.unique.on_conflict == "refresh" and holder.place not in ("in_flight", "dead"):
                self._refresh(holder, item)
            left_out[item.message.message_id] = holder.message_id

    def _refresh(self, entry: Entry, item: Outgoing) -> None:
        """What waits begins its wait anew, as another message of its key says."""
        now = self.now()
        self._hold(entry, item.unique, now)
        due = changes.due_at(item, now)
        if due is not None:
            self._put(entry, "delayed", due)
        elif entry.place == "delayed":
            self._hasten(entry)

    def _hold(self, entry: Entry, unique: Unique | None, now: int) -> None:
        entry.unique = unique
        if unique is not None:
            entry.unique_until = None if unique.ttl is None else now + unique.ttl
            self._holders[unique.key] = entry

    def _give_up_key(self, entry: Entry) -> None:
        if entry.unique is not None and self._holders.get(entry.unique.key) is entry:
            del self._holders[entry.unique.key]

    def _take_key_again(self, entry: Entry) -> None:
        """A dead letter lives again: with its key, unless that is held, or its time is over."""
        is_over = entry.unique_until is not None and entry.unique_until <= self.now()
        if entry.unique is None or is_over or self._holder(entry.unique.key) is not None:
            entry.unique = None
        else:
            self._holders[entry.unique.key] = entry

    def _holder(self, key: str) -> Entry | None:
        entry = self._holders.get(key)
        if entry is not None and entry.unique_until is not None and entry.unique_until <= self.now():
            self._give_up_key(entry)
            return None
        return entry

    def _holder_of(self, queue_name: str, key: str) -> str | None:
        with self._changed:
            entry = self._holder(key)
            return None if entry is None else entry.message_id

    def let_go(self, delivery: Delivery, key: str) -> None:
        with self._changed:
            entry = self._by_sequence.get(delivery.handle)
            if entry is not None and (entry.place, entry.number) == ("in_flight", delivery.number):
                self._give_up_key(entry)

    def _store(self, item: Outgoing) -> None:
        now = self.now()
        message = item.message
        entry = Entry(
            next(self._sequence), message.message_id, message.queue_name, item.payload, item.priority, enqueued_at=now
        )
        entry.record = item.record
        entry.life = max(item.life, self._ended.pop(entry.message_id, (0, 0))[0])
        self._entries[entry.message_id] = entry
        self._by_sequence[entry.sequence] = entry
        self._busy[entry.queue_name] += 1
        self._hold(entry, item.unique, now)
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
        self._give_up_key(entry)
        self._ended[entry.message_id] = (entry.life + 1, self.now())
        if len(self._ended) > JOURNAL_LENGTH:
            del self._ended[next(iter(self._ended))]

    def _note(self, event: Event) -> None:
        if is_recorded(event):
            self._journal.append(event)

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
            self._note(changes.promoted(entry.message_id, now, *counters(entry)))

    def bring_forward(self, queue_names: Sequence[str]) -> bool:
        """Make the delayed message of these queues that is due first ready now; False when none is delayed.

        Tests skip waits with it.
        """
        with self._changed:
            delayed = [e for e in self._entries.values() if e.place == "delayed" and e.queue_name in queue_names]
            if not delayed:
                return False
            entry = min(delayed, key=lambda entry: (entry.due_at, entry.sequence))
            self._hasten(entry)
            return True

    def hasten(self, message_ids: Collection[str]) -> None:
        """Make those of these messages that are delayed ready now."""
        with self._changed:
            for entry in list(self._entries.values()):
                if entry.message_id in message_ids and entry.place == "delayed":
                    self._hasten(entry)

    unparks = True

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        with self._changed:
            parked = [
                entry
                for entry in self._entries.values()
                if entry.place == "delayed" and entry.parked == key and entry.queue_name in queue_names
            ]
            parked.sort(key=lambda entry: (entry.priority, entry.sequence))
            for entry in parked[:number]:
                self._hasten(entry)
            return len(parked[:number])

    def _hasten(self, entry: Entry) -> None:
        entry.enqueued_at = self.now()
        self._put(entry, "ready")
        self._note(changes.promoted(entry.message_id, entry.enqueued_at, *counters(entry)))
        self._wake()

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

    def _claim(self, worker: WorkerInfo, room: int, turn: int, left_out: Collection[str]) -> list[Delivery]:
        weights = without(worker.queues or dict.fromkeys(self.queues, 1), left_out)
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
        entry.parked = outcome.key if isinstance(outcome, Parked) else ""
        if isinstance(outcome, Retry | Parked):
            self._put(entry, "delayed", now + outcome.delay)
        elif isinstance(outcome, Dead):
            entry.reason, entry.died, entry.died_at = outcome.reason, next(self._sequence), now
            self._busy[entry.queue_name] -= 1
            self._put(entry, "dead")
            self._give_up_key(entry)
            self._remember(entry, settlement)
        elif isinstance(outcome, Requeue):
            self._put(entry, "suspect" if outcome.suspect else "ready")
        else:
            self._drop(entry)
        for item in settlement.then:
            if item.message.message_id not in self._entries:
                self._admit_caused(item)
        return True

    def _admit_caused(self, item: Outgoing) -> None:
        left_out: dict[str, str] = {}
        self._admit(item, left_out)
        for holder in left_out.values():
            tell_of_left_out(self.logger, item, holder)

    def _note_late(self, settlement: Settlement, worker_id: str) -> None:
        """A refused settlement is told of when a burial took the delivery away, and not when it is a repetition."""
        claim = (worker_id, settlement.delivery.handle, settlement.delivery.number)
        event = changes.late(settlement, worker_id, self.now())
        if event is not None and claim in self._taken:
            self._taken.remove(claim)
            self._note(event)

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

    def renew(self, worker_ids: Sequence[str]) -> Collection[str]:
        with self._changed:
            renewed = [worker_id for worker_id in worker_ids if worker_id in self._leases]
            self._leases.update(dict.fromkeys(renewed, self.now() + self.lease))
            return renewed

    def bury(self, worker_id: str, casualties: Sequence[Casualty], judge: Judge, reason: str = "") -> int:
        started = {(casualty.message_id, casualty.number): casualty for casualty in casualties}
        with self._changed:
            self._leases.pop(worker_id, None)
            held = [entry for entry in self._entries.values() if entry.owner == worker_id]
            for entry in held:
                self._taken.append((worker_id, entry.sequence, entry.number))
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
            here.sort(key=lambda entry: (entry.due_at, rank(entry), entry.sequence))
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
                self._take_key_again(entry)
                self._note(
                    changes.requeued(entry.message_id, entry.enqueued_at, entry.life, entry.number, entry.record)
                )
                self._forget_letter(entry)
            self._wake()
            return [entry.message_id for entry in dead]

    def _forget_letter(self, entry: Entry) -> None:
        letters = self.dead_letters_by_queue[entry.queue_name]
        letters[:] = [letter for letter in letters if letter.message_id != entry.message_id]

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        refuse_one_id(message_ids)
        with self._changed:
            found = [self._entries[message_id] for message_id in message_ids if message_id in self._entries]
            return {entry.message_id: entry.held() for entry in found}

    def all_held(self) -> list[Held]:
        """Every message that has not ended."""
        with self._changed:
            return [entry.held() for entry in self._entries.values()]

    def _withdraw(self, message_ids: Sequence[str], state: State) -> list[str]:
        refuse_one_id(message_ids)
        with self._changed:
            found = [self._entries[message_id] for message_id in message_ids if message_id in self._entries]
            return self._discard([entry for entry in found if entry.place != "in_flight"], state)

    def _discard(self, entries: Sequence[Entry], state: State = State.DISCARDED) -> list[str]:
        for entry in entries:
            self._drop(entry)
            self._forget_letter(entry)
            self._note(changes.discarded(entry.message_id, self.now(), *counters(entry), state=state))
        self._changed.notify_all()
        return [entry.message_id for entry in entries]

    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        with self._changed:
            entry = self._entries.get(message_id)
            if entry is None or entry.place != "dead":
                return False
            self._enqueue([outgoing])
            self._discard([entry])
            return True

    def expire_dead_letters(self, ttl: int, limit: int = MAX_BATCH) -> int:
        with self._changed:
            before = self.now() - ttl
            old = [entry for entry in self._entries.values() if entry.place == "dead" and entry.died_at < before]
            return len(self._discard(old[:limit]))

    def flush(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
        with self._changed:
            here = [entry for entry in self._entries.values() if entry.queue_name == queue_name]
            self._discard([entry for entry in here if entry.place != "in_flight"])

    @property
    def dead_letters(self) -> list[MessageProxy]:
        """All dead letters, those of one queue together."""
        return [letter for letters in self.dead_letters_by_queue.values() for letter in letters]

    @property
    def journal(self) -> StubJournal:
        return self._journal

    def join(
        self, queue_name: str, *, interval: int = 100, timeout: int | None = None, fail_fast: bool | None = None
    ) -> None:
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
