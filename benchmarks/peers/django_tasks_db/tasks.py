"""The task that does nothing but say when it started."""

from collections.abc import Sequence

from django.tasks import task

from benchmarks.slots import Slots

SLOTS = Slots.from_environment()


@task
def noop(index: int) -> None:
    SLOTS.mark(index)


def send(index: int) -> None:
    noop.enqueue(index)


def send_many(indexes: Sequence[int]) -> None:
    """It has no way to send many at once."""
    for index in indexes:
        noop.enqueue(index)
