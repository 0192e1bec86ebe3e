"""How much RabbitMQ sends ahead: plenty to who is quick, and to who is not nothing that others could do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from pika import BasicProperties

from django_tasks_q import Message
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.rabbitmq.intake import AHEAD, MOST_RETURNS
from django_tasks_q.brokers.rabbitmq.reach import Reach, shares
from django_tasks_q.deliveries import Delivery, Settlement, WorkerInfo
from django_tasks_q.outcomes import DONE, HANDED_BACK
from tests.support.rabbitmq_brokers import open_broker
from tests.support.waiting import until, within

THREADS = 4
LEAST = THREADS + AHEAD


@pytest.fixture(params=["rabbitmq", "rabbitmq-quorum"])
def broker(request: pytest.FixtureRequest) -> Iterator[RabbitmqBroker]:
    with open_broker(request.param) as broker:
        broker.declare_queue("q")
        yield broker


class Worker:
    """A consumer with what it was handed out."""

    def __init__(self, broker: RabbitmqBroker, name: str) -> None:
        self.consumer = broker.consume(WorkerInfo(name, threads=THREADS))
        self.deliveries: list[Delivery] = []

    def exchange(self, room: int) -> None:
        self.consumer.wait(0.01)
        self.deliveries += self.consumer.exchange([], room).deliveries

    def settle(self, outcome: object) -> frozenset[object]:
        settlements = [Settlement(delivery, outcome) for delivery in self.deliveries]
        self.deliveries = []
        return self.consumer.exchange(settlements, 0).refused

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.consumer.close()

    @property
    def held(self) -> int:
        return sum(self.consumer.counts().get("q", (0, 0)))


def send(broker: RabbitmqBroker, number: int) -> list[str]:
    names = [f"m{index:03}" for index in range(number)]
    broker.enqueue_many([Message("q", "work", (), {}, {}, name) for name in names])
    return names


def test_who_asks_for_more_than_the_least_is_sent_it_and_who_asks_for_little_more_is_not(
    broker: RabbitmqBroker,
) -> None:
    send(broker, 200)
    with Worker(broker, "w") as worker:
        until(lambda: worker.exchange(1) or worker.held == LEAST)
        worker.exchange(LEAST + LEAST // 4)
        until(lambda: worker.exchange(1) or len(worker.deliveries) >= LEAST)
        assert worker.held == LEAST

        worker.exchange(100)
        until(lambda: worker.exchange(0) or worker.held == LEAST + 100)


@pytest.mark.parametrize("sign", ["something is handed back", "nothing is asked for"])
def test_when_work_turns_slow_an_idle_neighbour_soon_has_what_was_sent_ahead_and_nothing_counts_as_lost(
    broker: RabbitmqBroker, sign: str
) -> None:
    names = send(broker, 120)
    with Worker(broker, "slow") as slow, Worker(broker, "idle") as idle:
        until(lambda: slow.exchange(1) or slow.held >= LEAST)
        slow.exchange(100)
        until(lambda: slow.consumer.wait(0.01) or slow.held >= 90)
        if sign == "something is handed back":
            slow.exchange(20)
            assert not slow.settle(HANDED_BACK)
        began = time.monotonic()

        until(lambda: slow.consumer.wait(0.01) or idle.exchange(120) or len(idle.deliveries) + slow.held == 120)
        until(lambda: slow.consumer.wait(0.01) or idle.exchange(120) or len(idle.deliveries) >= 120 - 2 * LEAST)

        assert time.monotonic() - began < within(1.5)
        until(lambda: slow.exchange(120) or idle.exchange(120) or len(slow.deliveries + idle.deliveries) >= 120)
        ran = [*slow.deliveries, *idle.deliveries]
        assert sorted(delivery.message_id for delivery in ran) == names
        assert {(delivery.lost, delivery.retries) for delivery in ran} == {(0, 0)}
        assert not slow.settle(DONE) and not idle.settle(DONE)


def test_what_a_quorum_queue_got_back_often_enough_is_not_put_back_for_having_been_sent_too_far_ahead(
    broker: RabbitmqBroker,
) -> None:
    with Worker(broker, "w") as worker:
        intake = worker.consumer._intake
        for number in range(1, MOST_RETURNS + 1):
            properties = BasicProperties(message_id=f"m{number}", headers={"x-delivery-count": number})
            method = Mock(delivery_tag=10_000 + number, redelivered=True)
            intake._arrive("q", method, properties, b"", is_further=True)
            intake.line_up(intake.holding.get(method.delivery_tag))

        surplus = [held.envelope.message_id for held in intake.holding.take_further("q")]

        assert surplus == [f"m{number}" for number in range(1, MOST_RETURNS)]
        worker.consumer.close(give_back=False)


def test_more_is_shared_out_by_what_each_queue_brings_and_only_where_it_is_worth_it() -> None:
    heavy, light = Reach("heavy", "h", 30), Reach("light", "l", 10)

    assert shares([heavy, light], 19) == []
    assert shares([heavy, light], 20) == [(heavy, 15), (light, 5)]
    assert shares([], 20) == []
    heavy.further["h +1"] = 30
    assert shares([heavy], 30) == [(heavy, 30)]
