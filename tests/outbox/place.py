"""What the sentences about commits look at."""

from __future__ import annotations

from typing import NamedTuple

from django_tasks_q import Actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import QueuedMessage, WaitingMessage


class Place(NamedTuple):
    """Transactions on ``alias``, messages on the broker's own database."""

    alias: str
    broker: DatabaseBroker
    note: Actor[[int], None]

    @staticmethod
    def other(alias: str) -> str:
        return "postgresql" if alias == "default" else "default"

    def send(self, number: int) -> str:
        message = self.note.send_on_commit_with_options(args=(number,), using=self.alias)
        return message.message_id

    def sent(self) -> list[str]:
        """The ids that the broker has, in the order in which they came."""
        rows = QueuedMessage.objects.using(self.broker.using).order_by("id")
        return list(rows.values_list("message_id", flat=True))

    def waiting(self) -> list[str]:
        """The ids in rows."""
        rows = WaitingMessage.objects.using(self.alias).order_by("id")
        return list(rows.values_list("message_id", flat=True))
