"""The task that does nothing but say when it started."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from benchmarks.slots import Slots
from django_tasks_q import actor
from django_tasks_q import send_many as send_all

SLOTS = Slots.from_environment()


@actor
def noop(index: int) -> None:
    SLOTS.mark(index)


def send(index: int) -> None:
    noop.send(index)


def send_many(indexes: Sequence[int]) -> None:
    send_all([noop.message(index) for index in indexes])


def remember(records: int, batch: int = 5_000) -> None:
    """Records of messages that succeeded a month ago, one each millisecond."""
    from django.db import connection

    from django_tasks_q.models import MessageRecord

    begin = datetime.now(UTC) - timedelta(days=30)
    for start in range(0, records, batch):
        rows = []
        for index in range(start, min(start + batch, records)):
            at = begin + timedelta(milliseconds=index)
            rows.append(
                MessageRecord(
                    message_id=f"00000000-0000-7000-8000-{index:012}",
                    actor_name="noop",
                    queue_name="default",
                    state="succeeded",
                    args=[index],
                    kwargs={},
                    options={},
                    deliveries=1,
                    created_at=at,
                    enqueued_at=at,
                    started_at=at,
                    finished_at=at,
                    worker="a-host-long-ago-1-00000000",
                )
            )
        MessageRecord.objects.bulk_create(rows)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # as autovacuum has done long ago on a database that grew by itself
