"""A RabbitMQ server of the test's own: out of memory, killed, thrown out by an operator, impatient."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_tasks_q import BrokerConnectionError, Message
from django_tasks_q.broker import Consumer
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.deliveries import Delivery, Settlement, WorkerInfo
from django_tasks_q.outcomes import DONE, Retry
from tests.support.private_rabbitmq import PrivateRabbitMQ
from tests.support.rabbitmq_brokers import waiting_in_memory
from tests.support.waiting import until

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow, pytest.mark.timeout(180)]

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
        assert time.monotonic() - began < 5

        answer = consumer.exchange([Settlement(done, DONE), Settlement(failed, Retry(AN_HOUR))], 0)
        assert answer.unsettled == {failed.handle}
    finally:
        server.set_memory_watermark(0.4)

    until(lambda: not consumer.exchange([Settlement(failed, Retry(AN_HOUR))], 0).unsettled)
    broker.enqueue(message("taken"))
    assert take(consumer, 1)[0].message_id in ("taken", "refused")
    consumer.close()
    assert broker.look_up(["failed"])


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
        assert time.monotonic() - began < 6
    finally:
        server.resume()

    broker.enqueue(message("m3"))


def test_a_task_that_runs_longer_than_the_consumer_timeout_is_delivered_again_and_settles_once() -> None:
    with (
        PrivateRabbitMQ(consumer_timeout=1_000, channel_tick_interval=200) as impatient,
        sending_to(impatient) as broker,
    ):
        broker.enqueue(message("m"))
        consumer = broker.consume(WorkerInfo("w"))
        first = take(consumer, 1)[0]

        second = take(consumer, 1)[0]

        assert (second.message_id, second.number) == ("m", 2)
        assert consumer.exchange([Settlement(first, DONE)], 0).refused == {first.handle}
        assert not consumer.exchange([Settlement(second, DONE)], 0).refused
        consumer.close()
        assert broker.counts()[0].ready == 0
