"""What the sentences about commits look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from django_tasks_q import Actor, records_database
from django_tasks_q.broker import MAX_BATCH, Broker, Consumer
from django_tasks_q.deliveries import Delivery, Held, Outgoing, Settlement, WorkerInfo
from django_tasks_q.errors import PartialSendError
from django_tasks_q.keeper.mirror_service import catch_up
from django_tasks_q.models import MessageRecord, WaitingMessage
from django_tasks_q.outcomes import DONE
from tests.support.waiting import until


class Place(NamedTuple):
    """Transactions on ``alias``, messages at a broker elsewhere."""

    alias: str
    broker: Broker
    note: Actor[[int], None]

    @staticmethod
    def other(alias: str) -> str:
        return "default" if alias == "postgresql" else "postgresql"

    @property
    def knows_ids(self) -> bool:
        """Whether the broker can tell that it has a message already, at least in the same queue."""
        return bool(self.broker.capabilities.unique_ids)

    def send(self, number: int) -> str:
        message = self.note.send_on_commit_with_options(args=(number,), using=self.alias)
        return message.message_id

    def sent(self) -> list[str]:
        """The ids that the broker has ready, in the order in which they came."""
        number = sum(counts.ready for counts in self.broker.counts() if counts.queue_name == "default")
        if number <= MAX_BATCH and self.broker.capabilities.peek.level == "same":
            deliveries = self.broker.peek("default", "ready", MAX_BATCH)
        else:
            deliveries = self.claim(number)
        return [delivery.message_id for delivery in deliveries]

    def claim(self, number: int) -> list[Delivery]:
        """So many messages, for a look; then they are ready again."""
        with self._worker(number) as consumer:
            return _take(consumer, number)

    def finish(self, message_id: str) -> None:
        """Run the one message that is ready."""
        with self._worker() as consumer:
            [delivery] = _take(consumer, 1)
            assert delivery.message_id == message_id
            assert not consumer.exchange([Settlement(delivery, DONE)], 0).refused

    @contextmanager
    def _worker(self, threads: int = 1) -> Iterator[Consumer]:
        consumer = self.broker.consume(WorkerInfo("looker", {"default": 1}, threads))
        try:
            yield consumer
        finally:
            consumer.close()

    def held(self, message_id: str) -> Held:
        """A message as the broker holds it, or the rows where it lets its messages wait."""
        while self.broker.take_in(MAX_BATCH):
            pass
        return self.broker.look_up([message_id])[message_id]

    def record(self, message_id: str) -> MessageRecord:
        """What is known of a message when everything is written down."""
        if self.broker.journal is not None:
            catch_up(self.broker, seconds=20)
        return MessageRecord.objects.using(records_database.alias(self.broker)).get(pk=message_id)

    def waiting(self) -> list[str]:
        """The ids in rows."""
        rows = WaitingMessage.objects.using(self.alias).filter(kind="commit").order_by("id")
        return list(rows.values_list("message_id", flat=True))


def in_part(broker: Broker) -> Callable[[Sequence[Outgoing]], None]:
    """Sending that ends after the first message of a batch, as when RabbitMQ goes away in the middle of it."""
    enqueue = broker._enqueue

    def send(outgoing: Sequence[Outgoing]) -> None:
        enqueue(outgoing[:1])
        messages = [item.message for item in outgoing]
        raise PartialSendError("gone in the middle", messages[:1], messages[1:])

    return send


def _take(consumer: Consumer, number: int) -> list[Delivery]:
    taken: list[Delivery] = []
    until(lambda: taken.extend(consumer.exchange([], MAX_BATCH).deliveries) or len(taken) >= number)
    return taken
