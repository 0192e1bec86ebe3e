"""What the helpers ask of a broker, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from django.apps import apps

from ..broker import Broker, Consumer
from ..brokers.stub import StubBroker
from ..deliveries import WorkerInfo

if TYPE_CHECKING:
    from ..brokers.database import DatabaseBroker


def is_database(broker: Broker) -> TypeGuard[DatabaseBroker]:
    """Whether it is a database broker; its module needs the tables, which are not there without Django."""
    if not (apps.apps_ready and apps.is_installed("django_tasks_q")):
        return False
    from ..brokers.database import DatabaseBroker

    return isinstance(broker, DatabaseBroker)


def open_consumer(broker: Broker, worker: WorkerInfo) -> Consumer:
    """A consumer that may be used in the middle of the caller's transaction. QueueNotFound as ``consume``."""
    if not is_database(broker):
        return broker.consume(worker)
    from .callers_consumer import CallersConsumer

    return CallersConsumer(broker, worker)


def bring_forward(broker: Broker, queue_names: list[str]) -> bool:
    """Make the delayed message of these queues that is due first ready now; False when none is delayed.

    TypeError for a broker whose clock cannot be skipped.
    """
    if isinstance(broker, StubBroker):
        return broker.bring_forward(queue_names)
    if not is_database(broker):
        raise TypeError(f"with_delayed= works with capture(), StubBroker and DatabaseBroker, not {broker!r}.")
    from .callers_consumer import bring_forward as bring_row_forward

    return bring_row_forward(broker, queue_names)
