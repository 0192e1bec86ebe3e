"""The task that does nothing but say when it started."""

from collections.abc import Sequence

from procrastinate.contrib.django import app

from benchmarks.slots import Slots

SLOTS = Slots.from_environment()


@app.task
def noop(index: int) -> None:
    SLOTS.mark(index)


def send(index: int) -> None:
    noop.defer(index=index)


def send_many(indexes: Sequence[int]) -> None:
    noop.batch_defer(*({"index": index} for index in indexes))
