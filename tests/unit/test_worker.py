"""A worker inside a process of one's own: starting, stopping, and what it makes of odd messages and odd code."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_tasks_q import Message, Worker, actor, clock
from django_tasks_q.broker import Broker, Consumer
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Delivery, Exchange, WorkerInfo
from django_tasks_q.errors import BrokerConnectionError, Interrupt, TimeLimitExceeded
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.models import Attempt, MessageRecord
from django_tasks_q.threading import raise_thread_exception
from django_tasks_q.worker.board import Board
from django_tasks_q.worker.slot import Slot
from tests.support.waiting import until, within
from tests.unit.conftest import running


@pytest.fixture(params=["stub", "default", "postgresql"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Each broker there is."""
    if request.param == "stub":
        broker: Broker = StubBroker()
    else:
        request.getfixturevalue("databases")
        broker = DatabaseBroker(using=request.param)
        broker.add_middleware(DatabaseConnections())
    yield broker
    broker.close()


def on(broker: Broker, fn: Callable[..., Any], **options: Any) -> Any:
    return actor(fn, broker=broker, **{"min_backoff": 0, "max_backoff": 0, **options})


def holds(broker: Broker) -> tuple[int, int, int, int]:
    (counts,) = [counts for counts in broker.counts() if counts.queue_name == "default"]
    return counts.ready, counts.in_flight, counts.delayed, counts.dead


def test_a_worker_runs_what_is_sent_and_leaves_nothing_behind(broker: Broker) -> None:
    done: list[int] = []
    work = on(broker, done.append, actor_name="work")
    for number in range(100):
        work.send(number)
    with running(broker, worker_threads=4):
        until(lambda: len(done) == 100)
        work.send(100)
        until(lambda: len(done) == 101)
        until(lambda: holds(broker) == (0, 0, 0, 0))

    assert sorted(done) == list(range(101))


def test_a_paused_worker_fetches_nothing_until_it_is_resumed(broker: Broker) -> None:
    done: list[int] = []
    work = on(broker, done.append, actor_name="work")
    with running(broker) as worker:
        work.send(1)
        until(lambda: done == [1])
        worker.pause()
        worker.join()
        work.send(2)
        assert not threading.Event().wait(0.3) and done == [1]
        worker.resume()
        until(lambda: done == [1, 2])


def test_stopping_finishes_what_runs_and_gives_back_what_waits(broker: Broker) -> None:
    started, go = threading.Event(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        started.set()
        go.wait(10)
        done.append(number)

    sender = on(broker, work)
    for number in range(5):
        sender.send(number)
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    assert started.wait(10)
    stopping = threading.Thread(target=worker.stop, kwargs={"timeout": 10_000})
    stopping.start()
    until(lambda: holds(broker) == (4, 1, 0, 0))
    go.set()
    stopping.join(20)

    assert done == [0]
    assert holds(broker) == (4, 0, 0, 0)
    assert [Message.decode(d.payload).args[0] for d in broker.peek("default")] == [1, 2, 3, 4]


def test_what_cannot_finish_in_time_is_interrupted_and_counts_as_nothing(broker: Broker) -> None:
    started = threading.Event()

    def work() -> None:
        started.set()
        while True:
            time.sleep(0.005)

    message = on(broker, work).send()
    with running(broker) as worker:
        assert started.wait(10)
        worker.stop(timeout=600)

    (delivery,) = broker.peek("default")
    assert (delivery.message_id, delivery.retries, delivery.lost) == (message.message_id, 0, 0)


def test_what_was_fetched_is_not_started_once_the_lease_is_over(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker whose lease is over when it is given something, as when it was stopped at that moment
    region = Board(1, 1).regions[0]
    region.assign("w", 1)
    done: list[int] = []
    work = on(broker, done.append, actor_name="work")
    consume = broker.consume

    def consume_late(worker: WorkerInfo) -> Consumer:
        consumer = consume(worker)
        exchange = consumer.exchange

        def exchange_late(*args: Any) -> Exchange:
            answer = exchange(*args)
            if answer.deliveries and not fetched.is_set():
                region.set_lease(clock.monotonic())
                fetched.set()
            return answer

        monkeypatch.setattr(consumer, "exchange", exchange_late)
        return consumer

    fetched = threading.Event()
    monkeypatch.setattr(broker, "consume", consume_late)
    for number in range(3):
        work.send(number)

    # Then it gives back what it has, and fetches no more until it has its lease again
    with running(broker, worker_id="w", region=region, duties=False, worker_threads=1):
        assert fetched.wait(10)
        until(lambda: holds(broker) == (3, 0, 0, 0))
        assert not threading.Event().wait(0.2) and (done, holds(broker)) == ([], (3, 0, 0, 0))
        region.set_lease(clock.monotonic() + 60)
        until(lambda: holds(broker) == (0, 0, 0, 0))
    assert done == [0, 1, 2]


def test_who_never_hears_of_a_renewal_starts_nothing_after_the_lease_that_it_began_with(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that is cut off from its first renewal on, with a message at hand behind the one that it runs
    done: list[int] = []
    gate, is_away = threading.Event(), True
    renew = broker.renew

    def renew_or_not(worker_ids: Sequence[str]) -> Collection[str] | None:
        if is_away:
            raise BrokerConnectionError("cut off")
        return renew(worker_ids)

    broker.lease = 600
    monkeypatch.setattr(broker, "renew", renew_or_not)
    region = Board(1, 1).regions[0]
    region.assign("w", 1)
    work = on(broker, lambda number: gate.wait(20) and done.append(number), actor_name="work")
    for number in range(2):
        work.send(number)
    with running(broker, worker_id="w", region=region, maintenance=False, worker_threads=1):
        until(lambda: region.running())

        # When its lease is over while it runs the first
        until(lambda: region.is_lease_over(clock.monotonic()))
        gate.set()
        until(lambda: done)

        # Then it starts the other only once it has its lease again
        assert not threading.Event().wait(0.2) and done == [0]
        is_away = False
        until(lambda: done == [0, 1])


def test_who_has_nobody_to_renew_its_lease_does_not_run_out_of_it(stub: StubBroker) -> None:
    stub.lease = 1
    done: list[int] = []
    work = on(stub, done.append, actor_name="work")
    with running(stub, duties=False):
        assert not threading.Event().wait(0.05)
        work.send(1)
        until(lambda: done == [1])


def test_a_worker_can_be_started_and_stopped_many_times(broker: Broker) -> None:
    done: list[int] = []
    work = on(broker, done.append, actor_name="work")
    for number in range(10):
        work.send(number)
        with running(broker):
            until(lambda number=number: number in done)

    assert done == list(range(10))


def test_a_worker_that_stops_at_once_is_stopped(broker: Broker) -> None:
    on(broker, print, actor_name="work")
    for _ in range(5):
        with running(broker):
            pass


def test_a_worker_needs_a_thread_and_weights_that_count(stub: StubBroker) -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        Worker(stub, worker_threads=0)
    with pytest.raises(ValueError, match="weight"):
        Worker(stub, queues={"default": 0})


def test_a_worker_serves_the_queues_it_was_given(broker: Broker) -> None:
    done: list[str] = []
    on(broker, lambda: done.append("mine"), actor_name="a", queue_name="mine").send()
    on(broker, lambda: done.append("others"), actor_name="b", queue_name="others").send()

    with running(broker, queues=["mine"]):
        until(lambda: done)
    assert done == ["mine"]


@pytest.mark.parametrize("number", [2, 40])
def test_one_thread_finds_work_quickly_in_any_of_many_queues(broker: Broker, number: int) -> None:
    done: list[int] = []
    actors = [on(broker, done.append, actor_name=f"a{n}", queue_name=f"queue{n}") for n in range(number)]
    with running(broker, worker_threads=1, worker_timeout=10_000):
        for turn in range(8):
            began = time.monotonic()
            actors[turn * 5 % number].send(turn)
            until(lambda turn=turn: turn in done)
            assert time.monotonic() - began < within(1)


def test_bytes_that_are_no_message_become_a_dead_letter_that_keeps_them(broker: Broker) -> None:
    work = on(broker, print, actor_name="work")
    broken = broker.prepare(work.message("x"))
    broken = type(broken)(broken.message, b'{"truncated')
    broker._enqueue([broken])
    with running(broker):
        until(lambda: holds(broker) == (0, 0, 0, 1))

    (letter,) = broker.peek("default", "dead")
    assert letter.payload == b'{"truncated'


def test_an_unknown_actor_is_waited_for(broker: Broker) -> None:
    broker.declare_queue("default")
    broker.enqueue(Message("default", "deployed_later"))
    with running(broker):
        until(lambda: holds(broker) == (0, 0, 1, 0))
    done: list[int] = []
    on(broker, lambda: done.append(1), actor_name="deployed_later")
    with running(broker):
        until(lambda: done == [1])


def test_a_message_of_a_newer_release_waits_uncounted(broker: Broker) -> None:
    work = on(broker, print, actor_name="work")
    broker.enqueue(work.message().copy(options={"message_version": 2}))
    with running(broker):
        until(lambda: holds(broker) == (0, 0, 1, 0))

    assert broker.peek("default", "delayed")[0].retries == 0


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle for you")


def cyclic() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        lambda: ValueError("x" * 5_000_000),
        lambda: ValueError("nul \x00 surrogate \ud800 \x1b[31m"),
        cyclic,
        lambda: ExceptionGroup("group", [ValueError("one"), ExceptionGroup("inner", [Hostile()])]),
        lambda: type("Nül\x00", (Exception,), {})("odd name"),
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        lambda: BaseException("bare"),
        lambda: StopIteration(1),
        MemoryError,
        RecursionError,
    ],
    ids=[
        "hostile", "huge", "odd text", "cyclic", "group", "odd name", "exit", "interrupt", "generator", "base",
        "stop", "memory", "recursion",
    ],
)  # fmt: skip
def test_whatever_an_actor_raises_is_a_failed_attempt_and_is_recorded(
    broker: Broker, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "django_tasks_q")  # the texts would not survive the way to the test report

    def fail() -> None:
        raise make()

    done: list[int] = []
    on(broker, fail, max_retries=1).send()
    on(broker, done.append, actor_name="after").send(1)
    with running(broker, worker_threads=1):
        until(lambda: holds(broker) == (0, 0, 0, 1) and done == [1])

    (letter,) = broker.peek("default", "dead")
    assert letter.retries == 2
    if isinstance(broker, DatabaseBroker):
        record = MessageRecord.objects.using(broker.using).get(pk=letter.message_id)
        assert (record.state, record.retries, record.dead_reason) == ("dead", 2, "retries_exhausted")
        assert Attempt.objects.using(broker.using).filter(message=record).count() == 2


def test_records_and_queue_agree_after_a_busy_time(databases: None) -> None:
    for alias in ("default", "postgresql"):
        broker = DatabaseBroker(using=alias)
        turns = {"n": 0}

        def work(number: int, turns: dict[str, int] = turns) -> None:
            turns["n"] += 1
            if number % 7 == 0:
                raise ValueError(number)

        send = on(broker, work, max_retries=1).send
        for number in range(210):
            send(number)
        with running(broker, worker_threads=8):
            until(lambda broker=broker: holds(broker) == (0, 0, 0, 30), 30)

        states = list(MessageRecord.objects.using(alias).values_list("state", flat=True))
        assert (states.count("succeeded"), states.count("dead"), len(states)) == (180, 30, 210)
        assert turns["n"] == 240
        broker.close()


# Database connections, as the next task finds them


def leave_transaction_open() -> None:
    transaction.atomic().__enter__()
    MessageRecord.objects.create(message_id="leaked", state="enqueued")


def close_beneath_django() -> None:
    connection.ensure_connection()
    connection.connection.close()


def close_through_django() -> None:
    connection.close()


def switch_autocommit_off() -> None:
    connection.set_autocommit(False)


def leave_an_error() -> None:
    transaction.atomic().__enter__()
    connection.cursor().execute("SELECT nonsense")


def break_off_the_opening() -> None:
    connection.close()

    def lose() -> None:
        connection.connection.close()
        raise OperationalError("lost")

    with patch.object(connections["default"], "init_connection_state", lose):
        connection.ensure_connection()


@pytest.mark.parametrize(
    "misbehave",
    [
        leave_transaction_open,
        close_beneath_django,
        close_through_django,
        switch_autocommit_off,
        leave_an_error,
        break_off_the_opening,
    ],
)
def test_the_next_task_finds_a_healthy_connection(databases: None, misbehave: Callable[[], None]) -> None:
    broker = StubBroker()
    broker.add_middleware(DatabaseConnections())
    healthy: list[bool] = []

    def check() -> None:
        assert connection.get_autocommit() and not connection.in_atomic_block
        connection.cursor().execute("SELECT 1")
        healthy.append(True)
        assert len(connection.queries) == 0

    check_actor = on(broker, check, max_retries=0)
    with running(broker, worker_threads=1):
        for _ in range(2):
            on(broker, misbehave, actor_name=f"misbehave{len(broker.actors)}", max_retries=0).send()
            check_actor.send()
            broker.join("default", timeout=10_000, fail_fast=False)

    assert healthy == [True, True]
    assert not MessageRecord.objects.filter(pk="leaked").exists()


def test_a_connection_that_was_opened_beside_those_of_django_is_left_alone(databases: None) -> None:
    broker = StubBroker()
    broker.add_middleware(DatabaseConnections())
    own = connections.create_connection("default")
    own.inc_thread_sharing()

    def begin() -> None:
        own.set_autocommit(False)

    on(broker, begin).send()
    with running(broker, worker_threads=1):
        broker.join("default", timeout=10_000)

    assert own.connection is not None and not own.autocommit
    own.close()


# Exceptions from outside


def a_slot() -> Slot:
    return Slot(Board(1, 1).regions[0], 0)


def test_a_message_does_not_pay_for_the_time_limit_of_the_one_before() -> None:
    slot = a_slot()
    slot.begin(Delivery(1, "first", "default", b"", 1))
    slot.open(0, 1_000, False)
    slot.close()
    slot.end()
    slot.begin(Delivery(2, "second", "default", b"", 1))
    slot.open(60_000, 1_000, False)

    assert not slot.interrupt_overdue(TimeLimitExceeded)
    slot.close()


def test_an_interrupt_lands_only_while_peoples_code_runs() -> None:
    """Ten thousand tasks that end while their interrupt is on its way: none of it reaches the engine's code."""
    slot = a_slot()
    going = threading.Event()
    landed = [0]

    def interrupt_all_the_time() -> None:
        while not going.is_set():
            slot.interrupt(TimeLimitExceeded)

    interrupter = threading.Thread(target=interrupt_all_the_time)
    slot._thread_id = threading.get_ident()
    interrupter.start()
    try:
        for _ in range(10_000):
            try:
                try:
                    slot.open(None, 0, False)
                    sum(range(20))
                finally:
                    slot.close()
            except Interrupt:
                landed[0] += 1
            sum(range(20))
    finally:
        going.set()
        interrupter.join()

    assert not slot._open


def test_tasks_that_end_just_at_their_limit_never_hurt_the_engine(
    stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    def nap(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    work = on(stub, nap, time_limit=100, max_retries=0)
    for number in range(60):
        work.send(0.099 + number % 3 / 1_000)
    with running(stub, worker_threads=4):
        stub.join("default", timeout=30_000, fail_fast=False)

    assert [record for record in caplog.records if record.levelname == "CRITICAL"] == []
    assert {type(letter.exception) for letter in stub.dead_letters} <= {TimeLimitExceeded}
    finals = [event for event in stub.journal.events if event.state in ("succeeded", "dead")]
    assert len(finals) == 60


def test_an_exception_can_be_raised_in_another_thread() -> None:
    caught: list[str] = []
    ready = threading.Event()

    def loop() -> None:
        try:
            while True:
                ready.set()
                ctypes.c_int(1)
        except TimeLimitExceeded as error:
            caught.append(str(error))

    thread = threading.Thread(target=loop)
    thread.start()
    ready.wait(10)
    raise_thread_exception(thread.ident or 0, TimeLimitExceeded)
    thread.join(10)

    assert caught == ["The actor ran longer than its time limit."]


# The board


def test_the_board_shows_what_runs_and_forgets_it_afterwards() -> None:
    board = Board(2, 2)
    region = board.regions[1]
    region.assign("worker-1", 42)
    region.begin(1, "ïd".encode(), b"queue", 3, 1_000, 2.5)
    region.set_deadline(1, 9.5)

    (task,) = region.running()
    assert task == ("ïd", "queue", 3, 1_000, 2.5, 9.5, False)
    region.set_deadline(1, 9.5, is_revoked=True)
    assert region.running() == [("ïd", "queue", 3, 1_000, 2.5, 9.5, True)]
    assert (region.worker_id, region.pid) == ("worker-1", 42)
    assert board.find("worker-1") is region and board.find("nobody") is None
    assert board.regions[0].running() == []

    region.end(1)
    assert region.running() == []


def test_the_board_tells_which_version_of_revocations_and_pauses_there_is_and_which_is_obeyed() -> None:
    region = Board(1, 1).regions[0]
    assert (region.told_control, region.obeyed_control) == (None, None)

    region.tell_control(0)
    region.obey_control(7)

    assert (region.told_control, region.obeyed_control) == (0, 7)
    region.assign("another", 43)
    assert (region.told_control, region.obeyed_control) == (None, None)
    region.report(5, 1, 1_024, True)
    region.condemn(7.5)
    assert (region.processed, region.failed, region.rss, region.wants_retirement) == (5, 1, 1_024, True)
    assert region.condemned_at == 7.5


def test_the_longest_names_fit_on_the_board() -> None:
    region = Board(1, 1).regions[0]
    region.assign("w" * 96, 1)
    region.begin(0, "🦄".encode() * 64, b"q" * 200, 1, 1, 1.0)

    (task,) = region.running()
    assert (task.message_id, task.queue_name, region.worker_id) == ("🦄" * 64, "q" * 200, "w" * 96)
