"""RabbitMQ when something is missing, away, full or in the way; and what it never does."""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from unittest.mock import ANY, Mock

import pytest
from pika import BasicProperties

from django_tasks_q import BrokerConnectionError, Message, PartialSendError, QueueMismatch, QueueNotFound, clock
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker, from_url, untold
from django_tasks_q.brokers.rabbitmq import journal as rabbitmq_journal
from django_tasks_q.brokers.rabbitmq.confirming_channel import ConfirmingChannel
from django_tasks_q.brokers.rabbitmq.connection import Connection
from django_tasks_q.brokers.rabbitmq.intake import GRACE
from django_tasks_q.brokers.rabbitmq.lines import Lines
from django_tasks_q.brokers.rabbitmq.parcel import Item, Parcel
from django_tasks_q.brokers.rabbitmq.round import Round
from django_tasks_q.deliveries import Casualty, Delivery, Settlement, WorkerInfo
from django_tasks_q.errors import BrokerNotReady, ConnectionFailed
from django_tasks_q.events import Event, Kind, guard
from django_tasks_q.journal import Gap, Stretch
from django_tasks_q.judge import make_judge
from django_tasks_q.outcomes import DONE, UNDECODABLE, Dead, Retry
from django_tasks_q.waiting_room import get_waiting_room, set_waiting_room
from tests.support.memory_room import MemoryRoom
from tests.support.ports import free_port
from tests.support.rabbitmq_brokers import URL, namespaced, waiting_in_memory
from tests.support.waiting import until, within

AN_HOUR = 3_600_000


@pytest.fixture(autouse=True)
def no_room() -> Iterator[None]:
    """There is no database, unless a test wants a room."""
    before = get_waiting_room()
    set_waiting_room(None)
    yield
    set_waiting_room(before)


@pytest.fixture
def broker() -> Iterator[RabbitmqBroker]:
    with namespaced() as broker:
        broker.declare_queue("q")
        yield broker


@pytest.fixture
def room() -> Iterator[MemoryRoom]:
    with waiting_in_memory() as room:
        yield room


def message(name: str, queue: str = "q", **options: Any) -> Message[Any]:
    return Message(queue, "work", (), {}, options, name)


def ready(broker: RabbitmqBroker, name: str = "q") -> int | None:
    return broker.reader.ready(broker.topology.work(name))


class Worker:
    """A consumer that is asked until it has something."""

    def __init__(self, broker: RabbitmqBroker, name: str = "w", **fields: Any) -> None:
        self.consumer = broker.consume(WorkerInfo(name, **fields))

    def take(self, number: int = 1) -> list[Delivery]:
        taken: list[Delivery] = []
        until(lambda: taken.extend(self._look(number - len(taken))) or len(taken) >= number)
        return taken

    def _look(self, room: int) -> list[Delivery]:
        self.consumer.wait(0.05)
        return self.consumer.exchange([], room).deliveries

    def settle(self, delivery: Delivery, outcome: Any, **fields: Any) -> Any:
        return self.consumer.exchange([Settlement(delivery, outcome, **fields)], 0)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.consumer.close()


def publish(broker: RabbitmqBroker, name: str, body: bytes, headers: dict[str, Any] | None = None) -> None:
    """As somebody does who knows nothing of us."""
    with broker.publisher.connected() as connection:
        channel = connection.open_channel()
        channel.basic_publish("", name, body, BasicProperties(headers=headers))
        connection.close_channel(channel)


def hear(broker: RabbitmqBroker) -> tuple[list[Event], Gap | None]:
    """What the journal tells until it is empty, and what it lacks."""
    journal, (partition,) = broker.journal, broker.journal.partitions()
    events: list[Event] = []
    gap: Gap | None = None
    while (stretch := journal.read(partition, 1_000)) != Stretch():
        if stretch.gap is not None:
            gap = stretch.gap
            journal.trim_gap(partition, stretch.gap)
        else:
            events += stretch.events
            journal.trim(partition, stretch)
    return events, gap


def breaking(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next publishing connections break before anything that was written on them is read."""
    wait, left = Round._wait_for_answers, list(range(times))

    def broken(self: Round) -> None:
        if left:
            left.pop()
            self._connection.abort()
        wait(self)

    monkeypatch.setattr(Round, "_wait_for_answers", broken)


def refusing(monkeypatch: pytest.MonkeyPatch, late: list[Item] | None = None) -> None:
    """The next message is refused by its queue, as by one that has just lost its leader; the journal goes on.

    Unless it is so slow that its confirm comes after the wait: then the note is in ``late``.
    """
    resolve = ConfirmingChannel._resolve
    refused: list[Item] = []

    def refuse(self: ConfirmingChannel, item: Item, is_refused: bool) -> None:
        (refused if item.is_awaited else late if late is not None else []).append(item)
        if item.is_awaited or late is None:
            resolve(self, item, item.is_awaited)
        if refused and (late is None or late):
            monkeypatch.setattr(ConfirmingChannel, "_resolve", resolve)

    monkeypatch.setattr(ConfirmingChannel, "_resolve", refuse)


def delete(broker: RabbitmqBroker, name: str) -> None:
    with broker.reader.connected() as connection:
        connection.ask(connection.open_channel().queue_delete, name)


class TestSending:
    def test_what_is_sent_lies_in_a_durable_queue_of_the_namespace(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m"))

        with broker.reader.taking(broker.topology.work("q"), 1) as taken:
            (one,) = taken

        assert (one.properties.message_id, one.properties.delivery_mode) == ("m", 2)
        assert Message.decode(one.body).message_id == "m"
        assert broker.topology.work("q") == f"{broker.topology.namespace}.q"

    def test_a_queue_that_was_deleted_is_made_anew_and_gets_the_message(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m1"))
        delete(broker, broker.topology.work("q"))

        broker.enqueue(message("m2"))
        broker.enqueue_many([message("m3"), message("m4")])

        assert ready(broker) == 3

    def test_a_queue_that_cannot_be_had_is_an_error_and_nothing_counts_as_sent(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "declare_target", lambda *args: None)

        with pytest.raises(QueueNotFound, match="deleted"):
            broker.enqueue(message("m"))

    def test_a_queue_with_other_arguments_is_an_error_that_says_how_to_move(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m"))
        other = RabbitmqBroker(url=URL, namespace=broker.topology.namespace, max_priority=10)
        other.declare_queue("q")

        with pytest.raises(QueueMismatch, match=r"x-max-priority.*rabbitmqctl delete_queue") as caught:
            other.enqueue(message("m2"))
        with pytest.raises(QueueMismatch):
            other.check_ready()
        with pytest.raises(QueueMismatch):
            other.consume(WorkerInfo("w"))

        assert broker.topology.work("q") in str(caught.value)
        other.close()

    def test_a_part_of_many_messages_may_be_sent_and_the_error_says_which(self, broker: RabbitmqBroker) -> None:
        other = RabbitmqBroker(url=URL, namespace=broker.topology.namespace, max_priority=10)
        other.declare_queue("new")
        other.declare_queue("q")
        broker.declare_queue("new")
        broker.enqueue(message("old"))

        with pytest.raises(PartialSendError) as caught:
            other.enqueue_many([message("m1", "new"), message("m2"), message("m3", "new")])

        assert [one.message_id for one in caught.value.sent] == ["m1", "m3"]
        assert [one.message_id for one in caught.value.unsent] == ["m2"]
        assert ready(broker, "new") == 2
        other.close()

    def test_senders_that_come_together_share_one_wait_for_the_confirms(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rounds: list[int] = []
        run = Round.run

        def counting(self: Round, note: Any) -> None:
            rounds.append(len(self._open))
            run(self, note)

        monkeypatch.setattr(Round, "run", counting)
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda number: broker.enqueue(message(f"m{number}")), range(400)))

        assert sum(rounds) == 400
        assert len(rounds) < 300
        assert ready(broker) == 400

    def test_a_connection_that_ended_while_nobody_used_it_is_replaced_unnoticed(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m1"))
        with broker.publisher.connected() as connection:
            connection._socket.shutdown(socket.SHUT_RDWR)

        broker.enqueue(message("m2"))

        assert ready(broker) == 2

    def test_who_is_interrupted_while_leading_lets_the_others_go_on(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker.enqueue(message("m0"))
        is_leading, may_go_on = threading.Event(), threading.Event()
        wait = Round._wait_for_answers

        def interrupted(self: Round) -> None:
            monkeypatch.setattr(Round, "_wait_for_answers", wait)
            is_leading.set()
            may_go_on.wait(10)
            raise KeyboardInterrupt

        monkeypatch.setattr(Round, "_wait_for_answers", interrupted)
        with ThreadPoolExecutor(4) as threads:
            leader = threads.submit(broker.enqueue, message("leader"))
            assert is_leading.wait(10)
            others = [threads.submit(broker.enqueue, message(f"m{number}")) for number in (1, 2, 3)]
            until(lambda: len(broker.publisher._queue) == 3)
            may_go_on.set()
            for other in others:
                other.result(10)
            assert isinstance(leader.exception(10), KeyboardInterrupt)

        assert (ready(broker) or 0) >= 4

    def test_who_is_interrupted_while_waiting_leaves_nothing_behind_and_leads_nobody_astray(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker.enqueue(message("m0"))
        is_leading, may_go_on = threading.Event(), threading.Event()
        run, wait = Round.run, Parcel.wait

        def slow(self: Round, note: Any) -> None:
            monkeypatch.setattr(Round, "run", run)
            is_leading.set()
            may_go_on.wait(10)
            run(self, note)

        def interrupted(self: Parcel, seconds: float) -> None:
            monkeypatch.setattr(Parcel, "wait", wait)
            raise KeyboardInterrupt

        monkeypatch.setattr(Round, "run", slow)
        with ThreadPoolExecutor(3) as threads:
            leader = threads.submit(broker.enqueue, message("leader"))
            assert is_leading.wait(10)
            monkeypatch.setattr(Parcel, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                broker.enqueue(message("interrupted"))
            last = threads.submit(broker.enqueue, message("last"))
            may_go_on.set()
            leader.result(10)
            last.result(10)

        broker.enqueue(message("after"))
        assert ready(broker) == 4

    def test_who_is_interrupted_together_with_his_leader_is_not_made_to_lead(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker.enqueue(message("m0"))
        publisher, wait, wait_for_answers = broker.publisher, Parcel.wait, Round._wait_for_answers
        is_gone = threading.Event()

        def followers_wait(self: Parcel, seconds: float) -> None:
            if self.items[0].properties.message_id == "follower":
                until(lambda: self.is_taken)
                raise KeyboardInterrupt
            wait(self, seconds)

        def leaders_wait(self: Round) -> None:
            monkeypatch.setattr(Round, "_wait_for_answers", wait_for_answers)
            is_gone.wait(10)
            raise KeyboardInterrupt

        monkeypatch.setattr(Parcel, "wait", followers_wait)
        monkeypatch.setattr(Round, "_wait_for_answers", leaders_wait)
        publisher._leader = before = Parcel([], [], 0.0)
        before.is_taken = True
        with ThreadPoolExecutor(2) as threads:
            leader = threads.submit(broker.enqueue, message("leader"))
            until(lambda: len(publisher._queue) == 1)
            follower = threads.submit(broker.enqueue, message("follower"))
            until(lambda: len(publisher._queue) == 2)
            publisher._leave(before)  # whoever led before has done, and the next one takes both
            assert isinstance(follower.exception(10), KeyboardInterrupt)
            is_gone.set()
            assert isinstance(leader.exception(10), KeyboardInterrupt)

        broker.send_timeout = 3_000
        broker.enqueue(message("after"))

    def test_a_broker_that_is_away_is_an_error_within_the_bound(self) -> None:
        broker = RabbitmqBroker(url=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
        broker.declare_queue("q")

        with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1"):
            broker.enqueue(message("m"))

    @pytest.mark.parametrize(
        "answer",
        [
            b"\x01\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\xce",
            b"\x01\x00\x00\x00\x00\x00\x06\x00\x0a\x00\x0a\x00\x09\xce",
            bytes(64),
        ],
        ids=["a method that nobody knows", "a frame that ends too soon", "zeros"],
    )
    def test_what_answers_there_and_is_no_rabbitmq_is_a_broker_that_is_away(self, answer: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

            def serve() -> None:
                connected, _ = server.accept()
                with connected:
                    connected.sendall(answer)
                    connected.recv(100)

            pool.submit(serve)
            with pytest.raises(ConnectionFailed, match="refused the connection"):
                RabbitmqBroker(url=f"amqp://127.0.0.1:{server.getsockname()[1]}/").connect("asks")

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [(("guest:guest@", "guest:wrong@"), "ACCESS_REFUSED"), (("5672/", "5672/nosuch"), "vhost nosuch not found")],
        ids=["a wrong password", "a virtual host that is missing"],
    )
    def test_who_is_not_let_in_hears_why_at_once_and_no_password(self, wrong: tuple[str, str], said: str) -> None:
        broker = RabbitmqBroker(url=URL.replace(*wrong))
        began = time.monotonic()

        with pytest.raises(ConnectionFailed, match=said) as caught:
            broker.connect("asks")

        assert "wrong" not in str(caught.value)
        assert time.monotonic() - began < within(2)

    @pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".invalid"])
    def test_a_host_that_cannot_be_is_a_broker_that_is_away(self, host: str) -> None:
        with pytest.raises(ConnectionFailed, match="no host can be called"):
            RabbitmqBroker(url=f"amqp://{host}/").connect("asks")

    def test_a_broker_that_does_not_answer_is_an_error_within_the_bound(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            broker = RabbitmqBroker(url=f"amqp://guest:guest@127.0.0.1:{mute.getsockname()[1]}/")
            broker.send_timeout = 300
            broker.declare_queue("q")
            began = time.monotonic()

            with pytest.raises(BrokerConnectionError, match=r"0\.3 s"):
                broker.enqueue(message("m"))

            assert time.monotonic() - began < within(2)

    def test_a_broker_that_falls_silent_while_a_connection_is_opened_is_an_error_within_the_bound(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def connect_late(*args: Any, **options: Any) -> Connection:
            connection = connect(*args, **options)
            time.sleep(0.9 * broker.send_timeout / 1000)
            monkeypatch.setattr(connection, "_await", lambda seconds: bool(time.sleep(seconds)))
            return connection

        connect = broker.connect
        broker.send_timeout = 1_000
        began = time.monotonic()

        with monkeypatch.context() as silence, pytest.raises(BrokerConnectionError, match="did not answer"):
            silence.setattr(broker, "connect", connect_late)
            broker.enqueue(message("m"))

        assert time.monotonic() - began < within(1.5)

    def test_a_child_process_has_connections_of_its_own(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("parent"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the test runner has threads
            child = os.fork()
        if child == 0:
            try:
                broker.enqueue(message("child"))
                broker.close()
                os._exit(0)
            finally:
                os._exit(1)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        broker.enqueue(message("parent again"))
        assert ready(broker) == 3

    def test_threads_of_a_child_process_that_send_first_at_the_same_time_share_one_new_connection(
        self, broker: RabbitmqBroker
    ) -> None:
        broker.enqueue(message("parent"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                # Given threads that take their time to forget what is the parent's, each longer than the one before
                forget, turns = Lines.forget, count(1)
                Lines.forget = lambda lines: (time.sleep(next(turns) / 10), forget(lines))[1]  # type: ignore[method-assign]

                def send(number: int) -> int:
                    broker.enqueue(message(f"child {number}"))
                    return id(broker.publisher)

                with ThreadPoolExecutor(4) as pool:
                    publishers = set(pool.map(send, range(4)))
                broker.close()
                os._exit(0 if len(publishers) == 1 else 2)
            finally:
                os._exit(1)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ready(broker) == 5

    def test_a_process_that_sends_works_and_looks_has_one_connection_for_each(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Connection] = []
        connect = broker.connect
        monkeypatch.setattr(broker, "connect", lambda *a, **k: made.append(connect(*a, **k)) or made[-1])
        with Worker(broker) as worker, ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: broker.enqueue(message(f"m{number}")), range(50)))
            for _ in range(50):
                worker.settle(worker.take()[0], DONE)

            assert len(made) == 2  # one to consume, one to publish
            broker.counts()
            broker.has_suspects()
            assert len(made) == 3  # and one for who looks, which workers do not

    def test_a_connection_that_only_sends_has_no_heartbeat(self, broker: RabbitmqBroker) -> None:
        with broker.publisher.connected() as connection:
            assert connection.params.heartbeat == 0
            assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


class TestAlarm:
    """RabbitMQ is out of memory or disk: it says so, and reads no more from who has published."""

    def test_a_sender_waits_as_long_as_it_is_told_to(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m1"))
        with broker.publisher.connected() as connection:
            connection.blocked = True
        before, broker.send_timeout = broker.send_timeout, 300
        began = time.monotonic()

        with pytest.raises(BrokerConnectionError, match="alarm"):
            broker.enqueue(message("m2"))

        assert 0.25 < time.monotonic() - began < within(3)
        broker.send_timeout = before
        with broker.publisher.connected() as connection:
            connection.blocked = False
        broker.enqueue(message("m3"))
        assert ready(broker) == 2

    def test_who_is_done_is_acknowledged_and_what_must_be_published_stays_open(
        self, broker: RabbitmqBroker, room: MemoryRoom
    ) -> None:
        broker.enqueue_many([message("done"), message("failed")])
        with Worker(broker) as worker:
            done, failed = worker.take(2)
            with broker.publisher.connected() as connection:
                connection.blocked = True
            began = time.monotonic()

            settlements = [Settlement(done, DONE), Settlement(failed, Retry(AN_HOUR))]
            answer = worker.consumer.exchange(settlements, 0)

            assert (answer.refused, answer.unsettled) == (frozenset(), {failed.handle})
            assert time.monotonic() - began < within(0.9)
            with broker.publisher.connected() as connection:
                connection.blocked = False
            assert not worker.settle(failed, Retry(AN_HOUR)).unsettled
            assert worker.settle(done, DONE).refused
        assert ready(broker) == 0
        assert broker.look_up(["done", "failed"]).keys() == {"failed"}

    @pytest.mark.parametrize(("budget", "is_enough"), [(100_000, True), (2_000, False)])
    def test_what_happens_meanwhile_is_told_at_its_end_and_what_is_too_much_is_a_gap(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch, budget: int, is_enough: bool
    ) -> None:
        monkeypatch.setattr(untold, "BUDGET", budget)
        monkeypatch.setattr(untold, "_FULL", 600)
        broker.enqueue_many([message(f"m{number}") for number in range(40)])
        hear(broker)
        with Worker(broker, threads=40) as worker:
            taken = worker.take(40)
            with broker.publisher.connected() as connection:
                connection.blocked = True
            for delivery in taken:
                worker.settle(delivery, DONE)
            with broker.publisher.connected() as connection:
                connection.blocked = False
            worker.consumer.exchange([], 0)  # nothing to settle, nothing to send

            events, gap = hear(broker)

        assert (len(events) == 40, gap is None) == (is_enough, is_enough)
        assert gap is None or gap.dropped == 40 - len(events)
        assert events[-1].message_id == taken[-1].message_id


class TestWorking:
    def test_what_a_lost_connection_held_comes_again_and_late_settlements_are_refused(
        self, broker: RabbitmqBroker
    ) -> None:
        broker.enqueue_many([message(f"m{number}") for number in range(5)])
        with Worker(broker) as worker:
            old = worker.take(5)
            worker.consumer._intake._connection._socket.shutdown(socket.SHUT_RDWR)

            answer = worker.consumer.exchange([Settlement(delivery, DONE) for delivery in old], 0)

            assert answer.refused == {delivery.handle for delivery in old}
            new = worker.take(5)
            assert {delivery.message_id for delivery in new} == {delivery.message_id for delivery in old}
            assert not worker.consumer.exchange([Settlement(delivery, DONE) for delivery in new], 0).refused
        assert ready(broker) == 0

    def test_a_channel_that_rabbitmq_closes_is_survived_and_a_late_acknowledgement_does_nothing(
        self, broker: RabbitmqBroker
    ) -> None:
        broker.enqueue(message("m"))
        with Worker(broker) as worker:
            old = worker.take()[0]
            worker.consumer._intake._channel.basic_ack(999_999)  # RabbitMQ answers as to a consumer_timeout
            until(lambda: worker.consumer.wait(0.02) or not worker.consumer._intake._channel.is_open)

            assert worker.settle(old, DONE).refused == {old.handle}
            again = worker.take()[0]
            assert (again.message_id, again.number) == ("m", 2)
            worker.settle(again, DONE)
        assert ready(broker) == 0

    def test_a_queue_that_is_deleted_under_a_worker_is_made_and_consumed_anew(self, broker: RabbitmqBroker) -> None:
        with Worker(broker) as worker:
            delete(broker, broker.topology.work("q"))
            until(lambda: worker.consumer.exchange([], 1) and ready(broker) is not None)
            broker.enqueue(message("m"))

            assert worker.take()[0].message_id == "m"

    def test_a_queue_declared_later_is_served_too(self, broker: RabbitmqBroker) -> None:
        with Worker(broker) as worker:
            broker.declare_queue("later")
            broker.enqueue(message("m", "later"))

            assert worker.take()[0].queue_name == "later"

    def test_a_worker_holds_what_its_threads_run_and_sixteen_more(self, broker: RabbitmqBroker) -> None:
        broker.enqueue_many([message(f"m{number:02}") for number in range(40)])
        with Worker(broker, threads=4) as worker:
            worker.take(20)

            until(lambda: ready(broker) == 20)

    def test_no_message_is_held_for_a_delay(self, broker: RabbitmqBroker, room: MemoryRoom) -> None:
        broker.enqueue(message("delayed"), delay=AN_HOUR)
        broker.enqueue(message("failing"))
        with Worker(broker) as worker:
            worker.settle(worker.take()[0], Retry(AN_HOUR))

            assert worker.consumer.counts() == {}
        assert broker.reader.ready(broker.topology.waiting) == 2
        assert broker.take_in(10) == 2
        assert broker.reader.ready(broker.topology.waiting) == 0
        assert {item.kind for item in room.look_up(["delayed", "failing"])} == {"delay", "retry"}
        assert broker.release_due(10) == 0

    def test_what_is_due_soon_does_not_queue_behind_what_is_due_tomorrow(
        self, broker: RabbitmqBroker, room: MemoryRoom
    ) -> None:
        for number in range(50):
            broker.enqueue(message(f"m{number}"), delay=AN_HOUR)
        broker.enqueue(message("soon"), delay=1_000)

        assert broker.take_in(10) == 11
        assert "soon" in broker.look_up(["soon"])

    def test_what_a_crash_leaves_between_the_rows_and_the_acknowledgement_is_kept_once(
        self, broker: RabbitmqBroker, room: MemoryRoom, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker.enqueue(message("m"), delay=AN_HOUR)
        keep = room.keep

        def keep_and_die(items: Any) -> None:
            keep(items)
            raise BrokerNotReady("gone")

        monkeypatch.setattr(room, "keep", keep_and_die)
        with pytest.raises(BrokerNotReady):
            broker.take_in(10)
        monkeypatch.setattr(room, "keep", keep)

        assert broker.take_in(10) == 1
        assert broker.counts()[0].delayed == 1

    def test_what_is_due_stays_in_its_row_while_rabbitmq_is_away(
        self, broker: RabbitmqBroker, room: MemoryRoom
    ) -> None:
        broker.enqueue(message("m"), delay=1)
        until(lambda: broker.take_in(10) == 1)
        with broker.publisher.connected() as connection:
            connection.blocked = True
        until(lambda: room.next_due_in() == 0)
        before, broker.send_timeout = broker.send_timeout, 200

        with pytest.raises(BrokerConnectionError):
            broker.release_due(10)

        broker.send_timeout = before
        with broker.publisher.connected() as connection:
            connection.blocked = False
        assert broker.release_due(10) == 1
        assert ready(broker) == 1 and room.next_due_in() is None

    def test_what_rabbitmq_itself_dead_letters_becomes_a_dead_letter(
        self, broker: RabbitmqBroker, room: MemoryRoom
    ) -> None:
        broker.enqueue(message("m"))
        with broker.reader.connected() as connection:
            channel = connection.open_channel()
            channel.basic_consume(
                broker.topology.work("q"),
                lambda channel, method, *_: channel.basic_reject(method.delivery_tag, requeue=False),
            )
            connection.drive(lambda: False, clock.monotonic() + 0.3)
            connection.close_channel(channel)

        assert broker.take_in(10) == 1

        held = broker.look_up(["m"])["m"]
        assert (held.state, held.delivery.queue_name) == ("dead", "q")
        told = [event for event in broker.journal.read("", 10).events if event.kind is Kind.SETTLED]
        assert [(event.message_id, event.reason) for event in told] == [("m", "rejected")]
        assert broker.requeue(["m"]) == ["m"]
        assert ready(broker) == 1


class TestForeigners:
    @pytest.mark.parametrize("body", [b"", b"\xff\x00 not a message", b'{"half": '])
    def test_bytes_that_are_no_message_are_delivered_as_they_are(
        self, broker: RabbitmqBroker, room: MemoryRoom, body: bytes
    ) -> None:
        with Worker(broker) as worker:
            publish(broker, broker.topology.work("q"), body, {"x-dtq-life": "many", "x-dtq-number": -4})

            delivery = worker.take()[0]

            assert (delivery.payload, delivery.queue_name, delivery.number, delivery.life) == (body, "q", 1, 0)
            worker.settle(delivery, UNDECODABLE)
        held = broker.look_up([delivery.message_id])[delivery.message_id]
        assert (held.state, held.delivery.payload) == ("dead", body)

    def test_a_message_that_dramatiq_would_send_is_known_by_its_id(self, broker: RabbitmqBroker) -> None:
        with Worker(broker) as worker:
            publish(broker, broker.topology.work("q"), message("theirs").encode())

            assert worker.take()[0].message_id == "theirs"

    def test_what_others_put_into_the_waiting_queue_is_a_dead_letter(
        self, broker: RabbitmqBroker, room: MemoryRoom
    ) -> None:
        broker.check_ready()
        publish(broker, broker.topology.waiting, message("m").encode())

        broker.take_in(10)

        assert broker.look_up(["m"])["m"].state == "dead"


class TestLosses:
    def test_notes_are_gone_when_their_message_is_settled(self, broker: RabbitmqBroker, room: MemoryRoom) -> None:
        broker.enqueue(message("m"))
        with Worker(broker, "dying") as worker:
            delivery = worker.take()[0]
            worker.consumer.disconnect()
        broker.bury("dying", [Casualty("m", delivery.number, "lost", 1)], make_judge(broker))
        assert broker.reader.ready(broker.topology.notes("m")) == 1

        with Worker(broker) as worker:
            again = worker.take()[0]
            assert (again.number, again.lost) == (2, 1)
            worker.settle(again, DONE)
            until(lambda: worker.consumer.wait(0.01) or broker.reader.ready(broker.topology.notes("m")) is None)

    def test_what_was_lost_before_waits_at_rabbitmq_while_its_queue_is_paused(
        self, broker: RabbitmqBroker, room: MemoryRoom
    ) -> None:
        broker.enqueue(message("m"))
        with Worker(broker, "dying") as worker:
            delivery = worker.take()[0]
            worker.consumer.disconnect()
        broker.bury("dying", [Casualty("m", delivery.number, "lost", 1)], make_judge(broker))

        with Worker(broker) as worker:
            consumer = worker.consumer
            until(lambda: worker._look(0) or consumer._intake.holding.waits_since("q") < float("inf"))
            consumer.paused = consumer.left_out = frozenset({"q"})
            until(lambda: worker._look(1) or (ready(broker) == 1 and not consumer.counts()))

            consumer.paused = consumer.left_out = frozenset()
            again = worker.take()[0]
            assert (again.number, again.lost) == (2, 1)
            worker.settle(again, DONE)

        told = hear(broker)[0]
        lost = [event for event in told if event.attempt_outcome == "lost"]
        assert lost == [lost[0]] * len(lost) and (lost[0].state, lost[0].lost) == ("enqueued", 1)
        assert told[-1].state == "succeeded"

    def test_a_message_that_was_given_out_before_waits_for_a_note(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m"))
        with Worker(broker, "dying") as worker:
            worker.take()
        with Worker(broker) as worker:
            began = time.monotonic()

            delivery = worker.take()[0]

            assert time.monotonic() - began >= GRACE - 0.05
            assert delivery.lost == 0

    def test_a_note_that_comes_after_the_message_counts(self, broker: RabbitmqBroker, room: MemoryRoom) -> None:
        broker.enqueue(message("m"))
        with Worker(broker, "dying") as dying:
            delivery = dying.take()[0]
            with Worker(broker, "living") as living:
                dying.consumer.disconnect()
                until(lambda: living.consumer.wait(0.01) or living.consumer.counts())

                broker.bury("dying", [Casualty("m", delivery.number, "lost", 1)], make_judge(broker))

                assert living.take()[0].lost == 1


class TestJournal:
    def test_what_was_told_to_a_connection_that_broke_is_told_again(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker.enqueue_many([message("m1"), message("m2")])
        hear(broker)
        with Worker(broker) as worker:
            first, second = worker.take(2)
            breaking(monkeypatch, times=2)  # once is no trouble: the connection might have been idle
            assert not worker.settle(first, DONE).refused
            with broker.reader.connected() as connection:
                connection.abort()  # the node was that of the reader too
            worker.settle(second, DONE)

        events, gap = hear(broker)

        assert [(event.message_id, event.state) for event in events] == [("m1", "succeeded"), ("m2", "succeeded")]
        assert gap is None

    @pytest.mark.parametrize("how", ["broken", "refused", "refused, and the journal is slow"])
    def test_of_a_message_that_may_not_have_been_sent_nothing_is_claimed(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        broker.enqueue(message("m1"))
        late: list[Item] = []
        if how == "broken":
            breaking(monkeypatch, times=2)
        else:
            refusing(monkeypatch, late if "slow" in how else None)
        with pytest.raises(BrokerConnectionError):
            broker.enqueue(message("m2"))
        for note in late:
            note.is_confirmed = True
        broker.enqueue(message("m3"))

        events, gap = hear(broker)

        states = {event.message_id: event.state.value for event in sorted(events, key=guard)}
        assert (states, gap) == ({"m1": "enqueued", "m2": "unknown", "m3": "enqueued"}, None)

    def test_what_rabbitmq_has_is_no_gap_though_what_was_told_before_it_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(untold, "BUDGET", 2_000)
        kept = untold.Untold("writer")
        notes = [untold.Note("journal", [b"e" * size], 1) for size in (600, 600, 1_500, 1)]
        channel = Mock()
        for note in notes[:3]:
            kept.send(channel, note)
            if note is notes[2]:
                notes[1].is_confirmed = True
            kept.keep(note)

        kept.send(channel, notes[3])

        assert notes[3].dropped == 1

    def test_what_is_given_up_is_not_kept_by_the_channel_that_waits_for_its_confirm(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(untold, "BUDGET", 100_000)
        kept, channel = untold.Untold("writer"), Mock()
        for _ in range(2_000):
            note = untold.Note("journal", [b"e" * 1_000], 1)
            kept.send(channel, note)
            kept.keep(note)

        published = [call.args[0] for call in channel.publish.call_args_list]

        assert sum(note.size for note in published) < 200_000

    def test_a_reader_that_lost_its_connection_sees_what_is_missing(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq_journal, "_PATIENCE", 0.1)
        broker.enqueue(message("m1"))
        hear(broker)
        with broker.reader.connected() as connection:
            connection.abort()
        broker.publisher._journal._untold._sequence += 2  # two were lost with their node
        broker.enqueue(message("m4"))

        events, gap = hear(broker)

        assert [event.message_id for event in events] == ["m4"]
        assert gap is not None and gap.dropped == 2

    def test_what_comes_twice_leaves_no_hole(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m1"))
        broker.enqueue(message("m2"))
        broker.publisher._journal._untold._sequence -= 2
        broker.enqueue(message("m1"))
        hear(broker)
        broker.publisher._journal._untold._sequence = 2
        broker.enqueue(message("m3"))

        events, gap = hear(broker)

        assert ([event.message_id for event in events], gap) == (["m3"], None)

    def test_a_journal_that_was_deleted_is_a_gap_and_what_happens_next_is_told(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m1"))
        broker.journal.read("", 10)
        delete(broker, broker.topology.journal)

        assert hear(broker) == ([], Gap(1, ANY, ANY))

        delete(broker, broker.topology.journal)
        broker.enqueue(message("m2"))  # which makes it anew before anybody looks

        events, gap = hear(broker)
        assert [event.message_id for event in events] == ["m2"] and gap is not None

    def test_a_message_that_is_missing_is_a_gap_that_is_told_until_it_was_trimmed(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq_journal, "_PATIENCE", 0.1)
        journal, (partition,) = broker.journal, broker.journal.partitions()
        broker.enqueue(message("m1"))
        journal.trim(partition, journal.read(partition, 10))
        with broker.publisher.connected():
            broker.publisher._journal._untold._sequence += 2  # two were dropped at the head
        broker.enqueue(message("m4"))

        first, again = journal.read(partition, 10), journal.read(partition, 10)

        assert first.gap is not None and first.gap.dropped == 2
        assert (again.gap, again.events) == (first.gap, first.events)
        journal.trim_gap(partition, first.gap)
        assert journal.read(partition, 10).gap is None
        journal.trim(partition, journal.read(partition, 10))
        assert journal.read(partition, 10).events == []

    def test_what_somebody_looks_at_meanwhile_and_puts_back_is_no_gap(
        self, broker: RabbitmqBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq_journal, "PREFETCH", 1)
        journal, (partition,) = broker.journal, broker.journal.partitions()
        for name in ("m1", "m2", "m3"):
            broker.enqueue(message(name))
        first = journal.read(partition, 10)
        other = RabbitmqBroker(url=URL, namespace=broker.topology.namespace)

        with ThreadPoolExecutor(1) as pool:
            with other.reader.taking(partition, 1, for_good=False) as taken:
                assert len(taken) == 1
                journal.trim(partition, first)
                heard = pool.submit(hear, broker)
                until(lambda: journal._entries)
            events, gap = heard.result(10)
        other.close()

        assert ({event.message_id for event in events}, gap) == ({"m2", "m3"}, None)

    def test_what_cannot_be_read_is_a_gap(self, broker: RabbitmqBroker) -> None:
        journal, (partition,) = broker.journal, broker.journal.partitions()
        broker.enqueue(message("m1"))
        publish(broker, partition, b"not events")
        broker.enqueue(message("m2"))

        before = journal.read(partition, 10)
        assert ([event.message_id for event in before.events], before.gap) == (["m1"], None)
        journal.trim(partition, before)
        stretch = journal.read(partition, 10)

        assert stretch.gap is not None and stretch.gap.dropped == 1
        assert [event.message_id for event in stretch.events] == ["m2"]

    def test_what_was_read_and_not_trimmed_is_there_for_the_next_reader(self, broker: RabbitmqBroker) -> None:
        journal, (partition,) = broker.journal, broker.journal.partitions()
        broker.enqueue_many([message("m1"), message("m2")])
        stretch = journal.read(partition, 10)
        assert len(stretch.events) == 2

        journal.close()
        journal.trim(partition, stretch)  # it is somebody else's now

        assert [event.message_id for event in journal.read(partition, 10).events] == ["m1", "m2"]

    def test_the_backlog_tells_how_much_waits_and_for_how_long(self, broker: RabbitmqBroker) -> None:
        journal, (partition,) = broker.journal, broker.journal.partitions()
        assert journal.backlog(partition).events == 0
        broker.enqueue(message("m1"))
        until(lambda: journal.backlog(partition).lag_ms >= 20)

        backlog = journal.backlog(partition)

        assert backlog.events == 1 and 0 < backlog.fill < 0.01
        journal.trim(partition, journal.read(partition, 10))
        assert journal.backlog(partition).events == 0

    def test_over_half_of_the_budget_events_have_no_arguments(self, broker: RabbitmqBroker) -> None:
        broker.journal_max_bytes = 20_000
        broker.enqueue_many([message(f"m{number}", text="x" * 1_000) for number in range(12)])
        broker.publisher.disconnect()  # the next sender looks how full it is
        broker.publisher._journal._mean_size = 12_000
        broker.enqueue(message("looks"))

        broker.enqueue(message("late", text="x"))

        events = [event for event in broker.journal.read("", 100).events if event.message_id == "late"]
        assert events[0].birth is not None and events[0].birth.options is None

    def test_a_journal_that_is_gone_or_another_keeps_nobody_from_sending(self, broker: RabbitmqBroker) -> None:
        broker.enqueue(message("m1"))
        delete(broker, broker.topology.journal)
        broker.enqueue(message("m2"))
        broker.journal_max_bytes = 5_000_000
        broker.publisher.disconnect()

        broker.enqueue(message("m3"))
        broker.journal_max_bytes = 6_000_000
        broker.publisher.disconnect()
        broker.enqueue(message("m4"))

        assert ready(broker) == 4
        assert [event.message_id for event in broker.journal.read("", 10).events] == ["m2", "m3", "m4"]


class TestWithoutADatabase:
    def test_a_delay_is_an_error_at_the_sender_and_a_failure_stays_durable(
        self, broker: RabbitmqBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(BrokerNotReady, match="migrate"):
            broker.enqueue(message("m"), delay=1_000)
        broker.enqueue(message("m"))
        with Worker(broker) as worker:
            assert "There is no database" in caplog.text
            worker.settle(worker.take()[0], Dead("throws"))

        assert broker.reader.ready(broker.topology.waiting) == 1
        assert broker.look_up(["m"]) == {} and broker.counts()[0].dead == 0


class TestOptions:
    def test_the_address_has_no_password(self) -> None:
        assert from_url("amqp://me:secret@rabbit:5673/tasks").address == "amqp://rabbit:5673/tasks"
        assert RabbitmqBroker(url="amqp://a;amqps://b").address == "amqp://a:5672,b:5671"
        assert RabbitmqBroker(host="rabbit", port=1234).address == "amqp://rabbit:1234"

    def test_what_makes_no_sense_is_refused(self) -> None:
        for wrong in ({"queue_type": "stream"}, {"max_priority": 0}, {"max_priority": 10, "queue_type": "quorum"}):
            with pytest.raises(ValueError, match=r"queue_type|priorit"):
                RabbitmqBroker(url=URL, **wrong)
        with pytest.raises(ValueError, match="one of them"):
            RabbitmqBroker(url=URL, host="rabbit")
        with pytest.raises(ValueError, match="engine"):
            RabbitmqBroker(url=URL).declare_queue("journal")
        with pytest.raises(ValueError, match="too long"):
            RabbitmqBroker(url=URL, namespace="n" * 64).declare_queue("q" * 200)

    def test_another_node_is_asked_when_one_is_away(self, broker: RabbitmqBroker) -> None:
        dead = f"amqp://127.0.0.1:{free_port()}/"
        both = RabbitmqBroker(url=[dead, URL], namespace=broker.topology.namespace)
        for _ in range(6):
            both.check_ready()
            both.close()
