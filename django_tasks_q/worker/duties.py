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
from .lease import renew
from .patience import Patience

logger = get_logger(__name__)

RESCUE_INTERVAL = 5.0


class Services(Protocol):
    """What else a keeper would do, in a thread of its own."""

    def start(self) -> None: ...

    def buried(self, worker_id: str) -> None: ...

    def stop(self) -> None: ...


_make_services: Callable[[Broker, Region, bool], Services | None] = lambda *_: None  # noqa: E731 - a seam


def set_services_factory(factory: Callable[[Broker, Region, bool], Services | None]) -> None:
    """Say who makes the services of a worker that has no keeper; the Django floor does, they need a database.

    The third argument is whether it does what is everybody's affair as well, as :class:`Duties` says.
    """
    global _make_services
    _make_services = factory


class Duties(Thread):
    """Renews one worker's lease three times a lease, and rescues what dead workers left behind.

    Parameters:
        region: the worker's part of the board.
        maintenance: whether it does what is everybody's affair as well; without it only what nobody else can do, which
            is to renew the lease of this worker and those that its actors hold.
    """

    def __init__(self, broker: Broker, region: Region, *, maintenance: bool = True) -> None:
        super().__init__(daemon=True, name="Duties")
        self._broker = broker
        self._region = region
        self._judge = make_judge(broker)
        self._patience = Patience(broker)
        self._maintenance = maintenance
        self._services = _make_services(broker, region, maintenance)
        self._ending = Event()

    def run(self) -> None:
        if self._services is not None:
            self._services.start()
        while not self._ending.wait(min(RESCUE_INTERVAL, self._broker.lease / 3000)):
            self._round()
        if self._services is not None:
            self._services.stop()
        self._broker.close()

    def _round(self) -> None:
        try:
            renew(self._broker, [self._region])
            if self._maintenance and self._patience.is_over():
                self._rescue()
        except BrokerError as error:
            self._patience.begin()
            logger.warning("The lease could not be renewed (%s); trying again.", error)
        except Exception:
            logger.exception("The duties stumbled.")

    def _rescue(self) -> None:
        for worker_id in self._broker.rescue(self._judge):
            if self._services is not None:
                self._services.buried(worker_id)

    def stop(self) -> None:
        self._ending.set()
        if self.is_alive():
            self.join(5)
