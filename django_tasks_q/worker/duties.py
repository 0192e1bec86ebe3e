"""The keeper's duties for a worker that has no keeper: its lease and the rescue of others, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol

from ..broker import Broker
from ..errors import BrokerError
from ..judge import make_judge
from ..logging import get_logger
from .board import Region

logger = get_logger(__name__)

RESCUE_INTERVAL = 5.0


class Services(Protocol):
    """What else a keeper would do, in a thread of its own."""

    def start(self) -> None: ...

    def buried(self, worker_id: str) -> None: ...

    def stop(self) -> None: ...


_make_services: Callable[[Broker, Region], Services | None] = lambda broker, region: None  # noqa: E731 - a seam


def set_services_factory(factory: Callable[[Broker, Region], Services | None]) -> None:
    """Say who makes the services of a worker that has no keeper; the Django floor does, they need a database."""
    global _make_services
    _make_services = factory


class Duties(Thread):
    """Renews one worker's lease three times a lease, and rescues what dead workers left behind.

    ``region`` is what the worker's board says of it.
    """

    def __init__(self, broker: Broker, worker_id: str, region: Region) -> None:
        super().__init__(daemon=True, name="Duties")
        self._broker = broker
        self._worker_id = worker_id
        self._judge = make_judge(broker)
        self._services = _make_services(broker, region)
        self._ending = Event()

    def run(self) -> None:
        if self._services is not None:
            self._services.start()
        while not self._ending.wait(min(RESCUE_INTERVAL, self._broker.lease / 3000)):
            try:
                self._broker.renew([self._worker_id])
                self._rescue()
            except BrokerError as error:
                logger.warning("The lease could not be renewed (%s); trying again.", error)
            except Exception:
                logger.exception("The duties stumbled.")
        if self._services is not None:
            self._services.stop()
        self._broker.close()

    def _rescue(self) -> None:
        for worker_id in self._broker.rescue(self._judge):
            if self._services is not None:
                self._services.buried(worker_id)

    def stop(self) -> None:
        self._ending.set()
        if self.is_alive():
            self.join(5)
