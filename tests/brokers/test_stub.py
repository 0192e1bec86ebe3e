"""The broker in memory, and what it offers beyond the common promises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from django_tasks_q import QueueJoinTimeout, QueueNotFound, actor
from django_tasks_q.brokers.stub import StubBroker, StubJournal, from_url
from django_tasks_q.deliveries import Settlement
from django_tasks_q.events import Event, Kind
from django_tasks_q.journal import Backlog, Gap
from django_tasks_q.outcomes import DONE, Dead, Retry
from django_tasks_q.states import State
from tests.brokers.bench import Bench
from tests.brokers.conformance import Conformance
from tests.unit.conftest import running


class TestStub(Conformance):
    broker = "stub"

    def test_it_says_what_it_can_and_what_it_cannot(self, bench: Bench) -> None:
        can = bench.broker.capabilities

        assert can.survives_restart.level == can.transactional_send.level == "none"
        assert can.journal.level == "same"
        assert all((can.priorities, can.front_requeue, can.delays, can.fenced_settle, can.atomic_settle))
        assert all((can.unique_ids, can.suspects, can.peek))

    def test_nothing_survives_the_broker(self, bench: Bench) -> None:
        bench.send("m")
        again = StubBroker()
        again.declare_queue("q")

        assert again.peek("q") == []

    def test_the_journal_tells_everything_in_its_order_until_it_is_trimmed(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        first, second = desk.take(2)
        desk.exchange([Settlement(second, DONE), Settlement(first, Retry(0), then=(bench.outgoing("m3"),))])
        desk.settle(desk.take_one(), Dead("throws"))
        journal = bench.broker.journal
        assert journal is not None

        told = [(event.message_id, event.state.value) for event in journal.events]

        assert told == [
            ("m1", "enqueued"), ("m2", "enqueued"), ("m2", "succeeded"), ("m1", "retrying"), ("m3", "enqueued"),
            ("m1", "enqueued"), ("m1", "dead"),
        ]  # fmt: skip
        stretch = journal.read("stub", 3)
        assert [event.message_id for event in stretch.events] == ["m1", "m2", "m2"]
        journal.trim("stub", stretch)
        journal.trim("stub", stretch)
        assert [event.message_id for event in journal.events] == ["m1", "m3", "m1", "m1"]
        journal.trim("stub", journal.read("stub", 100))
        assert journal.events == []


def declare(broker: StubBroker, fn: Callable[..., Any], **options: Any) -> Any:
    return actor(fn, broker=broker, **{"max_retries": 0, "min_backoff": 0, "max_backoff": 0, **options})


class TestJoin:
    def test_it_returns_when_everything_is_done(self, stub: StubBroker) -> None:
        done: list[int] = []
        append = declare(stub, lambda number: done.append(number), actor_name="append")
        for number in range(20):
            append.send(number)

        with running(stub):
            stub.join("default", timeout=10_000)

        assert sorted(done) == list(range(20))

    def test_it_waits_for_delayed_messages_and_retries(self, stub: StubBroker) -> None:
        attempts: list[float] = []

        def fails_once() -> None:
            attempts.append(time.monotonic())
            if len(attempts) < 2:
                raise ValueError("once")

        declare(stub, fails_once, max_retries=1).send_with_options(delay=100)

        with running(stub):
            stub.join("default", timeout=10_000)

        assert len(attempts) == 2

    def test_an_unknown_queue_is_an_error(self, stub: StubBroker) -> None:
        with pytest.raises(QueueNotFound, match="nowhere"):
            stub.join("nowhere")

    def test_it_gives_up_when_the_time_is_up(self, stub: StubBroker) -> None:
        declare(stub, print).send()

        with pytest.raises(QueueJoinTimeout, match="50 ms"):
            stub.join("default", timeout=50)

    def test_it_raises_the_error_of_the_first_dead_letter(self, stub: StubBroker) -> None:
        def fail() -> None:
            raise ZeroDivisionError("mine")

        declare(stub, fail).send()

        with running(stub), pytest.raises(ZeroDivisionError, match="mine"):
            stub.join("default", timeout=10_000)
        with pytest.raises(ZeroDivisionError):
            stub.join("default")
        stub.join("default", fail_fast=False)
        stub.flush_all()
        stub.join("default")

    def test_it_raises_at_once_though_others_still_wait(self, stub: StubBroker) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        declare(stub, lambda: None, actor_name="later").send_with_options(delay=3_600_000)
        declare(stub, fail).send()

        with running(stub), pytest.raises(ZeroDivisionError):
            stub.join("default", timeout=10_000)

    def test_another_default_can_be_chosen_for_the_broker(self) -> None:
        broker = StubBroker(fail_fast_default=False)

        def fail() -> None:
            raise ZeroDivisionError

        declare(broker, fail).send()
        with running(broker):
            broker.join("default", timeout=10_000)
            with pytest.raises(ZeroDivisionError):
                broker.join("default", fail_fast=True)

    def test_what_is_delayed_can_be_looked_at_by_dramatiqs_name_of_the_delay_queue(self, stub: StubBroker) -> None:
        work = actor(print, broker=stub)
        work.send("now")
        for _ in range(2):
            work.send_with_options(args=("later",), delay=60_000)

        assert (stub.queues["default"].qsize(), stub.queues["default.DQ"].qsize()) == (1, 2)
        assert repr(stub.queues["default.DQ"]) == "<DelayQueue 'default': 2 delayed>"
        assert stub.get_declared_queues() == set(stub.queues) == {"default"}
        assert stub.delay_queues == stub.get_declared_delay_queues() == set()
        for name in ("default.XQ", "other.DQ", "other"):
            with pytest.raises(KeyError, match=name):
                stub.queues[name]
        stub.flush("default")
        assert stub.queues["default.DQ"].empty()

    def test_dead_letters_are_kept_by_queue_with_their_error(self, stub: StubBroker) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        message = declare(stub, fail, queue_name="sad").send()
        with running(stub):
            stub.join("sad", timeout=10_000, fail_fast=False)

        (letter,) = stub.dead_letters_by_queue["sad"]
        assert letter.message_id == message.message_id and letter.failed
        assert isinstance(letter.exception, ZeroDivisionError)
        assert stub.dead_letters == [letter]
        assert stub.requeue([message.message_id]) and stub.dead_letters == []


def test_the_url_makes_a_stub() -> None:
    assert isinstance(from_url("stub://"), StubBroker)


def test_the_clock_of_the_model_can_be_set(stub: StubBroker) -> None:
    stub.now = lambda: 1_000
    declare(stub, print).send_with_options(delay=500)

    stub.now = lambda: 61_500
    with running(stub):
        stub.join("default", timeout=10_000)


def test_many_threads_may_send_and_run_at_a_time(stub: StubBroker) -> None:
    seen: list[int] = []
    note = declare(stub, seen.append, actor_name="note")
    senders = [threading.Thread(target=lambda: [note.send(n) for n in range(200)]) for _ in range(4)]

    with running(stub, worker_threads=8):
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        stub.join("default", timeout=20_000)

    assert sorted(seen) == sorted(list(range(200)) * 4)


class TestStubJournal:
    """The journal in memory: the model of what others do outside of the process."""

    def journal(self, length: int, *names: str) -> StubJournal:
        journal = StubJournal(length)
        for number, name in enumerate(names):
            journal.append(Event(Kind.CREATED, name, State.ENQUEUED, 1_000 + number))
        return journal

    def test_what_does_not_fit_any_more_is_dropped_from_the_front_and_counted(self) -> None:
        journal = self.journal(3, "a", "b", "c", "d", "e")

        stretch = journal.read("stub", 2)

        assert [event.message_id for event in stretch.events] == ["c", "d"]
        assert stretch.gap == Gap(2, 1_000, 1_001)
        assert journal.backlog("stub").gap == stretch.gap

    def test_a_gap_is_told_until_it_was_trimmed(self) -> None:
        journal = self.journal(2, "a", "b", "c")

        told = journal.read("stub", 1).gap
        assert told == Gap(1, 1_000, 1_000)

        journal.trim_gap("stub", told)

        assert journal.read("stub", 10).gap is None
        assert [event.message_id for event in journal.events] == ["b", "c"]

    def test_what_was_dropped_after_reading_is_neither_trimmed_for_others_nor_forgotten(self) -> None:
        journal = self.journal(2, "a", "b", "c")
        stretch = journal.read("stub", 1)
        for number, name in enumerate("defg"):
            journal.append(Event(Kind.CREATED, name, State.ENQUEUED, 2_000 + number))

        journal.trim("stub", stretch)
        journal.trim_gap("stub", stretch.gap)

        assert [event.message_id for event in journal.events] == ["f", "g"]
        assert journal.read("stub", 1).gap == Gap(4, 1_000, 2_001)

    def test_the_backlog_tells_how_much_waits_and_for_how_long(self) -> None:
        journal = self.journal(4, "a", "b")
        journal.now = lambda: 1_500

        assert journal.backlog("stub") == Backlog(2, 0.5, 500)
        journal.trim("stub", journal.read("stub", 10))
        assert journal.backlog("stub") == Backlog()
