"""The task that does nothing but say when it started."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.slots import Slots
from django_tasks_q import actor, get_broker
from django_tasks_q import send_many as send_all

SLOTS = Slots.from_environment()


@actor
def noop(index: int) -> None:
    SLOTS.mark(index)


def send(index: int) -> None:
    noop.send(index)


def send_many(indexes: Sequence[int]) -> None:
    send_all([noop.message(index) for index in indexes])


def waiting() -> int:
    return sum(counts.ready + counts.in_flight + counts.delayed for counts in get_broker().counts())


def remember(records: int) -> None:
    """Records of messages that succeeded a month ago, one each millisecond."""
    from django.db import connection

    from django_tasks_q.models import MessageRecord

    begin = datetime.now(UTC) - timedelta(days=30)
    times = dict.fromkeys(("created_at", "enqueued_at", "started_at", "finished_at"), begin)
    MessageRecord.objects.create(
        message_id="00000000-0000-7000-8000-000000000000",
        actor_name="noop",
        queue_name="default",
        state="succeeded",
        args=[0],
        kwargs={},
        options={},
        deliveries=1,
        worker="a-host-long-ago-1-00000000",
        **times,
    )
    with connection.cursor() as cursor:
        cursor.execute(*_copies(MessageRecord._meta, times, records - 1, connection.vendor == "postgresql"))
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")  # as autovacuum has done long ago on a database that grew by itself


def _copies(meta: Any, times: Collection[str], copies: int, is_postgresql: bool) -> tuple[str, list[int]]:
    """The statement that copies the one record that is there; by hand, half a million take a minute."""
    table, names = meta.db_table, [field.column for field in meta.concrete_fields]
    if is_postgresql:
        numbers = "SELECT generate_series(1, %s) AS number"
        changed = dict.fromkeys(times, "{} + number * interval '1 millisecond'")
        changed["message_id"] = "'00000000-0000-7000-8000-' || lpad(number::text, 12, '0')"
    else:
        numbers = "SELECT 1 AS number UNION ALL SELECT number + 1 FROM numbers WHERE number < %s"
        changed = dict.fromkeys(times, "strftime('%%Y-%%m-%%d %%H:%%M:%%f', {}, (number / 1000.0) || ' seconds')")
        changed["message_id"] = "printf('00000000-0000-7000-8000-%%012d', number)"
    values = ", ".join(changed.get(name, "{}").format(f'"{name}"') for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    return (
        f"WITH RECURSIVE numbers AS ({numbers}) INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, numbers",
        [copies],
    )
