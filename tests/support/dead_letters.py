"""Dead letters in quantity, made the way workers make them: claimed, and settled as dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django_tasks_q import Message
from django_tasks_q.broker import MAX_BATCH, Broker
from django_tasks_q.deliveries import Settlement, WorkerInfo
from django_tasks_q.outcomes import Dead, ErrorInfo


def bury(broker: Broker, messages: Iterable[Message[Any]], reason: str = "retries_exhausted") -> list[str]:
    """Send messages and let each of them die; returns their ids. Nothing else may wait in their queues."""
    sent = broker.enqueue_many(list(messages))
    consumer = broker.consume(WorkerInfo("digger"))
    try:
        settlements: list[Settlement] = []
        while True:
            answer = consumer.exchange(settlements, MAX_BATCH)
            settlements = [_death(delivery, reason) for delivery in answer.deliveries]
            if not settlements:
                break
    finally:
        consumer.close()
    return [message.message_id for message in sent]


def _death(delivery: Any, reason: str) -> Settlement:
    error = ErrorInfo("ValueError", "no such order", "Traceback …")
    at = delivery.enqueued_at
    return Settlement(delivery, Dead(reason), error, started_at=at, finished_at=at)
