"""A RabbitMQ server of the test's own: out of memory, killed, thrown out by an operator, impatient."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_tasks_q import BrokerConnectionError, Message, changes, clock
from django_tasks_q.broker import Consumer
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.deliveries import Delivery, Settlement, Started, WorkerInfo
from django_tasks_q.outbox import safe
from django_tasks_q.outcomes import DONE, Retry
from tests.support.private_rabbitmq import PrivateRabbitMQ
from tests.support.rabbitmq_brokers import waiting_in_memory
from tests.support.waiting import until, within

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]

AN_HOUR = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRabbitMQ]:
    with PrivateRabbitMQ() as server:
        yield server


@pytest.fixture
def broker(server: PrivateRabbitMQ) -> Iterator[RabbitmqBroker]:
    with sending_to(server) as broker:
        yield broker


@contextmanager
def sending_to(server: PrivateRabbitMQ) -> Iterator[RabbitmqBroker]:
    with waiting_in_memory():
        broker = RabbitmqBroker(url=server.url, namespace="mine")
        broker.send_timeout = 2_000
        broker.declare_queue("q")
        broker.flush("q")
        yield broker
        broker.close()


def message(name: str) -> Message[None]:
    return Message("q", "work", (), {}, {}, name)


def take(consumer: Consumer, number: int) -> list[Delivery]:
    taken: list[Delivery] = []

    def look() -> bool:
        try:
            consumer.wait(0.1)
            taken.extend(consumer.exchange([], number - len(taken)).deliveries)
        except BrokerConnectionError:
            time.sleep(0.1)  # as the I/O thread does
        return len(taken) == number

    until(look, 60)
    return taken


def run(consumer: Consumer, number: int) -> list[Delivery]:
    """Take messages, and report that they have been running since now."""
    taken = take(consumer, number)
    report(consumer, taken)
    return taken


def report(consumer: Consumer, taken: list[Delivery]) -> bool:
    consumer.exchange([], 0, [Started(delivery, clock.wall_ms()) for delivery in taken])
    return True


def trade(consumer: Consumer) -> list[Delivery]:
    """One look, as the I/O thread takes it."""
    try:
        consumer.wait(0.05)
        return list(consumer.exchange([], 1).deliveries)
    except BrokerConnectionError:
        return []


def heard(broker: RabbitmqBroker) -> set[str]:
    """Whose messages the journal tells of, when all that was kept for it has had its chance."""
    broker.publisher.catch_up()
    stretch = broker.journal.read("", 100_000)
    assert stretch.gap is None
    return {event.message_id for event in stretch.events}


def test_a_journal_that_does_not_answer_delays_a_send_by_about_a_second(
    server: PrivateRabbitMQ, broker: RabbitmqBroker
) -> None:
    broker.send_timeout = 5_000
    broker.enqueue(message("m1"))
    journal = 'rabbit_misc:r(<<"/">>, queue, <<"mine.journal">>)'
    process = f"amqqueue:get_pid(element(2, rabbit_amqqueue:lookup({journal})))"

    def look() -> None:
        broker.publisher._journal._look_at = 0.0

    def flood() -> None:
        """More than the channel may have on its way to one queue."""
        for number in range(1_500):
            outgoing = broker.prepare(message(f"other{number}"))
            broker.publisher.deliver([], [changes.created(outgoing, clock.wall_ms())], 0.001)

    server.eval(f"sys:suspend({process})")
    try:
        for name, prepare in (("m2", lambda: None), ("m3", look), ("m4", broker.publisher.disconnect), ("m5", flood)):
            prepare()
            began = time.monotonic()
            broker.enqueue(message(name))
            assert time.monotonic() - began < within(3), name
    finally:
        server.eval(f"sys:resume({process})")
    broker.enqueue(message("m6"))
    until(lambda: {"m2", "m3", "m4", "m5", "m6"} <= heard(broker))


def test_under_a_memory_alarm_senders_hear_so_and_workers_go_on(
    server: PrivateRabbitMQ, broker: RabbitmqBroker
) -> None:
    broker.enqueue_many([message("done"), message("failed")])
    consumer = broker.consume(WorkerInfo("w"))
    done, failed = take(consumer, 2)
    server.set_memory_watermark(0)
    try:
        began = time.monotonic()
        with pytest.raises(BrokerConnectionError, match=r"alarm|did not answer"):
            broker.enqueue(message("refused"))
        assert time.monotonic() - began < within(5)

        answer = consumer.exchange([Settlement(done, DONE), Settlement(failed, Retry(AN_HOUR))], 0)
        assert answer.unsettled == {failed.handle}
    finally:
        server.set_memory_watermark(0.4)

    until(lambda: not consumer.exchange([Settlement(failed, Retry(AN_HOUR))], 0).unsettled)
    broker.enqueue(message("taken"))
    assert take(consumer, 1)[0].message_id in ("taken", "refused")
    consumer.close()
    assert broker.look_up(["failed"])


def test_under_a_memory_alarm_who_sends_what_is_safe_in_a_row_waits_for_nobody(
    server: PrivateRabbitMQ, broker: RabbitmqBroker
) -> None:
    broker.send_timeout = 10_000
    broker.enqueue(message("before"))
    server.set_memory_watermark(0)
    try:
        for name in ("first", "second"):  # the second one knows it before it has sent anything
            began = time.monotonic()
            with safe(), pytest.raises(BrokerConnectionError, match="alarm"):
                broker.publish([broker.prepare(message(name))])
            assert time.monotonic() - began < within(2)
    finally:
        server.set_memory_watermark(0.4)
    with safe():
        broker.publish([broker.prepare(message("after"))])
    assert broker.reader.ready("mine.q") in (2, 3, 4)
    broker.flush("q")


def test_a_server_that_is_killed_and_comes_back_has_everything_that_was_confirmed(
    server: PrivateRabbitMQ, broker: RabbitmqBroker
) -> None:
    broker.enqueue_many([message(f"m{number}") for number in range(20)])
    consumer = broker.consume(WorkerInfo("w"))
    held = take(consumer, 5)

    server.kill()
    with pytest.raises(BrokerConnectionError):
        broker.enqueue(message("while it is away"))
    server.start()

    again = take(consumer, 20)
    assert {delivery.message_id for delivery in again} == {f"m{number}" for number in range(20)}
    late = consumer.exchange([Settlement(delivery, DONE) for delivery in held], 0)
    assert late.refused == {delivery.handle for delivery in held}
    consumer.exchange([Settlement(delivery, DONE) for delivery in again], 0)
    consumer.close()
    broker.enqueue(message("after"))
    assert broker.counts()[0].ready == 1


def test_who_is_thrown_out_comes_back(server: PrivateRabbitMQ, broker: RabbitmqBroker) -> None:
    broker.enqueue(message("m1"))
    consumer = broker.consume(WorkerInfo("w"))
    take(consumer, 1)

    server.close_connections()
    until(lambda: not broker.publisher._connection or not broker.publisher._connection.breathe())

    broker.enqueue(message("m2"))
    assert {delivery.message_id for delivery in take(consumer, 2)} == {"m1", "m2"}
    consumer.close()


def test_a_server_that_stands_still_is_an_error_within_the_bound(
    server: PrivateRabbitMQ, broker: RabbitmqBroker
) -> None:
    broker.enqueue(message("m1"))
    server.suspend()
    try:
        began = time.monotonic()
        with pytest.raises(BrokerConnectionError):
            broker.enqueue(message("m2"))
        assert time.monotonic() - began < within(6)
    finally:
        server.resume()

    broker.enqueue(message("m3"))


def test_a_task_that_outlives_the_consumer_timeout_is_lost_and_a_dead_letter_when_it_always_does() -> None:
    with (
        PrivateRabbitMQ(consumer_timeout=1_000, channel_tick_interval=200) as impatient,
        sending_to(impatient) as broker,
    ):
        broker.enqueue_many([message("long"), message("longer")])
        consumer, quarantine = broker.consume(WorkerInfo("w")), broker.consume(WorkerInfo("q", suspects=True))
        first, other = run(consumer, 2)

        # One that comes to an end when it runs again settles once
        second, again = run(consumer, 2)
        assert (second.message_id, second.number, second.lost) == (first.message_id, 2, 1)
        assert consumer.exchange([Settlement(first, DONE)], 0).refused == {first.handle}
        assert not consumer.exchange([Settlement(second, DONE)], 0).refused

        # The other runs alone the third time, and not again
        until(lambda: not trade(consumer) and bool(alone := trade(quarantine)) and report(quarantine, alone), 10)
        until(lambda: not trade(quarantine) and broker.take_in(10), 10)
        held = broker.look_up([other.message_id])[other.message_id]
        assert (held.state, held.delivery.lost, again.number) == ("dead", 3, 2)
        consumer.close()
        quarantine.close()
