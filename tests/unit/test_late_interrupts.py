"""An interrupt that lands between people's code and the engine's."""

from __future__ import annotations

from django_tasks_q import actor
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Delivery
from django_tasks_q.errors import Shutdown, TimeLimitExceeded
from django_tasks_q.worker.board import Board
from django_tasks_q.worker.executor import Executor
from django_tasks_q.worker.slot import Slot


class HitOnTheDoorstep(Slot):
    """Its first close is interrupted before it has done anything."""

    hits = 1

    def close(self) -> None:
        if self.hits:
            self.hits -= 1
            raise TimeLimitExceeded
        super().close()


def test_an_interrupt_on_the_first_step_of_closing_leaves_nothing_open_to_the_next_one() -> None:
    broker = StubBroker()

    @actor(broker=broker)
    def work() -> None: ...

    slot = HitOnTheDoorstep(Board(1, 1).regions[0], 0)
    message = work.message()
    delivery = Delivery(1, message.message_id, "default", message.encode(), 1)
    slot.begin(delivery)

    Executor(broker).process(delivery, slot)

    assert slot.interrupt_again(Shutdown) is False
