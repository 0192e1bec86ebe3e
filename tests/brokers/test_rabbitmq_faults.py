"""RabbitMQ when something is missing, away, full or in the way; and what it never does."""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pika import BasicProperties

from django_tasks_q import BrokerConnectionError, Message, PartialSendError, QueueMismatch, QueueNotFound, clock
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker, from_url
from django_tasks_q.brokers.rabbitmq.connection import Connection
from django_tasks_q.brokers.rabbitmq.intake import GRACE
from django_tasks_q.brokers.rabbitmq.parcel import Parcel
from django_tasks_q.brokers.rabbitmq.round import Round
from django_tasks_q.deliveries import Casualty, Delivery, Settlement, WorkerInfo
from django_tasks_q.errors import BrokerNotReady, ConnectionFailed
from django_tasks_q.events import Kind
from django_tasks_q.judge import make_judge
from django_tasks_q.outcomes import DONE, UNDECODABLE, Dead, Retry
from django_tasks_q.waiting_room import get_waiting_room, set_waiting_room
from tests.support.memory_room import MemoryRoom
from tests.support.rabbitmq_brokers import URL, namespaced, waiting_in_memory
from tests.support.waiting import until

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

    def test_a_broker_that_is_away_is_an_error_within_the_bound(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            broker = RabbitmqBroker(url=f"amqp://guest:guest@127.0.0.1:{closed.getsockname()[1]}/")
        broker.declare_queue("q")

        with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1"):
            broker.enqueue(message("m"))

    def test_a_broker_that_does_not_answer_is_an_error_within_the_bound(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            broker = RabbitmqBroker(url=f"amqp://guest:guest@127.0.0.1:{mute.getsockname()[1]}/")
            broker.send_timeout = 300
            broker.declare_queue("q")
            began = time.monotonic()

            with pytest.raises(BrokerConnectionError, match=r"0\.3 s"):
                broker.enqueue(message("m"))

            assert time.monotonic() - began < 2

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
        broker.send_timeout = 300
        broker.enqueue(message("m1"))
        with broker.publisher.connected() as connection:
            connection.blocked = True
        began = time.monotonic()

        with pytest.raises(BrokerConnectionError, match="alarm"):
            broker.enqueue(message("m2"))

        assert 0.25 < time.monotonic() - began < 3
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
            assert time.monotonic() - began < 0.9
            with broker.publisher.connected() as connection:
                connection.blocked = False
            assert not worker.settle(failed, Retry(AN_HOUR)).unsettled
            assert worker.settle(done, DONE).refused
        assert ready(broker) == 0
        assert broker.look_up(["done", "failed"]).keys() == {"failed"}

    def test_what_happens_unheard_is_a_gap_in_the_journal(self, broker: RabbitmqBroker) -> None:
        (partition,) = broker.journal.partitions()
        broker.enqueue_many([message("m1"), message("m2")])
        broker.journal.trim(partition, broker.journal.read(partition, 10))
        with Worker(broker) as worker:
            first, second = worker.take(2)
            with broker.publisher.connected() as connection:
                connection.blocked = True
            worker.settle(first, DONE)
            with broker.publisher.connected() as connection:
                connection.blocked = False
            worker.settle(second, DONE)

        stretch = broker.journal.read(partition, 10)

        assert stretch.gap is not None and stretch.gap.dropped == 1
        assert [event.message_id for event in stretch.events] == ["m2"]


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
        broker.send_timeout = 200
        broker.enqueue(message("m"), delay=1)
        until(lambda: broker.take_in(10) == 1)
        with broker.publisher.connected() as connection:
            connection.blocked = True
        until(lambda: room.next_due_in() == 0)

        with pytest.raises(BrokerConnectionError):
            broker.release_due(10)

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
    def test_a_message_that_is_missing_is_a_gap_that_is_told_until_it_was_trimmed(self, broker: RabbitmqBroker) -> None:
        journal, (partition,) = broker.journal, broker.journal.partitions()
        broker.enqueue(message("m1"))
        journal.trim(partition, journal.read(partition, 10))
        with broker.publisher.connected():
            broker.publisher._journal.pack([])
            broker.publisher._journal._sequence += 2  # two were dropped at the head
        broker.enqueue(message("m4"))

        first, again = journal.read(partition, 10), journal.read(partition, 10)

        assert first.gap is not None and first.gap.dropped == 2
        assert (again.gap, again.events) == (first.gap, first.events)
        journal.trim_gap(partition, first.gap)
        assert journal.read(partition, 10).gap is None
        journal.trim(partition, journal.read(partition, 10))
        assert journal.read(partition, 10).events == []

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
        assert [event.message_id for event in broker.journal.read("", 10).events] == ["m3", "m4"]


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
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            dead = f"amqp://127.0.0.1:{closed.getsockname()[1]}/"
        both = RabbitmqBroker(url=[dead, URL], namespace=broker.topology.namespace)
        for _ in range(6):
            both.check_ready()
            both.close()
