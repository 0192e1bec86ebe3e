"""A bench to try brokers on: each worker with a thread and connection of its own, as in life, and what is recorded.

Every sentence of the conformance suite gets a bench. After it has held for a broker that keeps records, it is told to
the stub as well, and the records must say what the stub's journal amounts to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
from django.db import connections

from django_tasks_q import Message, Progress, actor
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import (
    Casualty,
    Delivery,
    Exchange,
    Outgoing,
    QueueCounts,
    Settlement,
    Started,
    WorkerInfo,
)
from django_tasks_q.events import Event, is_progress_of
from django_tasks_q.fold import fold
from django_tasks_q.judge import make_judge
from django_tasks_q.mirror.text import original
from django_tasks_q.models import Attempt, MessageRecord
from django_tasks_q.operations.progress import progress_of
from django_tasks_q.outcomes import Dead, ErrorInfo, Outcome
from django_tasks_q.unique import key_in
from tests.support.waiting import until

PATIENCE = 20
MANY = 3_000
"""Threads of workers whose broker gives out no more than threads can run."""

MOMENT = 0.8
"""Seconds within which a broker that pushes has given out what it has, second thoughts about losses included."""

BOOM = ErrorInfo("ValueError", "boom", "Traceback: boom")


class Story(NamedTuple):
    """What is recorded of one message."""

    state: str
    retries: int
    deliveries: int
    lost: int
    life: int
    reason: str
    attempts: tuple[tuple[int, str, str], ...]
    progress: Progress | None = None


class Desk:
    """One worker at a broker. Its calls run in a thread of its own and return when they are done."""

    def __init__(self, broker: Broker, info: WorkerInfo) -> None:
        self.worker_id = info.worker_id
        self._broker = broker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=info.worker_id)
        self.suspects = info.suspects
        self.is_open = self.is_alive = True
        self._is_prompt = broker.capabilities.prompt_claims.level == "same"
        self.consumer = self.call(broker.consume, info)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.begin(function, *args, **kwargs).result(PATIENCE * 2)

    def begin(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Start a call; a future to wait for."""
        return self._thread.submit(function, *args, **kwargs)

    def exchange(
        self, settlements: Sequence[Settlement] = (), room: int = 0, started: Sequence[Started] = ()
    ) -> Exchange:
        answer = self.call(self.consumer.exchange, settlements, room, started)
        if room and not answer.deliveries and not self._is_prompt:
            answer = msgspec.structs.replace(answer, deliveries=self.call(self._await_deliveries, room))
        return answer

    def _await_deliveries(self, room: int) -> list[Delivery]:
        """What arrives within a moment, from a broker that pushes."""
        deadline = time.monotonic() + MOMENT
        while time.monotonic() < deadline:
            self.consumer.wait(MOMENT / 10)
            deliveries = self.consumer.exchange([], room).deliveries
            if deliveries:
                return deliveries
        return []

    def cut(self) -> None:
        """Lose the connection, as a process does that dies or a network that is parted."""
        self.is_alive = False
        if self.is_open:
            self.call(self.consumer.disconnect)

    def breathe(self) -> None:
        """Take in what has arrived."""
        if self.is_alive:
            self.call(self.consumer.exchange, [], 0)

    def judge_what_comes(self) -> None:
        """Stay until it is known of all that arrived whether it was lost; each is found for itself, one by one."""
        deadline = time.monotonic() + MOMENT
        has_come = is_expecting = False
        while is_expecting or not (has_come or time.monotonic() > deadline):
            self.consumer.wait(MOMENT / 10)
            is_expecting = self.consumer.exchange([], 0).is_expecting
            has_come |= bool(self.consumer.counts())

    def take(self, number: int = 1, room: int | None = None) -> list[Delivery]:
        """Exactly ``number`` deliveries, as soon as they can be had."""
        taken: list[Delivery] = []
        deadline = time.monotonic() + PATIENCE
        while len(taken) < number:
            taken += self.exchange(room=room or number - len(taken)).deliveries
            assert time.monotonic() < deadline, f"only {len(taken)} of {number}: {taken}"
        assert len(taken) == number, taken
        return taken

    def take_one(self) -> Delivery:
        return self.take(1)[0]

    def finds_nothing(self) -> bool:
        return not self.exchange(room=100).deliveries

    def has_nothing_yet(self) -> bool:
        """As :meth:`finds_nothing`, without giving what is on its way a moment."""
        return not self.call(self.consumer.exchange, [], 100).deliveries

    def settle(self, delivery: Delivery, outcome: Outcome, **fields: Any) -> Exchange:
        """As a worker does, which knows the message."""
        return self.exchange([Settlement(delivery, outcome, unique=key_in(delivery.payload), **fields)])

    def fail(self, delivery: Delivery, outcome: Outcome, **fields: Any) -> Exchange:
        """Settle an attempt that ended with an error."""
        return self.settle(delivery, outcome, error=BOOM, started_at=1_700_000_000_000, **fields)

    def leave(self, *, give_back: bool = True) -> None:
        if self.is_open:
            self.is_open = self.is_alive = False
            try:
                self.call(self.consumer.close, give_back=give_back)
            finally:
                self.call(connections.close_all)
                self._thread.shutdown()


class Bench:
    """A broker with an actor ``work`` on queue ``q``, and everything that a sentence about it needs."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.desks: list[Desk] = []
        self._events: list[Event] = []
        self.judge = make_judge(broker)
        self.actor = actor(work, broker=broker, queue_name="q", max_retries=3, min_backoff=600_000)
        for name in ("q", "other"):
            broker.declare_queue(name)

    @property
    def is_like_the_model(self) -> bool:
        """Whether its stories must be the model's; the model itself needs no comparison."""
        return type(self.broker) is not StubBroker

    # Acting

    def worker(self, name: str = "w", queues: Mapping[str, int] | None = None, *, suspects: bool = False) -> Desk:
        threads = 8 if self.broker.capabilities.prompt_claims.level == "same" else MANY
        desk = Desk(self.broker, WorkerInfo(name, queues or {}, threads, suspects))
        self.desks.append(desk)
        return desk

    def message(self, name: str, *args: Any, queue: str = "q", **options: Any) -> Message[Any]:
        return Message(queue, "work", args, {}, options, name)

    def send(self, *names: str, queue: str = "q", **options: Any) -> list[Message[Any]]:
        return [self.broker.enqueue(self.message(name, queue=queue, **options)) for name in names]

    def outgoing(self, name: str, **options: Any) -> Outgoing:
        return self.broker.prepare(self.message(name, **options))

    def bury(self, desk: Desk, *casualties: Casualty) -> int:
        if self.broker.capabilities.fenced_settle.level != "same":
            desk.cut()  # its connection is its lease, and ends with the process
        held = self.broker.bury(desk.worker_id, casualties, self.judge)
        if casualties and self.broker.capabilities.suspects.level != "same":
            self._count_losses(desk)
        return held

    def lose(self, delivery: Delivery, kind: str = "lost") -> Casualty:
        return Casualty(delivery.message_id, delivery.number, kind, 1_700_000_000_000, "killed by signal 9")

    def kill(self, name: str, number: int = 1) -> None:
        """Have a worker die while it runs a message, ``number`` times."""
        for _ in range(number):
            desk = self.worker(f"victim {len(self.desks)}", suspects=self.broker.has_suspects())
            delivery = desk.take_one()
            assert delivery.message_id == name
            self.bury(desk, self.lose(delivery))

    def _count_losses(self, dead: Desk) -> None:
        """Where whoever gets a message next counts its losses: somebody gets it, and gives it back."""
        if not any(desk.is_alive for desk in self.desks):
            desk = self.worker(f"successor {len(self.desks)}", suspects=dead.suspects)
            desk.call(desk.judge_what_comes)
            desk.leave()

    def bury_as_dead(self, *names: str, queue: str = "q") -> None:
        """Dead letters, made the usual way."""
        self.send(*names, queue=queue)
        desk = self.worker(f"undertaker {len(self.desks)}", {queue: 1})
        for delivery in desk.take(len(names)):
            desk.fail(delivery, Dead("retries_exhausted"))
        desk.leave()

    # Looking

    def counts(self, queue: str = "q") -> QueueCounts:
        return next(counts for counts in self.broker.counts() if counts.queue_name == queue)

    def holds(self, queue: str = "q") -> tuple[int, int, int, int]:
        """Ready, in flight, delayed, dead."""
        counts = self.counts(queue)
        if self.broker.capabilities.counts.level != "same":
            counts = self._steady_counts(queue)
        return counts.ready, counts.in_flight, counts.delayed, counts.dead

    def _steady_counts(self, queue: str) -> QueueCounts:
        """Counts that stay the same for a moment, where messages are on their way between processes."""
        readings: list[QueueCounts] = []
        deadline = time.monotonic() + PATIENCE
        while len(readings) < 4 or readings[-4:] != readings[-1:] * 4:
            assert time.monotonic() < deadline, readings[-4:]
            for desk in self.desks:
                desk.breathe()
            time.sleep(0.02)
            readings.append(self.counts(queue))
        return readings[-1]

    def has_ready(self, *names: str, queue: str = "q") -> bool:
        """Whether these messages are ready, in this order; where nobody can look at them: as many."""
        if self.broker.capabilities.peek.level != "same":
            return self.holds(queue)[0] == len(names)
        return self.peek(queue=queue) == list(names)

    def peek(self, state: Any = "ready", queue: str = "q") -> list[str]:
        return [delivery.message_id for delivery in self.broker.peek(queue, state)]

    def stories(self) -> dict[str, Story]:
        """What is recorded of every message: in the rows, or as the journal amounts to."""
        if isinstance(self.broker, DatabaseBroker):
            return _recorded_stories(self.broker.using)
        return _told_stories(self.events())

    def events(self) -> list[Event]:
        """All that the broker's journal told until now. What was read is trimmed, as the mirror does."""
        journal = self.broker.journal
        assert journal is not None
        for partition in journal.partitions():
            while (stretch := journal.read(partition, 1_000)).events:
                self._events += stretch.events
                journal.trim(partition, stretch)
        return self._events

    def story(self, name: str) -> Story:
        return self.stories()[name]

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, PATIENCE)

    def close(self) -> None:
        for desk in self.desks:
            desk.leave()
        self.broker.close()


def work(*args: Any, **kwargs: Any) -> None:
    """The actor of the bench; nobody runs it."""


def _recorded_stories(alias: str) -> dict[str, Story]:
    attempts: dict[str, list[tuple[int, str, str]]] = {}
    for attempt in Attempt.objects.using(alias):
        row = (attempt.number, attempt.outcome, original(attempt.error_type))
        attempts.setdefault(attempt.message_id, []).append(row)
    return {
        record.message_id: Story(
            record.state,
            record.retries,
            record.deliveries,
            record.lost,
            record.life,
            record.dead_reason,
            tuple(sorted(attempts.get(record.message_id, []))),
            progress_of(record),
        )
        for record in MessageRecord.objects.using(alias)
    }


def _told_stories(events: Sequence[Event]) -> dict[str, Story]:
    changes, rows = fold(events)
    attempts: dict[str, list[tuple[int, str, str]]] = {}
    for row in rows:
        attempts.setdefault(row.message_id, []).append((row.number, row.outcome, row.error.type if row.error else ""))
    return {
        change.message_id: Story(
            change.state.value,
            change.retries,
            change.deliveries,
            change.lost,
            change.life,
            change.reason,
            tuple(sorted(set(attempts.get(change.message_id, [])))),
            change.progress if is_progress_of(change.progress_guard, change.life, change.deliveries) else None,
        )
        for change in changes
    }
