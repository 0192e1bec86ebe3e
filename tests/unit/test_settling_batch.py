"""A settlement that the store cannot take must not hold up the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_tasks_q import Worker, actor
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Settlement
from django_tasks_q.outcomes import Parked
from tests.support.waiting import until


class ChokingBroker(StubBroker):
    """Raises what no broker should raise for the settlements of one message."""

    poison = ""
    takes_a_pause = True

    def _settle(self, settlement: Settlement, worker_id: str, attempt_outcome: str | None = None) -> bool:
        if settlement.delivery.message_id == self.poison and not (
            self.takes_a_pause and isinstance(settlement.outcome, Parked)
        ):
            raise OverflowError("no column is wide enough")
        return super()._settle(settlement, worker_id, attempt_outcome)


@pytest.fixture
def broker() -> Iterator[ChokingBroker]:
    broker = ChokingBroker()
    yield broker
    broker.close()


def run(broker: ChokingBroker) -> tuple[Any, Worker]:
    @actor(broker=broker)
    def work(number: int) -> None:
        return None

    messages = [work.send(number) for number in range(50)]
    broker.poison = messages[10].message_id
    worker = Worker(broker, worker_threads=4)
    worker.start()
    return messages, worker


def test_the_others_settle_and_the_one_it_chokes_on_waits(broker: ChokingBroker) -> None:
    _, worker = run(broker)
    try:
        until(lambda: [d.message_id for d in broker.peek("default", "delayed")] == [broker.poison])
        until(lambda: (broker.counts()[0].ready, broker.counts()[0].in_flight) == (0, 0))
    finally:
        worker.stop()


def test_one_that_cannot_even_be_made_to_wait_is_left_to_the_end_of_the_lease(broker: ChokingBroker) -> None:
    broker.takes_a_pause = False
    _, worker = run(broker)
    try:
        until(lambda: [d.message_id for d in broker.peek("default", "in_flight")] == [broker.poison])
        until(lambda: worker.consumer.idle)
    finally:
        broker.takes_a_pause = True
        broker.poison = ""
        worker.stop()
