"""Brokers of every kind that the suite knows, each with a store of its own: empty at first, and gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.waiting import DatabaseWaitingRoom
from tests.support.journal_broker import JournalBroker
from tests.support.room_broker import RoomBroker

_ELSEWHERE = {
    "redis": "tests.support.redis_brokers",
    "redis-cluster": "tests.support.redis_brokers",
    "rabbitmq": "tests.support.rabbitmq_brokers",
    "rabbitmq-quorum": "tests.support.rabbitmq_brokers",
}
"""Modules with ``open_broker(kind)``, a context manager."""


@contextmanager
def open_broker(kind: str) -> Iterator[Broker]:
    """A broker of that kind, empty.

    ``stub``; an alias of ``DATABASES`` whose tables are empty; ``journal`` for one whose events are in a file;
    ``room-`` and such an alias for one whose delayed and dead messages are there; or a key of the above.
    """
    if kind == "stub":
        yield StubBroker()
    elif kind == "journal":
        with TemporaryDirectory() as folder:
            yield JournalBroker(Path(folder) / "journal")
    elif kind.startswith("room-"):
        yield RoomBroker(DatabaseWaitingRoom(kind.removeprefix("room-")))
    elif kind in _ELSEWHERE:
        opened: Callable[[str], AbstractContextManager[Broker]] = import_module(_ELSEWHERE[kind]).open_broker
        with opened(kind) as broker:
            yield broker
    else:
        yield DatabaseBroker(using=kind)
