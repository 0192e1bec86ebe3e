"""The task that does nothing but say when it started."""

from collections.abc import Sequence

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
